"""The Kaggle set `shayanfazeli/heartbeat`: beats as rows of a CSV, cut from mitdb and ptbdb by Kachuee et al. (2018).

A row is 187 samples at 125 Hz from the R peak on, scaled to 0..1 and padded with zeros, then the label; there is no
header line, no record and no patient.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import pyarrow
import pyarrow.csv
from numpy.typing import NDArray

from ecglib import aami
from ecglib.data.databases import Source
from ecglib.errors import UserError

N_SAMPLES: Final = 187
"""Samples of a beat: 1.5 s at 125 Hz."""
CLASSES: Final[dict[str, int]] = {
    "mitbih_train.csv": 5, "mitbih_test.csv": 5, "ptbdb_normal.csv": 2, "ptbdb_abnormal.csv": 2,
}  # fmt: skip
"""The set's files and how many classes the labels of each count."""

COUNTS: Final = {"N": 90_589, "S": 2_779, "V": 7_236, "F": 803, "Q": 8_039}
"""Beats of the `mitbih` files, training and test part together."""

_NAMED = 5
_TOLERANCE = 1e-6


def read(path: Path, n_classes: int = 5) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Read one file of the set.

    Parameters
    ----------
    path
        The CSV file: 188 numbers a line, without a header.
    n_classes
        Labels are whole numbers from 0 to `n_classes - 1`: 5 for the `mitbih` files (N, S, V, F, Q), 2 for `ptbdb`.

    Returns
    -------
    signals
        float32 `(n, 187)`, each value in 0..1.
    labels
        int64 `(n,)`.

    Raises
    ------
    UserError
        When the file is missing or empty, or a line has another width, text, NaN, a value outside 0..1 or a wrong
        label; it names the lines, counted from 1.
    """
    try:
        if path.stat().st_size == 0:
            raise UserError(path, "an empty file", _expected(n_classes))
        columns = _columns(path, n_classes)
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(path, "no such file", "a CSV of the Kaggle set shayanfazeli/heartbeat") from None
    except PermissionError:
        raise UserError(path, "no permission to read it", do="give yourself read access to the file") from None
    except OSError as error:
        raise UserError(path, error.strerror or str(error), "a CSV file") from None
    signals = np.empty((len(columns[0]), N_SAMPLES), dtype=np.float32)
    for i, column in enumerate(columns[:-1]):
        signals[:, i] = column
    labels = np.asarray(columns[-1], dtype=np.float64)
    _check(path, signals, labels, n_classes)
    return signals, labels.astype(np.int64)


def counts(source: Source) -> dict[str, dict[str, int]]:
    """Beats of the files that are here, by AAMI class, or as normal and abnormal; with the sum, `all`.

    Raises
    ------
    UserError
        When none is here, or one has a line that can't be read.
    """
    counted = {}
    for name, n_classes in CLASSES.items():
        path = source.folder / name
        if not path.is_file():
            continue
        _, labels = read(path, n_classes)
        classes = aami.CLASSES if n_classes == len(aami.CLASSES) else ("normal", "abnormal")
        n = np.bincount(labels, minlength=n_classes).tolist()
        counted[name] = dict(zip(classes, n, strict=True)) | {"all": sum(n)}
    if not counted:
        raise UserError(source.folder, "none of the set's files", ", ".join(CLASSES))
    return counted


def _columns(path: Path, n_classes: int) -> list[NDArray[np.float32]]:
    """The file's 188 columns; any line that can't be read so is named."""
    names = [str(i) for i in range(N_SAMPLES + 1)]
    try:
        table = pyarrow.csv.read_csv(
            path,
            read_options=pyarrow.csv.ReadOptions(column_names=names),
            parse_options=pyarrow.csv.ParseOptions(ignore_empty_lines=False),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(names, pyarrow.float32()), null_values=[], strings_can_be_null=False
            ),
        )
    except pyarrow.ArrowException:
        raise _malformed(path, n_classes) from None
    return [column.to_numpy() for column in table.columns]


def _malformed(path: Path, n_classes: int) -> UserError:
    """Read again, line by line, to say which lines are wrong and how: slower, and only for a file that is refused."""
    found: list[str] = []
    with path.open(encoding="utf-8", errors="replace") as lines:
        for number, line in enumerate(lines, start=1):
            problem = _problem(line)
            if problem:
                found.append(f"line {number}: {problem}")
    return _error(path, found or ["not a table of numbers"], n_classes)


def _problem(line: str) -> str:
    values = line.strip().split(",")
    if values == [""]:
        return "empty"
    if len(values) != N_SAMPLES + 1:
        return f"{len(values)} values"
    for column, value in enumerate(values, start=1):
        try:
            float(value)
        except ValueError:
            return f"text {value.strip()[:20]!r} in column {column}"
    return ""


def _check(path: Path, signals: NDArray[np.float32], labels: NDArray[np.float64], n_classes: int) -> None:
    """Refuse values that are no samples of a scaled beat, and labels that are no class."""
    with np.errstate(invalid="ignore"):
        good = (signals.min(axis=1) >= -_TOLERANCE) & (signals.max(axis=1) <= 1 + _TOLERANCE)
        known = np.isin(labels, np.arange(n_classes))
    found = []
    for row in np.flatnonzero(~(good & known)).tolist():
        if good[row]:
            found.append(f"line {row + 1}: label {labels[row]:g}")
        else:
            inside = (signals[row] >= -_TOLERANCE) & (signals[row] <= 1 + _TOLERANCE)
            column = int(np.flatnonzero(~inside)[0])
            found.append(f"line {row + 1}: {signals[row, column]:g} in column {column + 1}")
    if found:
        raise _error(path, found, n_classes)


def _error(path: Path, found: list[str], n_classes: int) -> UserError:
    more = f" and {len(found) - _NAMED} more lines" if len(found) > _NAMED else ""
    return UserError(path, ", ".join(found[:_NAMED]) + more, _expected(n_classes), "download the file again")


def _expected(n_classes: int) -> str:
    return f"{N_SAMPLES} values in 0..1 and a label from 0 to {n_classes - 1} on each line"
