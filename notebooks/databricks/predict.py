# Databricks notebook source
# MAGIC %md
# MAGIC # ECG recordings, classified
# MAGIC Reads the table `input`, a row a recording: `record` string, `fs` double, `leads` array<string>, `signal`
# MAGIC array<float> (mV, lead after lead) and maybe `r_peaks` array<long>. Writes the table `output`, a row a beat or
# MAGIC label, and `<output>_quarantine` with the records that could not be classified and why. It does what
# MAGIC `ecglib predict` does, and a repeated run passes over what is done. It runs on classic compute with Databricks
# MAGIC Runtime 17 or newer (dedicated access mode), with the package's wheel as a library.
# MAGIC
# MAGIC To run it every night, put this into the clone as `databricks.yml`, then `databricks bundle deploy`:
# MAGIC ```yaml
# MAGIC bundle: {name: ecg}
# MAGIC artifacts:
# MAGIC   wheel: {type: whl, build: python -m pip wheel --no-deps --wheel-dir dist .}
# MAGIC targets:
# MAGIC   production: {default: true, mode: production, workspace: {root_path: /Workspace/Shared/ecg}}
# MAGIC resources:
# MAGIC   jobs:
# MAGIC     predict:
# MAGIC       name: ecg-predict
# MAGIC       schedule: {quartz_cron_expression: "0 0 3 * * ?", timezone_id: UTC}
# MAGIC       max_concurrent_runs: 1
# MAGIC       tasks:
# MAGIC         - task_key: predict
# MAGIC           max_retries: 2
# MAGIC           notebook_task:
# MAGIC             notebook_path: notebooks/databricks/predict.py
# MAGIC             base_parameters:
# MAGIC               model: models:/main.ecg.heartbeat@champion
# MAGIC               input: main.ecg.recordings
# MAGIC               output: main.ecg.beats
# MAGIC           libraries: [{whl: dist/*.whl}]
# MAGIC           new_cluster:
# MAGIC             spark_version: 17.3.x-scala2.13
# MAGIC             node_type_id: i3.xlarge
# MAGIC             num_workers: 2
# MAGIC             data_security_mode: SINGLE_USER
# MAGIC             spark_env_vars: {MLFLOW_TRACKING_URI: databricks, MLFLOW_REGISTRY_URI: databricks-uc}
# MAGIC ```

# COMMAND ----------

dbutils.widgets.text("model", "ecglib:cnet")  # or models:/catalog.schema.name@alias, or a folder of a volume
dbutils.widgets.text("input", "")  # catalog.schema.table
dbutils.widgets.text("output", "")

# COMMAND ----------

import os
import re
import tempfile
import uuid

from pyspark.sql.functions import count_distinct

from ecglib import serving
from ecglib.errors import UserError
from ecglib.serving import rows
from ecglib.serving.spark import check, make, replace, scored

given, output = (dbutils.widgets.get(name).strip() for name in ("input", "output"))
for name, table in {"input": given, "output": output}.items():
    if not re.fullmatch(r"\w+(\.\w+){2}", table):
        raise UserError(f"{name} {table}", "no name of a table", "catalog.schema.table")
os.chdir(tempfile.mkdtemp())  # what a registry gives is kept in the working folder
model = serving.load(dbutils.widgets.get("model").strip())  # an alias may move: from here on it is this version
version, run_id, quarantine = model.card.version, uuid.uuid4().hex, f"{output}_quarantine"

# COMMAND ----------

twice = check(spark.table(given))
make(spark, output, rows.schema(model.card))
make(spark, quarantine, rows.QUARANTINE)
done = spark.table(output).where(f"version = '{version}'").groupBy("record").agg({"input_hash": "min"})
staging = f"{output}_{run_id}"
try:
    scored(spark.table(given), twice, done, model, run_id).write.saveAsTable(staging)
    staged = spark.table(staging)
    replace(staged, quarantine, rows.QUARANTINE, "reason IS NOT NULL", version)  # first: nothing goes without a reason
    replace(staged, output, rows.schema(model.card), "reason IS NULL", version)
    staged.groupBy("reason").agg(count_distinct("record").alias("records")).show(truncate=False)
finally:
    spark.sql(f"DROP TABLE IF EXISTS {staging}")
