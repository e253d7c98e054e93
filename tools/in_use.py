"""Measure what the chapter *In use* tells, and write it to `book/results/in-use.json`.

    ecglib data fetch mitdb && python tools/in_use.py

DS2 is scored twice, with given and with detected R peaks, and the log of its scorings gets a line for each. Speeds are
of this machine, with nothing else running.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from ecglib import files, paths, serving
from ecglib.data import beats, databases, detection, records
from ecglib.errors import UserError
from ecglib.experiment import provenance
from ecglib.experiment import record as results
from ecglib.report import in_use
from ecglib.serving import evaluate
from ecglib.training import device

MODEL = "ecglib:ecgnet"
CORES = os.cpu_count() or 1


def main() -> None:
    source = databases.get("mitdb")
    if source.sample or provenance.commit().endswith("-dirty"):
        raise UserError("tools/in_use.py", "the embedded sample, or uncommitted changes", "mitdb and a commit")
    model = serving.load(MODEL)
    scored = {kind: evaluate.evaluate(model, "mitdb", peaks=kind, protocol="inter") for kind in ("given", "detected")}
    found = {
        "model": MODEL,
        "version": model.card.version,
        **{kind: one.model_dump(mode="json") for kind, one in scored.items()},
        "speed": speed(source),
        "hardware": f"{device.hardware(device.choose('cpu'))}, {CORES} cores",
        "versions": provenance.versions(),
        "commit": provenance.commit(),
        "created": provenance.now(),
    }
    files.write(paths.results() / in_use.FILE, "\n".join(results.json_lines(found)) + "\n")
    print(json.dumps(found["speed"], indent=1))


def speed(source: databases.Source) -> dict[str, float]:
    """The numbers of `in_use.SPEED`."""
    lead = [records.read_recording(source.folder, name, lambda where, there: [0]) for name in source.records]
    started = time.process_time()
    for recording in lead:
        detection.unsw(recording.signals[0], recording.fs, recording.name)
    recorded = sum(recording.signals.shape[1] / recording.fs for recording in lead)
    found = {"detection": recorded / (time.process_time() - started)}
    cut = beats.cut_records(source, "kachuee", ["MLII"]).signals
    sessions = [serving.load("ecglib:cnet", threads=1) for _ in range(CORES)]
    with ThreadPoolExecutor(CORES) as pool:
        started = time.perf_counter()
        list(pool.map(lambda model, x: model.run(x), sessions, np.array_split(cut, CORES)))
    found["onnx"] = len(cut) / (time.perf_counter() - started)
    with tempfile.TemporaryDirectory() as folder:
        given = ("--input", str(source.folder), "--output", f"{folder}/beats", "--peaks", "atr")
        seconds, memory = timed("predict", "ecglib:cnet", *given)
        found |= {"predict": len(cut) / seconds, "share": len(cut) / seconds / found["onnx"], "memory": memory}
        found["annotate"] = timed("annotate", str(source.folder / "208"), "--out", folder)[0]
    return found


def timed(*arguments: str) -> tuple[float, float]:
    """Seconds of a command of `ecglib`, and the memory of its largest process in MB."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-m", "ecglib", *arguments], capture_output=True, check=True)
    return time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1000


if __name__ == "__main__":
    main()
