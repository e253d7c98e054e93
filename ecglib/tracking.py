"""Finished runs in MLflow: parameters, learning curves, metrics, pictures, report and weights.

The store is the server that `MLFLOW_TRACKING_URI` names, else SQLite at `mlflow.db` in the project root with artifacts
in `mlartifacts/`. Several processes that meet a fresh SQLite store at once break its migration, so everything that
touches the embedded store happens under one file lock, `mlflow.db.lock`.

mlflow takes seconds to import, so only the functions that need it do.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from filelock import FileLock, Timeout

from ecglib import paths
from ecglib.errors import UserError
from ecglib.evaluation.bootstrap import Interval
from ecglib.experiment.record import Moved, Record

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric

EXPLORATION: Final = "exploration"
"""MLflow experiment of the runs of no parameters file, as JupyterLab makes them."""
_LOCK_SECONDS: Final = 300
_SERVER_SECONDS: Final = 12
_BATCH: Final = {"metrics": 1000, "params": 100}
"""What MLflow takes in one `log_batch` call."""
_PARAM_LENGTH: Final = 6000

_ENVIRONMENT: Final = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
}
"""mlflow reads these when it is imported; what a user has set stands."""


def log(record: Record, folder: Path) -> str:
    """Log a finished run, once.

    A run with the same key, experiment and time of evaluation that is already there stays as it is, and a run of no
    experiment is not logged beside one that has a name. One with the same key that was evaluated at another time, one
    that was left half-logged, or one of no experiment that now got a name is replaced.

    Parameters
    ----------
    record
        The run's result; `record.key` must be set.
    folder
        The run's folder, whose `weights-seed<k>.safetensors` are logged too.

    Returns
    -------
    MLflow's run id.

    Raises
    ------
    UserError
        When the store can't be reached, read or written (a server within 20 s).
    """
    if not record.key:
        raise ValueError(f"{record.experiment}: a record without a key can't be found again")
    import ecglib.report.figures  # noqa: F401  # slow, so not while others wait for the lock

    with _store() as store:
        experiment = store.experiment(record.experiment.split("/")[0] or EXPLORATION)
        with_key = store.runs(record.key)
        for run in with_key:
            named_so = not record.experiment or run.data.tags.get("experiment") == record.experiment
            if named_so and run.info.status == "FINISHED" and run.data.tags.get("evaluated") == _evaluated(record):
                return str(run.info.run_id)
        replaced = [run for run in with_key if run.data.tags.get("experiment", "") in (record.experiment, "")]
        run_id = _log_new(store.client, experiment, record, folder)
        for run in replaced:
            store.delete(run.info.run_id)
        return run_id


def find(key: str) -> str | None:
    """The id of the finished MLflow run with this key, or None.

    Raises
    ------
    UserError
        When the store can't be reached or read.
    """
    if _absent():
        return None
    with _store() as store:
        found = [run for run in store.runs(key) if run.info.status == "FINISHED"]
        return str(found[0].info.run_id) if found else None


def count() -> int:
    """How many runs the store holds, deleted ones not counted.

    Raises
    ------
    UserError
        When the store can't be reached or read.
    """
    if _absent():
        return 0
    with _store() as store:
        return len(store.runs())


def ui_command(port: int = 5000) -> list[str]:
    """The command that serves MLflow's pages over the embedded store, on loopback; makes the store where there is none.

    Run it with this process's environment: telemetry has been switched off there.

    Raises
    ------
    UserError
        When `MLFLOW_TRACKING_URI` names a server, which has pages of its own.
    """
    database = _database()
    if database is None:
        raise UserError(
            "MLFLOW_TRACKING_URI",
            f"runs are on {_shown(_server())}",
            "the embedded store",
            "open that address in a browser",
        )
    with _store():
        pass
    return [
        sys.executable, "-m", "mlflow", "server", "--backend-store-uri", _sqlite(database),
        "--default-artifact-root", _artifacts(database).as_uri(), "--no-serve-artifacts",
        "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
    ]  # fmt: skip


@dataclass(frozen=True)
class _Store:
    """An open store: MLflow's client, and where artifacts go (None: the server decides)."""

    client: MlflowClient
    artifacts: Path | None

    def experiment(self, name: str) -> str:
        """The id of the MLflow experiment of this name, made or brought back where it isn't there."""
        found = self.client.get_experiment_by_name(name)
        location = None if self.artifacts is None else self.artifacts.as_uri()
        if found is None:
            return str(self.client.create_experiment(name, artifact_location=location))
        if location is not None and found.artifact_location != location:
            raise UserError(
                self.artifacts or "",
                f"the store keeps artifacts of {name} in {found.artifact_location}",
                location,
                "the project was moved: move it back, or remove mlflow.db and log anew",
            )
        if found.lifecycle_stage == "deleted":
            self.client.restore_experiment(found.experiment_id)
        return str(found.experiment_id)

    def runs(self, key: str | None = None, experiment: str | None = None) -> list[Any]:
        """All runs, or those of one key, newest first; in one MLflow experiment or in all."""
        ids = [experiment] if experiment else [one.experiment_id for one in self.client.search_experiments()]
        where = "" if key is None else f"tags.`key` = '{re.sub(r'[^0-9A-Za-z_.-]', '', key)}'"
        found: list[Any] = []
        token: str | None = None
        while ids:
            page = self.client.search_runs(ids, where, page_token=token, max_results=1000)
            found += page
            token = page.token
            if not token:
                break
        return found

    def delete(self, run_id: str) -> None:
        """Delete a run; in the embedded store its files too, which MLflow would keep."""
        self.client.delete_run(run_id)
        if self.artifacts is not None and run_id:
            shutil.rmtree(self.artifacts / run_id, ignore_errors=True)


@contextmanager
def _store() -> Iterator[_Store]:
    """Open the store, the embedded one under its lock; what goes wrong with it is a UserError."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    database = _database()
    try:
        if database is None:
            yield _Store(_reach(_server()), None)
            return
        database.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(database.with_name(f"{database.name}.lock"), timeout=_LOCK_SECONDS):
            if not database.is_file():
                _create(database)
            yield _Store(MlflowClient(tracking_uri=_sqlite(database)), _artifacts(database))
    except Timeout:
        raise UserError(
            f"{database}.lock", f"held by another process for {_LOCK_SECONDS} s", do="see which one hangs"
        ) from None
    except (MlflowException, SQLAlchemyError, OSError) as error:
        where = _shown(_server()) if database is None else database
        raise UserError(where, f"MLflow's store failed: {_first_line(error)}", "a store that can be written") from error


def _create(database: Path) -> None:
    """Make an empty store under another name first, so that a kill leaves no half-migrated one.

    The migration is some hundred transactions. It waits for the disk once, at the end, and not after each.
    """
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
    from sqlalchemy import Engine, event

    def hasten(connection: Any, _: object) -> None:
        connection.execute("PRAGMA synchronous=OFF")

    unfinished = database.with_name(f"{database.name}.new")
    unfinished.unlink(missing_ok=True)
    event.listen(Engine, "connect", hasten)
    try:
        store = SqlAlchemyStore(_sqlite(unfinished), _artifacts(database).as_uri())
        store.engine.dispose()
    finally:
        event.remove(Engine, "connect", hasten)
    with unfinished.open("rb+") as file:
        os.fsync(file.fileno())
    unfinished.replace(database)


def _reach(uri: str) -> MlflowClient:
    """A client whose server answers; it gives up in time whatever hangs (name, connection, answer)."""
    from mlflow import MlflowClient

    answer: list[MlflowClient | BaseException] = []

    def ask() -> None:
        try:
            client = MlflowClient(tracking_uri=uri)
            client.search_experiments(max_results=1)
            answer.append(client)
        except Exception as error:  # carried over to the caller's thread
            answer.append(error)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(_SERVER_SECONDS)
    result = answer[0] if answer else TimeoutError(f"no answer within {_SERVER_SECONDS} s")
    if isinstance(result, BaseException):
        raise UserError(
            "MLFLOW_TRACKING_URI",
            f"{_shown(uri)} can't be used ({_first_line(result)})",
            "a running MLflow server",
            "start it, or unset the variable to use the embedded store",
        )
    return result


def _database() -> Path | None:
    """The embedded store's file; None where `MLFLOW_TRACKING_URI` names a server."""
    uri = _server()
    if not uri:
        return paths.root() / "mlflow.db"
    return paths.root() / uri.removeprefix("sqlite:///") if uri.startswith("sqlite:///") else None


def _server() -> str:
    return os.environ.get("MLFLOW_TRACKING_URI", "")


def _absent() -> bool:
    """Whether there is no embedded store yet; to ask for a run makes none."""
    database = _database()
    return database is not None and not database.is_file()


def _sqlite(database: Path) -> str:
    return f"sqlite:///{database.as_posix()}"


def _artifacts(database: Path) -> Path:
    return database.with_name("mlartifacts")


def _log_new(client: MlflowClient, experiment: str, record: Record, folder: Path) -> str:
    from mlflow.entities import Param

    end = int(time.time() * 1000)
    start = end - int(record.train_seconds * 1000)
    name = record.experiment.split("/")[-1]
    run_id = str(client.create_run(experiment, start_time=start, run_name=name, tags=_tags(record)).info.run_id)
    params = [Param(key, str(value)[:_PARAM_LENGTH]) for key, value in record.parameters.items()]
    for first in range(0, len(params), _BATCH["params"]):
        client.log_batch(run_id, params=params[first : first + _BATCH["params"]])
    metrics = [*_curves(record, start), *_final(record, end)]
    for first in range(0, len(metrics), _BATCH["metrics"]):
        client.log_batch(run_id, metrics=metrics[first : first + _BATCH["metrics"]])
    with tempfile.TemporaryDirectory() as made:
        _write_artifacts(record, Path(made))
        client.log_artifacts(run_id, made)
    for weights in sorted(folder.glob("weights-seed*.safetensors")):
        client.log_artifact(run_id, str(weights), "weights")
    client.set_terminated(run_id, "FINISHED", end_time=end)
    return run_id


def _evaluated(record: Record) -> str:
    return " ".join(record.evaluated.values())


def _tags(record: Record) -> dict[str, str]:
    return {
        "key": record.key,
        "evaluated": _evaluated(record),
        "experiment": record.experiment,
        "profile": record.profile,
        "data": record.data.name,
        "synthetic": str(record.data.synthetic).lower(),
        "seeds": ", ".join(str(seed) for seed in record.seeds),
        "commit": record.commit,
        "hardware": record.hardware,
        "device": record.device,
        "precision": record.precision,
        "created": record.created,
    }


def _curves(record: Record, start: int) -> list[Metric]:
    """Each seed's epochs, in the order and at the times at which they ran."""
    from mlflow.entities import Metric

    metrics, clock = [], float(start)
    for run in record.training:
        for epoch in run.history:
            clock += 1000 * epoch.seconds
            for name, value in epoch.model_dump(exclude={"epoch"}).items():
                if value is not None:
                    metrics.append(Metric(f"seed{run.seed}/{name}", value, int(clock), epoch.epoch))
    return metrics


def _final(record: Record, end: int) -> list[Metric]:
    """The result's metrics: `macro_f1`, `macro_f1_low`, `macro_f1_high`; per class and EC57 under a prefix, and all of
    them again with thresholds moved under `moved/`."""
    from mlflow.entities import Metric

    values: dict[str, float | None] = {
        "train_seconds": record.train_seconds,
        "n_parameters": float(record.n_parameters),
        **_of_decision("", record),
    }
    if record.moved is not None:
        values |= _of_decision("moved/", record.moved)
    return [Metric(name, value, end, 0) for name, value in values.items() if value is not None]


def _of_decision(prefix: str, of: Record | Moved) -> dict[str, float | None]:
    values = _flat(prefix, of.metrics)
    for kind, groups in (("class", of.per_class), ("ec57", of.ec57)):
        for group, metrics in groups.items():
            values |= _flat(f"{prefix}{kind}/{re.sub(r'[^0-9A-Za-z_. -]', '_', group)}/", metrics)
    return values


def _flat(prefix: str, metrics: Mapping[str, Interval]) -> dict[str, float | None]:
    flat: dict[str, float | None] = {}
    for key, value in metrics.items():
        flat |= {
            f"{prefix}{key}": value.mean,
            f"{prefix}{key}_low": value.low,
            f"{prefix}{key}_high": value.high,
        }
    return flat


def _write_artifacts(record: Record, folder: Path) -> None:
    from ecglib.report import ecg_figures, figures, tables

    record.save(folder / "record.json")
    confusion = ecg_figures.one_vs_rest if record.task == "multilabel" else figures.confusion
    pictures = {"confusion.png": confusion(record)}
    if record.training:
        pictures["learning-curves.png"] = figures.learning_curves(record)
    for name, figure in pictures.items():
        (folder / name).write_bytes(figures.png(figure))
    (folder / "classification-report.txt").write_text(tables.classification_report(record), encoding="utf-8")
    report = [f"# {record.title or record.experiment}", tables.metrics(record), tables.per_class(record)]
    report += [tables.circumstances(record), tables.parameters(record)]
    (folder / "report.md").write_text("\n\n".join(report) + "\n", encoding="utf-8")


def _shown(uri: str) -> str:
    """A server's address without the user and password it may carry."""
    return re.sub(r"//[^/@]*@", "//", uri)


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return _shown(textwrap.shorten(lines[0], 160, placeholder=" …")) if lines else type(error).__name__
