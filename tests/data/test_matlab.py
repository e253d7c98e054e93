"""Signals of MATLAB files: as scipy reads them where they are sound, and an error of Python's where they are not."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
import pytest
import scipy.io
import scipy.sparse

from ecglib.data import matlab

UNITS = np.arange(-30, 30).reshape(3, 20)
HOW: dict[str, dict[str, Any]] = {"4": {"format": "4"}, "5": {}, "7": {"do_compression": True}}
"""Version -> how scipy writes it."""
KINDS = {"4": "u1 i2 u2 i4 f4 f8", "5": "i1 u1 i2 u2 i4 u4 i8 u8 f4 f8", "7": "i2 f8"}


def written(version: str, **variables: object) -> bytes:
    file = io.BytesIO()
    scipy.io.savemat(file, variables, **HOW[version])
    return file.getvalue()


@pytest.mark.parametrize("version", HOW)
def test_a_matrix_among_others_whatever_its_numbers(version: str) -> None:
    others: dict[str, object] = {} if version == "4" else {"c": [["x", UNITS], [1.0, {"val": 1}]], "e": [[]]}
    for kind in KINDS[version].split():
        for units in (UNITS, UNITS[:1], UNITS[:1, :1], UNITS[:, :1], UNITS[:, :0]):
            content = written(version, a="text", i=1j * UNITS, **others, val=units.astype(kind), z=UNITS.T)
            found, theirs = matlab.val(content), scipy.io.loadmat(io.BytesIO(content))["val"]
            np.testing.assert_array_equal(found, theirs, strict=True)


def test_the_other_order_of_bytes() -> None:
    of_4 = struct.pack(">5i", 1030, 3, 20, 0, 4) + b"val\0" + UNITS.astype(">i2").tobytes("F")
    numbers = UNITS.astype(">i2").tobytes("F")
    parts = struct.pack(">8I", 6, 8, 10, 0, 5, 8, 3, 20) + struct.pack(">I", 3 << 16 | 1) + b"val\0"
    body = parts + struct.pack(">2I", 3, len(numbers)) + numbers
    of_5 = b"MATLAB 5".ljust(124) + b"\1\0MI" + struct.pack(">2I", 14, len(body)) + body
    for content in (of_4, of_5):
        np.testing.assert_array_equal(matlab.val(content), UNITS)
        np.testing.assert_array_equal(scipy.io.loadmat(io.BytesIO(content))["val"], UNITS)


@pytest.mark.parametrize("version", HOW)
def test_what_is_no_matrix_of_real_numbers(version: str) -> None:
    wrong: list[object] = ["text", 1j * UNITS, scipy.sparse.csc_matrix(UNITS.astype(float))]
    for one in wrong if version == "4" else [*wrong, {"val": UNITS}, [[UNITS, "x"]], UNITS[None]]:
        with pytest.raises(ValueError, match="no matrix of numbers named val"):
            matlab.val(written(version, val=one))


@pytest.mark.parametrize("version", HOW)
def test_no_part_passes_for_the_whole_and_no_byte_ends_the_process(version: str) -> None:
    """A wrong kind of numbers, the byte at 176 or so of version 5, takes scipy's reader down."""
    content = written(version, val=UNITS.astype(np.int16))
    for n in range(len(content)):
        with pytest.raises(Exception, match=r"\S"):
            matlab.val(content[:n])
    read = 0
    for i in range(len(content)):
        for bit in range(8):
            spoilt = bytearray(content)
            spoilt[i] ^= 1 << bit
            try:
                found = matlab.val(bytes(spoilt))
            except Exception:
                continue
            read += 1
            assert found.ndim == 2
    assert 0 < read < 8 * len(content)
