"""Finished runs in MLflow: parameters, learning curves, metrics, pictures, report and weights.

The store is the server that `MLFLOW_TRACKING_URI` names, else SQLite at `mlflow.db` in the project root with artifacts
in `mlartifacts/`. Several processes that meet a fresh SQLite store at once break its migration, so that it is made
under a file lock, `mlflow.db.lock`. What is logged of a run stands in its folder (`NOTE`), and is not searched for.
Pictures and report come from `ecglib.report`, where that is imported.

mlflow takes seconds to import, so only the functions that need it do.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import quote, unquote

from ecglib import files, paths
from ecglib.errors import UserError
from ecglib.experiment.record import Moved, Record

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric

T = TypeVar("T")

EXPLORATION: Final = "exploration"
"""MLflow experiment of the runs of no parameters file, as JupyterLab makes them."""
NOTE: Final = "mlflow.json"
"""The file of a run's folder that lists MLflow's runs of it: `store`, `experiment`, `id`, and as `evaluated` the
evaluation that was logged, null until it is whole."""
ARTIFACTS: Final[dict[str, Callable[[Record, Path], object]]] = {}
"""Who -> what writes files into a folder that are logged with a run, beside its record and weights."""
SERVER_SECONDS: Final = 12
_LOCK_SECONDS: Final = 300
_BATCH: Final = 1000
"""The metrics that MLflow takes in one call."""
_PARAM_LENGTH: Final = 6000
_MOST: Final = 5000
"""Runs that are looked through of a search."""

_ENVIRONMENT: Final = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # half a dozen processes, for what no run here needs
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",  # a pickle runs code, and no model of ours is one
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
}
"""mlflow reads these when it is imported; what a user has set stands."""


def log(record: Record, folder: Path) -> str:
    """Log a finished run, once; returns MLflow's run id.

    What is there of the same experiment and evaluation stays as it is, and a run of no experiment is not logged beside
    one that has a name. What is of another evaluation, was left half-logged or has got a name since is replaced.

    `record.key` must be set. `weights-seed<k>.safetensors` of `folder`, the run's own, are logged too; no other process
    may log it meanwhile. A `UserError` when the store can't be reached, read or written (a server within 20 s).
    """
    if not record.key:
        raise ValueError(f"{record.experiment}: a record without a key can't be found again")
    evaluated, note = " ".join(record.evaluated.values()), folder / NOTE
    try:
        noted: list[dict[str, Any]] = json.loads(note.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        noted = []
    with open_store() as store:
        mine = [run for run in noted if run["store"] == store.name and store.holds(run["id"])]
        for run in mine:
            if run["evaluated"] == evaluated and record.experiment in (run["experiment"], ""):
                return str(run["id"])
        replaced = [run for run in mine if run["experiment"] in (record.experiment, "")]
        kept = [run for run in noted if run["store"] != store.name or (run in mine and run not in replaced)]
        end = int(time.time() * 1000)
        start = end - int(record.train_seconds * 1000)
        task, name = record.experiment.split("/")[0] or EXPLORATION, record.experiment.split("/")[-1]
        tags = _tags(record) | {"evaluated": evaluated}
        made = store.client.create_run(store.experiment(task), start_time=start, run_name=name, tags=tags)
        run_id = str(made.info.run_id)
        new = {"store": store.name, "experiment": record.experiment, "id": run_id, "evaluated": None}
        files.write(note, json.dumps([*kept, *replaced, new]))
        _fill(store.client, run_id, record, folder, start, end)
        for run in replaced:
            store.delete(run["id"])
        files.write(note, json.dumps([*kept, new | {"evaluated": evaluated}]))
        return run_id


def parent_of(store: Store, experiment: str, search: str, name: str) -> tuple[str, set[str]]:
    """The run of a search of this id, made where it isn't there, and the trials that are logged under it; what was
    half-logged is deleted."""
    ids = [store.experiment(experiment)]
    found = store.client.search_runs(ids, f"tags.search = '{search}'", max_results=1)
    if not found:
        made = store.client.create_run(ids[0], run_name=name, tags={"search": search})
        store.client.set_terminated(str(made.info.run_id))  # it has nothing of its own to wait for
        return str(made.info.run_id), set()
    parent, known = str(found[0].info.run_id), set()
    for run in store.client.search_runs(ids, f"tags.`mlflow.parentRunId` = '{parent}'", max_results=_MOST):
        if run.info.status == "RUNNING":
            store.delete(str(run.info.run_id))
        else:
            known.add(run.data.tags["trial"])
    return parent, known


def log_child(
    store: Store,
    experiment: str,
    parent: str,
    tags: Mapping[str, str],
    parameters: Mapping[str, Any],
    curves: Mapping[str, Sequence[tuple[int, float]]],
    seconds: float,
    state: str,
) -> None:
    """Log a trial under a search's run: its parameters, and each metric by epoch."""
    from mlflow.entities import Metric, Param

    end = int(time.time() * 1000)
    tags = {**tags, "mlflow.parentRunId": parent}
    name = f"trial {tags['trial']}"
    start = end - int(1000 * seconds)
    made = store.client.create_run(store.experiment(experiment), start_time=start, run_name=name, tags=tags)
    metrics = [Metric(key, value, end, step) for key, curve in curves.items() for step, value in curve]
    params = [Param(key, str(value)) for key, value in parameters.items()]
    store.client.log_batch(str(made.info.run_id), params=params, metrics=metrics)
    store.client.set_terminated(str(made.info.run_id), state, end_time=end)


def ui_command(port: int = 5000) -> list[str]:
    """The command that serves MLflow's pages over the embedded store, on loopback; makes the store where there is none.

    Run it with this process's environment: telemetry has been switched off there. A `UserError` when
    `MLFLOW_TRACKING_URI` names a server, which has pages of its own.
    """
    database = _database()
    if database is None:
        found, expected = f"runs are on {_shown(_server())}", "the embedded store"
        raise UserError("MLFLOW_TRACKING_URI", found, expected, "open that address in a browser")
    with open_store():
        pass
    return [
        sys.executable, "-m", "mlflow", "server", "--backend-store-uri", _sqlite(database),
        "--default-artifact-root", _artifacts(database).as_uri(), "--no-serve-artifacts",
        "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
    ]  # fmt: skip


@dataclass(frozen=True)
class Store:
    """An open store: its name in notes, MLflow's client, and where artifacts go (None: the server decides)."""

    name: str
    client: MlflowClient
    artifacts: Path | None

    def experiment(self, name: str) -> str:
        """The id of the MLflow experiment of this name, made or brought back where it isn't there."""
        from mlflow.exceptions import MlflowException

        found = self.client.get_experiment_by_name(name)
        location = None if self.artifacts is None else self.artifacts.as_uri()
        if found is None:
            try:
                return str(self.client.create_experiment(name, artifact_location=location))
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
                return self.experiment(name)  # another process was faster
        if location is not None and found.artifact_location != location:
            do = "the project was moved: move it back, or remove mlflow.db and log anew"
            there = f"the store keeps artifacts of {name} in {found.artifact_location}"
            raise UserError(self.artifacts or "", there, location, do)
        if found.lifecycle_stage == "deleted":
            self.client.restore_experiment(found.experiment_id)
        return str(found.experiment_id)

    def holds(self, run_id: str) -> bool:
        """Whether the run is there, and not deleted."""
        from mlflow.exceptions import MlflowException

        try:
            return bool(self.client.get_run(run_id).info.lifecycle_stage == "active")
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise  # a store that can't be read now is no store without the run
            return False

    def delete(self, run_id: str) -> None:
        """Delete a run; in the embedded store its files too, which MLflow would keep."""
        self.client.delete_run(run_id)
        if self.artifacts is not None:
            shutil.rmtree(self.artifacts / run_id, ignore_errors=True)


@contextmanager
def open_store() -> Iterator[Store]:
    """Open the store, made where the embedded one isn't there; what goes wrong with it is a UserError."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    database, name = _database(), _shown(_server())
    try:
        if database is None:
            yield Store(name, _reach(_server()), None)
            return
        if not database.is_file():
            lock = database.with_name(f"{database.name}.lock")
            busy = UserError(lock, f"held by another process for {_LOCK_SECONDS} s", do="see which one hangs")
            with files.lock(lock, _LOCK_SECONDS, busy):
                if not database.is_file():
                    _create(database)
        yield Store(name, MlflowClient(tracking_uri=_sqlite(database)), _artifacts(database))
    except (MlflowException, SQLAlchemyError, OSError) as error:
        where = _shown(_server()) if database is None else database
        raise UserError(where, f"MLflow's store failed: {first_line(error)}", "a store that can be written") from error


def _create(database: Path) -> None:
    """Make an empty store: some hundred transactions, which wait for the disk once, at the end, and not after each."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
    from sqlalchemy import Engine, event

    def hasten(connection: Any, _: object) -> None:
        connection.execute("PRAGMA synchronous=OFF")

    with files.writing(database) as unfinished:
        event.listen(Engine, "connect", hasten)
        try:
            SqlAlchemyStore(_sqlite(unfinished), _artifacts(database).as_uri()).engine.dispose()
        finally:
            event.remove(Engine, "connect", hasten)
        with unfinished.open("rb+") as file:
            os.fsync(file.fileno())


def _reach(uri: str) -> MlflowClient:
    """A client whose server answers."""
    from mlflow import MlflowClient

    def ask() -> MlflowClient:
        client = MlflowClient(tracking_uri=uri)
        client.search_experiments(max_results=1)
        return client

    return reach(ask, "MLFLOW_TRACKING_URI", uri)


def reach(ask: Callable[[], T], variable: str, uri: str) -> T:
    """What a server, named by a variable of the environment, answers; a `UserError` when it is none that is wanted, or
    hangs (name, connection, answer)."""
    answer: list[T | BaseException] = []

    def wait() -> None:
        try:
            answer.append(ask())
        except Exception as error:  # carried over to the caller's thread
            answer.append(error)

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    thread.join(SERVER_SECONDS)
    result = answer[0] if answer else TimeoutError(f"no answer within {SERVER_SECONDS} s")
    if isinstance(result, BaseException):
        found = f"{_shown(uri)} can't be used ({first_line(result)})"
        do = "start it, or unset the variable to use the embedded store"
        if uri.startswith("databricks"):
            do = "set DATABRICKS_HOST and DATABRICKS_TOKEN, or unset the variable"
        raise UserError(variable, found, "a running MLflow server", do)
    return result


def _database() -> Path | None:
    """The embedded store's file; None where `MLFLOW_TRACKING_URI` names a server."""
    uri = _server()
    if not uri:
        return paths.root() / "mlflow.db"
    path, _, _ = uri.removeprefix("sqlite:///").partition("?")
    return paths.root() / unquote(path) if uri.startswith("sqlite:///") else None


def _server() -> str:
    return os.environ.get("MLFLOW_TRACKING_URI", "")


def _sqlite(database: Path) -> str:
    """With its driver: of a plain `sqlite:///` mlflow makes the folder as it is quoted there, beside the real one."""
    return f"sqlite+pysqlite:///{quote(database.as_posix())}"


def _artifacts(database: Path) -> Path:
    return database.with_name("mlartifacts")


def _fill(client: MlflowClient, run_id: str, record: Record, folder: Path, start: int, end: int) -> None:
    from mlflow.entities import Metric, Param

    params = [Param(key, str(value)[:_PARAM_LENGTH]) for key, value in record.parameters.items()]
    client.log_batch(run_id, params=params)
    final = [Metric(name, value, end, 0) for name, value in _final(record).items() if value is not None]
    metrics = [*_curves(record, start), *final]
    for first in range(0, len(metrics), _BATCH):
        client.log_batch(run_id, metrics=metrics[first : first + _BATCH])
    with tempfile.TemporaryDirectory() as made:
        record.save(Path(made) / "record.json")
        for write in ARTIFACTS.values():
            write(record, Path(made))
        client.log_artifacts(run_id, made)
    for seed in record.seeds:
        for weights in [*folder.glob(f"weights-seed{seed}.*"), *folder.glob(f"weights-seed{seed}-*.safetensors")]:
            client.log_artifact(run_id, str(weights), "weights")
    client.set_terminated(run_id, "FINISHED", end_time=end)


def _tags(record: Record) -> dict[str, str]:
    names = ("key", "experiment", "profile", "commit", "hardware", "device", "precision", "created")
    seeds, sample = ", ".join(map(str, record.seeds)), str(record.data.sample).lower()
    own = {"data": record.data.name, "sample": sample, "seeds": seeds}
    return {name: str(getattr(record, name)) for name in names} | own


def _curves(record: Record, start: int) -> list[Metric]:
    """Each seed's epochs, in the order and at the times at which they ran."""
    from mlflow.entities import Metric

    metrics, clock = [], float(start)
    for run in record.training:
        for epoch in run.history:
            clock += 1000 * epoch.seconds
            for name, value in epoch.model_dump(exclude={"epoch"}, exclude_none=True).items():
                metrics.append(Metric(f"seed{run.seed}/{name}", value, int(clock), epoch.epoch))
    return metrics


def _final(record: Record) -> dict[str, float | None]:
    """The result's metrics: `macro_f1`, `macro_f1_low`, `macro_f1_high`; per class and EC57 under a prefix, and all of
    them again with thresholds moved under `moved/`."""
    values: dict[str, float | None] = {"train_seconds": record.train_seconds, "n_parameters": record.n_parameters}
    decisions: dict[str, Record | Moved] = {"": record} | ({"moved/": record.moved} if record.moved else {})
    for prefix, of in decisions.items():
        groups = {"": of.metrics}
        for kind, several in (("class", of.per_class), ("ec57", of.ec57)):
            groups |= {f"{kind}/{re.sub(r'[^0-9A-Za-z_. -]', '_', name)}/": own for name, own in several.items()}
        for group, metrics in groups.items():
            for key, value in metrics.items():
                name = f"{prefix}{group}{key}"
                values |= {name: value.mean, f"{name}_low": value.low, f"{name}_high": value.high}
    return values


def _shown(uri: str) -> str:
    """A server's address without the user and password it may carry."""
    return re.sub(r"//[^/@]*@", "//", uri)


def first_line(error: BaseException) -> str:
    """What an error says, in a line, without a password."""
    lines = str(error).strip().splitlines()
    return _shown(textwrap.shorten(lines[0], 160, placeholder=" …")) if lines else type(error).__name__
