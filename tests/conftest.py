"""What tests share: where the real records are, and a project of their own to work in."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from projects import NO_RAY, ROOT, Call, Done, make_project

NO_DATA = "no real records in ECGLIB_DATA"
DATA = (ROOT / os.environ.get("ECGLIB_DATA", "data")).resolve()
"""Read once, before any test points `ECGLIB_DATA` elsewhere."""


def pytest_configure() -> None:
    """One thread for each worker and for what it starts: two of each on two cores wait for one another. And no limit of
    time for examples of Hypothesis, which a busy machine would break."""
    import torch
    from hypothesis import HealthCheck, settings

    settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("untimed")

    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with a slow test come first, or one worker would be left with them at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with the real databases; a test that asks for it is skipped, and counted, where there is none."""
    if not (DATA / "mitdb" / "100.dat").is_file():
        pytest.skip(f"mitdb: {NO_DATA}")
    return DATA


@pytest.fixture
def real_ptb_xl(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The real PTB-XL records, where `ECGLIB_DATA` points; likewise."""
    if not (DATA / "ptb-xl" / "ptbxl_database.csv").is_file():
        pytest.skip(f"ptb-xl: {NO_DATA}")
    monkeypatch.setenv("ECGLIB_DATA", str(DATA))
    return DATA / "ptb-xl"


@pytest.fixture(scope="session")
def real_mitdb(real_data: Path) -> Path:
    return real_data / "mitdb"


@pytest.fixture(scope="session")
def small_mitdb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with a minute of all 48 records of `mitdb`, and a `ptb-xl` of 36 made-up ones."""
    import cohorts
    import excerpts

    folder = tmp_path_factory.mktemp("data")
    excerpts.mitdb(folder / "mitdb")
    cohorts.ptb_xl(folder / "ptb-xl", 24, 12)
    return folder


@pytest.fixture
def project(tmp_path: Path, small_mitdb: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the project's sources in a folder of its own, with the small `mitdb`; paths point into it."""
    return make_project(tmp_path / "project", small_mitdb, monkeypatch)


@pytest.fixture
def own_data(tmp_path: Path, small_mitdb: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the small `mitdb` that a test may break."""
    folder = shutil.copytree(small_mitdb, tmp_path / "data")
    monkeypatch.setenv("ECGLIB_DATA", str(folder))
    return folder / "mitdb"


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store's file with nothing in it: to make one takes seconds."""
    from ecglib import tracking

    folder = tmp_path_factory.mktemp("store")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'mlflow.db'}")
        tracking.ui_command()
    return folder / "mlflow.db"


@pytest.fixture
def root(tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with an empty store, in a folder whose name needs quoting in an address."""
    folder = tmp_path / "a project"
    folder.mkdir()
    (folder / "_quarto.yml").touch()
    shutil.copy(empty_store, folder)
    monkeypatch.setenv("ECGLIB_ROOT", str(folder))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
        monkeypatch.delenv(name, raising=False)
    return folder


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the package that keys and caches are made from, to be edited."""
    from ecglib import fingerprint

    ignored = shutil.ignore_patterns("__pycache__")
    copy = shutil.copytree(fingerprint.PACKAGE, tmp_path / "code" / "ecglib", ignore=ignored)
    monkeypatch.setattr(fingerprint, "PACKAGE", copy)
    return copy


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Calls `ecglib` in this process."""
    from ecglib import cli

    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: str | Path) -> Done:
        monkeypatch.setattr(sys, "argv", ["ecglib", *map(str, arguments)])
        code: Any = 0
        try:
            cli.main()
        except SystemExit as end:
            code = end.code or 0
        return Done(code, *capsys.readouterr())

    return run


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skipped = [str(r.longrepr) for r in terminalreporter.stats.get("skipped", [])]
    terminalreporter.write_line(f"skipped for want of real data: {sum(NO_DATA in one for one in skipped)}")
    if without := sum(NO_RAY in one for one in skipped):
        terminalreporter.write_line(f"skipped as Ray did not start: {without}")
