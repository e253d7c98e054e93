"""What tests of experiments share."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from projects import make_project

from ecglib import tracking
from ecglib.experiment import record as results
from ecglib.training import device as devices

TINY_FULL = "profile: full\nseeds: [0]\nmax_epochs: 3\nmax_beats: 1500\nmax_records: 20\nbootstrap: 20\n"


def quieten(patch: pytest.MonkeyPatch) -> list[results.Record]:
    """Runs are not logged but listed here, the processor is not probed, and there is no GPU."""
    records: list[results.Record] = []
    patch.setattr(tracking, "log", lambda record, folder: records.append(record))
    patch.setattr(devices, "faster_precision", lambda *_: ("float32", "not probed"))
    patch.setattr(devices, "choose", lambda wish="auto": torch.device("cpu"))
    return records


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> list[results.Record]:
    """The runs that were logged, of a test that is quiet as said in `quieten`."""
    return quieten(monkeypatch)


@pytest.fixture(scope="session")
def cut_before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache of all projects here: what is cut of the same files by the same code is the same."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def project(project: Path, cut_before: Path) -> Path:
    (project / "cache").symlink_to(cut_before)
    return project


@pytest.fixture
def tiny_full(project: Path) -> Path:
    """A project whose `full` profile takes a second."""
    (project / "params" / "profiles" / "full.yaml").write_text(TINY_FULL, encoding="utf-8")
    return project


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory, small_mitdb: Path, cut_before: Path) -> Iterator[Path]:
    """Such a project for all tests of a module, which leave its runs as they are."""
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        root = make_project(tmp_path_factory.mktemp("lasting") / "project", small_mitdb, patch)
        (root / "cache").symlink_to(cut_before)
        (root / "params" / "profiles" / "full.yaml").write_text(TINY_FULL, encoding="utf-8")
        quieten(patch)
        yield root
