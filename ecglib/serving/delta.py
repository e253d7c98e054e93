"""Delta tables by path, written without a JVM: schemas are compared and not trusted to casts, every change is one
commit, and a writer that another one came between opens the table again and repeats it.

A path is that of a folder, or the address of a store that `deltalake` knows, such as `s3://bucket/table`, whose
credentials it takes from the environment.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.dataset

from ecglib.errors import UserError

try:
    from deltalake import DeltaTable, QueryBuilder, Schema, write_deltalake
    from deltalake.exceptions import CommitFailedError, DeltaError
except ImportError:
    raise UserError("Delta tables", "deltalake is not here", do="pip install ecglib-book[serve]") from None

ATTEMPTS: Final = 30
"""Of a change that other writers come between."""
LONGEST: Final = 4.0
"""Seconds to wait before the next of them, at most; the first waits are shorter."""


def opened(where: str) -> DeltaTable | None:
    """The table, or None where none is. A `UserError` when it can't be read."""
    try:
        return DeltaTable(where) if not Path(where).is_file() and DeltaTable.is_deltatable(where) else None
    except (DeltaError, OSError, ValueError) as error:
        raise UserError(where, f"can't be read as a Delta table ({line(error)})") from None


def dataset(where: str) -> pa.dataset.Dataset | None:
    """The table's files, or None where no table is. A `UserError` when it can't be read, as with features of Delta that
    only Spark reads."""
    table = opened(where)
    try:
        return None if table is None else table.to_pyarrow_dataset()
    except (DeltaError, OSError, ValueError) as error:
        raise UserError(where, f"can't be read as a Delta table ({line(error)})") from None


def check(where: str, schema: pa.Schema) -> None:
    """A `UserError` when another table, or something else, is there than one of this schema; nothing may be there."""
    table = opened(where)
    if table is None:
        path = Path(where)
        if path.is_file() or (path.is_dir() and any(one.name != "_delta_log" for one in path.iterdir())):
            raise UserError(where, "no Delta table, but something else", "a Delta table, or nothing", "choose another")
        return
    found, wanted = ([(f.name, str(f.type)) for f in of.fields] for of in (table.schema(), Schema.from_arrow(schema)))
    if found != wanted:
        first = next((f, w) for f, w in zip([*found, None], [*wanted, None], strict=False) if f != w)
        was, should = (f"{one[0]} {_typed(one[1])}" if one else "no further column" for one in first)
        raise UserError(
            where, f"another schema ({was})", should, "choose another output, or the model it was made with"
        )


def make(where: str, schema: pa.Schema, constraint: str = "") -> None:
    """Make the table unless it is there, and have it refuse rows for which the constraint, in SQL, is not true."""
    check(where, schema)

    def constrain(table: DeltaTable) -> None:
        if constraint and "delta.constraints.probability" not in table.metadata().configuration:
            table.alter.add_constraint({"probability": constraint})

    _again(where, lambda: DeltaTable.create(where, schema, mode="ignore"))
    change(where, constrain)


def change(where: str, action: Callable[[DeltaTable], object]) -> None:
    """Do it to the table as it is now, again as long as another writer comes between. A `UserError` when the table
    can't be written, or others came between for too long."""
    _again(where, lambda: action(DeltaTable(where)))


def replace(where: str, match: str, schema: pa.Schema, rows: Callable[[], Iterable[pa.RecordBatch]]) -> None:
    """In one commit, take out the rows that match the SQL predicate and put in these, all of which match it."""

    def action(table: DeltaTable) -> None:
        reader = pa.RecordBatchReader.from_batches(schema, rows())
        write_deltalake(table, reader, mode="overwrite", predicate=match)

    change(where, action)


def merge(where: str, rows: pa.Table, keys: Iterable[str]) -> None:
    """Put these rows in, in place of those of the same keys."""
    on = " AND ".join(f"t.{key} = s.{key}" for key in keys)
    change(
        where,
        lambda table: (
            table.merge(rows, on, source_alias="s", target_alias="t")
            .when_matched_update_all()
            .when_not_matched_insert_all()
            .execute()
        ),
    )


def select(where: str, query: str) -> list[dict[str, Any]]:
    """The rows that SQL gives of the table, there named `t`."""
    return list(pa.table(QueryBuilder().register("t", DeltaTable(where)).execute(query)).to_pylist())


def among(column: str, values: Iterable[str]) -> str:
    """The SQL predicate that a text is one of these; the bounds let files be passed over by their statistics."""
    texts = [text(value) for value in sorted(values)]
    return f"{column} BETWEEN {texts[0]} AND {texts[-1]} AND {column} IN ({', '.join(texts)})"


def text(value: str) -> str:
    """A text in SQL."""
    return "'" + value.replace("'", "''") + "'"


def _again(where: str, action: Callable[[], object]) -> None:
    for attempt in range(ATTEMPTS):
        try:
            action()
            return
        except CommitFailedError:
            time.sleep(random.uniform(0, min(LONGEST, 0.1 * 2**attempt)))
        except (DeltaError, OSError) as error:
            raise UserError(where, f"can't be written ({line(error)})") from None
    raise UserError(where, f"others wrote in between {ATTEMPTS} times", do="repeat it; what is done stays")


def line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


def _typed(name: str) -> str:
    """Of `PrimitiveType("float")` the word."""
    return name.removeprefix('PrimitiveType("').removesuffix('")')
