"""Makes the excerpts in `tests/golden/data` from the whole databases: `python tools/golden_data.py FOLDER`.

`FOLDER` holds `mitdb`, `ptb-xl` and `challenge-2021` as PhysioNet gives them. Every class of beats is in each of DS1's
training records, DS1's validation records and DS2; PTB-XL's recordings are of all ten folds.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
import scipy.io
import wfdb

HERE: Final = Path(__file__).parents[1] / "tests" / "golden" / "data"
BEATS: Final = {
    "201": 1215, "208": 1045, "209": 765, "223": 130, "114": 675, "124": 305, "205": 275, "202": 735, "213": 485,
    "232": 0, "233": 200, "104": 200,
}  # fmt: skip
"""Record of `mitdb` -> the second at which its excerpt begins."""
SECONDS: Final = 24
RECORDINGS: Final = (1, 2, 5, 8, 9, 10, 12, 14, 35, 50, 63, 77, 103, 106, 137, 139, 257, 298)
"""Of PTB-XL, by `ecg_id`."""
RECORDING_SECONDS: Final = 6
IN_MICROVOLTS: Final = 14
"""The one of them whose header is rewritten in µV, as other machines have it."""
CHALLENGE: Final = {"A0001": 1.1, "E00015": 1.2, "HR00599": 1.1}
"""Record of the Challenge -> seconds. One header has a time that cannot be parsed; both have a wrong gain."""


def mitdb(source: Path, out: Path) -> None:
    """Both leads, the annotations within, and the rhythm in force at the beginning as the first annotation."""
    out.mkdir(parents=True)
    for name, start in BEATS.items():
        first, last = 360 * start, 360 * (start + SECONDS)
        record = wfdb.rdrecord(str(source / name), sampfrom=first, sampto=last, physical=False)
        _flac(record, out)
        notes = wfdb.rdann(str(source / name), "atr")
        within = (notes.sample >= first) & (notes.sample < last)
        wfdb.wrann(
            name, "atr", notes.sample[within] - first, np.array(notes.symbol)[within],
            aux_note=list(np.array(notes.aux_note)[within]), fs=360, write_dir=str(out),
        )  # fmt: skip


def ptb_xl(source: Path, out: Path) -> None:
    """At 100 Hz, with the rows and columns of both tables that are read."""
    rows = pd.read_csv(source / "ptbxl_database.csv")
    rows = rows[rows["ecg_id"].isin(RECORDINGS)]
    for file in rows["filename_lr"]:
        folder = (out / file).parent
        folder.mkdir(parents=True, exist_ok=True)
        record = wfdb.rdrecord(str(source / file), sampto=100 * RECORDING_SECONDS, physical=False)
        if int(file[-8:-3]) == IN_MICROVOLTS:
            record.adc_gain, record.units = [gain / 1000 for gain in record.adc_gain], ["uV"] * record.n_sig
        _flac(record, folder)
    columns = ["ecg_id", "patient_id", "age", "sex", "scp_codes", "heart_axis", "strat_fold", "filename_lr"]
    rows[columns].to_csv(out / "ptbxl_database.csv", index=False)
    statements = pd.read_csv(source / "scp_statements.csv", index_col=0)
    statements[["diagnostic_class"]].to_csv(out / "scp_statements.csv")


def challenge(source: Path, out: Path) -> None:
    """Signals cut; headers as they are but for the number of samples and the checksums."""
    out.mkdir(parents=True)
    for name, seconds in CHALLENGE.items():
        lines = (source / f"{name}.hea").read_text(encoding="utf-8").splitlines(keepends=True)
        first = lines[0].split(" ")
        n = round(seconds * float(first[2]))
        first[3] = str(n) + ("\n" if first[3].endswith("\n") else "")
        matrix = scipy.io.loadmat(source / f"{name}.mat")["val"][:, :n]
        for i, row in enumerate(matrix, 1):
            fields = lines[i].split(" ")
            fields[6] = str((int(row.sum()) + 2**15) % 2**16 - 2**15)
            lines[i] = " ".join(fields)
        (out / f"{name}.hea").write_text("".join([" ".join(first), *lines[1:]]), encoding="utf-8")
        scipy.io.savemat(out / f"{name}.mat", {"val": matrix}, format="4")


def _flac(record: wfdb.Record, out: Path) -> None:
    record.fmt = ["516"] * record.n_sig
    files = "ab" if record.n_sig > 8 else [""]  # a FLAC file has eight channels at most
    each = -(-record.n_sig // len(files))
    record.file_name = [f"{record.record_name}{files[i // each]}.dat" for i in range(record.n_sig)]
    record.byte_offset = [None] * record.n_sig
    record.set_d_features()
    record.wrsamp(write_dir=str(out))


def main(source: Path) -> None:
    """Write everything anew."""
    shutil.rmtree(HERE, ignore_errors=True)
    mitdb(source / "mitdb", HERE / "mitdb")
    ptb_xl(source / "ptb-xl", HERE / "ptb-xl")
    challenge(source / "challenge-2021", HERE / "challenge-2021")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
