"""PySpark: a registered model as a function of columns, and batch inference as `ecglib predict` does it. The merging
of Delta tables, whose Java library is not here, is done by `deltalake` in its place, with the clauses of the SQL."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cohorts
import excerpts
import numpy as np
import pyarrow as pa
import pytest
import yaml
from deltalake import DeltaTable, write_deltalake
from projects import ROOT
from pyspark.errors import UnsupportedOperationException
from pyspark.sql import DataFrame, SparkSession
from served import real_input
from tables import NAMES, SCHEMA, bad, of_folder, ordered, read, row, table, without

from ecglib import serving
from ecglib.data import records
from ecglib.errors import UserError
from ecglib.serving import predict, registry

NOTEBOOK = ROOT / "notebooks" / "databricks" / "predict.py"
CNET = "ecglib:cnet"
IN, OUT = "spark_catalog.ecg.recordings", "spark_catalog.ecg.beats"
MERGE = re.compile(
    r"MERGE INTO (\S+) AS t USING (\S+) AS s ON (.+) WHEN MATCHED THEN DELETE "
    r"WHEN NOT MATCHED AND (.+) THEN INSERT \((.+)\) VALUES \((.+)\)"
)


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    """Two executors of this machine; the time zone isn't that of the tables."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYSPARK_PYTHON", sys.executable)
        patch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
        patch.setenv("PYTHONPATH", f"{ROOT}", prepend=":")
        warehouse = str(tmp_path_factory.mktemp("warehouse"))
        settings = {"spark.ui.enabled": "false", "spark.sql.shuffle.partitions": "4", "spark.log.level": "ERROR"}
        settings |= {"spark.sql.warehouse.dir": warehouse, "spark.sql.session.timeZone": "Asia/Kathmandu"}
        spark = SparkSession.builder.master("local[2]").config(map=settings).getOrCreate()
        yield spark
        spark.stop()


@pytest.fixture
def spark(session: SparkSession, monkeypatch: pytest.MonkeyPatch) -> Iterator[SparkSession]:
    """A session with an empty schema `ecg`, where Delta tables can be merged."""
    plain = SparkSession.sql

    def sql(self: SparkSession, query: str) -> DataFrame | None:
        if not query.startswith("MERGE"):
            return plain(self, query)
        with pytest.raises(UnsupportedOperationException, match="does not support MERGE INTO"):  # it's of Parquet
            plain(self, query)
        merge(self, query)
        return None

    session.sql("CREATE DATABASE ecg")
    monkeypatch.setattr(SparkSession, "sql", sql)
    yield session
    session.sql("DROP DATABASE ecg CASCADE")


def merge(spark: SparkSession, query: str) -> None:
    """Do to a table of Spark what the SQL does to a Delta table."""
    parts = MERGE.fullmatch(query)
    assert parts
    target, source, on, new, columns, values = parts.groups()
    where = str(Path(spark.conf.get("spark.sql.warehouse.dir").removeprefix("file:")) / f"{source}.delta")
    before = spark.table(target)
    write_deltalake(where, before.toArrow())
    merger = DeltaTable(where).merge(spark.table(source).toArrow(), on, source_alias="s", target_alias="t")
    updates = dict(zip(columns.split(", "), values.split(", "), strict=True))
    merger.when_matched_delete().when_not_matched_insert(updates, new).execute()
    after = spark.createDataFrame(DeltaTable(where).to_pyarrow_table(), before.schema)
    after.write.mode("overwrite").saveAsTable(target)


class Widgets:
    """What a notebook on Databricks calls `dbutils`, with widgets that were filled in."""

    def __init__(self, **values: str) -> None:
        self.widgets, self.values, self.given = self, {}, values  # type: dict[str, str]

    def text(self, name: str, default: str) -> None:
        self.values[name] = self.given.get(name, default)

    def get(self, name: str) -> str:
        return self.values[name]


def run(spark: SparkSession, monkeypatch: pytest.MonkeyPatch, **widgets: str) -> None:
    """The notebook, with these widgets."""
    monkeypatch.chdir(ROOT)  # and back, after the test
    code = compile(NOTEBOOK.read_text(encoding="utf-8"), str(NOTEBOOK), "exec")
    exec(code, {"spark": spark, "dbutils": Widgets(**{"input": IN, "output": OUT} | widgets)})


def put(spark: SparkSession, given: list[dict[str, Any]], schema: pa.Schema = SCHEMA) -> None:
    table = spark.createDataFrame(pa.Table.from_pylist(given, schema))
    table.write.mode("overwrite").saveAsTable(IN)


def found(spark: SparkSession, table: str = OUT) -> list[dict[str, Any]]:
    return ordered(spark.table(table).toArrow())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A minute of three records."""
    folder = tmp_path_factory.mktemp("wfdb") / "records"
    excerpts.mitdb(folder, records=NAMES)
    return folder


@pytest.mark.parametrize("name", ["cnet", "ecgnet"])
def test_a_registered_model_is_a_function_of_flat_columns(
    spark: SparkSession, root: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    import mlflow

    inputs, expected = real_input(serving.load(f"ecglib:{name}"))
    one = registry.register(f"ecglib:{name}", "mine", "champion")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{root / 'mlflow.db'}")
    columns = {name: [value.ravel() for value in values] for name, values in inputs.items()}
    given = spark.createDataFrame(pa.table({"place": range(len(expected)), **columns}))
    assert given.schema["beat"].dataType.simpleString() == "array<float>"
    for uri in ("models:/mine@champion", one.uri):
        served = mlflow.pyfunc.spark_udf(spark, uri, result_type="array<float>", env_manager="local")
        made = given.repartition(3).select("place", served(*columns).alias("p"))
        p = made.toPandas().sort_values("place").p.tolist()
        np.testing.assert_allclose(np.array(p), expected, atol=1e-5)


def test_spark_reads_what_was_predicted(spark: SparkSession, folder: Path, tmp_path: Path) -> None:
    done = predict.predict(CNET, str(folder), str(tmp_path / "out"), peaks="atr", workers=1)
    table = spark.read.parquet(*DeltaTable(str(tmp_path / "out")).file_uris())
    assert table.count() == done.rows and table.schema["time"].dataType.simpleString() == "timestamp"
    assert ordered(table.toArrow()) == read(tmp_path / "out")


def test_the_notebook_does_what_predict_does(
    spark: SparkSession, root: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = of_folder(folder)
    good[2]["r_peaks"] = None
    reasons = bad(records.read_recording(folder, "100"))
    broken = [{**values, "record": f"it's {reason}"} for reason, values in reasons.items()]
    given = [*good, *broken, *[{**good[0], "record": "twice"}] * 2]
    put(spark, given)
    registry.register(CNET, "mine", "champion")
    run(spark, monkeypatch, model="models:/mine@champion")
    predict.predict(CNET, table(tmp_path / "in", given), str(tmp_path / "out"), workers=1)
    first = found(spark)
    assert without(first) == without(read(tmp_path / "out")) and {row["record"] for row in first} == {*NAMES}
    aside = without(found(spark, f"{OUT}_quarantine"))
    assert aside == without(read(tmp_path / "out_quarantine")) and len(aside) == len(broken) + 1

    run(spark, monkeypatch)
    assert found(spark) == first, "what is done is passed over"
    assert without(found(spark, f"{OUT}_quarantine")) == aside, "and reasons stand once"

    given[0]["r_peaks"] = good[0]["r_peaks"][10:] + 1
    put(spark, [given[0], {**broken[3], "record": "208"}, {**good[1], "record": broken[4]["record"]}])
    run(spark, monkeypatch)
    second, reasons = found(spark), {row["record"]: row["reason"] for row in found(spark, f"{OUT}_quarantine")}
    assert {row["record"] for row in second} == {"100", "233", broken[4]["record"]}, "rows of the broken input are gone"
    assert {row["sample"] for row in second if row["record"] == "100"} <= {*given[0]["r_peaks"].tolist()}
    assert [row for row in second if row["record"] == "233"] == [row for row in first if row["record"] == "233"]
    assert reasons["208"] == "NaN samples" and broken[4]["record"] not in reasons and len(reasons) == len(aside)
    assert len(spark.catalog.listTables("ecg")) == 3, "nothing is left but the tables"


def test_whole_recordings(spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cohorts.ptb_xl(tmp_path / "ptb-xl", 3, 2)
    names = records.list_records(tmp_path / "ptb-xl")
    given = [row(records.read_recording(tmp_path / "ptb-xl", name)) for name in names]
    put(spark, given)
    run(spark, monkeypatch, model="ecglib:xresnet")
    predict.predict("ecglib:xresnet", table(tmp_path / "in", given), str(tmp_path / "out"), workers=1)
    assert without(found(spark)) == without(read(tmp_path / "out")) and len(found(spark)) == 5 * len(names)


def test_a_wrong_whole_is_one_line_and_nothing_is_written(
    spark: SparkSession, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = of_folder(folder)
    text = SCHEMA.set(1, pa.field("fs", pa.string()))
    for message, given, schema, widgets in (
        ("input : no name of a table; expected catalog.schema.table", good, SCHEMA, {"input": ""}),
        ("output beats; DROP TABLE x: no name", good, SCHEMA, {"output": "beats; DROP TABLE x"}),
        ("no such model", good, SCHEMA, {"model": "ecglib:nothing"}),
        ("the input: empty", [], SCHEMA, {}),
        ("the input: 1 rows without a name", [good[0] | {"record": None}, good[1]], SCHEMA, {}),
        ("column fs is string; expected double", [one | {"fs": "360"} for one in good], text, {}),
        ("no column signal", good, SCHEMA.remove(3), {}),
        ("recordings: another schema (record string, fs double", good, SCHEMA, {"output": IN}),
    ):
        put(spark, given, schema)
        with pytest.raises(UserError) as caught:
            run(spark, monkeypatch, **widgets)
        assert message in str(caught.value) and "\n" not in str(caught.value)
        assert [table.name for table in spark.catalog.listTables("ecg")] == ["recordings"], message


def test_the_job_of_the_notebook_runs_it() -> None:
    text = NOTEBOOK.read_text(encoding="utf-8").replace("# MAGIC ", "")
    job = yaml.safe_load(text.split("```yaml\n")[1].split("```")[0])["resources"]["jobs"]["predict"]
    (task,) = job["tasks"]
    assert ROOT / task["notebook_task"]["notebook_path"] == NOTEBOOK
    assert {*task["notebook_task"]["base_parameters"]} == {*re.findall(r'widgets\.text\("(\w+)"', text)}
