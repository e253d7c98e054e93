from __future__ import annotations

import re
import shutil
from pathlib import Path

import jupytext
import pytest
from projects import ROOT

from ecglib import config
from ecglib.errors import UserError

AT_ONCE = (
    ("imbalance", "weighted"), ("imbalance", "effective-number"), ("imbalance", "focal"),
    ("imbalance", "logit-adjustment"), ("refit", True), ("sampling", "by-record"), ("batch_size", 64),
    ("learning_rate", 0.01), ("schedule", "cosine"), ("weight_decay", 0.1), ("label_smoothing", 0.1),
    ("gradient_clip", None), ("ema", None),
)  # fmt: skip
"""What means nothing to a model that is fitted at once."""
NOTEBOOKS = sorted(path.stem for path in (ROOT / "notebooks").glob("*.py"))


@pytest.mark.parametrize("notebook", NOTEBOOKS)
def test_defaults_of_the_notebook_are_those_of_the_model(notebook: str) -> None:
    cells = jupytext.read(ROOT / "notebooks" / f"{notebook}.py").cells
    code = [cell for cell in cells if cell.cell_type == "code"]
    assert code[0].metadata["tags"] == ["parameters"]
    namespace: dict[str, object] = {}
    exec(code[0].source, namespace)
    namespace.pop("__builtins__")
    assert namespace == config.MODELS[notebook]().model_dump()


def test_a_yardstick_shares_with_networks_what_is_read_and_nothing_of_training() -> None:
    p = config.check("infarction", {"model": "age_and_sex", "way": "scratch", "seeds": [4]}, "here")
    assert isinstance(p, config.InfarctionParameters)
    assert p.read_by("age_and_sex") == {"database", "max_records", "protocol", "folds", "test"}
    assert p.read_by("kernel_machine") == p.read_by("age_and_sex") | {"leads"}
    assert {"leads", "learning_rate", "epochs", "pretrained", "max_epochs"} <= p.idle()
    assert not {"database", "folds", "seeds", "model", "way", "bootstrap"} & p.idle()


def test_a_quick_infarction_has_no_learning_curve_and_a_full_one_has() -> None:
    assert config.load("infarction/scratch", profile="quick").model_dump()["curve"] == []
    assert config.load("infarction/scratch", profile="full").model_dump()["curve"]


def test_quick_is_the_default() -> None:
    quick = config.load_profile("quick")
    # only these keep the whole book within its minutes
    assert quick.pop("beats_per_epoch") is not None
    assert quick.pop("test_folds") == [10]
    assert quick.pop("folds") < config.InfarctionParameters().folds
    for model in (config.InfarctionParameters, config.TwelveLeadParameters):
        defaults = model().model_dump()
        assert {name: defaults[name] for name in quick if name in defaults} == {
            name: value for name, value in quick.items() if name in defaults
        }


@pytest.mark.parametrize("model", config.MODELS.values())
def test_every_field_is_described_by_one_sentence(model: type[config.SharedParameters]) -> None:
    source = (ROOT / "ecglib" / "config.py").read_text()
    for field in model.model_fields:
        found = re.search(rf'^    {field}: .*?\n    """(.+?)"""', source, flags=re.MULTILINE | re.DOTALL)
        assert found, field
        assert found.group(1).strip().endswith("."), field


BEATS: list[tuple[dict[str, object], str]] = [
    ({"epoch": 3}, "unknown parameter epoch"),
    ({"batchsize": 2}, "unknown parameter batchsize; did you mean batch_size"),
    ({"max_epochs": "3"}, "max_epochs: .*; write 3$"),
    ({"max_epochs": 0}, "max_epochs: "),
    ({"seeds": []}, "seeds: "),
    ({"seeds": [1, 1]}, "seeds: "),
    ({"seeds": [-1]}, "seeds.0: "),
    ({"seeds": [2**32]}, "seeds.0: "),
    ({"learning_rate": "1e-3"}, r"learning_rate: .*; write 0\.001$"),
    ({"learning_rate": float("inf")}, "learning_rate: "),
    ({"protocol": "random"}, "protocol: "),
    ({"model": "cnett"}, ".*unknown model cnett"),
    ({"deterministic": True, "precision": "bfloat16"}, "precision: "),
    ({"leads": ["XYZ"]}, "leads.0: "),
    ({"leads": ["MLII", "V1"]}, "leads: "),
    ({"leads": ["MLII", "MLII"], "cut": "centred"}, "leads: "),
    *(({"model_options": {name: 3}}, f"model_options: {name} can't be chosen") for name in config.FROM_DATA),
    ({"imbalance": "focal", "label_smoothing": 0.1}, "label_smoothing: "),
    ({"model": "seq2seq", "sampling": "by-record"}, "sampling: "),
    ({"protocol": "intra", "sampling": "by-record"}, "sampling: .*patients apart"),
    ({"protocol": "inter", "sampling": "by-record", "imbalance": "weighted"}, "imbalance: .*by-record shows others"),
    ({"protocol": "cross-database"}, "protocol: cross-database takes train_on and test_on"),
    ({"protocol": "cross-database", "train_on": ["mitdb"]}, "protocol: cross-database takes train_on and test_on"),
    ({"protocol": "cross-database", "train_on": ["a"], "test_on": ["b", "a"]}, "test_on: .* name a database twice"),
    (
        {"protocol": "cross-database", "train_on": ["a"], "test_on": ["b"], "database": "svdb"},
        "database: cross-database",
    ),
    ({"train_on": ["mitdb"]}, "train_on: only means something with protocol: cross-database"),
    ({"protocol": "adapted", "database": "svdb"}, "protocol: adapted is for mitdb's DS1 and DS2; take inter"),
    ({"protocol": "inter", "validation_fraction": 0.2}, "validation_fraction: DS1 has fixed validation records"),
    ({"annotator": "../atr"}, "annotator: "),
    ({"database": ""}, "database: "),
    ({"refit": True, "test": False}, "refit: .*scored on the validation beats"),
    ({"beats_per_sequence": 5}, "beats_per_sequence: "),
    ({"model": "crnn"}, "model: "),
    ({"model": "strided_cnn"}, "model: "),
    ({"model": "kernel_machine"}, "model: .*takes median beats and is not for the classes of heartbeats"),
    ({"model": "ecgnet", "cut": "kachuee"}, "cut: "),
    ({"model": "cnet", "features": ["*"] * 2}, "features: cnet reads none"),
    ({"model": "nearest_neighbour", "imbalance": "random-over"}, "imbalance: "),
    ({"protocol": "adapted", "imbalance": "weighted"}, "imbalance: .*weighted would be undone by the adaptation"),
    ({"protocol": "adapted", "imbalance": "focal"}, "imbalance: .*focal would be undone by the adaptation"),
    ({"protocol": "adapted", "adaptation": "statistics", "adaptation_steps": 5}, "adaptation_steps: "),
    ({"protocol": "adapted", "adaptation": "statistics", "adaptation_rate": 0.1}, "adaptation_rate: "),
    ({"protocol": "adapted", "adaptation_minutes": 6.0}, "adaptation_minutes: "),
    ({"protocol": "adapted", "model": "seq2seq"}, ".*seq2seq can't learn on"),
    *(
        ({"database": "kaggle", field: value}, rf"{field}: .* needs records, and kaggle has beats alone; take {only}$")
        for field, value, only in (
            ("protocol", "inter", "intra"),
            ("protocol", "adapted", "intra"),
            ("cut", "centred", "kachuee"),
            ("cut", "relative", "kachuee"),
            ("leads", ["MLII", "V1"], r"\['MLII'\]"),
        )
    ),
    ({"database": "kaggle", "model": "seq2seq"}, "beats_per_sequence: seq2seq would read neighbours, .*; take 1$"),
    ({"database": "kaggle", "model": "ecgnet"}, "cut: kachuee has no features"),
    ({"protocol": "adapted", "model": "hydra"}, ".*hydra can't learn on"),
    *(
        ({"model": model, field: value}, f"{field}: ")
        for model in ("hydra", "nearest_neighbour", "logistic_regression")
        for field, value in AT_ONCE
    ),
]
INFARCTIONS: list[tuple[dict[str, object], str]] = [
    ({"layer_decay": 0.5}, "layer_decay"),
    ({"database": "heartbeat"}, "database: heartbeat was removed; take kaggle"),
    ({"database": "kaggle"}, "protocol: by-beat"),
    ({"protocol": "by-beat", "curve": [5]}, "curve"),
    ({"smote_neighbours": 3}, "smote_neighbours"),
    ({"leads": ["II", "II"]}, "names a lead twice"),
    ({"model": "hydra"}, "nothing can be transferred"),
    ({"model": "ecgnet"}, "nothing can be transferred"),
    ({"model": "strided_cnn", "way": "finetune"}, "takes aligned beats; take way: scratch"),
    ({"model": "strided_cnn", "protocol": "by-beat"}, "takes aligned beats; .*protocol: by-patient"),
    ({"model": "strided_cnn", "noise": 0.1}, "noise: means nothing"),
    ({"model": "strided_cnn", "hidden": 8}, "hidden: means nothing"),
    ({"networks": 2}, "networks: means nothing"),
    ({"deterministic": True, "precision": "bfloat16"}, "precision: .*deterministic"),
    ({"model": "kernel_machine", "way": "finetune"}, "fitted at once; take way: scratch and protocol: by-patient"),
    ({"model": "median_beat", "way": "frozen"}, "take way: scratch"),
    ({"model": "median_beat", "protocol": "by-beat"}, "protocol: by-patient"),
    ({"model": "median_beat", "epochs": 3}, "epochs: means nothing"),
    ({"model": "median_beat", "curve": [5]}, "curve: means nothing"),
    ({"model": "kernel_machine", "imbalance": "smote"}, "imbalance: means nothing"),
    ({"model": "age_and_sex", "leads": ["V1"]}, "leads: means nothing"),
    ({"model": "age_and_sex", "database": "kaggle"}, "has beats alone"),
]
RECORDINGS: list[tuple[dict[str, object], str]] = [
    ({"model": "cnet"}, "reads beats"),
    ({"model": "kernel_machine", "crop_seconds": 2.5}, "crop_seconds: means nothing"),
    ({"model": "age_and_sex", "rate": 250.0}, "rate: means nothing"),
    ({"model": "median_beat", "model_options": {"width": 3}}, "model_options: means nothing"),
    ({"test_folds": [1, 1]}, "twice"),
    ({"test_folds": [11]}, "less than or equal to 10"),
    ({"database": "challenge-2021"}, "take scored"),
    ({"leave_source_out": True}, "one source"),
    ({"database": "delta:"}, r"database: delta: is none of ptb-xl, challenge-2021 and delta:PATH\[@VERSION\]"),
    ({"database": "delta:a", "labels": "scored"}, "labels: a Delta table has labels of its own"),
    ({"focal_gamma": 1.0}, "means nothing"),
    ({"imbalance": "none", "weight_exponent": 1.0}, "means nothing"),
]


@pytest.mark.parametrize(
    ("notebook", "values", "said"),
    [
        *(("heartbeat", *row) for row in BEATS),
        *(("infarction", {"way": "scratch"} | values, f".*{said}") for values, said in INFARCTIONS),
        *(("twelve-lead", values, f".*{said}") for values, said in RECORDINGS),
    ],
)
def test_what_is_wrong_or_does_not_go_together_is_named_in_one_line(
    notebook: str, values: dict[str, object], said: str
) -> None:
    with pytest.raises(UserError, match=f"^here: {said}") as caught:
        config.check(notebook, values, "here")
    assert "\n" not in str(caught.value)


OFF_DEFAULT = {
    "adaptation": "all", "adaptation_minutes": 2.0, "adaptation_steps": 10, "adaptation_rate": 0.01,
    "weight_exponent": 0.5, "effective_beta": 0.99, "focal_gamma": 1.0, "adjustment_strength": 0.5,
    "smote_neighbours": 3,
}  # fmt: skip
"""Another value of every field of `config.ONLY_WITH`."""


def check(values: dict[str, object]) -> config.HeartbeatParameters:
    found = config.check("heartbeat", values, "here")
    assert isinstance(found, config.HeartbeatParameters)
    return found


@pytest.mark.parametrize("field", config.ONLY_WITH)
def test_a_field_without_its_switch_is_refused_and_idle(field: str) -> None:
    switch, values = config.ONLY_WITH[field]
    with pytest.raises(UserError, match=rf"^here: {field}: only means something with {switch}: {' or '.join(values)}"):
        check({field: OFF_DEFAULT[field]})
    assert field in check({}).idle()
    for value in values:
        on = check({switch: value, field: OFF_DEFAULT[field]})
        assert getattr(on, field) == OFF_DEFAULT[field]
        assert field not in on.idle()


@pytest.mark.parametrize("method", config.RESAMPLERS)
def test_resampling_makes_single_beats(method: str) -> None:
    with pytest.raises(UserError, match=rf"imbalance: {method}.*seq2seq takes sequence; beats_per_sequence: 1 makes"):
        check({"model": "seq2seq", "imbalance": method})
    with pytest.raises(UserError, match=rf"imbalance: {method}.*ecgnet takes beat\+features"):
        check({"model": "ecgnet", "cut": "relative", "imbalance": method})
    check({"model": "seq2seq", "imbalance": method, "beats_per_sequence": 1})
    check({"model": "hydra", "imbalance": method})
    with pytest.raises(UserError, match="sampling: by-record"):
        check({"imbalance": method, "sampling": "by-record"})


GONE = [what for what in config.REMOVED if "/" in what]
"""Experiments that were removed."""


@pytest.mark.parametrize("what", [what for what in config.REMOVED if what not in GONE])
def test_what_was_removed_is_refused_in_one_line_that_says_what_replaces_it(what: str, project: Path) -> None:
    """In a parameters file, in a notebook and on the command line."""
    name, _, value = what.partition(": ")
    values = {name: value}
    said = f"{what} was removed; {config.REMOVED[what]}"
    assert "\n" not in said
    with pytest.raises(UserError, match=f"^-p: {re.escape(said)}$"):
        config.load("heartbeat/baseline", overrides=values)
    with pytest.raises(UserError, match=f"^notebooks/heartbeat: {re.escape(said)}$"):
        config.from_notebook(values, "heartbeat")
    file = project / "params" / "heartbeat" / "baseline.yaml"
    file.write_text(f"{file.read_text(encoding='utf-8')}{what}\n", encoding="utf-8")
    with pytest.raises(UserError, match=f"^{re.escape(f'{file}: {said}')}$"):
        config.load("heartbeat/baseline")


def test_a_removed_option_of_a_model_and_one_that_takes_the_place_of_a_loss_are_named() -> None:
    with pytest.raises(UserError, match="model_options: heart_rate was removed; name the features"):
        check({"model": "ecgnet", "cut": "relative", "model_options": {"waveform": False, "heart_rate": True}})
    with pytest.raises(UserError, match=r"imbalance: random_forest .* with balanced: true in model_options"):
        check({"model": "random_forest", "cut": "relative", "imbalance": "weighted"})


@pytest.mark.parametrize("experiment", GONE)
def test_a_removed_experiment_is_refused_in_one_line_and_what_replaces_it_is_there(experiment: str) -> None:
    said = f"{experiment}: this experiment was removed; {config.REMOVED[experiment]}"
    with pytest.raises(UserError, match=f"^{re.escape(said)}$"):
        config.load(experiment)
    assert config.REMOVED[experiment].removeprefix("take ") in config.experiments()


def test_a_removed_parameter_is_refused_whatever_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(config.REMOVED, "dropped", "seeds does it")
    with pytest.raises(UserError, match="here: dropped was removed; seeds does it"):
        check({"dropped": [1, 2]})
    with pytest.raises(UserError, match="unknown parameter dropped2"):
        check({"dropped2": 1})


@pytest.mark.parametrize(
    "values",
    [
        {"imbalance": "logit-adjustment", "label_smoothing": 0.1},
        {"model": "seq2seq", "sampling": "by-record", "beats_per_sequence": 1, "protocol": "inter"},
        {"model": "seq2seq", "beats_per_sequence": 25},
        {"model": "ecgnet", "cut": "relative", "sampling": "by-record", "protocol": "inter"},
        {"model": "ecgnet", "cut": "centred"},
        {"model": "random_forest", "cut": "relative", "features": ["*_to_mean", "qrs_width"]},
    ],
)
def test_what_goes_together_is_taken(values: dict[str, object]) -> None:
    assert values.items() <= check(values).model_dump().items()


def test_fields_that_mean_nothing_are_idle() -> None:
    off = {*config.ONLY_WITH, "train_on", "test_on", "features"}
    assert check({}).idle() == off | {"beats_per_epoch", "beats_per_sequence"}
    values = {"model": "seq2seq", "protocol": "inter", "imbalance": "focal", "beats_per_epoch": 1000}
    assert check(values).idle() == off - {"focal_gamma"} | {"validation_fraction"}
    assert "validation_fraction" not in check({"protocol": "inter", "database": "svdb"}).idle()
    across = check({"protocol": "cross-database", "train_on": ["mitdb"], "test_on": ["svdb", "my/records"]})
    assert across.idle().isdisjoint({"train_on", "test_on", "validation_fraction"}) and "database" in across.idle()
    assert (across.databases, check({}).databases) == (["mitdb", "svdb", "my/records"], ["mitdb"])
    at_once = check({"model": "hydra", "beats_per_epoch": 1000}).idle()
    assert {*config.OF_NETWORKS, "max_epochs", "patience"} <= at_once
    assert "beats_per_epoch" not in at_once


def test_only_the_cell_of_parameters_and_what_papermill_injects_count() -> None:
    default = config.HeartbeatParameters().model_dump()
    later = {"config": config, "run": object(), "epoch": 3, "In": ["", "epoch = 3"]}
    assert config.from_notebook(default | later, "heartbeat") == config.HeartbeatParameters()
    with pytest.raises(UserError, match="unknown parameter epoch"):
        config.from_notebook(default | {"epoch": 3, "In": ["", "# Parameters\nepoch = 3\n"]}, "heartbeat")
    edited = {"max_epoch": 3, "In": ["", "%matplotlib inline", 'experiment = ""\nmax_epoch = 3\n']}
    with pytest.raises(UserError, match="unknown parameter max_epoch; did you mean max_epochs"):
        config.from_notebook(default | edited, "heartbeat")


def test_overrides_lie_over_the_profile_and_that_over_the_file(project: Path) -> None:
    full = config.load("heartbeat/smote", profile="full", overrides={"seeds": [7]})
    assert isinstance(full, config.HeartbeatParameters)
    assert (full.seeds, full.bootstrap, full.imbalance) == ([7], 1000, "smote")


def test_what_an_experiment_is_can_be_neither_overridden_nor_set_by_a_profile_or_a_file_of_another_name(
    project: Path,
) -> None:
    for field in ("experiment", "title", "profile"):
        with pytest.raises(UserError, match=f"^-p {field}: "):
            config.load("heartbeat/baseline", overrides={field: "smoke"})
    (project / "params" / "profiles" / "odd.yaml").write_text("model: cnet\n")
    with pytest.raises(UserError, match="a profile can't set model"):
        config.load("heartbeat/baseline", profile="odd")
    source = project / "params" / "heartbeat" / "baseline.yaml"
    shutil.copy(source, source.with_stem("wide"))
    with pytest.raises(UserError, match="experiment: heartbeat/baseline; expected heartbeat/wide"):
        config.load("heartbeat/wide")


@pytest.mark.parametrize("text", ["- 1\n- 2\n", "a: [1\n", "just text"])
def test_a_file_that_is_no_mapping_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=r"x\.yaml"):
        config.load_yaml(path)
