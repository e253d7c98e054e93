"""`report.html`: an annotated recording as one page that needs no network and no library."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ecglib.data.records import Recording, at_rate
from ecglib.serving import summary as summaries
from ecglib.serving.model import UNSURE, Card, Classified

LIMIT: Final = 3_000_000
"""Bytes of a page, but of one whose single lead at the lowest of `RATES` takes more: of some five hours on."""
RATES: Final = (500.0, 250.0, 125.0)
"""Hz that a signal is shown at: its own rate where that isn't above the first, else the first that fits."""
STEP: Final = 0.005
"""In mV, of the signals shown: the resolution of `mitdb`, and a fifth of a pixel at 10 mm/mV."""


def page(
    card: Card,
    recording: Recording,
    classified: Classified,
    summary: Mapping[str, Any],
    r_peaks: NDArray[np.int64],
) -> str:
    """The page of a recording, to be written in UTF-8.

    Parameters
    ----------
    card
        Of the model; of its classes, all but N have buttons to go from one beat to the next.
    recording
        All leads that are to be shown, at the record's own rate; samples that are no number leave a gap.
    classified
        Its beats.
    summary
        The fields of `summary.Summary` as plain values, `leads` (names of those that the model read), and `date` (text)
        where one is known.
    r_peaks
        All R peaks, in samples; those that are not of its beats are shown as `?`.

    All of it but the signals stays as it is. These are shown in steps of `STEP` about each lead's median, at the
    highest rate at which all leads fit into `LIMIT`; where none does, at the lowest with as many leads as fit, those
    that the model read first. The page says which.
    """
    where = Path(__file__)
    style, script = (where.with_suffix(end).read_text(encoding="utf-8") for end in (".css", ".js"))
    used = summary["leads"]
    told = {
        "record": recording.name,
        "tiles": _tiles(summary),
        "made": _made(),
        "events": summary["events"],
        "beats": _beats(classified, recording.fs),
        "others": np.round(np.setdiff1d(r_peaks, classified.sample) / recording.fs, 3).tolist(),
        "classes": card.classes,
        "step": STEP,
        "seconds": recording.signals.shape[1] / recording.fs,
    }
    room = LIMIT - len(style) - len(script) - len(json.dumps(told)) - 20_000  # the template, and what a header says
    rate, shown = _signals(recording, used, room)
    told |= {"rate": rate, "leads": shown, "facts": _facts(card, recording, classified, summary, rate, shown)}
    allowed = "; ".join(f"{what}-src '{_hash(text)}'" for what, text in (("style", style), ("script", script)))
    data = json.dumps(told, allow_nan=False).replace("<", "\\u003c")
    template = Template(where.with_suffix(".html").read_text(encoding="utf-8"))
    return template.substitute(policy=f"default-src 'none'; {allowed}", style=style, script=script, data=data)


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _beats(classified: Classified, fs: float) -> dict[str, list[Any]]:
    sure = classified.sure.astype(np.float64)
    rates = np.round(summaries.heart_rate(classified.sample, fs), 1).tolist()
    return {
        "at": np.round(classified.sample / fs, 3).tolist(),
        "class": classified.decided.tolist(),
        "sure": np.floor(100 * sure + 1e-4).astype(int).tolist(),  # 79.6 is not 80
        "unsure": classified.unsure.astype(int).tolist(),
        "rate": [rate if rate == rate else None for rate in rates],
    }


# --- signals ----------------------------------------------------------------------------------------------------------


def _signals(recording: Recording, used: Sequence[str], room: int) -> tuple[float, list[dict[str, Any]]]:
    """The rate in Hz and the leads that are shown, of `room` characters."""
    names, fs, first = recording.leads, recording.fs, min(recording.fs, RATES[0])
    leads = [_filled(lead) for lead in recording.signals]
    for rate in (first, *(rate for rate in RATES if rate < first)):
        packed = [_packed(lead, missing, fs, rate) for lead, missing in leads]
        if sum(map(len, packed)) <= room:
            break
    chosen = set[int]()
    for i in sorted(range(len(names)), key=lambda i: names[i] not in used):
        if not chosen or sum(len(packed[k]) for k in (*chosen, i)) <= room:
            chosen.add(i)
    return rate, [
        {
            "name": re.sub("^AV(?=[RLF]$)", "aV", names[i]),
            "used": names[i] in used,
            "recorded": bool(leads[i][0].any()),
            "span": _span(leads[i][0]),
            "data": packed[i],
        }
        for i in sorted(chosen)
    ]


def _span(lead: NDArray[np.float32]) -> list[float]:
    """In mV about the median, what all but one in a thousand samples are above and below."""
    low, middle, high = np.percentile(lead, (0.1, 50, 99.9))
    return [round(float(low - middle), 2), round(float(high - middle), 2)]


def _filled(lead: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """A lead without what is no number, interpolated, and where that was; of nothing else, zero."""
    good = np.flatnonzero(np.isfinite(lead))
    if len(good) == len(lead):
        return lead, np.zeros(len(lead), dtype=bool)
    filled = np.interp(np.arange(len(lead)), good, lead[good]) if len(good) else np.zeros(len(lead))
    return filled.astype(np.float32), ~np.isfinite(lead)


def _packed(lead: NDArray[np.float32], missing: NDArray[np.bool_], fs: float, rate: float) -> str:
    """Differences of a lead's samples about its median in `STEP`, 16 bits each, as zigzag numbers (0, -1, 1, -2 …), all
    low bytes before all high ones; packed by zlib, in base64. -2^15 stands for a sample that is missing."""
    shown = at_rate(lead[None], fs, rate)[0]
    steps = np.rint((shown - np.median(lead)) / STEP).clip(-(2**15) + 1, 2**15 - 1).astype(np.int16)
    steps[missing[(np.arange(len(steps)) * fs / rate).astype(np.int64).clip(max=len(lead) - 1)]] = -(2**15)
    change = np.diff(steps, prepend=np.int16(0))  # wraps, and so does the sum
    zigzag = ((change << 1) ^ (change >> 15)).astype("<i2")
    return base64.b64encode(zlib.compress(zigzag.view(np.uint8).reshape(-1, 2).T.tobytes())).decode()


# --- words ------------------------------------------------------------------------------------------------------------


def _facts(
    card: Card,
    recording: Recording,
    classified: Classified,
    summary: Mapping[str, Any],
    rate: float,
    shown: Sequence[Mapping[str, Any]],
) -> list[tuple[str, str]]:
    left_out = "; ".join(f"{count} {reason}" for reason, count in classified.left_out.items())
    leads = ", ".join(lead["name"] for lead in shown)
    missing = len(recording.leads) - len(shown)
    few = f"; {missing} more would not fit" if missing else ""
    found = [
        ("Recorded", summary.get("date")),
        ("Duration", _clock(recording.signals.shape[1] / recording.fs)),
        ("Signal", f"{len(recording.leads)} lead{'s' * (len(recording.leads) > 1)} at {recording.fs:g} Hz"),
        ("Read by the model", ", ".join(summary["leads"])),
        ("Model", card.name),
        ("Version", card.version[:12]),
        ("Shown here", f"{leads} at {rate:g} Hz, to {1000 * STEP:g} µV, about the median{few}"),
        ("Repaired", "; ".join(recording.repairs) or "nothing"),
        ("Beats left out", left_out or "none"),
        ("Comments of the header", "\n".join(comment for comment in recording.comments if comment.strip())),
    ]
    return [(name, str(value)) for name, value in found if value]


def _tiles(summary: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """Name, value, its unit and a line below."""
    rate, ectopy = summary["heart_rate"], summary["ectopy"]
    tiles = [("Beats", _count(summary["beats"]), "", _list(summary["counts"]))]
    mean, span = (f"{rate['mean']:.0f}", f"{rate['lowest']:.0f} to {rate['highest']:.0f}") if rate else ("–", "unknown")
    tiles.append(("Heart rate", mean, "/min", span))
    for name, said in ectopy.items():
        detail = f"{_count(said['beats'])} beats, {said['percent']:.1f} %"
        tiles.append((f"{name} burden", _rate(said["per_hour"]), "/h", detail))
    for name, said in ectopy.items():
        longest = f"longest {said['longest_run']} beats" if said["runs"] else "no run"
        tiles.append((f"{name} runs", _count(said["runs"]), "", f"{longest}; {_count(said['couplets'])} couplets"))
    longest = f"longest {summary['longest_pause']:.1f} s" if summary["pauses"] else f"none of {summaries.PAUSE:g} s"
    tiles.append(("Pauses", _count(summary["pauses"]), "", longest))
    share = f"{summary['unsure_percent']:.1f}" if summary["beats"] else "–"
    tiles.append(("Model unsure", share, "%", f"{_count(summary['unsure'])} beats below {100 * UNSURE:.0f} %"))
    return tiles


def _made() -> list[str]:
    """What the numbers mean."""
    return [
        "Classes of ANSI/AAMI EC57: N normal and bundle branch block, S supraventricular ectopic (SVEB), V ventricular "
        "ectopic (VEB), F fusion, Q unknown or paced.",
        f"Heart rate is of {summaries.WINDOW} RR intervals in succession; none below {summaries.ARTEFACT:g} s or above "
        f"{summaries.GAP:g} s is taken. Minutes are whole ones from the start, of their mean rate.",
        "Burden is by the hours of the recording, and in percent of all beats classified. A couplet is two beats of a "
        f"class in succession, a run {summaries.RUN} or more.",
        f"A pause is an RR interval of {summaries.PAUSE:g} s to {summaries.GAP:g} s. Without a beat for longer, the "
        "signal was lost or the heart stood still: the trend is shaded there.",
        f"The model is unsure of a beat where it gives its class less than {100 * UNSURE:.0f} %, which is the number "
        "below its symbol. An R peak marked ? was found and not classified, as the first and the last of a recording.",
        "Paper: a small square is 1 mm, a large one 5 mm; the pulse at the left 1 mV.",
    ]


def _list(counts: Mapping[str, int]) -> str:
    return " · ".join(f"{name}\N{NO-BREAK SPACE}{_count(count)}" for name, count in counts.items() if count)


def _rate(x: float) -> str:
    return _count(round(x)) if x >= 10 or not x else f"{x:.1f}"


def _count(n: int) -> str:
    return f"{n:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes} min {rest} s" if minutes else f"{seconds:g} s"
