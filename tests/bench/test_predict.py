"""Batch inference: its rate beside that of ONNX Runtime alone, its memory, and twenty kills."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import excerpts
import killing
import numpy as np
import onnx
import pyarrow as pa
import pytest
import torch
from deltalake import DeltaTable, WriterProperties, write_deltalake

from ecglib import serving
from ecglib.data import beats
from ecglib.serving import predict
from ecglib.serving.model import AT_ONCE
from ecglib.training import device

CORES = len(os.sched_getaffinity(0))
ALONE = """
import sys, time
import numpy as np, onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(sys.argv[1], options)
x, n = np.load(sys.argv[2]), int(sys.argv[3])
session.run(None, {"x": x[:n]})
print("ready", flush=True)
sys.stdin.readline()
for i in range(0, len(x), n):
    session.run(None, {"x": x[i : i + n]})
print("done", flush=True)
"""
"""ONNX Runtime on cut beats, so many at a time, from when it is told to."""


GIVEN = {"x": ("b", 1, 187), "logits": ("b", 5)}


def circumstances() -> str:
    return f"{device.hardware(torch.device('cpu'))}, load {os.getloadavg()[0]:.1f}"


def alone(x: list[Path], at_once: int) -> float:
    """Seconds of one session a core, each with a share of the beats."""
    model = serving.load("ecglib:cnet").folder / "model.onnx"
    command = [sys.executable, "-c", ALONE, str(model)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    each = [subprocess.Popen([*command, str(path), str(at_once)], **pipes) for path in x]
    assert all(process.stdout.readline() == "ready\n" for process in each)
    began = time.perf_counter()
    for process in each:
        print("go", file=process.stdin, flush=True)
    assert all(process.stdout.readline() == "done\n" for process in each)
    seconds = time.perf_counter() - began
    for process in each:
        process.communicate()
    return seconds


def many(mitdb: Path, folder: Path, times: int) -> Path:
    """The 48 records, so many times."""
    for i in range(times):
        (folder / f"{i}").mkdir(parents=True)
        for name in excerpts.RECORDS:
            for suffix in ("hea", "dat", "atr"):
                (folder / f"{i}" / f"{name}.{suffix}").symlink_to(mitdb / f"{name}.{suffix}")
    return folder


@pytest.mark.real
@pytest.mark.parametrize("times", [1, 10])
def test_rate(times: int, real_mitdb: Path, tmp_path: Path) -> None:
    """All records, R peaks given, from the start of the workers to the last commit. In turns with ONNX Runtime, in
    batches of the better of two sizes, as a machine that others use is faster at one time than at another."""
    cut = beats.cut_records(excerpts.source(real_mitdb), "kachuee", ["MLII"]).signals
    shares, folder = [tmp_path / f"{i}.npy" for i in range(CORES)], many(real_mitdb, tmp_path / "records", times)
    for path, share in zip(shares, np.array_split(cut, CORES), strict=True):
        np.save(path, share)
    rates: dict[str, list[float]] = {"ONNX Runtime alone": [], "predict": []}
    for i in range(3):
        rates["ONNX Runtime alone"].append(len(cut) / min(alone(shares, n) for n in (64, AT_ONCE)))
        done = predict.predict("ecglib:cnet", str(folder), str(tmp_path / f"out{i}"), peaks="atr")
        assert done.rows == times * len(cut)
        rates["predict"].append(done.rows / done.seconds)
    (reference, found), said = map(max, rates.values()), {k: [round(v) for v in each] for k, each in rates.items()}
    print(f"\n{times} x {len(cut)} beats, beats/s: {said}; {found / reference:.2f} ({CORES} cores, {circumstances()})")
    assert found >= 0.7 * reference


def family(pid: int) -> Iterator[int]:
    """A process and all below it."""
    yield pid
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in path.read_text().split():
            yield from family(int(child))


def peak(command: list[str]) -> tuple[float, float]:
    """Most memory in MB of all of the command's processes together, what they share once; and its seconds."""
    began, most = time.perf_counter(), 0
    with subprocess.Popen(command, env=os.environ) as process:
        while process.poll() is None:
            total = 0
            try:
                for pid in family(process.pid):
                    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
                    total += int(rollup.split("Pss:")[1].split()[0])
            except OSError:
                continue  # one has just ended
            most = max(most, total)
            time.sleep(0.1)
    assert process.returncode == 0
    return most / 1024, time.perf_counter() - began


def command(given: Path, out: Path, *more: str, model: str = "ecglib:cnet") -> list[str]:
    return [sys.executable, "-m", "ecglib", "predict", model, "--input", str(given), "--output", str(out), *more]


@pytest.mark.real
def test_memory_of_ten_times_as_many_records(real_mitdb: Path, tmp_path: Path) -> None:
    found = {}
    for times in (1, 10):
        folder = many(real_mitdb, tmp_path / f"{times}", times)
        found[times] = peak(command(folder, tmp_path / f"out{times}", "--peaks", "atr"))
    (one, _), (ten, seconds) = found.values()
    print(f"\n48 and 480 records: {one:.0f} and {ten:.0f} MB; {seconds:.0f} s ({CORES} workers; {circumstances()})")
    assert ten < 1500 and ten < 1.1 * one


def synthetic(where: Path, n_beats: int) -> int:
    """A table of recordings of an hour at 125 Hz and 150 beats a minute, and how many beats they have."""
    rng, fs, rr = np.random.default_rng(0), 125, 50
    beat = np.exp(-0.5 * ((np.arange(rr) - 10) / 2.0) ** 2) - 0.2 * np.exp(-0.5 * ((np.arange(rr) - 30) / 5.0) ** 2)
    hour = np.rint(200 * np.tile(beat, 3600 * fs // rr) + rng.integers(-5, 6, 3600 * fs)).astype(np.float32) / 200
    peaks, n = np.arange(10, len(hour), rr), -(-n_beats // (3600 * fs // rr - 1))
    types = [pa.string(), pa.float64(), pa.list_(pa.string()), pa.list_(pa.float32()), pa.list_(pa.int64())]
    schema = pa.schema(list(zip(("record", "fs", "leads", "signal", "r_peaks"), types, strict=True)))

    def made() -> Iterator[pa.RecordBatch]:
        for i in range(n):
            signal = pa.array([np.roll(hour, i * rr)], types[3])
            values = [[f"r{i:06d}"], [float(fs)], [["MLII"]], signal, pa.array([peaks], types[4])]
            yield pa.record_batch(values, schema=schema)

    few = WriterProperties(max_row_group_size=64)  # or all of it would be in memory while it is written
    write_deltalake(str(where), pa.RecordBatchReader.from_batches(schema, made()), writer_properties=few)
    return n * (len(peaks) - 1)


def one_layer(folder: Path) -> Path:
    """`ecglib:cnet` with a network that costs next to nothing in the place of its own."""
    cnet, draw = serving.load("ecglib:cnet"), np.random.default_rng(0)
    shutil.copytree(cnet.folder, folder)
    weights = onnx.numpy_helper.from_array(draw.normal(size=(187, 5)).astype(np.float32), "w")
    x, logits = (onnx.helper.make_tensor_value_info(name, 1, shape) for name, shape in GIVEN.items())
    nodes = [
        onnx.helper.make_node("Flatten", ["x"], ["flat"]),
        onnx.helper.make_node("MatMul", ["flat", "w"], ["logits"]),
    ]
    graph = onnx.helper.make_graph(nodes, "one-layer", [x], [logits], [weights])
    made = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=9)
    (folder / "model.onnx").write_bytes(made.SerializeToString())
    hashes = cnet.card.files | {"model.onnx": hashlib.sha256(made.SerializeToString()).hexdigest()}
    card = cnet.card.model_copy(update={"name": "one-layer", "files": hashes})
    card = card.model_copy(update={"version": card.sha256()})
    (folder / "model.json").write_text(card.model_dump_json())
    return folder


def test_memory_of_ten_million_beats(tmp_path: Path) -> None:
    found, model = {}, str(one_layer(tmp_path / "model"))
    for n in (1_000_000, 10_000_000):
        expected = synthetic(tmp_path / f"in{n}", n)
        found[n] = peak(command(tmp_path / f"in{n}", tmp_path / f"out{n}", model=model))
        assert DeltaTable(str(tmp_path / f"out{n}")).to_pyarrow_dataset().count_rows() == expected
    (one, _), (ten, seconds) = found.values()
    print(f"\n1 and 10 million beats: {one:.0f} and {ten:.0f} MB; {seconds:.0f} s ({CORES} workers; {circumstances()})")
    assert ten < 1500 and ten < 1.1 * one


@pytest.mark.parametrize("what", [lambda *to: killing.kill(*to, 20), killing.at_once], ids=["kills", "at once"])
def test_each_beat_once(what: Callable[..., str], small_mitdb: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    where = tmp_path_factory.getbasetemp() / "predict"
    where.mkdir(exist_ok=True)
    print(f"\n{what(small_mitdb / 'mitdb', where)}")
