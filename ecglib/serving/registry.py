"""Models by name and alias in MLflow's registry: registered, listed, fetched.

The registry is that of the store which `ecglib.tracking` opens: SQLite by default, or the server of
`MLFLOW_TRACKING_URI`; with `MLFLOW_REGISTRY_URI=databricks-uc` (or `MLFLOW_TRACKING_URI=databricks`) it is Unity
Catalog. A version holds a copy of the artefact, `pyfunc.py` and the package's own code, so that a server needs nothing
but the packages in `REQUIREMENTS`. What is fetched is the artefact alone: no code of it is run, and its hashes are
compared.

Served by MLflow, a model takes tensors as its card describes them, named `beat`, `features` and `recording`, and gives
probabilities. mlflow takes seconds to import, so only the functions that need it do.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from importlib import metadata
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np

from ecglib import files, paths, tracking
from ecglib.errors import UserError, nearest, some
from ecglib.serving import model as serving
from ecglib.serving.model import Card, Model

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.models import ModelSignature

T = TypeVar("T")
EXPERIMENT: Final = "models"
"""MLflow experiment whose runs hold the registered copies."""
ARTEFACT: Final = "artefact"
"""The artefact's folder in a logged model, and the tag with its version."""
REQUIREMENTS: Final = ("mlflow", "numpy", "scipy", "pandas", "pyarrow", "pydantic", "filelock", "wfdb", "onnxruntime")
"""The packages that a server needs, at the versions that are here."""
MOST: Final = 1000
"""Names that are looked through for one that was meant."""
_URI: Final = re.compile(r"models:/([^/:@]+)(?:@([\w-]+)|/(\d+))")
_NAME: Final = re.compile(r"(?!\W+$)[^/:@'\"]+")
_CATALOG_NAME: Final = re.compile(r"([^./\s]+\.){2}[^./\s]+")
_ALIAS: Final = re.compile(r"(?!(?i:v?\d+|latest)$)[\w-]+")


@dataclass(frozen=True)
class Version:
    """A version of a registered model."""

    name: str
    version: int
    aliases: list[str]
    task: str
    model: str
    """The name on its card, such as that of the experiment which trained it."""
    key: str
    """That of the run."""
    artefact: str
    """The artefact's own version, a SHA-256."""
    created: str

    @property
    def uri(self) -> str:
        """Its address, which names one version for ever."""
        return f"models:/{self.name}/{self.version}"


@dataclass(frozen=True)
class _Registry:
    client: MlflowClient
    store: tracking.Store
    catalog: bool
    """Whether it is Unity Catalog."""


def register(model: str, name: str, alias: str = "") -> Version:
    """Register a copy of a model (as of `serving.load`) and give the new version an alias, if one is named.

    A version of that name which holds the same artefact is taken in place of a new one. A `UserError` when the model
    can't be loaded, or was changed since it was exported; when name or alias is none; when the registry fails.
    """
    if alias and not _ALIAS.fullmatch(alias):
        found, do = "no alias", "letters, digits, _ and -; neither a version (3, v3) nor latest"
        raise UserError(f"--alias {alias}", found, do)
    opened = serving.load(model)
    with _registry() as registry:
        _check_name(registry, name)
        if _there(registry.client.get_registered_model, name) is None:
            registry.client.create_registered_model(name)
        same = [one.version for one in _versions(registry, name) if one.artefact == opened.card.version]
        version = max(same) if same else _publish(registry, opened, name)
        if alias:
            registry.client.set_registered_model_alias(name, alias, str(version))
        return _version(registry.client.get_model_version(name, str(version)))


def versions(name: str = "") -> list[Version]:
    """What this package registered, by name and version; all of it, or of one name. A `UserError` when the registry
    fails, or lacks the name; of Unity Catalog a name must be given."""
    with _registry() as registry:
        if registry.catalog and not name:
            expected = "catalog.schema.name, as Unity Catalog may hold thousands"
            raise UserError("ecglib models", "no name given", expected)
        if name:
            _check_name(registry, name)
            if _there(registry.client.get_registered_model, name) is None:
                raise _unknown(registry, name, name)
        return [one for each in ([name] if name else sorted(_names(registry))) for one in _versions(registry, each)]


def resolve(uri: str) -> Version:
    """The version that `models:/NAME@ALIAS` or `models:/NAME/VERSION` names now. A `UserError` when there is none."""
    parts = _URI.fullmatch(uri)
    if not parts:
        raise UserError(uri, "no address of a registered model", "models:/NAME@ALIAS or models:/NAME/VERSION")
    name, alias, number = parts.groups()
    with _registry() as registry:
        _check_name(registry, name)
        client = registry.client
        get, which = (client.get_model_version_by_alias, alias) if alias else (client.get_model_version, number)
        found = _there(get, name, which)
        if found is None:
            raise _unknown(registry, uri, name, f"alias {alias}" if alias else f"version {number}")
        version = _version(found)
        if not re.fullmatch("[0-9a-f]{64}", version.artefact):
            raise UserError(uri, "holds no artefact of ecglib", "a version made by ecglib register")
        return version


def fetch(uri: str) -> Path:
    """The artefact's folder, downloaded into the cache once; its hashes are compared with the version's. A `UserError`
    as of `resolve`, and when what the registry holds isn't what was registered."""
    version = resolve(uri)
    folder = paths.cache() / "registered" / version.artefact
    with files.lock(folder.with_suffix(".lock")):
        if not _is_whole(folder, version):
            with tempfile.TemporaryDirectory() as temporary:
                there = _download(version, temporary)
                if not _is_whole(there, version):
                    found = "not what was registered: its files were changed"
                    raise UserError(version.uri, found, do="register it again")
                with files.writing_folder(folder) as unfinished:
                    _copy(there, unfinished)
    return folder


# --- the registry -----------------------------------------------------------------------------------------------------


@contextmanager
def _registry() -> Iterator[_Registry]:
    """Open the registry; what goes wrong with it is a UserError."""
    with tracking.open_store() as store:
        import mlflow
        from mlflow.exceptions import MlflowException

        elsewhere = os.environ.get("MLFLOW_REGISTRY_URI")
        if elsewhere:
            search = partial(store.client.search_registered_models, max_results=1)
            tracking.reach(search, "MLFLOW_REGISTRY_URI", elsewhere)
        catalog = str(mlflow.get_registry_uri()).startswith("databricks-uc")
        try:
            yield _Registry(store.client, store, catalog)
        except (MlflowException, OSError) as error:  # Databricks' own errors are of the second kind
            if not (elsewhere or catalog):
                raise
            where = "Unity Catalog" if catalog else "MLFLOW_REGISTRY_URI"
            raise UserError(where, f"the registry failed: {tracking.first_line(error)}") from error


def _check_name(registry: _Registry, name: str) -> None:
    if registry.catalog and not _CATALOG_NAME.fullmatch(name):
        raise UserError(name, "no name of Unity Catalog", "catalog.schema.name")
    if not _NAME.fullmatch(name):
        raise UserError(name or "--name", "no name of a model", "such as heartbeat, without / : @ and quotes")


def _there(get: Callable[..., T], *named: str) -> T | None:
    """What MLflow has of these names; None where it says that it isn't there, as SQLite does of an alias as of a bad
    value."""
    from mlflow.exceptions import MlflowException

    try:
        return get(*named)
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "NOT_FOUND", "INVALID_PARAMETER_VALUE"):
            raise
        return None


def _unknown(registry: _Registry, where: str, name: str, what: str = "") -> UserError:
    """That there is no such model, or of it no such alias or version, and which there are."""
    if _there(registry.client.get_registered_model, name) is None:
        do = nearest(name, islice(_names(registry), MOST), 0.4) or "ecglib models lists what there is"
        return UserError(where, f"no registered model {name}", do=do)
    there = _versions(registry, name)
    numbers, aliases = [str(one.version) for one in reversed(there)], [alias for one in there for alias in one.aliases]
    expected = f"one of its versions ({some(numbers, 5) or 'none'}) or aliases ({some(aliases, 5) or 'none'})"
    return UserError(where, f"{name} has no {what}", expected)


def _names(registry: _Registry) -> Iterator[str]:
    return (str(one.name) for one in _pages(registry.client.search_registered_models))


def _versions(registry: _Registry, name: str) -> list[Version]:
    """Those of a name that this package registered, with all their files. A search of Unity Catalog tells neither tags
    nor aliases."""
    found = _pages(registry.client.search_model_versions, filter_string=f"name='{name}'")
    every = [_version(registry.client.get_model_version(name, one.version)) for one in found if one.status == "READY"]
    return sorted((one for one in every if one.artefact), key=lambda one: one.version)


def _pages(search: Any, **given: Any) -> Iterator[Any]:
    token = None
    while True:
        page = search(page_token=token, **given)
        yield from page
        token = page.token
        if not token:
            return


def _version(found: ModelVersion) -> Version:
    tags = dict(found.tags)
    created = datetime.fromtimestamp(found.creation_timestamp / 1000, UTC).isoformat(timespec="seconds")
    own = {name: tags.get(name, "") for name in ("task", "model", "key", ARTEFACT)}
    return Version(str(found.name), int(found.version), sorted(found.aliases), created=created, **own)


# --- what is registered -----------------------------------------------------------------------------------------------


def _publish(registry: _Registry, opened: Model, name: str) -> int:
    """Make a version of a copy of the artefact. Unity Catalog keeps its files; elsewhere a run of its own does, as the
    files of the training's run go when that is logged anew."""
    client, card = registry.client, opened.card
    tags = {ARTEFACT: card.version, "task": card.task, "model": card.name, "key": card.key, "commit": card.commit}
    with tempfile.TemporaryDirectory() as temporary:
        saved = _save(opened, Path(temporary))
        if registry.catalog:  # of a path that is there after the upload it deletes nothing
            return int(client.create_model_version(name, str(saved), tags=tags).version)
        run = client.create_run(registry.store.experiment(EXPERIMENT), run_name=name, tags=tags).info
        client.log_artifacts(run.run_id, str(saved), "model")
        client.set_terminated(run.run_id)
        return int(client.create_model_version(name, f"{run.artifact_uri}/model", run.run_id, tags=tags).version)


def _save(opened: Model, folder: Path) -> Path:
    """An MLflow model with a copy of the artefact."""
    from mlflow import pyfunc

    copy, package = folder / ARTEFACT, Path(__file__).parents[1]  # copied code, or MLflow would tell where it lies here
    copy.mkdir()
    _copy(opened.folder, copy)
    for path in package.rglob("*.py"):
        code = folder / path.relative_to(package.parent)
        code.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, code)
    signature = _signature(opened.card)
    with warnings.catch_warnings(record=True):  # it asks for types of `predict` that tensors by name can't have
        pyfunc.save_model(
            str(folder / "model"),
            python_model=str(folder / package.name / "serving" / "pyfunc.py"),
            artifacts={ARTEFACT: str(copy)},
            code_paths=[str(folder / package.name)],
            signature=signature,
            input_example=_example(opened.card, signature),
            pip_requirements=[f"{name}=={metadata.version(name)}" for name in REQUIREMENTS],
            metadata={"classes": opened.card.classes, ARTEFACT: opened.card.version},
        )
    return folder / "model"


def _signature(card: Card) -> ModelSignature:
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema, TensorSpec

    def tensor(name: str, *shape: int) -> ColSpec | TensorSpec:
        return TensorSpec(np.dtype(np.float32), (-1, *shape), name)

    if card.task == "recordings":
        inputs = [tensor("recording", card.input_shape[0], -1)]
    else:
        inputs = [tensor("beat", *card.input_shape)]
        inputs += [tensor("features", len(card.features))] if card.features else []
    return ModelSignature(Schema(inputs), Schema([tensor("probability", len(card.classes))]))


def _example(card: Card, signature: ModelSignature) -> dict[str, np.ndarray]:
    """Made-up input, two of each."""
    shapes = {one.name: one.shape[1:] for one in signature.inputs.inputs}
    if "recording" in shapes:
        shapes["recording"] = tuple(card.input_shape)
    return {name: np.zeros((2, *shape), dtype=np.float32) for name, shape in shapes.items()}


def _copy(artefact: Path, folder: Path) -> None:
    """Copy the files of an artefact, and no other that may lie beside them."""
    for name in (serving.CARD, serving.ONNX, serving.WEIGHTS, serving.README):
        if (artefact / name).is_file():
            shutil.copyfile(artefact / name, folder / name)


# --- what is fetched --------------------------------------------------------------------------------------------------


def _is_whole(folder: Path, version: Version) -> bool:
    try:
        return serving.checked(folder).version == version.artefact
    except UserError:
        return False


def _download(version: Version, folder: str) -> Path:
    """The artefact as the registry has it, in a folder of this machine."""
    with _registry() as registry:
        from mlflow.artifacts import download_artifacts
        from mlflow.exceptions import MlflowException

        client, source = registry.client, version.uri
        if not registry.catalog:
            source = client.get_model_version_download_uri(version.name, str(version.version))
        where = f"{source}/artifacts/{ARTEFACT}"
        try:
            return Path(download_artifacts(where, dst_path=folder, tracking_uri=client.tracking_uri))
        except (MlflowException, OSError) as error:
            found = f"its files can't be fetched ({tracking.first_line(error)})"
            raise UserError(version.uri, found, f"those of {where}") from error
