"""Sets up `.venv` from the two lock files; the Makefile calls it before everything else.

Runs with the system's Python and the standard library alone; Python 3.6 can read it too, to be told that it is too old.
A second call finds the environment as it left it and costs nothing; a changed lock or pyproject updates it.
"""

import fcntl
import hashlib
import shlex
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / ".venv"
PYTHON = FOLDER / "bin" / "python"
MARK = FOLDER / "installed"
LOCK = ROOT / ".venv.lock"
PINNED = ("requirements.lock", "requirements-extras.lock")


class SetupError(Exception):
    """What keeps `.venv` from being set up, as one line: what was found, what was expected, what to do."""


def wanted() -> str:
    """Hash of what the environment is made from; raises SetupError where one of the files is missing."""
    digest = hashlib.sha256(sys.version.split()[0].encode())
    for name in (*PINNED, "pyproject.toml"):
        try:
            digest.update((ROOT / name).read_bytes())
        except FileNotFoundError:
            raise SetupError(f"{name}: not found; expected in {ROOT}; try git checkout {name}") from None
    return digest.hexdigest()


def is_ready() -> bool:
    """Whether the environment is there and up to date."""
    return MARK.is_file() and MARK.read_text(encoding="utf-8") == wanted() and PYTHON.exists()


def running() -> str:
    """Version of the Python that runs this, as major.minor."""
    return ".".join(map(str, sys.version_info[:2]))


def why_unusable() -> str:
    """What keeps packages from being installed into `.venv`; empty if nothing does."""
    if not (FOLDER / "pyvenv.cfg").is_file():  # without it, its Python is the system's, and so is its pip
        return "there is no complete one yet"
    try:
        pip = subprocess.run([str(PYTHON), "-m", "pip", "--version"], capture_output=True, text=True, check=False)
    except OSError:
        return "its Python is missing or does not start"
    if pip.returncode:
        return "its Python or pip does not work"
    version = pip.stdout.rpartition("(python ")[2].strip().rstrip(")")
    return "" if version == running() else f"the one there has Python {version}"


def run(lock: IO[str], *command: str) -> None:
    """Run `command` in the project's folder; it holds `lock` too, should it outlive this."""
    if subprocess.run(command, cwd=ROOT, pass_fds=[lock.fileno()], check=False).returncode:
        more = shlex.join(word for word in command if word != "--quiet")
        raise SetupError(f".venv: {command[2]} failed; its message is above; to see more, run {more}")


def make(lock: IO[str], why: str) -> None:
    """Make an empty `.venv` with pip in place of what is there."""
    if not (find_spec("venv") and find_spec("ensurepip")):
        do = f"try sudo apt install python{running()}-venv (Debian, Ubuntu)"
        raise SetupError(f"{sys.executable}: has no venv or no ensurepip; expected both; {do}")
    print(f"making .venv with Python {running()}: {why}", flush=True)
    run(lock, sys.executable, "-m", "venv", "--clear", ".venv")


def install(lock: IO[str]) -> None:
    """Install every pinned package, then this one without touching them."""
    now = wanted()
    MARK.unlink(missing_ok=True)
    why = why_unusable()
    if why:
        make(lock, why)
    print("installing the locked packages into .venv", flush=True)
    pip = [".venv/bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    run(lock, *pip, *(word for name in PINNED for word in ("-r", name)))
    run(lock, *pip, "--no-deps", "--no-build-isolation", "-e", ".")
    MARK.write_text(now, encoding="utf-8")


def wait_for(lock: IO[str]) -> None:
    """Hold `lock` from here on; the kernel gives it back when its holders are gone, however they went."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print("waiting for another `make` to set up .venv", flush=True)
        fcntl.flock(lock, fcntl.LOCK_EX)
    except OSError:
        pass  # some network file systems have no locks


def main() -> int:
    """Set up `.venv` if it isn't ready; gives the exit code."""
    try:
        if sys.version_info < (3, 11):  # noqa: UP036  (this runs with whatever Python the system has)
            raise SetupError(f"python3 is {running()}; expected 3.11 or newer; try make PYTHON=python3.12")
        if not is_ready():
            with LOCK.open("w") as lock:
                wait_for(lock)
                if not is_ready():
                    install(lock)
    except (SetupError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("error: .venv: interrupted; make goes on with it next time", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
