"""Models in MLflow's registry: registered as copies, fetched with their hashes compared, served without a pickle."""

from __future__ import annotations

import json
import os
import pickle
import pickletools
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import servers
import unity_catalog
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from projects import Call
from served import real_input

from ecglib import serving, tracking
from ecglib.errors import UserError
from ecglib.serving import registry

PICKLE = pickle.dumps(["a pickle"])


def is_pickle(content: bytes) -> bool:
    """Whether a file may be one of protocol 2 or later."""
    with suppress(ValueError):
        return content.startswith(b"\x80") and bool(list(pickletools.genops(content)))
    return False


@pytest.fixture
def catalog(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[unity_catalog.Catalog]:
    """A Unity Catalog, which the registry is."""
    with unity_catalog.serving(root / "there") as server:
        monkeypatch.setenv("DATABRICKS_HOST", server.url)
        monkeypatch.setenv("DATABRICKS_TOKEN", unity_catalog.TOKEN)
        monkeypatch.setenv("MLFLOW_REGISTRY_URI", "databricks-uc")
        yield server


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def model_folder(root: Path) -> Path:
    """The one logged model of a project's store."""
    (found,) = root.glob("mlartifacts/*/artifacts/model")
    return found


def copy_of(name: str, folder: Path) -> Path:
    """A folder of its own with an embedded model."""
    return Path(shutil.copytree(serving.load(f"ecglib:{name}").folder, folder))


@pytest.mark.parametrize("name", ["cnet", "ecgnet", "xresnet"])
def test_mlflow_loads_what_was_registered(root: Path, name: str) -> None:
    import mlflow

    registry.register(f"ecglib:{name}", "mine")
    folder = model_folder(root)
    own = [path for path in folder.rglob("*") if path.is_file()]
    assert {folder / "code/ecglib/serving/model.py", folder / "pyfunc.py"} <= set(own)
    for path in own:
        assert not is_pickle(path.read_bytes()), path
        assert path.suffix in (".py", ".json", ".yaml", ".txt", ".md", ".onnx", ".safetensors", ""), path
    assert is_pickle(PICKLE)
    description = (folder / "MLmodel").read_text(encoding="utf-8")
    assert "python_model:" not in description
    assert str(Path(registry.__file__).parents[2]) not in description, "no path of this machine"

    loaded = mlflow.pyfunc.load_model(str(folder))
    assert [one.name for one in loaded.metadata.signature.outputs.inputs] == ["probability"]
    model = serving.load(f"ecglib:{name}")
    inputs, expected = real_input(model)
    np.testing.assert_allclose(loaded.predict(inputs), expected, atol=1e-5)
    assert all(len(values) == 2 for values in loaded.input_example.values())
    assert loaded.predict(loaded.input_example).shape == (2, len(model.card.classes))
    for key, values in inputs.items():
        for broken in (values * np.nan, values[:, :-1], values.astype(np.float64)):
            with pytest.raises(mlflow.MlflowException) as error:
                loaded.predict(inputs | {key: broken})
            assert error.value.error_code == "INVALID_PARAMETER_VALUE"


def test_a_flat_column_of_a_table_is_read_as_spark_gives_it(root: Path) -> None:
    import mlflow
    import pandas as pd

    registry.register("ecglib:cnet", "beats")
    inputs, expected = real_input(serving.load("ecglib:cnet"))
    table = pd.DataFrame({"beat": [beat.ravel().tolist() for beat in inputs["beat"]]})
    np.testing.assert_allclose(mlflow.pyfunc.load_model(str(model_folder(root))).predict(table), expected, atol=1e-5)


def test_mlflow_opens_no_pickle_here(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow

    class Pickled(mlflow.pyfunc.PythonModel):
        def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
            return model_input

    mlflow.pyfunc.save_model(str(root / "pickled"), python_model=Pickled(), pip_requirements=[])
    monkeypatch.delenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", raising=False)
    registry.versions()
    with pytest.raises(mlflow.MlflowException, match="pickle is disallowed"):
        mlflow.pyfunc.load_model(str(root / "pickled"))


def test_a_server_needs_the_required_packages_alone(root: Path) -> None:
    """It runs the code that lies beside the artefact. Of the packages that this imports, each is required, or a need of
    one that is."""
    registry.register("ecglib:ecgnet", "beats")
    code = (
        "import importlib.metadata as m, sys, mlflow.pyfunc\n"
        f"loaded = mlflow.pyfunc.load_model({str(model_folder(root))!r})\n"
        "loaded.predict(loaded.input_example)\n"
        "import ecglib\nprint(ecglib.__file__)\nof = m.packages_distributions()\n"
        "print(*{'|'.join(of[name]) for name in {n.partition('.')[0] for n in sys.modules} if name in of})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root)
    assert not done.returncode, done.stderr
    where, imported = done.stdout.splitlines()
    assert Path(where).is_relative_to(model_folder(root) / "code")
    # MLflow installs setuptools, and does without the others
    needed = {"ecglib-book", "setuptools", "tqdm", "psutil", "sniffio"}
    todo = list(registry.REQUIREMENTS)
    while todo:
        name = canonicalize_name(todo.pop())
        if name not in needed:
            needed.add(name)
            wants = [Requirement(line) for line in metadata.requires(name) or []]
            todo += [one.name for one in wants if not one.marker or one.marker.evaluate({"extra": ""})]
    # several packages may share a namespace
    assert all(needed & set(map(canonicalize_name, names.split("|"))) for names in imported.split())


def test_register_alias_list_and_fetch(root: Path, call: Call) -> None:
    made, other = copy_of("cnet", root / "made"), "ecglib:ecgnet"
    before = files_of(made)
    (made / "notes.pkl").write_bytes(PICKLE)
    assert call("register", made, "--name", "beats", "--alias", "champion") == (0, "models:/beats/1\n", "")
    (listed,) = json.loads(call("models", "--json").out)
    card = serving.load(made).card
    assert abs(datetime.fromisoformat(listed.pop("created")) - datetime.now(UTC)) < timedelta(minutes=1)
    assert listed == {
        "name": "beats", "version": 1, "uri": "models:/beats/1", "aliases": ["champion"], "task": "beats",
        "model": "ecglib:cnet", "key": card.key, "artefact": card.version,
    }  # fmt: skip
    fetched = registry.fetch("models:/beats@champion")
    assert files_of(fetched) == before, "the artefact, and nothing that lay beside it"
    assert files_of(made) == before | {"notes.pkl": PICKLE}
    assert serving.load("models:/beats@champion").folder == fetched

    call("register", made, "--name", "beats", "--alias", "challenger")
    assert [one.aliases for one in registry.versions()] == [["challenger", "champion"]], "no second version of it"
    assert "models:/beats/2" in call("register", other, "--name", "beats", "--alias", "champion").out
    assert [one.aliases for one in registry.versions("beats")] == [["challenger"], ["champion"]]
    assert registry.resolve("models:/beats@champion").version == 2
    assert registry.fetch("models:/beats@champion") != fetched
    assert registry.fetch("models:/beats/1") == fetched
    assert "ecglib:ecgnet" in call("models", "beats").out


def test_what_is_cached_is_checked_and_fetched_anew(root: Path) -> None:
    made = copy_of("cnet", root / "made")
    registry.register(str(made), "beats")
    fetched = registry.fetch("models:/beats/1")
    (fetched / "model.onnx").write_bytes(b"damaged")
    assert files_of(registry.fetch("models:/beats/1")) == files_of(made)

    there = model_folder(root) / "artifacts" / "artefact"
    shutil.rmtree(fetched)
    shutil.rmtree(there)
    copy_of("ecgnet", there)  # sound, but another one
    with pytest.raises(UserError, match="models:/beats/1: not what was registered"):
        registry.fetch("models:/beats/1")
    shutil.rmtree(there)
    with pytest.raises(UserError, match="models:/beats/1: its files can't be fetched"):
        registry.fetch("models:/beats/1")
    assert not fetched.exists()


def test_what_is_no_sound_artefact_is_not_registered(root: Path) -> None:
    from mlflow import MlflowClient

    made = copy_of("cnet", root / "made")
    (made / "model.onnx").write_bytes((made / "model.onnx").read_bytes() + b" ")
    with pytest.raises(UserError, match="changed since it was exported"):
        registry.register(str(made), "beats")
    (root / "empty").mkdir()
    with pytest.raises(UserError, match=r"no model\.json in it"):
        registry.register(str(root / "empty"), "beats")
    assert registry.versions() == []
    assert not MlflowClient(tracking_uri=f"sqlite:///{root / 'mlflow.db'}").search_registered_models()


def test_names_that_are_none_are_told_in_a_line(root: Path) -> None:
    from mlflow import MlflowClient

    made = copy_of("cnet", root / "made")
    registry.register(str(made), "heartbeats", "champion")
    client = MlflowClient(tracking_uri=f"sqlite:///{root / 'mlflow.db'}")
    client.create_registered_model("foreign")
    client.create_model_version("foreign", str(made))
    for uri, told in {
        "models:/heartbeat@champion": "no registered model heartbeat; did you mean heartbeats?",
        "models:/zzz/1": "no registered model zzz; ecglib models lists",
        "models:/heartbeats@chalenger": "has no alias chalenger; expected one of its versions (1) or aliases (champion",
        "models:/heartbeats/7": "has no version 7; expected one of its versions (1) or aliases (champion)",
        "models:/heartbeats": "expected models:/NAME@ALIAS or models:/NAME/VERSION",
        "models:/heartbeats/latest": "expected models:/NAME@ALIAS or models:/NAME/VERSION",
        "models:/foreign/1": "holds no artefact of ecglib; expected a version made by ecglib register",
    }.items():
        with pytest.raises(UserError) as error:
            registry.fetch(uri)
        assert str(error.value).startswith(f"{uri}: "), error.value
        assert told in str(error.value), error.value
    assert [one.name for one in registry.versions()] == ["heartbeats"], "those of others are not listed"
    wrong = [(no, "") for no in ("a/b", "", "..", "a@b")] + [("a", no) for no in ("v1", "3", "Latest", "a b")]
    for name, alias in wrong:
        with pytest.raises(UserError, match=r"no name of a model|no alias"):
            registry.register(str(made), name, alias)
    with pytest.raises(UserError, match="heartbeat: no registered model heartbeat; did you mean heartbeats"):
        registry.versions("heartbeat")


def test_unity_catalog_keeps_a_copy(root: Path, catalog: unity_catalog.Catalog) -> None:
    made, name = copy_of("cnet", root / "made"), "main.ecg.beats"
    before = files_of(made)
    made_version = registry.register(str(made), name, "champion")
    assert (made_version.version, made_version.aliases) == (1, ["champion"])
    assert files_of(made) == before, "the client deletes local files of some sources"
    uploaded = catalog.folder / "Models/main/ecg/beats/1"
    assert files_of(uploaded / "artifacts/artefact") == before
    assert files_of(registry.fetch(f"models:/{name}@champion")) == before
    assert registry.resolve(f"models:/{name}@champion").uri == f"models:/{name}/1"
    asked = len(catalog.asked)
    assert registry.register(str(made), name).version == 1
    assert not [one for one in catalog.asked[asked:] if one.startswith("PUT")], "uploaded again"
    assert [one.version for one in registry.versions(name)] == [1]

    catalog.models[name]["versions"][0]["status"] = "PENDING_REGISTRATION"  # as if the upload had been cut
    assert registry.register(str(made), name).version == 2


def test_unity_catalog_says_what_is_wrong_in_a_line(
    root: Path, catalog: unity_catalog.Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = copy_of("cnet", root / "made")
    for name in ("beats", "ecg.beats", "main.ecg.beats.more", "main..beats"):
        with pytest.raises(UserError, match=f"{name}: no name of Unity Catalog; expected catalog.schema.name"):
            registry.register(str(made), name)
    with pytest.raises(UserError, match=r"ecglib models: no name given; expected catalog\.schema\.name"):
        registry.versions()
    registry.register(str(made), "main.ecg.beats")
    with pytest.raises(UserError, match=r"no registered model main\.ecg\.beat; did you mean main\.ecg\.beats"):
        registry.fetch("models:/main.ecg.beat@champion")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "databricks")
    monkeypatch.delenv("MLFLOW_REGISTRY_URI")
    assert registry.resolve("models:/main.ecg.beats/1").version == 1
    monkeypatch.setenv("DATABRICKS_TOKEN", "expired")
    with pytest.raises(UserError, match="no such token") as error:
        registry.versions("main.ecg.beats")
    assert "\n" not in str(error.value)


def test_a_deaf_registry_is_told_in_time(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "SERVER_SECONDS", 0.5)
    with servers.deaf() as where:
        monkeypatch.setenv("MLFLOW_REGISTRY_URI", f"http://{where}")
        with pytest.raises(UserError, match=r"MLFLOW_REGISTRY_URI: .* can't be used .*no answer within"):
            registry.register("ecglib:cnet", "beats")


@pytest.mark.long
def test_a_server_keeps_it_and_mlflow_serves_it(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = serving.load("ecglib:ecgnet")
    inputs, expected = real_input(model)
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    ports = [servers.free_port(), servers.free_port()]
    monkeypatch.chdir(root)
    with servers.running(tracking.ui_command(ports[0]), f"http://127.0.0.1:{ports[0]}/health", environment):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{ports[0]}")
        registry.register("ecglib:ecgnet", "beats", "champion")
        assert files_of(registry.fetch("models:/beats@champion")) == files_of(model.folder)
        environment["MLFLOW_TRACKING_URI"] = os.environ["MLFLOW_TRACKING_URI"]
        command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", "models:/beats@champion"]
        command += ["--env-manager", "local", "-h", "127.0.0.1", "-p", str(ports[1])]
        with servers.running(command, f"http://127.0.0.1:{ports[1]}/ping", environment):
            status, found = ask(ports[1], inputs)
            assert status == 200, found
            assert len(expected) > 50
            np.testing.assert_allclose(found["predictions"], expected, atol=1e-5)
            gap = inputs["beat"].copy()
            gap[1, 0, 5] = np.nan
            for broken in ({"beat": gap}, {"beat": gap[..., :-1]}, {"features": inputs["features"][:, 1:]}):
                status, found = ask(ports[1], inputs | broken)
                assert status == 400, found


def ask(port: int, inputs: dict[str, Any]) -> tuple[int, Any]:
    """Status and answer of a call of the served model."""
    body = json.dumps({"inputs": {name: values.tolist() for name, values in inputs.items()}}).encode()
    url, kind = f"http://127.0.0.1:{port}/invocations", {"Content-Type": "application/json"}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body, kind), timeout=20) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, error.read()
