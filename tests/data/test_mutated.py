"""Files with bytes flipped, cut or swapped and headers with a field edited: refused, or read as wfdb reads them."""

from __future__ import annotations

import random
import re
import shutil
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import clinics
import excerpts
import numpy as np
import pytest
import scipy.io
import wfdb
from numpy.typing import NDArray
from wfdb.io.header import rx_record, rx_signal

from ecglib import aami
from ecglib.data import beats, records
from ecglib.data.records import LEADS
from ecglib.errors import RecordError, UserError

N = 400
"""Of a seed. A thousand take 15 CPU seconds."""
SLOWEST = 10.0
"""Seconds of one."""
TWO = ("MLII", "V5")
UNITS = clinics.units(300, fs=100)
IN_MV = {"mv": 1.0, "uv": 1e-3, "v": 1e3, "nv": 1e-6, "": 1.0}
HARMLESS = ("record line begins", "no standard lead, so", "another channel is plainly", "negated by its name")
"""Of repairs that leave wfdb's numbers as they are, how they begin."""
SPELT = {"LEAD II": ("II", 1), "-AVR": ("AVR", -1), "I,": ("I", 1), **{lead: (lead, 1) for lead in LEADS}}
"""Standard leads as they are written here, in capitals; beside V1 to V6, C3 is none."""
Rng = random.Random


# --- sound records ----------------------------------------------------------------------------------------------------


def written(folder: Path, fmt: str, leads: tuple[str, ...], files: tuple[str, ...], frame: int = 1) -> None:
    """By wfdb, in one file or two, `frame` samples at once, with annotations."""
    units = np.round(UNITS[: len(leads)] / (25 if fmt == "80" else 1)).astype(np.int64)
    per_mv, n = (40.0 if fmt == "80" else 1000.0), len(leads)
    sums = [int(total) for total in units.sum(1) % 65536]
    wfdb.Record(
        record_name="r", n_sig=n, fs=100, sig_len=units.shape[1] // frame,
        file_name=[files[i * len(files) // n] for i in range(n)], fmt=[fmt] * n, adc_gain=[per_mv] * n,
        baseline=[0] * n, units=["mV"] * n, sig_name=list(leads), adc_res=[16] * n, adc_zero=[0] * n,
        init_value=[int(one) for one in units[:, 0]], checksum=sums, block_size=[0] * n, samps_per_frame=[frame] * n,
        e_d_signal=list(units), comments=["Age: 61", "Dx: 426783006"],
    ).wrsamp(write_dir=str(folder), expanded=True)  # fmt: skip
    at = np.array([50, 110, 170, 230]) // frame
    wfdb.wrann("r", "atr", at, ["N", "V", "A", "N"], write_dir=str(folder))


def matrix(folder: Path, version: str) -> None:
    path = clinics.mat(folder, "r", UNITS, fs=100, gain="1000(0)/mV")
    scipy.io.savemat(path.with_suffix(".mat"), {"val": UNITS}, format=version)


SOUND: dict[str, Callable[[Path], None]] = {
    "16": lambda folder: written(folder, "16", LEADS, ("r.dat",)),
    "212": lambda folder: written(folder, "212", TWO, ("r.dat",)),
    "24": lambda folder: written(folder, "24", LEADS, ("r.dat",)),
    "two files": lambda folder: written(folder, "80", LEADS, ("r.dat", "s.dat")),
    "frames": lambda folder: written(folder, "16", TWO, ("r.dat",), 2),
    "flac": lambda folder: written(folder, "516", LEADS, ("r.dat", "s.dat")),
    "mat 4": lambda folder: matrix(folder, "4"),
    "mat 5": lambda folder: matrix(folder, "5"),
}


# --- spoiling them ----------------------------------------------------------------------------------------------------


def bytes_spoilt(path: Path, rng: Rng) -> str:
    content = bytearray(path.read_bytes())
    how, n = rng.choice(["flip", "flip", "cut", "swap", "more"]), len(content)
    if how == "flip":
        for _ in range(rng.choice([1, 1, 3, 20])):
            content[rng.randrange(min(n, 200) if rng.random() < 0.4 else n)] ^= 1 << rng.randrange(8)
    elif how == "cut":
        del content[rng.randrange(n) :]
    elif how == "swap":
        size = rng.choice([1, 2, 8, 64])
        a, b = rng.randrange(n), rng.randrange(n)
        content[a : a + size], content[b : b + size] = content[b : b + size], content[a : a + size]
    else:
        content += rng.randbytes(rng.choice([1, 2, 24, 600]))
    path.write_bytes(content)
    return f"{path.suffix} {how}"


VALUES = (
    "", "0", "-1", "1", "2", "8", "16", "80", "212", "310", "516", "32", "24", "61", "999", "12", "1000", "65536",
    "9" * 12, "9" * 40, "1e3", "0.5", "nan", "inf", "1000/mV", "1000(5)/uV", "1000(-5)", "200", "0/mV", "1(2)/V",
    "-5/mV", "1000(mV)/500", "1000 (5)/mV", "500(0)/mmHg", "16x2", "16x0", "16:3", "16+24", "16:1+2", "16x2:1", "x",
    "r", "r.dat", "s.dat", "../r.dat", "~", "r/2", "sub/r", "I", "V1", "-aVR", "Lead II", "C3", "RESP", "MLII", "#",
    "12/05/2020", "10:00:00", "2006", "é", "µV", "1000/µV", "\N{GREEK SMALL LETTER MU}V", "\0", "\t", "I,", "360/720",
)  # fmt: skip


def header_spoilt(path: Path, rng: Rng) -> str:
    lines = path.read_text().splitlines()
    i = rng.randrange(min(len(lines), 5))
    words, how = lines[i].split(" "), rng.choice(["field", "field", "field", "number", "drop", "line", "byte"])
    j = rng.randrange(len(words))
    if how == "field":
        words[j] = rng.choice(VALUES)
    elif how == "number":
        words[j] = re.sub(r"\d+", lambda n: str(int(n[0]) + rng.choice([-1, 1, 7])), words[j], count=1)
    elif how == "drop":
        del words[j]
    elif how == "line":
        lines[i] = "\n".join([lines[i]] * rng.choice([0, 2]))
        words = lines[i].split(" ")
    else:
        words[j] = words[j][: len(words[j]) // 2] + chr(rng.randrange(1, 256)) + words[j][len(words[j]) // 2 + 1 :]
    lines[i] = " ".join(words)
    path.write_text("\n".join(lines) + "\n", encoding=rng.choice(["utf-8", "latin-1"]), errors="replace")
    return f".hea {how}"


# --- what wfdb makes of them ------------------------------------------------------------------------------------------


def by_position(path: Path) -> bool:
    """Whether wfdb takes the header's fields for what they are by their position, as the format has it; it takes what
    it can of a field and the rest for the next one."""
    lines = [line.strip() for line in path.read_text("ascii", errors="ignore").splitlines()]
    first, *rest = [line for line in lines if line and not line.startswith("#")]
    found, words = rx_record.match(first), [*first.split(), "", "", ""]
    if not found or [found["n_sig"], found["fs"], found["sig_len"]] != [words[1], words[2].split("/")[0], words[3]]:
        return False
    for line in rest:
        found, words = rx_signal.match(line), line.split()
        fields = ("file_name", "adc_res", "adc_zero", "init_value", "checksum", "block_size")
        if not found or len(words) < 9 or [found[f] for f in fields] != [words[i] for i in (0, 3, 4, 5, 6, 7)]:
            return False
        if not re.fullmatch(r"[\d.]+(\(-?\d+\))?(/\w+)?", words[2]) or not re.fullmatch(r"[\dx:+]+", words[1]):
            return False
    return path.read_bytes().isascii()


def by_wfdb(folder: Path) -> tuple[Any, NDArray[np.float64]] | None:
    """The record, and its signals in mV `(leads, samples)`; nothing where wfdb can't read it."""
    try:
        theirs = wfdb.rdrecord(str(folder / "r"))
    except Exception:
        return None
    units = np.array([IN_MV.get((unit or "").lower(), np.nan) for unit in theirs.units])
    return theirs, theirs.p_signal.T * units[:, None]


def heads(path: Path) -> list[list[str]]:
    """Of a header's lines what samples, gains and units are read by."""
    lines = [line.split() for line in path.read_text(errors="replace").splitlines() if not line.startswith("#")]
    return [lines[0][1:4], *([*line[:3], *line[4:5]] for line in lines[1:])]


def verdict(folder: Path, sound: Path) -> str:
    """Of the reader that a fine-tuning uses: refused, put right, or as wfdb reads it. Where wfdb can't, but of the
    header only what is no matter was spoilt, a lead is one of the sound record."""
    try:
        found = records.read_repaired(folder, "r")
    except RecordError:
        return "refused"
    assert found.signals.shape[0] == 12 and np.isfinite(found.signals).all() and found.signals.any()
    if any(not repair.startswith(HARMLESS) for repair in found.repairs):
        return "told"
    theirs = by_wfdb(folder)
    if theirs is None or not by_position(folder / "r.hea"):
        if heads(folder / "r.hea") == heads(sound / "r.hea"):
            whole = records.read_repaired(sound, "r").signals
            assert all(any(np.array_equal(lead, one) for one in (*whole, *-whole, 0 * lead)) for lead in found.signals)
        return "read where wfdb fails or guesses"
    if (sound / "r.mat").exists() and (sound / "r.mat").read_bytes()[:6] == b"MATLAB":
        return "read, no matter for wfdb"
    assert theirs[0].fs == found.fs
    expected, names = np.zeros(found.signals.shape), [str(name).upper() for name in theirs[0].sig_name]
    for name, signal in sorted(zip(names, theirs[1], strict=True), key=lambda lead: lead[0] in LEADS):  # these win
        if name in SPELT:
            lead, sign = SPELT[name]
            expected[LEADS.index(lead)] = sign * signal
    np.testing.assert_allclose(found.signals, expected, rtol=1e-5, atol=1e-6)
    return "as wfdb, told" if found.repairs else "as wfdb"


def verdict_of_beats(folder: Path) -> str:
    """Of the reader of annotated beats, which takes a record as it says it is."""
    try:
        cut = beats.cut_record(excerpts.source(folder), "r", "centred", ("MLII",))
        found, marks = records.read_recording(folder, "r"), records.read_annotations(folder, "r")
    except UserError:
        return "refused"
    assert np.isfinite(cut.signals).all() and np.isfinite(found.signals).all()
    if marks.left_out:
        return "told"
    theirs = wfdb.rdann(str(folder / "r"), "atr")
    marked = set(zip(theirs.sample.tolist(), theirs.symbol, strict=True))
    ours = zip(marks.samples.tolist(), marks.symbols.tolist(), strict=True)
    assert {(at, symbol) for at, symbol in ours if symbol in aami.SYMBOLS} <= marked
    read = by_wfdb(folder)
    if read is None or not by_position(folder / "r.hea"):
        return "read where wfdb fails or guesses"
    np.testing.assert_allclose(found.signals, read[1], rtol=1e-5, atol=1e-6)
    return "as wfdb"


def tally(folder: Path, seed: int, n: int = N) -> dict[str, Counter[str]]:
    """Reader -> what became of the `n` mutants of a seed."""
    rng, counts = Rng(seed), {"repairing": Counter[str](), "beats": Counter[str]()}
    for i in range(n):
        kind = rng.choice(list(SOUND))
        place, sound = folder / f"{seed}-{i}", folder / kind
        if not sound.exists():
            sound.mkdir()
            SOUND[kind](sound)
        shutil.copytree(sound, place)
        files = sorted(path for path in place.iterdir() if path.suffix != ".hea")
        spoilt = header_spoilt(place / "r.hea", rng) if rng.random() < 0.5 else bytes_spoilt(rng.choice(files), rng)
        start = time.monotonic()
        try:
            counts["repairing"][verdict(place, sound)] += 1
            if (place / "r.atr").exists():
                counts["beats"][verdict_of_beats(place)] += 1
        except Exception as error:
            raise AssertionError(f"{kind}, {spoilt}, mutant {i} of seed {seed} in {place}") from error
        assert time.monotonic() - start < SLOWEST
    return counts


@pytest.mark.parametrize("kind", SOUND)
def test_the_sound_ones_are_read(tmp_path: Path, kind: str) -> None:
    SOUND[kind](tmp_path)
    assert verdict(tmp_path, tmp_path) in ("as wfdb", "as wfdb, told", "read, no matter for wfdb")
    if (tmp_path / "r.atr").exists():
        assert verdict_of_beats(tmp_path) == "as wfdb"


def test_mutants_are_refused_or_read_as_wfdb_reads_them(tmp_path: Path) -> None:
    counts = tally(tmp_path, 0)
    assert all(found["refused"] and found["as wfdb"] for found in counts.values()), counts
    assert counts["repairing"]["as wfdb, told"], counts
