from __future__ import annotations

import re
from pathlib import Path

import jupytext
import pytest
from hypothesis import given
from hypothesis import strategies as st
from projects import ROOT

from ecglib import config
from ecglib.errors import UserError

NOTEBOOKS = sorted(path.stem for path in (ROOT / "notebooks").glob("*.py"))


def test_every_notebook_has_a_model_of_its_parameters() -> None:
    assert sorted(config.MODELS) == NOTEBOOKS


@pytest.mark.parametrize("notebook", NOTEBOOKS)
def test_defaults_of_the_notebook_are_those_of_the_model(notebook: str) -> None:
    cells = jupytext.read(ROOT / "notebooks" / f"{notebook}.py").cells
    code = [cell for cell in cells if cell.cell_type == "code"]
    assert code[0].metadata["tags"] == ["parameters"]
    namespace: dict[str, object] = {}
    exec(code[0].source, namespace)
    namespace.pop("__builtins__")
    assert namespace == config.MODELS[notebook]().model_dump()


@pytest.mark.parametrize("experiment", config.experiments())
def test_every_parameters_file_is_valid_and_says_its_own_name(experiment: str, project: Path) -> None:
    parameters = config.load(experiment, profile="full")
    assert parameters.experiment == experiment
    assert parameters.title
    assert parameters.profile == "full"


def test_quick_is_the_default() -> None:
    assert config.load_profile("quick").items() <= config.SharedParameters().model_dump().items()


@pytest.mark.parametrize("model", config.MODELS.values())
def test_every_field_is_described_by_one_sentence(model: type[config.SharedParameters]) -> None:
    source = (ROOT / "ecglib" / "config.py").read_text()
    for field in model.model_fields:
        found = re.search(rf'^    {field}: .*?\n    """(.+?)"""', source, flags=re.MULTILINE | re.DOTALL)
        assert found, field
        assert found.group(1).strip().endswith("."), field


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"epoch": 3}, "epoch"),
        ({"max_epochs": "3"}, "max_epochs"),
        ({"max_epochs": 0}, "max_epochs"),
        ({"seeds": []}, "seeds"),
        ({"seeds": [1, 1]}, "seeds"),
        ({"seeds": [-1]}, "seeds"),
        ({"seeds": [2**32]}, "seeds"),
        ({"learning_rate": "1e-3"}, "learning_rate"),
        ({"learning_rate": float("inf")}, "learning_rate"),
        ({"protocol": "random"}, "protocol"),
        ({"model": "cnett"}, "cnett"),
        ({"deterministic": True, "precision": "bfloat16"}, "precision"),
        ({"weight_exponent": 0.5}, "weight_exponent"),
        ({"leads": ["MLII", "V1"]}, "leads"),
    ],
)
def test_a_wrong_parameter_is_named_in_one_line(values: dict[str, object], field: str) -> None:
    with pytest.raises(UserError) as error:
        config.check("heartbeat", values, "params/heartbeat/x.yaml")
    message = str(error.value)
    assert field in message
    assert message.startswith("params/heartbeat/x.yaml: ")
    assert "\n" not in message


def test_a_mistyped_name_gets_the_nearest_as_a_hint() -> None:
    with pytest.raises(UserError, match="did you mean batch_size"):
        config.check("heartbeat", {"batchsize": 2}, "x")


def test_a_number_that_yaml_takes_for_a_text_is_shown_as_it_should_be_written() -> None:
    with pytest.raises(UserError, match=r"; write 0\.001$"):
        config.check("heartbeat", {"learning_rate": "1e-3"}, "x")


def test_a_notebook_can_be_run_again_from_its_top() -> None:
    namespace = {**config.HeartbeatParameters().model_dump(), "config": config, "_hidden": 3, "In": [], "run": object()}
    assert config.from_notebook(namespace, "heartbeat") == config.HeartbeatParameters()


def test_a_notebook_with_an_unknown_parameter_is_refused() -> None:
    with pytest.raises(UserError, match="unknown parameter epoch"):
        config.from_notebook({**config.HeartbeatParameters().model_dump(), "epoch": 3}, "heartbeat")


def test_overrides_lie_over_the_profile_and_that_over_the_file(project: Path) -> None:
    full = config.load("heartbeat/weighted", profile="full", overrides={"seeds": [7]})
    assert full.seeds == [7]
    assert full.bootstrap == 1000
    assert isinstance(full, config.HeartbeatParameters)
    assert full.imbalance == "weighted"


@pytest.mark.parametrize("field", ["experiment", "title", "profile"])
def test_what_an_experiment_is_cannot_be_overridden(field: str, project: Path) -> None:
    with pytest.raises(UserError, match=f"^-p {field}: "):
        config.load("heartbeat/baseline", overrides={field: "smoke"})


def test_an_unknown_experiment_or_profile_is_refused_with_a_hint(project: Path) -> None:
    with pytest.raises(UserError, match="did you mean heartbeat/baseline"):
        config.load("heartbeat/basline")
    with pytest.raises(UserError, match="no profile fast"):
        config.load("heartbeat/baseline", profile="fast")


def test_a_profile_may_set_shared_fields_only(project: Path) -> None:
    (project / "params" / "profiles" / "odd.yaml").write_text("model: cnet\n")
    with pytest.raises(UserError, match="model is not a field of every experiment"):
        config.load("heartbeat/baseline", profile="odd")


@pytest.mark.parametrize("text", ["- 1\n- 2\n", "a: [1\n", "just text"])
def test_a_file_that_is_no_mapping_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=r"x\.yaml"):
        config.load_yaml(path)


@given(st.floats(1e-6, 1.0), st.integers(2, 4096), st.sampled_from(["none", "weighted", "smote", "smote-tomek"]))
def test_parameters_survive_being_dumped(rate: float, batch: int, imbalance: str) -> None:
    made = config.check("heartbeat", {"learning_rate": rate, "batch_size": batch, "imbalance": imbalance}, "x")
    assert config.check("heartbeat", made.model_dump(), "x") == made


def test_a_file_that_carries_another_name_is_refused(project: Path) -> None:
    source = project / "params" / "heartbeat" / "baseline.yaml"
    (source.parent / "wide.yaml").write_text(source.read_text(encoding="utf-8"), encoding="utf-8")
    with pytest.raises(UserError, match="experiment: heartbeat/baseline; expected heartbeat/wide"):
        config.load("heartbeat/wide")


def test_a_lead_that_the_database_has_not_is_refused() -> None:
    with pytest.raises(UserError, match="leads"):
        config.check("heartbeat", {"leads": ["XYZ"]}, "x")
