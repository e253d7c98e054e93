"""Batch inference in Spark: what `ecglib predict` does to a record, done to every row of a DataFrame, and the rows of
Delta tables replaced as it does. `notebooks/databricks/predict.py` is made of these functions.

PySpark 4, which is no dependency of this package, must be there, and this package on every executor.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from functools import partial
from typing import Final

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import from_arrow_schema, to_arrow_schema

from ecglib.errors import UserError
from ecglib.serving import rows
from ecglib.serving.model import Card, Model
from ecglib.serving.rows import Packed, Row, Scored

DONE: Final = "done"
AT_ONCE: Final = 8
"""Rows that Spark hands over at a time: a row is a recording, and may be of many megabytes."""


def staged(card: Card) -> pa.Schema:
    """Of what `scored` gives: the columns of a model's output, null for a record that was not classified, and its
    `reason` and `message`, null for the others."""
    columns = dict.fromkeys([*rows.schema(card), rows.QUARANTINE.field("reason"), rows.QUARANTINE.field("message")])
    return pa.schema([one.with_nullable(True) for one in columns])


def check(given: DataFrame) -> dict[str, int]:
    """The names that stand in more than one row of an input, and in how many. A `UserError` where it is empty, lacks a
    column of `rows.COLUMNS` or has another type of it, or a row has no name."""
    rows.check_columns("the input", to_arrow_schema(given.select(_columns(given)).schema))
    names = Counter(row[0] for row in given.select("record").collect())
    rows.check_names("the input", names)
    return {name: n for name, n in names.items() if n > 1}


def scored(given: DataFrame, twice: dict[str, int], done: DataFrame, model: Model, run_id: str) -> DataFrame:
    """The rows of `staged` for an input that was checked. `done` holds records and the digests of the inputs that their
    rows are of: one with the same input is passed over."""
    spark, card, made = given.sparkSession, model.card, datetime.now(UTC)
    spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", AT_ONCE)
    schema = from_arrow_schema(staged(card))
    found = (
        given.select(_columns(given))
        .where(~F.col("record").isin([*twice]))
        .join(F.broadcast(done.toDF("record", DONE)), "record", "left")
        .repartition("record")
        .mapInArrow(partial(_work, card, Packed.of(model), run_id, made), schema)
    )
    aside = [_batch(card, rows.twice(name, n), run_id, made) for name, n in twice.items()]
    return found.union(spark.createDataFrame(pa.Table.from_batches(aside, staged(card)), schema)) if aside else found


def make(spark: SparkSession, table: str, schema: pa.Schema) -> None:
    """Make a table unless it is there. A `UserError` where it has other columns."""
    wanted = from_arrow_schema(schema)
    if not spark.catalog.tableExists(table):
        spark.createDataFrame([], wanted).write.mode("ignore").saveAsTable(table)
    found, expected = (
        [f"{one.name} {one.dataType.simpleString()}" for one in of] for of in (spark.table(table).schema, wanted)
    )
    if found != expected:
        was = f"another schema ({', '.join(found)})"
        raise UserError(table, was, ", ".join(expected), "choose another output, or the model it was made with")


def replace(of: DataFrame, table: str, schema: pa.Schema, which: str, version: str) -> None:
    """In one commit, take out the rows that a Delta table has of the records that are staged and of this version of the
    model, and put in the staged rows for which the SQL is true."""
    there = of.selectExpr("record AS old").distinct()  # matches what goes; a row that comes matches nothing
    changes, columns = f"changes_{uuid.uuid4().hex}", [f"`{name}`" for name in schema.names]
    of.where(which).select(schema.names).unionByName(there, allowMissingColumns=True).createTempView(changes)
    try:
        of.sparkSession.sql(
            f"MERGE INTO {table} AS t USING {changes} AS s ON t.record = s.old AND t.version = '{version}' "
            "WHEN MATCHED THEN DELETE WHEN NOT MATCHED AND s.old IS NULL "
            f"THEN INSERT ({', '.join(columns)}) VALUES ({', '.join(f's.{name}' for name in columns)})"
        )
    finally:
        of.sparkSession.catalog.dropTempView(changes)


def _columns(given: DataFrame) -> list[str]:
    return [name for name in given.columns if name in rows.COLUMNS]


def _work(
    card: Card, model: Packed, run_id: str, made: datetime, batches: Iterable[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    """On an executor."""
    for batch in batches:
        for i in range(len(batch)):
            one = rows.score(model, card.version, Row.of(batch, i), batch[DONE][i].as_py() or "")
            if len(one) or one.reason:
                yield _batch(card, one, run_id, made)


def _batch(card: Card, one: Scored, run_id: str, made: datetime) -> pa.RecordBatch:
    schema = staged(card)
    if one.reason:
        return pa.RecordBatch.from_pylist([rows.aside(card, one, run_id, made)], schema)
    return pa.record_batch([*rows.of(card, one, run_id, made).columns, *[pa.nulls(len(one), pa.string())] * 2], schema)
