"""Kills of `ecglib predict` at random moments, and two of it at once; shared by the tests and the benchmark."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from deltalake import DeltaTable

from ecglib.serving import predict

ONE_BY_ONE = "import sys; from ecglib import cli; from ecglib.serving import predict; predict.RECORDS = 1; cli.main()"
"""`ecglib`, with a commit for every record, so that a kill finds some done and some not."""


def begin(folder: Path, out: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", ONE_BY_ONE, "predict", "ecglib:cnet", "--input", str(folder), "--output", str(out)]
    command += ["--peaks", "atr", "--workers", "2"]
    return subprocess.Popen(command, env=os.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def ended(process: subprocess.Popen[bytes]) -> None:
    _, errors = process.communicate()
    assert process.returncode == 0, errors.decode()


def beats(out: Path) -> list[tuple[object, ...]]:
    """Every beat of the table, without what differs from run to run."""
    found = DeltaTable(str(out)).to_pyarrow_table()
    return sorted(tuple(row.values()) for row in found.drop_columns(["run_id", "time"]).to_pylist())


def kill(folder: Path, where: Path, kills: int) -> str:
    """Kill as often, at moments of chance from when the table is there (every third) or its first record, and repeat:
    each time the table is that which nothing disturbs; says what was done."""
    process = begin(folder, where / "whole")
    began = until(where / "whole", process, 2)
    ended(process)
    seconds, draw, between = time.monotonic() - began, random.Random(0), 0
    whole = beats(where / "whole")
    for i in range(kills):
        out = where / f"killed-{i}"
        process = begin(folder, out)
        until(out, process, 2 if i % 3 else 0)
        time.sleep(draw.uniform(0, 0.8 * seconds))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        left = beats(out)
        assert set(left) <= set(whole) and len(set(left)) == len(left)
        between += 0 < len(left) < len(whole)
        ended(begin(folder, out))
        assert beats(out) == whole
    assert between
    return f"{kills} kills within {seconds:.1f} s, {between} between two commits; {len(whole)} beats every time"


def until(out: Path, process: subprocess.Popen[bytes], version: int) -> float:
    """When the table has this version: 0 as it is made, 2 with the first record."""
    while not DeltaTable.is_deltatable(str(out)) or DeltaTable(str(out)).version() < version:
        assert process.poll() is None
        time.sleep(0.02)
    return time.monotonic()


def at_once(folder: Path, where: Path) -> str:
    """Two at once into one table: both end, and each beat is there once."""
    out = where / "at-once"
    both = [begin(folder, out), begin(folder, out)]
    for process in both:
        ended(process)
    assert beats(out) == beats(where / "whole")
    return f"two at once: {len(beats(out))} beats, version {DeltaTable(str(out)).version()} of the table"


def dies(given: predict.Wfdb, done: str) -> None:
    """A worker that is killed."""
    os.kill(os.getpid(), signal.SIGKILL)


def worker_of_ray(driver: subprocess.Popen[str]) -> bool:
    """Kill the first worker that is at a task of this driver's own Ray; whether there was one before the end."""
    while driver.poll() is None:
        for path in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                title, family = (path / "cmdline").read_bytes(), path
                while b"ray::_task" in title and family.name not in ("0", "1", str(driver.pid)):
                    family = Path("/proc", (family / "stat").read_text().rpartition(") ")[2].split()[1])
                if b"ray::_task" in title and family.name == str(driver.pid):
                    os.kill(int(path.name), signal.SIGKILL)
                    return True
        time.sleep(0.01)
    return False
