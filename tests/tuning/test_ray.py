"""The engine of a cluster: what it refuses, and two nodes on this machine that lose a worker, a node and the driver."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd
import pytest
import yaml
from projects import NO_RAY

from ecglib import cluster, paths, tuning
from ecglib.errors import UserError
from ecglib.report import runner
from ecglib.tuning import ray as engine
from ecglib.tuning import search as searches
from ecglib.tuning import trial as trials
from ecglib.tuning.search import Search, Trial
from ecglib.tuning.space import Dimension, Space

EPOCHS, TRIALS = 6, 8
TINY: dict[str, Any] = {
    "experiment": "tuning/tiny",
    "title": "Tiny",
    "base": "heartbeat/baseline",
    "trials": TRIALS,
    "concurrency": 2,
    "scheduler": "none",
    "confirm": [1],
    "fixed": {"max_epochs": EPOCHS, "patience": EPOCHS, "beats_per_epoch": 400, "max_beats": 2000},
    "space": {
        "model_options.width": {"int": [8, 32], "step": 24},
        "learning_rate": {"log-uniform": [0.0005, 0.02]},
        "imbalance": {"choice": ["none", "weighted"]},
        "weight_exponent": {"uniform": [0.25, 1], "step": 0.25, "when": {"imbalance": "weighted"}},
    },
}


@pytest.fixture
def tiny(project: Path) -> Path:
    """A search in a project of its own."""
    file = project / "params" / "tuning" / "tiny.yaml"
    file.parent.mkdir(exist_ok=True)
    file.write_text(yaml.safe_dump(TINY, sort_keys=False), encoding="utf-8")
    return file


def prepared(tiny: Path, **changes: Any) -> Search:
    with patch.object(Space, "check"):  # which takes seconds, and is tested elsewhere
        search = searches.prepared(tuning.load("tuning/tiny", overrides=changes))
    searches.begin(search, "ray", resume=False, fresh=True)
    return search


# --- without Ray ------------------------------------------------------------------------------------------------------


def test_ray_that_is_not_installed_is_one_line(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"--engine ray: ray is not installed; .*pip install"):
        tuning.run(tuning.load("tuning/tiny"), "ray")
    assert not searches.folder_of("tiny").exists()


def test_hyperopt_needs_ray(tiny: Path) -> None:
    with pytest.raises(UserError, match="searcher: hyperopt: needs --engine ray"):
        tuning.run(tuning.load("tuning/tiny", overrides={"searcher": "hyperopt"}))


def test_more_resources_than_one_machine_has() -> None:
    there = [{"CPU": 4.0}, {"CPU": 2.0, "GPU": 0.25}]
    cluster.refuse_too_much({"CPU": 2, "GPU": 0.25}, there, "a trial")
    for asked in ({"CPU": 5, "GPU": 0}, {"CPU": 1, "GPU": 0.5}, {"CPU": 4, "GPU": 0.25}):
        with pytest.raises(UserError, match=r"a trial: .* of one machine; expected at most what one has \(4 CPU"):
            cluster.refuse_too_much(asked, there, "a trial")


@pytest.mark.parametrize(
    ("nodes", "at_once", "expected"),
    [
        ([(4, 0)], 2, 2),
        ([(2, 0), (2, 0)], 2, 2),
        ([(1, 0)], 4, 1),
        ([(64, 0), (8, 1)], 1, 8),  # its GPU is of a machine that has fewer processors
        ([(64, 4)], 4, 16),
        ([(64, 0), (8, 4)], 4, 2),
    ],
)
def test_a_task_asks_for_no_more_than_a_machine_has(nodes: list[Any], at_once: int, expected: int) -> None:
    assert runner.shared([{"CPU": cpus} | ({"GPU": gpus} if gpus else {}) for cpus, gpus in nodes], at_once) == expected


def test_a_process_with_a_ray_of_its_own_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster.library(), "is_initialized", lambda: True)
    with pytest.raises(UserError, match=r"has a Ray of its own already; ray\.shutdown"), cluster.joined():
        pass


def test_a_cluster_that_is_not_there_is_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match=r"ray \(127\.0\.0\.1:1\): Ray does not start"), cluster.joined("127.0.0.1:1"):
        pass
    assert capfd.readouterr() == ("", "")


def test_hyperopt_and_back(tiny: Path) -> None:
    search = prepared(tiny, searcher="hyperopt")
    random = np.random.default_rng(0)
    for drawn in [search.space.draw(random, search.base) for _ in range(50)]:
        config = {one.name: engine.to_hyperopt(one, drawn) for one in search.space.dimensions}
        assert engine.drawn(search, config) == drawn


@pytest.mark.parametrize("kind", ["hyperopt", "tpe", "gp", "random"])
def test_what_a_searcher_draws_is_of_the_space_and_the_base_comes_first(tiny: Path, tmp_path: Path, kind: str) -> None:
    cluster.library("local")
    space = {name: how for name, how in TINY["space"].items() if kind != "gp" or "when" not in how}
    search = prepared(tiny, searcher=kind, space=space)
    drawing = engine.searcher(search, engine.first_draws(search))
    every, draws = {one.name: one.ends[0] for one in search.space.dimensions}, []
    for i in range(14):  # more than are drawn at random
        config = drawing.suggest(str(i))
        draws.append(engine.drawn(search, config))
        assert search.space.active(every | draws[-1], search.base) == draws[-1]
        assert all(search.space[name].holds(value) for name, value in draws[-1].items())
        drawing.on_trial_complete(str(i), {engine.SCORE: i / 14, "training_iteration": 1})
        if i == 11:  # as Ray keeps it for a driver that dies
            drawing.save(str(tmp_path / "state"))
            drawing = engine.searcher(search, engine.first_draws(search))
            drawing.restore(str(tmp_path / "state"))
    assert draws[0] == search.of_base
    assert draws[12:] != draws[:2]  # it did not begin again
    assert len({repr(one) for one in draws}) > 7


def test_a_gpu_is_asked_for_where_there_is_one(tiny: Path) -> None:
    search = prepared(tiny, gpus=0.5)
    with pytest.raises(UserError, match=r"gpus: 0\.5: a trial is to train on cpu"):
        engine.refuse_other_device(search)
    search = replace(prepared(tiny), place=trials.Place("cuda", "bfloat16"))
    with pytest.raises(UserError, match="gpus: 0: a trial is to train on a GPU"):
        engine.refuse_other_device(search)


def test_a_search_goes_on_with_as_much_as_it_was_begun_with(tiny: Path) -> None:
    begun = prepared(tiny)
    _state(begun)
    for changes, said in (({"trials": 9}, "trials: 8"), ({"budget": "1h", "cpus": 2}, "budget: none, cpus: 1")):
        search = replace(begun, asked=begun.asked.model_copy(update=changes))
        with pytest.raises(UserError, match=f"begun with {said}; expected the same, .*--fresh begins anew"):
            engine.run(search, print)


def _state(search: Search) -> None:
    """What Ray leaves, which it can't read."""
    (search.folder / engine.NAME).mkdir()
    (search.folder / engine.NAME / "experiment_state-1.json").touch()
    (search.folder / engine.BEGUN).write_text(search.asked.model_dump_json(include={*engine.UNCHANGED}))


@pytest.mark.parametrize("broken", [True, False])
def test_what_tune_raises_is_one_line(tiny: Path, monkeypatch: pytest.MonkeyPatch, broken: bool) -> None:
    cluster.library("local")
    from ray.tune import TuneError

    def fit() -> None:
        raise TuneError("no more\nthan this")

    monkeypatch.setattr(cluster, "joined", lambda _: nullcontext(SimpleNamespace(put=id)))
    monkeypatch.setattr(cluster, "nodes", lambda _: [{"CPU": 1}])
    monkeypatch.setattr(engine, "tuner_of", lambda *_: SimpleNamespace(fit=fit))
    search = prepared(tiny)
    if broken:
        _state(search)
    with pytest.raises(UserError, match=r"Ray failed \(") as raised:
        engine.run(search, print)
    assert "\n" not in str(raised.value)


def test_data_without_end_is_left_to_trials(tiny: Path) -> None:
    endless = Space((Dimension("validation_fraction", "uniform", 0.1, 0.3),))
    assert engine.shared(None, replace(prepared(tiny), space=endless)) == {}


# --- on two nodes of this machine -------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def ray_nodes() -> Iterator[Any]:
    """A cluster of one node, which is tried three times: on a busy machine Ray may die as it starts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")  # its token would be written into the home folder
        cluster.library("local")
        from ray.cluster_utils import Cluster

        made, why = None, ""
        for _ in range(3):
            try:
                made = Cluster(initialize_head=True, connect=False, head_node_args=_node())
                break
            except Exception as error:
                why = cluster.line(error)
        if made is None:
            pytest.skip(f"{NO_RAY}: {why}")
        yield made
        made.shutdown()


def _node() -> dict[str, Any]:
    return {
        "num_cpus": 1,
        "include_dashboard": False,
        "object_store_memory": 100 * 2**20,
        "node_ip_address": "127.0.0.1",
    }


@pytest.fixture
def two(ray_nodes: Any) -> Iterator[Any]:
    """The cluster with a second node."""
    try:
        second = ray_nodes.add_node(**_node())
    except Exception as error:
        pytest.skip(f"{NO_RAY}: {cluster.line(error)}")
    yield ray_nodes
    with suppress(Exception):  # where a test has killed it
        ray_nodes.remove_node(second, allow_graceful=False)


class Kills:
    """A search in a process of its own, and what is killed of it."""

    def __init__(self, two: Any) -> None:
        self.two, self.command = two, [sys.executable, "-m", "ecglib", "tune", "tuning/tiny"]
        self.command += ["--engine", "ray", "--address", two.address]
        self.kept = searches.folder_of("tiny") / engine.NAME

    def begin(self, *more: str) -> subprocess.Popen[bytes]:
        pipe = subprocess.PIPE
        return subprocess.Popen([*self.command, *more], stdout=pipe, stderr=subprocess.STDOUT, cwd=paths.root())

    def reported(self) -> int:
        """Epochs with a checkpoint, of all trials: a checkpoint's number is that of its epoch, from 0."""
        last = [max(map(_number, one.glob("checkpoint_*")), default=-1) + 1 for one in self.kept.glob("[0-9]*")]
        return sum(last)

    def until(self, driver: subprocess.Popen[bytes], n: int) -> None:
        """Wait until so many epochs have a checkpoint."""
        while self.reported() < n:
            assert driver.poll() is None, driver.communicate()[0].decode()
            time.sleep(0.1)

    def raylet(self, node: Any) -> int:
        return int(node.all_processes["raylet"][0].process.pid)

    def workers(self) -> list[int]:
        """Processes that train."""
        raylets, found = {self.raylet(node) for node in self.two.list_all_nodes()}, []
        for path in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                parent = int((path / "stat").read_text().rpartition(") ")[2].split()[1])
                if parent in raylets and b"ray::ImplicitFunc" in (path / "cmdline").read_bytes():
                    found.append(int(path.name))
        return found


def _number(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("_")[2])


@pytest.mark.long
@pytest.mark.xdist_group("ray")
def test_a_worker_a_node_and_the_driver_are_killed(two: Any, tiny: Path) -> None:
    kills = Kills(two)
    driver = kills.begin()
    kills.until(driver, 3)
    os.kill(kills.workers()[0], signal.SIGKILL)
    kills.until(driver, kills.reported() + 6)
    second = two.list_all_nodes()[1]
    os.kill(kills.raylet(second), signal.SIGKILL)
    kills.until(driver, kills.reported() + 6)
    driver.kill()
    driver.communicate()
    before = kills.reported()
    assert before < TRIALS * EPOCHS

    again = kills.begin("--resume")
    said = again.communicate()[0].decode()
    assert again.returncode == 0, said
    found = json.loads(paths.search("tiny").read_text(encoding="utf-8"))
    assert found["states"] == {"finished": TRIALS, "stopped": 0, "failed": 0}
    table = pd.read_parquet(paths.search("tiny").with_suffix(".parquet"))
    assert {n: list(rows) for n, rows in table.groupby("trial")["epoch"]} == {
        n: list(range(1, EPOCHS + 1)) for n in range(TRIALS)
    }
    search = searches.opened(searches.folder_of("tiny"))
    for one in searches.trials_of(table):  # whatever was killed, as if nothing was
        undisturbed = trials.epochs(search.parameters(one.drawn), search.place)
        assert [epoch.value for epoch in one.curve] == pytest.approx([epoch.value for epoch in undisturbed], abs=1e-6)
    print(f"killed: a worker, a node, the driver after {before} of {TRIALS * EPOCHS} epochs; all {TRIALS} finished")


@pytest.mark.long
@pytest.mark.xdist_group("ray")
@pytest.mark.parametrize(
    ("searcher", "scheduler"), [("hyperopt", "asha"), ("gp", "hyperband"), ("grid", "median"), ("random", "none")]
)
def test_every_searcher_and_scheduler(two: Any, tiny: Path, searcher: str, scheduler: str) -> None:
    space = dict(TINY["space"])
    if searcher == "gp":
        del space["weight_exponent"]
    if searcher == "grid":
        space["learning_rate"] = {"choice": [0.001, 0.01]}
    search = prepared(tiny, searcher=searcher, scheduler=scheduler, space=space, trials=6, reduction=2)
    looks: list[int] = []
    found = engine.run(search, lambda every: looks.append(len(every)), two.address)
    assert [one.number for one in found] == list(range(6))
    assert looks[-1] == 6
    assert {one.state for one in found} <= {"finished", "stopped"}
    assert any(one.state == "finished" for one in found)
    expected = search.space.grid(search.base)[:6] if searcher == "grid" else [search.of_base]
    assert [one.drawn for one in found][: len(expected)] == expected
    for one in found:
        assert [epoch.epoch for epoch in one.curve] == list(range(1, len(one.curve) + 1))
        assert one.state == "stopped" or len(one.curve) == EPOCHS


@pytest.mark.long
@pytest.mark.xdist_group("ray")
def test_a_search_ends_when_its_time_is_up(two: Any, tiny: Path) -> None:
    def look(every: list[Trial]) -> None:
        if sum(len(one.curve) for one in every) >= 3:
            engine.WATCH["deadline"] = 0.0  # it is

    found = engine.run(prepared(tiny, budget="9h"), look, two.address)
    assert 3 <= sum(len(one.curve) for one in found) < TRIALS * EPOCHS
    assert {(one.state, one.why) for one in found} <= {("finished", ""), ("stopped", "the time was up")}
    assert any(one.state == "stopped" for one in found)


@pytest.mark.long
@pytest.mark.xdist_group("ray")
def test_ten_trials_have_one_copy_of_the_data_on_each_node(two: Any, tiny: Path) -> None:
    search = prepared(tiny, space=TINY["space"] | {"cut": {"choice": ["kachuee", "centred"]}})

    def probe(data: dict[str, Any], cut: str) -> tuple[str, int]:
        """A trial that may not read a record: its node, and how many epochs it had."""
        import ray

        from ecglib.data import beats as reading

        def refused(*_: Any) -> None:
            raise AssertionError("a trial has read records")

        reading.load = refused  # type: ignore[assignment]
        p = search.parameters({"cut": cut})
        trials.take(p, ray.get(data[trials.name_of_data(p)]))
        assert not trials.data_of(p).beats.signals.flags.writeable
        return ray.get_runtime_context().get_node_id(), len([*trials.epochs(p, search.place)])

    with cluster.joined(two.address) as ray:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as On

        nodes = [node.node_id for node in two.list_all_nodes()]
        before = _used(ray, nodes)
        data = engine.shared(ray, search)
        assert len(data) == 2  # a set for each way of cutting
        beats = [vars(ray.get(one)["beats"]) for one in data.values()]
        size = sum(value.nbytes for one in beats for value in one.values() if isinstance(value, np.ndarray))
        on = [ray.remote(num_cpus=0.2, scheduling_strategy=On(node, soft=False))(probe) for node in nodes]
        cuts = ["kachuee", "centred"] * 5  # both on each node, which Ray's own choice does not promise
        found = ray.get([on[n // 2 % 2].remote(data, cut) for n, cut in enumerate(cuts)])
        used = [after - was for after, was in zip(_used(ray, nodes), before, strict=True)]
    assert {node for node, _ in found} == set(nodes)
    assert {epochs for _, epochs in found} == {EPOCHS}
    assert all(size <= one < 1.5 * size for one in used)
    print(f"{size / 1e6:.1f} MB of beats, 10 trials: {', '.join(f'{one / 1e6:.1f} MB' for one in used)} on the nodes")


def _used(ray: Any, nodes: list[str]) -> list[int]:
    """Bytes in the object store of each node, by its id: one that was killed is listed as alive for a while."""
    from ray._private.internal_api import node_stats

    where = {node["NodeID"]: (node["NodeManagerAddress"], node["NodeManagerPort"]) for node in ray.nodes()}
    return [node_stats(*where[one], include_memory_info=False).store_stats.object_store_bytes_used for one in nodes]


@pytest.mark.long
@pytest.mark.xdist_group("ray")
def test_experiments_as_tasks(two: Any, project: Path) -> None:
    names = ["heartbeat/baseline", "explore/mitdb"]
    command = [sys.executable, "-m", "ecglib", "run", *names, "--profile", "smoke", "--engine", "ray"]
    done = subprocess.run([*command, "--address", two.address], capture_output=True, text=True, cwd=project)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(paths.executed(name)) for name in names]
    assert all(paths.executed(name).is_file() for name in names)
    assert len([*paths.runs().glob("*/record.json")]) == 1
