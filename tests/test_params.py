"""Every parameters file that the project ships."""

from __future__ import annotations

from typing import get_args

import pytest
import yaml
from projects import ROOT

from ecglib import config
from ecglib.config import HeartbeatParameters
from ecglib.experiment import heartbeat
from ecglib.models import registry

EXPERIMENTS = config.experiments()
BEATS = [p for name in EXPERIMENTS if isinstance(p := config.load(name), HeartbeatParameters)]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_it_fits_every_profile_and_its_network_can_be_made(name: str) -> None:
    for profile in ("smoke", "quick", "full"):
        parameters = config.load(name, profile=profile)
        assert (parameters.experiment, parameters.profile) == (name, profile)
        assert parameters.title
    if isinstance(parameters, HeartbeatParameters):
        assert heartbeat.model_maker(parameters)()


def test_titles_differ_and_every_experiment_has_its_page_in_the_book() -> None:
    titles = [config.load(name).title for name in EXPERIMENTS]
    assert len(set(titles)) == len(titles)
    chapters = yaml.safe_load((ROOT / "book" / "chapters.yml").read_text())["book"]["chapters"]
    pages = [page for entry in chapters for page in (entry["chapters"] if isinstance(entry, dict) else [entry])]
    executed = [page for page in pages if page.startswith("book/experiments/")]
    assert sorted(executed) == sorted(f"book/experiments/{name}.ipynb" for name in EXPERIMENTS)


def test_both_protocols_have_every_model_and_every_answer_and_the_quick_book_every_model_once() -> None:
    answers = get_args(HeartbeatParameters.model_fields["imbalance"].annotation)
    for protocol in ("intra", "inter"):
        mine = [p for p in BEATS if p.protocol == protocol]
        assert {p.model for p in mine if p.imbalance == "none"} == set(registry.OF_BEATS)
        assert {p.imbalance for p in mine if p.model == "cnet"} == set(answers)
    quick = [p.model for p in BEATS if (p.in_book, p.protocol, p.imbalance) == (True, "intra", "none")]
    assert sorted(quick) == sorted(registry.OF_BEATS)
