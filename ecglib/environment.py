"""Sets up `.venv` from `requirements.lock`; the Makefile calls it before everything else.

Runs with the system's Python and the standard library alone. A second call finds the environment as it left it and
costs nothing; a changed lock or pyproject updates it.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / ".venv"
MARK = FOLDER / "installed"
LOCK = ROOT / ".venv.lock"
STALE_SECONDS = 1800


def wanted() -> str:
    """Hash of what the environment is made from."""
    digest = hashlib.sha256(sys.version.split()[0].encode())
    for name in ("requirements.lock", "pyproject.toml"):
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()


def is_ready() -> bool:
    """Whether the environment is there and up to date."""
    return MARK.is_file() and MARK.read_text(encoding="utf-8") == wanted()


def install() -> None:
    """Make the environment and install every pinned package, then this one without touching them."""
    python = FOLDER / "bin" / "python"
    if not python.is_file():
        print(f"setting up {FOLDER} …", flush=True)
        venv.create(FOLDER, with_pip=True)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "-r", str(ROOT / "requirements.lock")], check=True)
    subprocess.run([*pip, "--no-deps", "--no-build-isolation", "-e", str(ROOT)], check=True)
    MARK.write_text(wanted(), encoding="utf-8")


def main() -> int:
    """Set up `.venv` if it isn't ready; waits for another process that is at it."""
    if sys.version_info < (3, 11):  # noqa: UP036  (this runs with whatever Python the system has)
        found = ".".join(map(str, sys.version_info[:2]))
        print(f"error: python3 is {found}; expected 3.11 or newer; try make PYTHON=python3.12", file=sys.stderr)
        return 2
    if is_ready():
        return 0
    while True:
        try:
            os.close(os.open(LOCK, os.O_CREAT | os.O_EXCL))
            break
        except FileExistsError:
            if time.time() - LOCK.stat().st_mtime > STALE_SECONDS:
                LOCK.unlink(missing_ok=True)
            time.sleep(1)
    try:
        if not is_ready():
            install()
    except subprocess.CalledProcessError:
        print("error: .venv: pip could not install requirements.lock; see its message above", file=sys.stderr)
        return 2
    finally:
        LOCK.unlink(missing_ok=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
