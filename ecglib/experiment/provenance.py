"""Where a result comes from: versions, commit, time."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import version

from ecglib import paths


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that can change a number, without local suffixes such as `+cpu`."""
    packages = ("torch", "numpy", "scipy", "scikit-learn", "imbalanced-learn", "wfdb")
    return {"python": sys.version.split()[0], **{name: version(name).split("+")[0] for name in packages}}


def commit() -> str:
    """The commit of the working tree, with `-dirty` where package or parameters differ from it; empty without git."""
    git = ["git", "-C", str(paths.root())]
    asked = (["rev-parse", "HEAD"], ["status", "--porcelain", "--", "ecglib", "params"])
    try:
        head, changed = (subprocess.check_output([*git, *a], stderr=subprocess.DEVNULL, text=True) for a in asked)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return head.strip() + ("-dirty" if changed.strip() else "")


def now() -> str:
    """The time in UTC, to the second, ISO 8601."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
