"""The matrix `val` of a MATLAB file of version 4 to 7, in which `wfdb2mat` and the Challenges keep their signals.

Read here, because scipy believes whatever kind of numbers the file names, and a wrong one ends the whole process. The
formats: https://www.mathworks.com/help/pdf_doc/matlab/matfile_format.pdf.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

_KINDS_4: Final = ("f8", "f4", "i4", "i2", "u2", "u1")
_KINDS: Final = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
"""Code of an element's numbers -> what they are."""
_MATRIX, _COMPRESSED = 14, 15
"""Codes of elements that hold others."""
_Named = tuple[bytes, str, tuple[int, ...], bytes]
"""Name of a variable, kind of its numbers (empty: no real ones), its shape, and the numbers column by column."""


def val(content: bytes) -> NDArray[Any]:
    """The variable of that name, `(rows, columns)`, by the content of a file. Whatever is raised where that is cut off,
    or has none or no matrix of real numbers, is an `Exception` that says so."""
    variables = _version_4(content) if 0 in content[:4] else _version_5(content)
    for name, kind, shape, numbers in variables:
        if name == b"val" and kind and len(shape) == 2:
            return np.frombuffer(numbers, kind).reshape(shape, order="F")
    raise ValueError("no matrix of numbers named val")


def _version_4(content: bytes) -> Iterator[_Named]:
    at, order = 0, "<" if content[3:4] == b"\0" else ">"
    while at < len(content):
        form, rows, columns, imaginary, n_name = struct.unpack_from(f"{order}5I", content, at)
        kind = f"{order}{_KINDS_4[form % 1000 // 10]}"
        start = at + 20 + n_name
        at = start + rows * columns * np.dtype(kind).itemsize * (1 + imaginary)
        if at > len(content):
            raise ValueError("the file ends within a variable")
        real = not imaginary and form % 10 == 0  # neither a text nor sparse
        yield content[start - n_name : start].rstrip(b"\0"), kind if real else "", (rows, columns), content[start:at]


def _version_5(content: bytes) -> Iterator[_Named]:
    if content[124:128] not in (b"\0\1IM", b"\1\0MI"):
        raise ValueError("version 7.3 or no MATLAB file" if b"MATLAB" in content[:6] else "no MATLAB file")
    order = "<" if content[126:128] == b"IM" else ">"
    for what, body in _elements(content[128:], order):
        if what == _COMPRESSED:
            what, body = next(_elements(zlib.decompress(body), order))
        if what == _MATRIX:
            (_, flags), (_, shape), (_, name), *parts = _elements(body, order)
            (kind,) = struct.unpack_from(f"{order}I", flags)
            real = kind % 256 in range(6, 16) and len(parts) == 1  # neither a text nor sparse, and no imaginary part
            code, numbers = parts[0] if real else (0, b"")
            yield name, f"{order}{_KINDS[code]}" if real else "", tuple(np.frombuffer(shape, f"{order}i4")), numbers


def _elements(content: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    """Code and content of each; one of four bytes or fewer may have its size in the code's upper half."""
    at = 0
    while at < len(content):
        code, size = struct.unpack_from(f"{order}II", content, at)
        start, pad = at + 8, -size % 8 if code != _COMPRESSED else 0
        if code >> 16:
            code, size, start, pad = code % 2**16, code >> 16, at + 4, 4 - (code >> 16)
        if start + size > len(content):
            raise ValueError("the file ends within a variable")
        yield code, content[start : start + size]
        at = start + size + pad
