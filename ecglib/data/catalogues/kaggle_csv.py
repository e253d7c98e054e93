"""The Kaggle set `shayanfazeli/heartbeat`: beats as rows of a CSV, cut from mitdb and ptbdb by Kachuee et al. (2018).

A row is 187 samples at 125 Hz from the R peak on, scaled to 0..1 and padded with zeros, then the label; there is no
record and no patient. A file may lie there as it is, as `.csv.gz` or as `.csv.zip`.
"""

from __future__ import annotations

import codecs
import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedIOBase
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow
import pyarrow.csv
from numpy.typing import NDArray

from ecglib import aami
from ecglib.data.beats import Beats
from ecglib.data.databases import DATABASES, Source, opened, packed
from ecglib.errors import UserError

N_SAMPLES: Final = 187
"""Samples of a beat: 1.5 s at 125 Hz."""
CLASSES: Final = {"mitbih_train.csv": 5, "mitbih_test.csv": 5, "ptbdb_normal.csv": 2, "ptbdb_abnormal.csv": 2}
"""The set's files and how many classes the labels of each count."""
TRAIN, TEST = "mitbih_train", "mitbih_test"
"""What stands for the record of a beat: the file that it is in."""
ROWS: Final = 87_554, 21_892
"""Beats of these two files as they were published."""
COUNTS: Final = {"N": 90_589, "S": 2_779, "V": 7_236, "F": 803, "Q": 8_039}
"""Beats of the `mitbih` files, training and test part together."""
_NAMED = 5
"""Lines that a message names."""
_TOLERANCE = 1e-6


def load(source: Source) -> Beats:
    """The beats of the two `mitbih` files, training part first. `record` is the file (`TRAIN` or `TEST`) and `sample`
    the row in it, from 0; patient and symbol are not known. A `UserError` as of `read`."""
    found = [(name, *read(source.folder / f"{name}.csv")) for name in (TRAIN, TEST)]
    files, signals, labels = zip(*found, strict=True)
    n = [len(part) for part in labels]
    return Beats(
        signals=np.concatenate(signals)[:, None],
        features=np.zeros((sum(n), 0), dtype=np.float32),
        labels=np.concatenate(labels),
        record=np.repeat(files, n),
        patient=np.full(sum(n), ""),
        symbol=np.full(sum(n), ""),
        sample=np.concatenate([np.arange(each) for each in n]),
        left_out={},
        records_left_out={},
    )


def read(path: Path, n_classes: int = 5) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Signals `(n, 187)`, each value in 0..1, and labels `(n,)` of one file of the set, which may be gzipped or
    zipped: 188 numbers a line, under a header line or not, each line ending with a comma or none.

    Labels are whole numbers from 0 to `n_classes - 1`: 5 for the `mitbih` files (N, S, V, F, Q), 2 for `ptbdb`. A
    `UserError` when the file is missing, empty or cut short, or a line has another width, text, NaN, a value outside
    0..1 or a wrong label; it names the lines, counted from 1.
    """
    try:
        with _opened(path) as lines:
            first, second = lines.readline(), lines.readline()
        header = _is_header(first)
        if not (second if header else first):
            raise UserError(path, "an empty file", _expected(n_classes))
        comma = _fields(second if header else first)[N_SAMPLES + 1 :] == [""]
        types = {str(i): pyarrow.float32() for i in range(N_SAMPLES + 1)} | ({"": pyarrow.null()} if comma else {})
        try:
            with _opened(path) as lines:
                table = pyarrow.csv.read_csv(
                    lines,
                    read_options=pyarrow.csv.ReadOptions(column_names=list(types), skip_rows=int(header)),
                    parse_options=pyarrow.csv.ParseOptions(ignore_empty_lines=False),
                    convert_options=pyarrow.csv.ConvertOptions(column_types=types, null_values=[""]),
                )
        except pyarrow.ArrowInvalid:
            raise _malformed(path, n_classes, header, comma) from None
    except FileNotFoundError:
        expected, do = "a CSV of the Kaggle set shayanfazeli/heartbeat", DATABASES["kaggle"].hint
        raise UserError(path, "no such file", expected, do) from None
    except PermissionError:
        raise UserError(path, "no permission to read it", do="give yourself read access to the file") from None
    except (zlib.error, EOFError, gzip.BadGzipFile) as error:
        raise UserError(packed(path), f"can't be unpacked ({error})", "a whole file", "download it again") from None
    except OSError as error:
        raise UserError(path, error.strerror or str(error), "a CSV file") from None
    *values, labels = (column.to_numpy() for column in table.columns[: N_SAMPLES + 1])
    signals = np.stack(values, axis=1)
    good = (signals >= -_TOLERANCE) & (signals <= 1 + _TOLERANCE)
    if not good.all() or not np.isin(labels, np.arange(n_classes)).all():
        raise _malformed(path, n_classes, header, comma)
    return signals, labels.astype(np.int64)


def counts(source: Source) -> dict[str, dict[str, int]]:
    """Beats of the files that are here, by AAMI class, or as normal and abnormal; with the sum, `all`; a `UserError`
    when one has a line that can't be read."""
    counted = {}
    for name in source.records:
        classes = aami.CLASSES if CLASSES[name] == len(aami.CLASSES) else ("normal", "abnormal")
        n = np.bincount(read(source.folder / name, len(classes))[1], minlength=len(classes)).tolist()
        counted[name] = dict(zip(classes, n, strict=True)) | {"all": sum(n)}
    return counted


@contextmanager
def _opened(path: Path) -> Iterator[BufferedIOBase]:
    """The lines of a CSV, however it is packed."""
    there = packed(path)
    if there.suffix == ".zip":
        there = opened(there) / path.name
    with gzip.open(there) if there.suffix == ".gz" else there.open("rb") as lines:
        yield lines


def _fields(line: bytes) -> list[str]:
    text = line.removeprefix(codecs.BOM_UTF8).decode(errors="replace")
    return [field.strip(' "') for field in text.rstrip("\r\n").split(",")]


def _is_header(line: bytes) -> bool:
    """Whether it names columns: by texts alone, or by their numbers from 0 on, as pandas does."""
    names = _fields(line)[:N_SAMPLES]
    return len(names) == N_SAMPLES and (not any(map(_is_number, names)) or names == list(map(str, range(N_SAMPLES))))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return not text
    return True


def _malformed(path: Path, n_classes: int, header: bool, comma: bool) -> UserError:
    """Read again, line by line, to say which lines are wrong and how: slower, and only for a file that is refused."""
    with _opened(path) as lines:
        problems = {n: _problem(_fields(line), n_classes, comma) for n, line in enumerate(lines, 1) if n > header}
    found = [f"line {number}: {problem}" for number, problem in problems.items() if problem]
    more = f" and {len(found) - _NAMED} more lines" if len(found) > _NAMED else ""
    said = ", ".join(found[:_NAMED] or ["not a table of numbers"]) + more
    return UserError(path, said, _expected(n_classes), "download the file again")


def _problem(values: list[str], n_classes: int, comma: bool) -> str:
    """What is wrong with a line, or nothing; `comma` says whether it ends with one."""
    if comma and values[N_SAMPLES + 1 :] == [""]:
        values.pop()
    elif comma and len(values) == N_SAMPLES + 1:
        return "no comma at its end, as others have"
    if len(values) != N_SAMPLES + 1:
        return f"{len(values)} values" if values != [""] else "empty"
    for column, value in enumerate(values, start=1):
        if not value or not _is_number(value):
            return f"text {value[:20]!r} in column {column}"
        number = float(value)
        if column <= N_SAMPLES and not -_TOLERANCE <= number <= 1 + _TOLERANCE:
            return f"{number:g} in column {column}"
    return "" if number in range(n_classes) else f"label {number:g}"


def _expected(n_classes: int) -> str:
    return f"{N_SAMPLES} values in 0..1 and a label from 0 to {n_classes - 1} on each line"
