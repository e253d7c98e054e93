"""The Kaggle files rebuilt: beats, labels and order of the cut, and whose every row is."""

from __future__ import annotations

from pathlib import Path

import cohorts
import numpy as np
import pandas as pd
import pytest

from ecglib.data import beats, databases, export, infarction, splits
from ecglib.data.catalogues import kaggle_csv
from ecglib.errors import UserError


@pytest.mark.parametrize("seed", [0, 3])
def test_beats_labels_and_order_are_those_of_the_cut(project: Path, tmp_path: Path, seed: int) -> None:
    cut = beats.load(databases.get("mitdb"), "kachuee")
    split = splits.intra(cut.labels, seed)
    counts = export.kaggle(tmp_path / "out", seed)
    parts = {"mitbih_train": np.sort(np.concatenate([split.train, split.val])), "mitbih_test": split.test}
    assert counts == {f"{name}.csv": len(index) for name, index in parts.items()}
    for name, index in parts.items():
        signals, labels = kaggle_csv.read(tmp_path / "out" / f"{name}.csv")
        np.testing.assert_array_equal(signals, cut.signals[index, 0])
        np.testing.assert_array_equal(labels, cut.labels[index])
        rows = pd.read_csv(tmp_path / "out" / f"{name}_rows.csv", dtype={"record": str, "patient": str})
        assert list(rows) == ["record", "patient", "sample", "symbol"]
        for column in rows:
            assert rows[column].tolist() == getattr(cut, column)[index].tolist()


def test_ptb_gives_the_other_pair(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tmp_path / "data"
    cohorts.ptb(data / "ptbdb")
    monkeypatch.setenv("ECGLIB_DATA", str(data))
    export.kaggle(data / "heartbeat", 0)
    made, cut = (infarction.load(databases.get(name)) for name in ("kaggle", "ptbdb"))
    order = np.argsort(cut.labels, kind="stable")
    np.testing.assert_array_equal(made.signals, cut.signals[order])
    np.testing.assert_array_equal(made.labels, cut.labels[order])
    names = ("ptbdb_normal", "ptbdb_abnormal")
    rows = pd.concat([pd.read_csv(data / "heartbeat" / f"{name}_rows.csv") for name in names])
    assert rows["sample"].tolist() == cut.sample[order].tolist()
    assert rows["record"].tolist() == cut.recordings["record"].to_numpy()[cut.recording[order]].tolist()
    assert rows["patient"].nunique() == 8 and rows["symbol"].isna().all()


def test_nothing_is_overwritten_and_all_is_written_or_nothing(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "mitbih_test_rows.csv").write_text("mine")
    with pytest.raises(UserError, match=rf"^{out}: mitbih_test_rows\.csv already there; take another folder"):
        export.kaggle(out, 0)
    (out / "mitbih_test_rows.csv").unlink()
    (out / "notes.txt").write_text("of no matter")

    def full(self: pd.DataFrame, path: Path, **_: object) -> None:
        if "test" in path.name:
            raise OSError(28, "No space left on device", str(path))
        path.write_text("some")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space"):
        patch.setattr(pd.DataFrame, "to_csv", full)
        export.kaggle(out, 0)
    assert [path.name for path in out.iterdir()] == ["notes.txt"]
