"""The raw material of a result record: one Parquet file beside its JSON.

What metrics are computed from, and what else is long (confusion matrices by record, scores by recording, learning
curves, each seed's value of a metric), makes one table, which `pandas.read_parquet` opens. A row holds one number or
text. Column `table` names the field of `record.Record` that it comes from, and further columns say where in
that field it belongs. A file has only the columns that it fills.

======================== ==============================================================================================
`table`                  field of the record: `by_record`, `training.history`, `infarction.scores`, `ec57.per_seed` …
`seed`                   seed of the run
`record`                 record or recording
`class`                  AAMI class, diagnosis or label; also `VEB` and `SVEB`
`true`, `predicted`      the classes of a cell of a confusion matrix
`metric`                 a metric, or a column of the learning curve (`train_loss` …)
`statistic`              `mean`, `low` or `high` of a metric that the JSON leaves out
`name`                   source, fold, or number of patients that were learnt from
`epoch`                  from 1
`position`               of a beat or recording in the order of the scored set, or of an entry in a list; from 0
`count`                  beats or recordings; of `twelve_lead.truth` 1 where a recording has the label, else 0
`value`                  of a metric, a loss, a threshold …; null where undefined
`score`                  log-odds or probability, to four decimals
`right`                  whether the beat or recording is classified as annotated
`level`                  of `predicted`, the place of the class among the JSON's `classes`; of `class_scores`, the
                         probability of the class in 255ths
`text`                   a reason, patient or name
======================== ==============================================================================================

The learning curves of a result, for one:

    raw = pandas.read_parquet("book/results/heartbeat/baseline.parquet")
    raw[raw["table"] == "training.history"].pivot(index="epoch", columns=["seed", "metric"], values="value")
"""

from __future__ import annotations

import base64
import binascii
import io
import re
import zlib
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import parquet

from ecglib.errors import UserError

Content = dict[str, Any]
"""A record as mappings, lists and plain values."""
Step = tuple[str, str]
"""A field's name (`key`), any key of a mapping (`{`) or any place in a list (`[`), and what it is called."""

_WHOLE: Final = (
    *(
        f"{name}.{group}.{{class}}.{{metric}}"
        for name in ("without_202", "unadapted", "moved.without_202")
        for group in ("per_class", "ec57")
    ),
    "moved.ec57.{class}.{metric}",
    "moved.without_202.metrics.{metric}",
    "twelve_lead.official.{metric}",
    *(f"twelve_lead.{name}.{{name}}.{{metric}}" for name in ("left_out_source", "known_source")),
)
"""Intervals (`Interval`) that lie in the Parquet file alone."""
_BY_SEED: Final = (
    "per_class.{class}.{metric}",
    "ec57.{class}.{metric}",
    "moved.per_class.{class}.{metric}",
    *(f"{name}.metrics.{{metric}}" for name in ("without_202", "unadapted", "moved")),
    *(f"infarction.{name}.{{metric}}" for name in ("beat_metrics", "likely")),
    "infarction.curve.{name}",
)
"""Intervals whose mean and bounds stand in the JSON, and whose values by seed lie here. Those of the record's own
`metrics` stand there whole."""

FIELDS: Final[dict[str, str]] = {
    "by_record.{record}[seed][true][predicted]": "count",
    "unadapted.by_record.{record}[seed][true][predicted]": "count",
    "moved.by_record.{record}[seed][true][predicted]": "count",
    "right[seed]": "right",
    "moved.right[seed]": "right",
    "predicted": "level",
    "class_scores.{class}": "level",
    "training[seed].history[epoch].{metric}": "value",
    "data.records_left_out.{record}": "text",
    "data.repaired.{record}[position]": "text",
    "infarction.scores.{name}.{record}[seed]": "score",
    "infarction.patients.{record}": "text",
    **{f"infarction.transfer.{name}[position]": "text" for name in ("loaded", "skipped", "frozen")},
    "twelve_lead.probabilities.{record}[seed][class]": "score",
    "twelve_lead.truth.{record}[class]": "count",
    "twelve_lead.patient_of.{record}": "text",
    "twelve_lead.thresholds.{class}[seed][position]": "value",
    "twelve_lead.reliability.{class}.{metric}[position]": "value",
    "twelve_lead.folds.{name}.{metric}[seed]": "value",
    "twelve_lead.repaired.{record}[position]": "text",
    "twelve_lead.duplicates.{record}": "text",
    "twelve_lead.conflicts.{record}": "text",
    **{f"{interval}.per_seed[seed]": "value" for interval in (*_WHOLE, *_BY_SEED)},
    **{f"{interval}.{{statistic}}": "value" for interval in _WHOLE},
}
"""What the Parquet file holds: field (`{x}` any key of a mapping, `[x]` any place in a list) -> the column for it."""
AXES: Final = {
    **dict.fromkeys(("record", "class", "true", "predicted", "metric", "statistic", "name"), pa.string()),
    **dict.fromkeys(("seed", "epoch", "position"), pa.int32()),
}
"""Columns that say of what a row is."""
VALUES: Final = {
    "count": pa.int32(), "value": pa.float64(), "score": pa.float32(), "right": pa.bool_(), "level": pa.uint8(),
    "text": pa.string(),
}  # fmt: skip
"""Columns of what is kept of it."""
_PACKED: Final = ("right", "level")
_DECIMALS: Final = 4


def pack(values: NDArray[np.bool_] | NDArray[np.uint8]) -> str:
    """A bit or byte of every beat, `(n,)`, as text: compressed, base64."""
    content = np.packbits(values) if values.dtype == np.bool_ else values
    return base64.b64encode(zlib.compress(content.tobytes(), 9)).decode("ascii")


def unpack(text: str, n: int | None = None) -> NDArray[Any]:
    """The inverse of `pack`: the bits of `n` beats, or the bytes of all. A `UserError` when the text was not made by
    `pack`, or not from `n` bits."""
    try:
        content = np.frombuffer(zlib.decompress(base64.b64decode(text, validate=True)), dtype=np.uint8)
    except (binascii.Error, zlib.error) as error:
        raise UserError("right", f"unreadable ({error})", "what a run wrote") from None
    if n is None:
        return content
    if len(content) != (n + 7) // 8:
        raise UserError("right", f"{8 * len(content)} bits", f"those of {n} beats")
    return np.unpackbits(content, count=n).astype(bool)


# --- record to file ---------------------------------------------------------------------------------------------------


def take(content: Content) -> bytes:
    """Take `FIELDS` out of a record, as a Parquet file; no bytes where it has none of them. What is empty, and the
    mappings and lists around what is taken, stay, so that `put` restores the record."""
    fields = [(steps_of(field), column) for field, column in FIELDS.items()]
    found = [(steps, column, list(_taken(content, steps, (), content))) for steps, column in fields]
    tables = [_table(steps, column, rows, content) for steps, column, rows in found if rows]
    if not tables:
        return b""
    whole = pa.concat_tables(tables, promote_options="default").combine_chunks()
    names = [name for name in ("table", *AXES, *VALUES) if name in whole.column_names]
    texts = {name for name in names if whole[name].type == pa.string()}
    whole = pa.table({name: whole[name].dictionary_encode() if name in texts else whole[name] for name in names})
    coded = [name for name in names if name not in ("position", "value", "right")]
    encoding = {"position": "DELTA_BINARY_PACKED"} if "position" in names else None
    given: dict[str, Any] = {"compression": "zstd", "compression_level": 19, "write_statistics": False}
    file = io.BytesIO()
    parquet.write_table(whole, file, use_dictionary=coded, column_encoding=encoding, **given)
    return file.getvalue()


def steps_of(field: str) -> list[Step]:
    """The way to a field: kind of step (`key`, or its opening bracket) and name."""
    return [(mark or "key", name) for mark, name in re.findall(r"([{\[]?)(\w+)", field)]


def table_of(steps: Sequence[Step]) -> str:
    """The field's place in the column `table`."""
    return ".".join(name for kind, name in steps if kind == "key")


def _axes(steps: Sequence[Step]) -> list[str]:
    return [name for kind, name in steps if kind != "key"]


def _places(axis: str, content: Content) -> Sequence[Any]:
    """What the places of a list are called, from the first one."""
    named = {"seed": "seeds", "class": "classes", "true": "classes", "predicted": "classes"}
    return content[named[axis]] if axis in named else range(axis == "epoch", 2**31)


def _taken(node: Any, steps: Sequence[Step], labels: tuple[Any, ...], top: Content) -> Iterator[tuple[Any, ...]]:
    """Labels and value of every leaf where the steps lead; the field of the last `key` among them is deleted."""
    if not steps:
        yield (*labels, node)
        return
    (kind, name), rest = steps[0], steps[1:]
    if kind == "key":
        if not isinstance(node, dict) or node.get(name) in (None, "", [], {}):
            return  # a part that the record lacks
        found = list(_taken(node[name], rest, labels, top))
        if found and not any(kind == "key" for kind, _ in rest):
            del node[name]
        yield from found
        return
    if kind == "[" and len(node) > len(names := _places(name, top)):
        raise UserError("record", f"{len(node)} values of {len(names)} {name}s", "one each")
    places = node.items() if kind == "{" else zip(_places(name, top), node, strict=False)
    for label, value in places:
        yield from _taken(value, rest, (*labels, label), top)


def _table(steps: Sequence[Step], column: str, rows: Sequence[tuple[Any, ...]], content: Content) -> pa.Table:
    *labels, values = map(list, zip(*rows, strict=True))
    columns = dict(zip(_axes(steps), labels, strict=True))
    if column in _PACKED:
        beats = [int(np.sum(matrix)) for matrix in content["confusion"]] if column == "right" else [None] * len(rows)
        arrays = [unpack(text, n) for text, n in zip(values, beats, strict=True)]
        columns = {
            axis: [label for label, array in zip(each, arrays, strict=True) for _ in array]
            for axis, each in columns.items()
        }
        columns["position"] = [i for array in arrays for i in range(len(array))]
        values = np.concatenate(arrays).tolist()
    elif column == "score" and _scores(np.array(values, dtype=np.float32)) != values:
        column = "value"  # more than four decimals, or too large for them
    columns[column] = values
    made = {name: pa.array(each, (AXES | VALUES)[name]) for name, each in columns.items()}
    return pa.table({"table": pa.array([table_of(steps)] * len(values), pa.string())} | made)


def _scores(values: NDArray[np.float32]) -> list[float]:
    found: list[float] = values.astype(np.float64).round(_DECIMALS).tolist()
    return found


# --- file to record ---------------------------------------------------------------------------------------------------


def put(content: Content, file: bytes) -> None:
    """Put what `take` took out of a record back into it."""
    # No reading ahead: it is done by threads, which hold the file's bytes for a moment more. A process that ends in
    # that moment is aborted.
    coded = parquet.ParquetFile(io.BytesIO(file), pre_buffer=False).read(use_threads=False)
    plain = [pa.string() if pa.types.is_dictionary(each.type) else each.type for each in coded.schema]
    whole = coded.cast(pa.schema(list(zip(coded.column_names, plain, strict=True)))).combine_chunks()
    runs = pc.run_end_encode(whole["table"].combine_chunks())
    ends = [0, *runs.run_ends.to_pylist()]
    found = {name: whole.slice(a, b - a) for name, (a, b) in zip(runs.values.to_pylist(), pairwise(ends), strict=True)}
    for field in reversed(FIELDS):  # an interval before its values by seed
        steps = steps_of(field)
        if table_of(steps) in found:
            _restore(content, steps, FIELDS[field], found[table_of(steps)])


def _restore(content: Content, steps: Sequence[Step], column: str, table: pa.Table) -> None:
    labels = [table[axis].to_pylist() for axis in _axes(steps)]
    if column in _PACKED:
        first = np.flatnonzero(table["position"].to_numpy() == 0)
        values: list[Any] = [pack(array) for array in np.split(table[column].to_numpy(), first[1:])]
        labels = [[each[place] for place in first] for each in labels]
    elif column == "score" and ("score" not in table.column_names or table["score"].null_count):
        values = table["value"].to_pylist()
    else:
        values = _scores(table[column].to_numpy()) if column == "score" else table[column].to_pylist()
    if not labels:
        _set(content, steps, (), values[0])
        return
    keys = list(zip(*labels[:-1], strict=True)) or [()] * len(values)
    starts = [i for i in range(len(keys)) if i == 0 or keys[i] != keys[i - 1]]
    for start, end in pairwise([*starts, len(keys)]):  # what lies together in the innermost mapping or list
        block: Any = values[start:end]
        if steps[-1][0] == "{":
            block = dict(zip(labels[-1][start:end], block, strict=True))
        _set(content, steps[:-1], keys[start], block)


def _set(content: Content, steps: Sequence[Step], labels: Sequence[Any], value: Any) -> None:
    """Set the value where the steps and the labels lead, and make the mappings and lists that lead there."""
    node: Any = content
    remaining = iter(labels)
    for (kind, name), (following, _) in pairwise([*steps, ("", "")]):
        new: Any = value if not following else [] if following == "[" else {}
        if kind == "[":
            place = _places(name, content).index(next(remaining))
            if place == len(node):
                node.append(new)
            node = node[place]
        else:
            node = node.setdefault(name if kind == "key" else next(remaining), new)
