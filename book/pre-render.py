"""What Quarto runs before it renders: writes the pages of experiments that were not run yet, and the chapter list.

With the environment not activated, Quarto takes any Python; the one in `.venv` is used then.
"""

import os
import sys
from pathlib import Path

try:
    from ecglib.report import book
except ImportError:
    python = Path(__file__).resolve().parent.parent / ".venv" / "bin" / "python"
    if not python.is_file() or Path(sys.executable) == python:
        sys.exit("ecglib is not installed: run `make notebooks` once, or activate its environment")
    os.execv(python, [str(python), __file__])

if __name__ == "__main__":  # its workers import this file
    book.prepare()
