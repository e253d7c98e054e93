"""The Kaggle CSVs: read exactly, fast, and never with a broken line."""

from __future__ import annotations

import gzip
import re
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ecglib.data.catalogues import kaggle_csv
from ecglib.errors import UserError


def beats(n: int, n_classes: int = 5, seed: int = 0) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    return rng.random((n, 187)), rng.integers(0, n_classes, n)


def write(path: Path, signals: NDArray[np.float64], labels: NDArray[np.int64]) -> Path:
    # As NumPy's savetxt writes by default, which is how the published files look.
    np.savetxt(path, np.column_stack([signals, labels]), delimiter=",")
    return path


def line(column: int, value: str) -> str:
    """Of zeros, but for this value."""
    return ",".join(value if i == column else "0" for i in range(188))


@settings(max_examples=20)
@given(n=st.integers(1, 30), seed=st.integers(0, 2**32), newline=st.sampled_from(["\n", "\r\n"]), last=st.booleans())
def test_any_valid_file(tmp_path_factory: pytest.TempPathFactory, n: int, seed: int, newline: str, last: bool) -> None:
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    signals, labels = beats(n, 2, seed)
    rows = write(path, signals, labels).read_text().splitlines()
    path.write_bytes((newline.join(rows) + (newline if last else "")).encode())
    read, read_labels = kaggle_csv.read(path, n_classes=2)
    assert (read.dtype, read.shape, read_labels.dtype) == (np.float32, (n, 187), np.int64)
    np.testing.assert_array_equal(read, signals.astype(np.float32))
    np.testing.assert_array_equal(read_labels, labels)


@pytest.mark.parametrize(
    ("row", "found"),
    [
        *((line(at, text), f"text {text!r} in column {at + 1}") for at, text in ((0, "abc"), (4, ""), (187, "N"))),
        *((line(2, value), f"{value} in column 3") for value in ("nan", "inf", "1.5", "-0.5")),
        *((line(187, value), f"label {value}") for value in ("5", "-1", "1.5", "nan")),
        ("0.5,0.5", "2 values"),
        ("", "empty"),
        (line(188, "") + ",0", "189 values"),
        (",".join(f"x{i}" for i in range(188)), "text 'x0' in column 1"),  # a header line
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, row: str, found: str) -> None:
    rows = write(tmp_path / "a.csv", *beats(6)).read_text().splitlines()
    (tmp_path / "a.csv").write_text("\n".join([*rows[:2], row, *rows[3:]]) + "\n")
    said = f"a.csv: line 3: {found}; expected 187 values in 0..1 and a label from 0 to 4 on each line; download"
    with pytest.raises(UserError, match=re.escape(said)):
        kaggle_csv.read(tmp_path / "a.csv")


def test_many_wrong_lines_are_counted_and_labels_are_of_so_many_classes(tmp_path: Path) -> None:
    signals, _ = beats(20)
    path = write(tmp_path / "a.csv", signals, np.full(20, 4))
    kaggle_csv.read(path)
    with pytest.raises(UserError, match=r"line 1: label 4, .*line 5: label 4 and 15 more lines.* from 0 to 1"):
        kaggle_csv.read(path, n_classes=2)


NAMES = ",".join([*(f"t{i}" for i in range(187)), "label"])
NUMBERS = ",".join(map(str, range(188)))


def pack(path: Path, form: str, content: bytes) -> None:
    """Put a CSV there as it is, gzipped, or in a folder of a zip file of its own."""
    if form == "csv":
        path.write_bytes(content)
    elif form == "gz":
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(content))
    else:
        with zipfile.ZipFile(path.with_name(f"{path.name}.zip"), "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(f"archive/{path.name}", content)


@pytest.mark.parametrize("form", ["csv", "gz", "zip"])
@pytest.mark.parametrize(
    ("header", "newline", "end", "start"),
    [
        (NAMES, "\n", "", b""),
        (NUMBERS, "\r\n", "", b"\xef\xbb\xbf"),
        ("", "\n", ",", b""),
        (NAMES.replace("t0", '"t0"'), "\r\n", ",", b""),
        ("", "\n", "", b"\xef\xbb\xbf"),
    ],
)
def test_the_forms_in_which_it_goes_about(
    empty: Path, header: str, newline: str, end: str, start: bytes, form: str
) -> None:
    signals, labels = beats(30)
    path = write(empty / "mitbih_test.csv", signals, labels)
    rows = [*([header] if header else []), *(row + end for row in path.read_text().splitlines())]
    path.unlink()
    pack(path, form, start + "".join(row + newline for row in rows).encode())
    read, read_labels = kaggle_csv.read(path)
    np.testing.assert_array_equal(read, signals.astype(np.float32))
    np.testing.assert_array_equal(read_labels, labels)
    rows[8] = line(2, "1.5") + end
    pack(path, form, start + "".join(row + newline for row in rows).encode())
    with pytest.raises(UserError, match=r"mitbih_test\.csv: line 9: 1\.5 in column 3; expected 187"):
        kaggle_csv.read(path)


def test_a_comma_at_some_ends_and_a_header_alone_are_refused(tmp_path: Path) -> None:
    rows = write(tmp_path / "a.csv", *beats(6)).read_text().splitlines()
    for content, said in {
        "\n".join([*rows[:2], rows[2] + ",", *rows[3:]]): "line 3: 189 values",
        ",\n".join(rows): "line 6: no comma at its end, as others have",
        NAMES + "\n": "an empty file",
        NUMBERS: "an empty file",
        "\n" + rows[0]: "line 1: empty",
        rows[0] + "\n" + NAMES: "line 2: text 't0' in column 1",
    }.items():
        (tmp_path / "a.csv").write_text(content)
        with pytest.raises(UserError, match=f"a.csv: {said}; expected 187 values"):
            kaggle_csv.read(tmp_path / "a.csv")


@pytest.mark.parametrize("form", ["gz", "zip"])
@pytest.mark.parametrize("rest", [b"", b"12345"])
def test_what_is_cut_short_or_damaged_is_refused(empty: Path, form: str, rest: bytes) -> None:
    path = write(empty / "mitbih_test.csv", *beats(300))
    pack(path, form, path.read_bytes())
    path.unlink()
    (packed,) = empty.glob("mitbih*")
    whole = packed.read_bytes()
    packed.write_bytes(whole[:50_000] + rest + whole[50_005 if rest else len(whole) :])
    with pytest.raises(UserError, match=rf"^.*/{packed.name}: can't be unpacked \(.* it again[^\n]*$"):
        kaggle_csv.read(path)


def test_missing_empty_or_no_csv(tmp_path: Path) -> None:
    (tmp_path / "empty.csv").touch()
    (tmp_path / "binary.csv").write_bytes(bytes(range(256)) * 10)
    for name, said in {"none": "no such file", "empty": "an empty file", "binary": "line 1"}.items():
        with pytest.raises(UserError, match=said):
            kaggle_csv.read(tmp_path / f"{name}.csv")
    with pytest.raises(UserError):
        kaggle_csv.read(tmp_path)


def test_a_file_in_a_second(tmp_path: Path) -> None:
    """20 000 rows, about as many as mitbih_test.csv has, with its number format."""
    signals, labels = beats(2000)
    block = write(tmp_path / "block.csv", signals, labels).read_bytes()
    (tmp_path / "mitbih_test.csv").write_bytes(block * 10)
    start = time.process_time()
    read, _ = kaggle_csv.read(tmp_path / "mitbih_test.csv")
    # Some 0.25 s of one core of an AMD EPYC with pyarrow 25; a parser in Python takes a quarter of a minute.
    assert time.process_time() - start < 4
    np.testing.assert_array_equal(read[18_000:], signals.astype(np.float32))
