"""The files of the Kaggle set rebuilt from the databases that it was cut from, and of which record each row is."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
import pyarrow
import pyarrow.csv
from numpy.typing import NDArray

from ecglib import files
from ecglib.data import beats, databases, infarction, splits
from ecglib.data.catalogues import kaggle_csv
from ecglib.errors import UserError, some

ROWS: Final = "_rows.csv"
"""How the name ends of the file that says whose rows a table has."""
COLUMNS: Final = ["record", "patient", "sample", "symbol"]
"""Its columns."""
Tables = dict[str, tuple[NDArray[np.float32], NDArray[np.int64], pd.DataFrame]]
"""File -> signals `(n, 187)`, labels `(n,)`, and the `COLUMNS` of every row."""


def kaggle(out: Path, seed: int) -> dict[str, int]:
    """Write `mitbih_train.csv` and `mitbih_test.csv`, beats of `mitdb` in the `kachuee` cut divided as `splits.intra`
    does under the seed (validation beats are in the training file), and where `ptbdb` is here `ptbdb_normal.csv` and
    `ptbdb_abnormal.csv`. A file has its beats in the order of the cut, with the samples as they are (float32).

    Beside each, `…_rows.csv` says `record`, `patient`, `sample` (of the R peak, at the record's own rate) and `symbol`
    of every row; R peaks of `ptbdb` are detected and have no symbol.

    Returns the beats of each file. They are written all or none: a `UserError` when one of them is there already.
    """
    recordings = databases.find("ptbdb")
    names = list(kaggle_csv.CLASSES)[: 2 if recordings is None else 4]
    wanted = [name for table in names for name in (table, _of_rows(table))]
    if there := [name for name in wanted if (out / name).exists()]:
        raise UserError(out, f"{some(there)} already there", do="take another folder, or move them away")
    tables = _mitbih(seed) | ({} if recordings is None else _ptbdb(recordings))
    with ExitStack() as whole:
        for name, (signals, labels, rows) in tables.items():
            _write(whole.enter_context(files.writing(out / name)), signals, labels)
            rows.to_csv(whole.enter_context(files.writing(out / _of_rows(name))), index=False)
    return {name: len(rows) for name, (_, _, rows) in tables.items()}


def _of_rows(table: str) -> str:
    return table.removesuffix(".csv") + ROWS


def _mitbih(seed: int) -> Tables:
    cut = beats.load(databases.get("mitdb"), "kachuee")
    rows = pd.DataFrame({name: getattr(cut, name) for name in COLUMNS})
    split = splits.intra(cut.labels, seed)
    parts = {kaggle_csv.TRAIN: np.sort(np.concatenate([split.train, split.val])), kaggle_csv.TEST: split.test}
    return {
        f"{name}.csv": (cut.signals[index, 0], cut.labels[index], rows.iloc[index]) for name, index in parts.items()
    }


def _ptbdb(source: databases.Source) -> Tables:
    cohort = infarction.load(source)
    about = cohort.recordings.iloc[cohort.recording]
    rows = about[["record", "patient"]].assign(sample=cohort.sample, symbol="")
    parts = {name: np.flatnonzero(cohort.labels == label) for label, name in enumerate(list(kaggle_csv.CLASSES)[2:])}
    return {name: (cohort.signals[index, 0], cohort.labels[index], rows.iloc[index]) for name, index in parts.items()}


def _write(path: Path, signals: NDArray[np.float32], labels: NDArray[np.int64]) -> None:
    columns = [*signals.T, labels.astype(np.float32)]
    table = pyarrow.table({str(i): np.ascontiguousarray(column) for i, column in enumerate(columns)})
    pyarrow.csv.write_csv(table, path, pyarrow.csv.WriteOptions(include_header=False))
