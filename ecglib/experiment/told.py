"""What a command says of the data that a result rests on: left out, repaired or assumed, one counted line a kind."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from ecglib.errors import some
from ecglib.experiment.record import Record


def _lines(verb: str, found: Mapping[str, Iterable[str]]) -> list[str]:
    """A line for each kind, the most frequent first, of what was done (`left out`, `repaired`): recording -> sentences
    about it. What they say of that recording alone, its leads or its name, is no other kind."""
    kinds: dict[str, list[str]] = {}
    for name, sentences in found.items():
        for kind in dict.fromkeys(map(_kind, sentences)):
            kinds.setdefault(kind, []).append(name)
    order = sorted(kinds.items(), key=lambda item: -len(item[1]))
    return [f"{verb} {len(names)}: {kind} ({some(names)})" for kind, names in order]


def of_own(refused: Mapping[str, str], repaired: Mapping[str, Iterable[str]], assumed: Iterable[str]) -> list[str]:
    """Of a user's recordings: recording -> reason, recording -> sentences, and sentences."""
    left_out = _lines("left out", {name: [reason] for name, reason in refused.items()})
    return [*left_out, *_lines("repaired", repaired), *(f"assumed: {sentence}" for sentence in assumed)]


def of_run(record: Record) -> list[str]:
    """Of a run, as its record has it."""
    named = record.data.records_left_out
    said = _lines("left out", {name: [reason] for name, reason in named.items()})
    unit = "beats" if record.task == "multiclass" else "recordings"
    for reason, count in record.data.left_out.items():
        unnamed = count - sum(reason == other for other in named.values())
        said += [f"left out {unnamed} {unit}: {reason}"] * (unnamed > 0)
    card = record.twelve_lead
    if card:
        said += _lines("left out", {name: ["the same recording as another"] for name in card.duplicates})
        if few := list(card.few):
            said.append(f"left out {len(few)} labels: too few recordings have them ({some(few)})")
    repaired = (card.repaired if card else {}) or (record.data.model_extra or {}).get("repaired", {})
    said += _lines("repaired", repaired)
    of_sample = [*record.data.of_sample, *["nstdb"] * bool(card and card.noise == "sample")]
    if of_sample:
        said.append(f"assumed: the embedded sample stands in for {' and '.join(of_sample)}")
    said += [f"assumed: {sentence}" for sentence in (record.data.model_extra or {}).get("assumed", [])]
    return said


def _kind(sentence: str) -> str:
    """Without what is of one recording: the list of leads in front, and the name in quotation marks."""
    leads, colon, what = sentence.partition(": ")
    text = f"some leads: {what}" if colon and re.fullmatch(r"[AFILRV1-6, ]+", leads) else sentence
    return re.sub(r"'[^']*', which is ", "", text)
