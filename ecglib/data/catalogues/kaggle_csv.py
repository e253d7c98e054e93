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
CLASSES: Final = {"mitbih_train.csv": 5, "mitbih_test.csv": 5, "ptbdb_normal.csv": 2, "ptbdb_abnormal.csv": 2}
"""The set's files and how many classes the labels of each count."""
COUNTS: Final = {"N": 90_589, "S": 2_779, "V": 7_236, "F": 803, "Q": 8_039}
"""Beats of the `mitbih` files, training and test part together."""
_NAMED = 5
"""Lines that a message names."""
_TOLERANCE = 1e-6


def read(path: Path, n_classes: int = 5) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Signals `(n, 187)`, each value in 0..1, and labels `(n,)` of one file of the set: 188 numbers a line.

    Labels are whole numbers from 0 to `n_classes - 1`: 5 for the `mitbih` files (N, S, V, F, Q), 2 for `ptbdb`. A
    `UserError` when the file is missing or empty, or a line has another width, text, NaN, a value outside 0..1 or a
    wrong label; it names the lines, counted from 1.
    """
    numbers = dict.fromkeys(map(str, range(N_SAMPLES + 1)), pyarrow.float32())
    try:
        if path.stat().st_size == 0:
            raise UserError(path, "an empty file", _expected(n_classes))
        table = pyarrow.csv.read_csv(
            path,
            read_options=pyarrow.csv.ReadOptions(column_names=list(numbers)),
            parse_options=pyarrow.csv.ParseOptions(ignore_empty_lines=False),
            convert_options=pyarrow.csv.ConvertOptions(column_types=numbers, null_values=[]),
        )
        *values, labels = (column.to_numpy() for column in table.columns)
        signals = np.stack(values, axis=1)
        good = (signals >= -_TOLERANCE) & (signals <= 1 + _TOLERANCE)
        if not good.all() or not np.isin(labels, np.arange(n_classes)).all():
            raise _malformed(path, n_classes)
    except pyarrow.ArrowException:
        raise _malformed(path, n_classes) from None
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(path, "no such file", "a CSV of the Kaggle set shayanfazeli/heartbeat") from None
    except PermissionError:
        raise UserError(path, "no permission to read it", do="give yourself read access to the file") from None
    except OSError as error:
        raise UserError(path, error.strerror or str(error), "a CSV file") from None
    return signals, labels.astype(np.int64)


def counts(source: Source) -> dict[str, dict[str, int]]:
    """Beats of the files that are here, by AAMI class, or as normal and abnormal; with the sum, `all`; a `UserError`
    when none is here, or one has a line that can't be read."""
    counted = {}
    for name, n_classes in CLASSES.items():
        if (source.folder / name).is_file():
            classes = aami.CLASSES if n_classes == len(aami.CLASSES) else ("normal", "abnormal")
            n = np.bincount(read(source.folder / name, n_classes)[1], minlength=n_classes).tolist()
            counted[name] = dict(zip(classes, n, strict=True)) | {"all": sum(n)}
    if not counted:
        raise UserError(source.folder, "none of the set's files", ", ".join(CLASSES))
    return counted


def _malformed(path: Path, n_classes: int) -> UserError:
    """Read again, line by line, to say which lines are wrong and how: slower, and only for a file that is refused."""
    with path.open(encoding="utf-8", errors="replace") as lines:
        problems = {number: _problem(line, n_classes) for number, line in enumerate(lines, start=1)}
    found = [f"line {number}: {problem}" for number, problem in problems.items() if problem]
    more = f" and {len(found) - _NAMED} more lines" if len(found) > _NAMED else ""
    said = ", ".join(found[:_NAMED] or ["not a table of numbers"]) + more
    return UserError(path, said, _expected(n_classes), "download the file again")


def _problem(line: str, n_classes: int) -> str:
    """What is wrong with a line, or nothing."""
    values = line.strip().split(",")
    if len(values) != N_SAMPLES + 1:
        return f"{len(values)} values" if line.strip() else "empty"
    for column, value in enumerate(values, start=1):
        try:
            number = float(value)
        except ValueError:
            return f"text {value.strip()[:20]!r} in column {column}"
        if column <= N_SAMPLES and not -_TOLERANCE <= number <= 1 + _TOLERANCE:
            return f"{number:g} in column {column}"
    return "" if number in range(n_classes) else f"label {number:g}"


def _expected(n_classes: int) -> str:
    return f"{N_SAMPLES} values in 0..1 and a label from 0 to {n_classes - 1} on each line"
