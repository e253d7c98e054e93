"""Makes the sample that the package embeds (`ecglib/sample/`) from the whole databases in `ECGLIB_DATA`.

    python tools/make_sample.py [FOLDER]

- `mitdb`: of every record five minutes, both leads, in format 516 (FLAC). Chosen are those with most ectopic beats.
- `ptb-xl`: 80 recordings of 80 patients at 100 Hz, eight of each fold, with their rows of the two tables.
- `challenge-2021`: twelve recordings of all six sources, the one of PTB cut to ten seconds.
- `nstdb`: the first minute of the two noises of `NOISES`.
"""

from __future__ import annotations

import shutil
import sys
from collections import Counter
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import scipy.io
import soundfile
import wfdb

from ecglib import aami, paths
from ecglib.data.catalogues import ptb_xl

FOLDER: Final = Path(__file__).resolve().parents[1] / "ecglib" / "sample"
SECONDS: Final = 300
"""Of each record of `mitdb`."""
STARTS: Final = range(0, 1501, 30)
"""In seconds, where they may begin."""
WEIGHTS: Final = {"S": Fraction(3), "V": Fraction(1), "F": Fraction(4), "Q": Fraction(1, 10)}
"""What a beat of a class adds to the score of a window; the highest is taken, the earliest of equals."""
INFARCTIONS: Final = {fold: 3 if fold <= 4 else 2 for fold in range(1, 11)}
"""Recordings of PTB-XL with an infarction in each fold: 24."""
OTHERS: Final = ("STTC", "CD", "HYP")
"""Each fold has one of two of them in turn, without an infarction; the rest is normal."""
A_FOLD: Final = 8
CHALLENGE: Final = (
    "A0001", "A0003", "E00015", "E00018", "E00793", "HR00599", "HR20715", "JS00001", "JS00002", "Q0001",
    "Q0004", "S0001",
)  # fmt: skip
"""Headers that `wfdb` can't parse (E) and wrong gains (E, HR) are among them."""
NOISES: Final = ("bw", "ma")
"""The two that the augmentation adds."""
CUT: Final = 10.0
"""Seconds of a recording of PTB."""


def make(data: Path, folder: Path) -> None:
    """Write the sample into a folder, whose databases are made anew; its README stays."""
    for name, of_database in (("mitdb", mitdb), ("ptb-xl", ptbxl), ("challenge-2021", challenge), ("nstdb", nstdb)):
        shutil.rmtree(folder / name, ignore_errors=True)
        (folder / name).mkdir(parents=True)
        of_database(data / name, folder / name)


def mitdb(source: Path, target: Path) -> None:
    """Five minutes of every record, with the rhythm in force at their start as the first annotation."""
    for name in sorted((*aami.DS1, *aami.DS2, *aami.PACED)):
        annotations = wfdb.rdann(str(source / name), "atr")
        first = window(annotations) * annotations.fs
        _write_record(source, target, name, first, first + SECONDS * annotations.fs, f"{first // annotations.fs} s")
        rhythms = [i for i, note in enumerate(annotations.aux_note) if note.startswith("(")]
        before = [i for i in rhythms if annotations.sample[i] <= first]
        inside = (annotations.sample >= first) & (annotations.sample < first + SECONDS * annotations.fs)
        kept = [i for i in np.flatnonzero(inside) if i not in before]
        fields = {key: getattr(annotations, key) for key in ("symbol", "subtype", "chan", "num", "aux_note")}
        fields = {key: [values[i] for i in (*before[-1:], *kept)] for key, values in fields.items()}
        samples = np.array([0] * len(before[-1:]) + [annotations.sample[i] - first for i in kept])
        arrays = {key: np.array(fields[key]) for key in ("subtype", "chan", "num")}
        wfdb.wrann(name, "atr", samples, **{**fields, **arrays}, fs=annotations.fs, write_dir=str(target))
    (target / "RECORDS").write_text("".join(f"{path.stem}\n" for path in sorted(target.glob("*.hea"))), "ascii")


def window(annotations: wfdb.Annotation) -> int:
    """The second where the five minutes of a record begin."""
    classes = np.array([aami.SYMBOLS.get(symbol, "") for symbol in annotations.symbol])
    seconds = annotations.sample / annotations.fs

    def score(start: int) -> Fraction:
        counts = Counter(classes[(seconds >= start) & (seconds < start + SECONDS)].tolist())
        return sum((WEIGHTS[name] * counts[name] for name in WEIGHTS), Fraction(0))

    return max(STARTS, key=score)  # the first of equals


def ptbxl(source: Path, target: Path) -> None:
    """Eight recordings of each fold, one a patient, with their rows of the tables."""
    table = pd.read_csv(source / ptb_xl.TABLE, dtype=str, keep_default_na=False)
    statements = pd.read_csv(source / "scp_statements.csv", index_col=0)
    superclass = statements["diagnostic_class"].dropna()
    found = [{superclass.get(code, "") for code in ptb_xl.statements(row)} for row in table.to_dict("records")]
    classes = [next((name for name in ("MI", *OTHERS, "NORM") if name in of_row), "") for of_row in found]
    table_of = table.assign(fold=table["strat_fold"].astype(int), of_class=classes)
    chosen: list[int] = []
    for fold in range(1, A_FOLD + 3):
        here = table_of[table_of["fold"] == fold].drop_duplicates("patient_id")
        others = [OTHERS[fold % 3], OTHERS[(fold + 1) % 3]]
        for name, n in {"MI": INFARCTIONS[fold], **dict.fromkeys(others, 1), "NORM": A_FOLD}.items():
            chosen += here.index[here["of_class"] == name][: min(n, A_FOLD * fold - len(chosen))].tolist()
    kept = table.loc[sorted(chosen)]
    kept.to_csv(target / ptb_xl.TABLE, index=False)
    shutil.copy(source / "scp_statements.csv", target)
    for name in kept["filename_lr"]:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        _write_record(source, target, name)
    (target / "RECORDS").write_text("".join(f"{name}\n" for name in kept["filename_lr"]), "ascii")


def challenge(source: Path, target: Path) -> None:
    """The files as they are, but for those of PTB, whose first ten seconds are taken."""
    for name in CHALLENGE:
        header = (source / f"{name}.hea").read_text("ascii").splitlines(keepends=True)
        if not name.startswith("S"):
            shutil.copy(source / f"{name}.hea", target)
            shutil.copy(source / f"{name}.mat", target)
            continue
        record, leads, fs, samples, *rest = header[0].split()
        matrix = scipy.io.loadmat(str(source / f"{name}.mat"))["val"][:, : int(CUT * float(fs))]
        assert matrix.shape[1] < int(samples)
        scipy.io.savemat(target / f"{name}.mat", {"val": matrix}, format="4")
        header[0] = " ".join([record, leads, fs, str(matrix.shape[1]), *rest]) + "\n"
        for i, row in enumerate(matrix, start=1):
            fields = header[i].split()
            fields[6] = str(np.int16(np.uint16(row.sum(dtype=np.int64) % 65536)))  # the checksum
            header[i] = " ".join(fields) + "\n"
        (target / f"{name}.hea").write_text("".join(header), "ascii")
    (target / "RECORDS").write_text("".join(f"{name}\n" for name in CHALLENGE), "ascii")


def nstdb(source: Path, target: Path) -> None:
    """The first minute of each. Its header's gain of 0 stands for the format's default, which is written."""
    for name in NOISES:
        _write_record(source, target, name, 0, 60 * 360)


def _write_record(
    source: Path, target: Path, name: str, first: int = 0, last: int | None = None, start: str = ""
) -> None:
    """The samples from `first` to `last` in FLAC, eight leads a file at most, as the format has it."""
    record = wfdb.rdrecord(str(source / name), sampfrom=first, sampto=last, physical=False)
    stem, n = record.record_name, record.n_sig
    files = [f"{stem}.dat"] * n if n <= 8 else [f"{stem}_{'ab'[2 * i // n]}.dat" for i in range(n)]
    said = [f"{SECONDS} s from {start} of the record"] if start else []
    excerpt: Any = wfdb.Record(
        record_name=stem, n_sig=n, fs=record.fs, sig_len=record.sig_len, fmt=["516"] * n, file_name=files,
        adc_gain=record.adc_gain, baseline=record.baseline, units=record.units, adc_res=record.adc_res,
        adc_zero=record.adc_zero, block_size=[0] * n, sig_name=record.sig_name, d_signal=record.d_signal,
        comments=[*record.comments, *said], base_time=record.base_time, base_date=record.base_date,
    )  # fmt: skip
    excerpt.init_value, excerpt.checksum = excerpt.d_signal[0].tolist(), excerpt.calc_checksum()
    excerpt.wrheader(write_dir=str((target / name).parent))
    excerpt.wr_dats(expanded=False, write_dir=str((target / name).parent))
    for file in set(files):  # as tight as FLAC can; wfdb leaves the level at its default
        path = (target / name).parent / file
        samples, rate = soundfile.read(path, dtype="int16")
        soundfile.write(path, samples, rate, format="FLAC", subtype="PCM_16", compression_level=1.0)


if __name__ == "__main__":
    make(paths.data(), Path(sys.argv[1]) if sys.argv[1:] else FOLDER)
