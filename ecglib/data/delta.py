"""Recordings in a Delta table, a row each: where its rows are, and their signals, read without a JVM when asked for.

| column | type | |
|---|---|---|
| `record_id` | string | its name, of one row alone |
| `fs` | double | sampling rate in Hz |
| `leads` | array<string> | names of the leads |
| `signal` | array<float> | mV, lead after lead, as many samples of each; null or NaN where one is missing |

Tables may have more columns, such as labels (`ecglib.data.catalogues.delta`). Types are compared and never cast.
"""

from __future__ import annotations

import functools
import itertools
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet
from numpy.typing import NDArray

from ecglib import fingerprint
from ecglib.data import records
from ecglib.data.records import Recording
from ecglib.errors import RecordError, UserError, some

Kind = tuple[Callable[[pa.DataType], bool], str]
"""Whether a column's type fits, and the one to take."""
TEXT: Final[Kind] = (lambda kind: kind in (pa.string(), pa.large_string(), pa.string_view()), "string")
NUMBER: Final[Kind] = (lambda kind: bool(pa.types.is_floating(kind) or pa.types.is_integer(kind)), "double")
WHOLE: Final[Kind] = (pa.types.is_integer, "int")
TEXTS: Final[Kind] = (lambda kind: _is_list(kind) and TEXT[0](kind.value_type), "array<string>")
SAMPLES: Final[Kind] = (
    lambda kind: _is_list(kind) and pa.types.is_floating(kind.value_type),
    "array<float>: mV, lead after lead",
)
PLACES: Final[Kind] = (lambda kind: _is_list(kind) and pa.types.is_integer(kind.value_type), "array<long>")
RECORDING: Final[Mapping[str, Kind]] = {"record_id": TEXT, "fs": NUMBER, "leads": TEXTS, "signal": SAMPLES}
"""The columns of a table of recordings."""
SIGNAL: Final = "signal"
GROUPS: Final = 64
"""Row groups in a file that is written."""
_READING: Final = threading.Lock()


@dataclass(frozen=True)
class Row:
    """Where the signal of a recording is, and what else it takes to read it; None stands for null."""

    file: str
    """Of Parquet; no file of a Delta table is ever changed."""
    size: int
    """Of the file, in bytes."""
    written: int
    """When, in ns."""
    group: int
    """The file's row group."""
    place: int
    """In the row group."""
    fs: float | None
    leads: tuple[str | None, ...] | None

    @property
    def stamp(self) -> tuple[Any, ...]:
        """What says that the signal is the same, in JSON's types."""
        return astuple(self)

    def read(self, name: str) -> Recording:
        """Brought to twelve leads, as of `records.repaired`; a `RecordError` also where a value is null, the signal is
        not of so many leads, or the file can't be read any more."""
        try:
            with _READING:  # who waits finds the row group read
                signal = _signals(self.file, self.group)[self.place]
        except (OSError, ValueError, IndexError) as error:
            raise RecordError(name, "unreadable signal", line(error)) from None
        return records.repaired(recording(name, self.fs, self.leads, samples(signal)))


@functools.lru_cache(maxsize=1)
def _signals(file: str, group: int) -> pa.ChunkedArray:
    """Of one row group, which is all that is held of a table: 16 recordings as `ecglib data export` writes it, and
    128 MB as Spark does. One thread reads, as a forked process has no more."""
    with pa.parquet.ParquetFile(file, pre_buffer=False) as parquet:
        return parquet.read_row_group(group, columns=[SIGNAL], use_threads=False)[SIGNAL]


def samples(signal: pa.ListScalar) -> NDArray[np.float32] | None:
    """A signal as it stands in a table: `(leads * samples,)`, NaN for null; None where it is null itself."""
    if signal.values is None:
        return None
    with np.errstate(over="ignore"):  # what is beyond single precision is no sample
        return np.asarray(signal.values.to_numpy(zero_copy_only=False), dtype=np.float32)


def recording(
    name: str, fs: float | None, leads: Sequence[str | None] | None, signal: NDArray[np.float32] | None
) -> Recording:
    """The recording of a row, its leads as they are. A `RecordError` where a value is missing, or the signal `(leads *
    samples,)` is not of so many leads."""
    if fs is None or not leads or signal is None:
        missing = {"fs": fs is None, "leads": not leads, SIGNAL: signal is None}
        raise RecordError(name, "missing value", ", ".join(what for what, no in missing.items() if no))
    if len(signal) % len(leads):
        found = f"{len(signal)} samples of {len(leads)} leads"
        raise RecordError(name, "signal and leads disagree", found, "as many of each")
    return Recording(name, signal.reshape(len(leads), -1), float(fs), tuple(lead or "" for lead in leads))


def exists(where: str) -> bool:
    """Whether there is a Delta table, at whatever version."""
    return (_parted(where)[0] / "_delta_log").is_dir()


class Table:
    """A Delta table at one version: `PATH`, at its newest, or `PATH@VERSION`.

    A `UserError` when no table is there, it has no such version, or it can't be read.
    """

    def __init__(self, where: str) -> None:
        library = _library()
        self.where, version = _parted(where)
        if not exists(where):
            raise UserError(self.where, "no Delta table there", "PATH or PATH@VERSION of one on this machine")
        try:
            self._table = library.DeltaTable(str(self.where))
            if version is not None:
                if version > self._table.version():
                    raise UserError(self.where, f"no version {version}", f"0 to {self._table.version()}")
                self._table.load_as_version(version)
            self._dataset = self._table.to_pyarrow_dataset()
        except _errors() as error:
            raise _unreadable(self.where, error) from None
        self.schema: pa.Schema = self._dataset.schema

    @property
    def fingerprint(self) -> str:
        """The version, and a hash of the table's identity and of the names and sizes of its files."""
        files = sorted((part.path, (self.where / part.path).stat().st_size) for part in self._dataset.get_fragments())
        return f"{self._table.version()}-{fingerprint.of_values(self._table.metadata().id, files)}"

    def check(self, needed: Mapping[str, Kind], optional: Mapping[str, Kind]) -> list[str]:
        """The columns that are none of these. A `UserError` where one is missing or of another type."""
        for name, (fits, kind) in {**needed, **optional}.items():
            if name in self.schema.names and not fits(self.schema.field(name).type):
                raise UserError(self.where, f"column {name} is {self.schema.field(name).type}", kind)
            if name in needed and name not in self.schema.names:
                found = f"no column {name} (there are: {some(self.schema.names, 8)})"
                raise UserError(self.where, found, f"columns {', '.join(needed)}")
        return [name for name in self.schema.names if name not in needed and name not in optional]

    def rows(self) -> Iterator[tuple[Row, dict[str, Any]]]:
        """Every row, and its values but for the signal, file by file."""
        columns, spelling = [name for name in self.schema.names if name != SIGNAL], dict[Any, Any]()
        for part in self._dataset.get_fragments():
            file = self.where / part.path
            try:
                about = file.stat()
                values = part.to_table(schema=self.schema, columns=columns).to_pylist()
                places = [(group.id, i) for group in part.row_groups for i in range(group.num_rows)]
            except _errors() as error:
                raise _unreadable(file, error) from None
            for (group, place), row in zip(places, values, strict=True):
                leads = None if row["leads"] is None else tuple(row["leads"])
                leads = spelling.setdefault(leads, leads)  # the same for most recordings
                yield Row(str(file), about.st_size, about.st_mtime_ns, group, place, row["fs"], leads), row


def write(folder: Path, schema: pa.Schema, batches: Iterator[pa.RecordBatch]) -> None:
    """Make a table of what is there in an empty folder, each batch a row group. A `UserError` where `deltalake` is
    missing, before any batch is asked for.

    The files are not `deltalake`'s, whose writer holds thousands of rows, of any size, before it writes one.
    """
    library = _library()
    for number, first in enumerate(batches):
        with pa.parquet.ParquetWriter(folder / f"part-{number:05d}.parquet", schema, compression="zstd") as file:
            for batch in itertools.chain([first], itertools.islice(batches, GROUPS - 1)):
                file.write_batch(batch)
    library.convert_to_deltalake(folder)


def line(error: BaseException) -> str:
    """An error of the libraries in one line."""
    said = getattr(error, "strerror", None) or str(error).strip() or type(error).__name__
    return str(said).splitlines()[0][:200]


def _is_list(kind: pa.DataType) -> bool:
    return isinstance(kind, pa.ListType | pa.LargeListType)


def _library() -> Any:
    try:
        import deltalake
    except ImportError:
        raise UserError("Delta tables", "deltalake is not installed", do="pip install ecglib-book[serve]") from None
    return deltalake


def _parted(where: str) -> tuple[Path, int | None]:
    """The path, and the version if one is named."""
    found = re.fullmatch(r"(.+)@(\d+)", where)
    path, version = (where, None) if not found or Path(where).exists() else (found[1], int(found[2]))
    return Path(path).expanduser().resolve(), version


def _errors() -> tuple[type[Exception], ...]:
    return _library().exceptions.DeltaError, OSError, ValueError


def _unreadable(where: Path, error: BaseException) -> UserError:
    return UserError(where, f"can't be read as a Delta table ({line(error)})")
