"""Synthetic stand-in for the MIT-BIH Arrhythmia Database: WFDB files from a sum-of-Gaussians heart model.

The model is that of McSharry, Clifford, Tarassenko & Smith (2003), A dynamical model for generating synthetic
electrocardiogram signals, IEEE Trans. Biomed. Eng. 50(3):289-294: each wave of a beat is a Gaussian at its place in the
cycle, the RR intervals carry respiratory and Mayer waves. Here the Gaussians are summed in closed form instead of by
integrating the equations of motion, and there is a set of them for every kind of beat.

Records, leads, beats and their kinds follow the database's loosely, so that everything downstream is the same code.
Numbers from these records say nothing about real hearts.
"""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import wfdb
from numpy.typing import NDArray

from ecglib import aami
from ecglib.errors import UserError

Floats = NDArray[np.float64]

FS: Final = 360
"""Sampling rate in Hz."""
COMMENT: Final = "synthetic: sum-of-Gaussians heart model after McSharry et al. (2003), no patient"

_TABLE: Final = """
100 MLII V5 2273 N:1 33 1 0 0
101 MLII V1 1865 N:1 3 0 0 5
102 V5 V2 2187 /:93,f:3,N:4 0 4 0 0
103 MLII V2 2084 N:1 2 0 0 0
104 V5 V2 2229 /:63,f:30,N:7 0 2 0 18
105 MLII V1 2572 N:1 0 41 0 15
106 MLII V1 2027 N:1 0 520 0 0
107 MLII V1 2137 /:1 0 59 0 0
108 MLII V1 1763 N:1 4 17 2 0
109 MLII V1 2532 L:1 0 38 2 0
111 MLII V1 2124 L:1 0 1 0 0
112 MLII V1 2539 N:1 2 0 0 0
113 MLII V1 1795 N:1 6 0 0 0
114 V5 MLII 1879 N:1 12 43 4 0
115 MLII V1 1953 N:1 0 0 0 0
116 MLII V1 2412 N:1 1 109 0 0
117 MLII V2 1535 N:1 1 0 0 0
118 MLII V1 2278 R:1 96 16 0 0
119 MLII V1 1987 N:1 0 444 0 0
121 MLII V1 1863 N:1 1 1 0 0
122 MLII V1 2476 N:1 0 0 0 0
123 MLII V5 1518 N:1 0 3 0 0
124 MLII V4 1619 R:1 31 47 5 0
200 MLII V1 2601 N:1 30 826 2 0
201 MLII V1 1963 N:1 128 198 2 0 fibrillation
202 MLII V1 2136 N:1 55 19 1 0 fibrillation
203 MLII V1 2980 N:1 2 444 1 10 fibrillation
205 MLII V1 2656 N:1 3 71 11 10
207 MLII V1 1860 L:94,R:6 107 210 0 0
208 MLII V1 2955 N:1 2 992 373 5
209 MLII V1 3005 N:1 383 1 0 0
210 MLII V1 2650 N:1 22 195 10 0 fibrillation
212 MLII V1 2748 R:66,N:34 0 0 0 0
213 MLII V1 3251 N:1 28 220 362 0
214 MLII V1 2262 L:1 0 256 1 10
215 MLII V1 3363 N:1 3 164 1 0
217 MLII V1 2208 /:77,f:12,N:11 0 162 0 0 fibrillation
219 MLII V1 2154 N:1 7 64 1 0 fibrillation
220 MLII V1 2048 N:1 94 0 0 0
221 MLII V1 2427 N:1 0 396 0 0 fibrillation
222 MLII V1 2483 N:1 209 0 0 0 fibrillation
223 MLII V1 2605 N:1 73 473 14 0
228 MLII V1 2053 N:1 3 362 0 0
230 MLII V1 2256 N:1 0 1 0 0
231 MLII V1 1571 R:80,N:20 1 2 0 0
232 MLII V1 1780 R:1 1382 0 0 0
233 MLII V1 3079 N:1 7 831 11 0
234 MLII V1 2753 N:1 50 3 0 0
"""
"""Record, its two leads, beats in 30 minutes, the basic rhythm's symbols and their weights, and how many beats of the
30 minutes are A, V, F and Q: loosely as in mitdb."""


@dataclass(frozen=True)
class _Plan:
    leads: tuple[str, str]
    beats: int
    basic: dict[str, float]
    ectopic: dict[str, int]
    fibrillation: bool


def _plans() -> dict[str, _Plan]:
    plans = {}
    for line in _TABLE.strip().splitlines():
        name, first, second, beats, basic, *rest = line.split()
        weights = {part[0]: float(part[2:]) for part in basic.split(",")}
        ectopic = dict(zip("AVFQ", map(int, rest[:4]), strict=True))
        plans[name] = _Plan((first, second), int(beats), weights, ectopic, "fibrillation" in rest)
    return plans


_PLANS: Final = _plans()

RECORDS: Final = tuple(_PLANS)
"""Names of the records that `write` makes: those of mitdb."""

# A form of beat is an array (7 waves, time in s from the R peak | width in s | amplitude in mV of each lead).
_P, _Q, _R, _S, _R2, _T, _SPIKE = range(7)
_TIMES: Final = (-0.17, -0.028, 0.0, 0.030, 0.058, 0.29, -0.04)
_WIDTHS: Final = (0.022, 0.009, 0.012, 0.011, 0.018, 0.050, 0.0015)
_SINUS: Final = {
    "MLII": (0.12, -0.08, 1.10, -0.20, 0.0, 0.25, 0.0),
    "V1": (0.06, 0.00, 0.25, -0.90, 0.0, -0.08, 0.0),
    "V2": (0.06, 0.00, 0.45, -1.20, 0.0, 0.35, 0.0),
    "V4": (0.08, -0.08, 1.40, -0.50, 0.0, 0.35, 0.0),
    "V5": (0.08, -0.10, 1.20, -0.25, 0.0, 0.28, 0.0),
}


def write(folder: Path, *, seed: int = 0, minutes: float = 6.0, records: Sequence[str] = RECORDS) -> None:
    """Write synthetic records as WFDB files: `.hea`, `.dat` (format 212, 360 Hz, 200 units per mV) and `.atr`.

    The same arguments give the same bytes (with the same versions of NumPy and wfdb). A record's content does not
    depend on which others are written. 201 and 202 are one patient, as in the real database.

    Parameters
    ----------
    folder
        Made if missing; `RECORDS` is written last.
    seed
        Of all randomness.
    minutes
        Length of each record; at least 0.5.
    records
        Names from `RECORDS`.

    Raises
    ------
    UserError
        When a name is not in `RECORDS` or the length is too short.
    """
    unknown = [name for name in records if name not in _PLANS]
    if unknown:
        raise UserError("records", f"no {', '.join(unknown)}", f"names of mitdb records, {RECORDS[0]} to {RECORDS[-1]}")
    if not minutes >= 0.5:
        raise UserError("minutes", str(minutes), "0.5 or more")
    folder.mkdir(parents=True, exist_ok=True)
    for name in records:
        _write_record(folder, name, seed, minutes)
    (folder / "RECORDS").write_text("".join(f"{name}\n" for name in records), encoding="ascii")


@functools.cache
def version() -> str:
    """What the written bytes depend on beside the arguments, as one short text: this file, NumPy and wfdb."""
    source = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
    return f"{source[:16]} numpy {np.__version__} wfdb {wfdb.__version__}"


def _write_record(folder: Path, name: str, seed: int, minutes: float) -> None:
    plan = _PLANS[name]
    patient = np.random.default_rng([seed, int(aami.patient_of(name)), 0])
    rng = np.random.default_rng([seed, int(name), 1])
    forms = _forms(plan.leads, patient)
    symbols, basic = _symbols(plan, max(20, round(plan.beats * minutes / 30)), rng)
    n_samples = round(minutes * 60 * FS)
    times, breath = _times(symbols, plan.fibrillation, minutes * 60, patient, rng)
    signals = _signals(symbols, basic, times, forms, n_samples, plan.fibrillation, breath, rng)
    signals += _noise(n_samples, patient, rng)
    digital = np.clip(np.rint(signals * 200).astype(np.int64) + 1024, 0, 2047)
    wfdb.wrsamp(
        name, fs=FS, units=["mV", "mV"], sig_name=list(plan.leads), d_signal=np.ascontiguousarray(digital.T),
        fmt=["212", "212"], adc_gain=[200.0, 200.0], baseline=[1024, 1024], comments=[COMMENT], write_dir=str(folder),
    )  # fmt: skip
    # An annotator's mark is off the peak by a sample or two.
    marks = np.clip(np.rint(times * FS).astype(np.int64) + rng.integers(-1, 2, times.size), 1, n_samples - 1)
    rhythm = "(AFIB" if plan.fibrillation else "(P" if "/" in plan.basic else "(N"
    wfdb.wrann(
        name, "atr", np.concatenate(([0], marks)), symbol=["+", *symbols.tolist()],
        aux_note=[rhythm, *([""] * marks.size)], write_dir=str(folder),
    )  # fmt: skip


def _symbols(plan: _Plan, n: int, rng: np.random.Generator) -> tuple[NDArray[np.str_], NDArray[np.str_]]:
    """`n` annotation symbols, and the symbols of the basic rhythm under them (episodes of some 20 beats)."""
    weights = np.array(list(plan.basic.values()))
    n_episodes = 1 + n // 20
    bounds = np.cumsum(weights / weights.sum())
    episodes = rng.permutation(np.searchsorted(bounds, (np.arange(n_episodes) + 0.5) / n_episodes))
    basic = np.array(list(plan.basic))[np.repeat(episodes, 20)[:n]]
    symbols = basic.copy()
    wanted = {symbol: math.ceil(count * n / plan.beats) for symbol, count in plan.ectopic.items()}
    places = rng.permutation(np.arange(1, n - 1))[: sum(wanted.values())]
    symbols[places] = np.repeat(list(wanted), list(wanted.values()))[: places.size]
    return symbols, basic


def _times(
    symbols: NDArray[np.str_],
    fibrillation: bool,
    seconds: float,
    patient: np.random.Generator,
    rng: np.random.Generator,
) -> tuple[Floats, float]:
    """R peak times in s, spread over the record, and the breathing rate in Hz.

    An ectopic beat comes early; a ventricular one is followed by a full compensatory pause, an atrial one by a shorter.
    """
    breath, depth, spread = patient.uniform(0.2, 0.32), patient.uniform(0.01, 0.06), patient.uniform(0.005, 0.02)
    early = {"A": (0.62, 0.94), "V": (0.52, 0.88), "F": (0.82, 1.0), "Q": (0.7, 1.1)}
    if "/" in symbols:
        depth, spread = 0.0, 0.004
    mean = (seconds - 1.0) / symbols.size
    times, now, pause = [], 0.0, 1.0
    for symbol in symbols.tolist():
        slow = depth * math.sin(2 * math.pi * breath * now) + 0.5 * depth * math.sin(2 * math.pi * 0.1 * now)
        usual = mean * (1 + slow + spread * rng.standard_normal())
        if fibrillation and symbol not in "/f":
            usual *= math.exp(0.16 * rng.standard_normal())
        ratio = rng.uniform(*early[symbol]) if symbol in early else 1.0
        now += usual * (ratio if symbol in early else pause)
        pause = {"A": rng.uniform(1.0, 1.2), "V": 2 - ratio, "F": 2 - ratio}.get(symbol, 1.0)
        times.append(now)
    peaks = np.array(times)
    return 0.5 + (peaks - peaks[0]) * (seconds - 1.0) / (peaks[-1] - peaks[0]), breath


def _forms(leads: tuple[str, str], rng: np.random.Generator) -> dict[str, Floats]:
    """A patient's forms of beat by symbol; "V" and "W" are two ventricular foci, "A" alters the P wave only."""
    sinus = np.column_stack([_TIMES, _WIDTHS, *(_SINUS[lead] for lead in leads)])
    sinus[:, 2:] *= np.exp(rng.normal(0, 0.25, (7, 1)) + rng.normal(0, 0.1, (7, 2)))
    sinus[:, 1] *= np.exp(rng.normal(0, 0.12, 7))
    sinus[_P, 0] += rng.normal(0, 0.015)
    sinus[_T, 2:] *= rng.normal(1, 0.45)
    sinus[_T, 0] += rng.normal(0, 0.015)
    left_facing = np.array([lead not in ("V1", "V2") for lead in leads])
    forms = {"N": sinus, "L": _left_block(sinus, left_facing, rng), "R": _right_block(sinus, left_facing, rng)}
    for focus in "VW":
        forms[focus] = _ventricular(left_facing, rng)
    forms["/"] = _ventricular(left_facing, rng)
    forms["/"][_SPIKE, 2:] = rng.uniform(0.2, 0.8) * rng.choice([-1, 1], 2)
    return forms


def _left_block(sinus: Floats, left_facing: NDArray[np.bool_], rng: np.random.Generator) -> Floats:
    """Left bundle branch block: broad and notched in the leads that face left, a deep S in the others."""
    form = sinus.copy()
    form[_Q, 2:] = 0
    form[[_R, _R2, _S], 1] = rng.uniform(0.018, 0.026, 3)
    form[_R2, 0], form[_S, 0] = 0.048, 0.025
    height = 0.7 * np.exp(rng.normal(0, 0.2, 2))
    form[_R, 2:] = np.where(left_facing, height, 0.05)
    form[_R2, 2:] = np.where(left_facing, 0.8 * height, 0)
    form[_S, 2:] = np.where(left_facing, 0, -1.6 * height)
    form[_T, 2:] = np.where(left_facing, -0.35, 0.45) * height
    return form


def _right_block(sinus: Floats, left_facing: NDArray[np.bool_], rng: np.random.Generator) -> Floats:
    """Right bundle branch block: a late R' over the right heart, a broad S in the leads that face left."""
    form = sinus.copy()
    size = np.exp(rng.normal(0, 0.2, 2))
    form[_S, 0], form[_S, 1], form[_R2, 1] = 0.045, rng.uniform(0.014, 0.022), rng.uniform(0.016, 0.022)
    form[_S, 2:] = np.where(left_facing, -0.4, -0.3) * size
    form[_R2, 2:] = np.where(left_facing, 0, 0.8) * size
    form[_T, 2:] = np.where(left_facing, sinus[_T, 2:], -0.25 * size)
    return form


def _ventricular(left_facing: NDArray[np.bool_], rng: np.random.Generator) -> Floats:
    """A beat from a ventricular focus: no P wave, a broad QRS of either sign, a T wave against it."""
    form = np.column_stack([_TIMES, _WIDTHS, np.zeros((7, 2))])
    upward = np.where(left_facing, 1, -1) * rng.choice([-1, 1], p=[0.35, 0.65])
    height = upward * rng.uniform(0.6, 1.7, 2)
    form[_R, 1], form[_S, 1], form[_T, 1] = rng.uniform(0.020, 0.042), rng.uniform(0.025, 0.05), 0.07
    form[_S, 0], form[_T, 0] = rng.uniform(0.06, 0.10), rng.uniform(0.29, 0.34)
    form[_R, 2:], form[_S, 2:] = height, -height * rng.uniform(0.1, 0.5)
    form[_T, 2:] = -height * rng.uniform(0.15, 0.45)
    return form


def _signals(
    symbols: NDArray[np.str_],
    basic: NDArray[np.str_],
    times: Floats,
    forms: dict[str, Floats],
    n_samples: int,
    fibrillation: bool,
    breath: float,
    rng: np.random.Generator,
) -> Floats:
    """The noiseless signals, `(2, n_samples)` in mV: the sum of all waves of all beats."""
    beats, waves = _waves(symbols, basic, forms, rng)
    n = beats.size
    if fibrillation:
        waves[:, _P, 2:] = 0
    waves[:, :, 2:] *= np.exp(rng.normal(0, 0.08, (n, 7, 1)))
    waves[:, :, 2:] *= (1 + 0.06 * np.sin(2 * np.pi * breath * times[beats]))[:, None, None]
    waves[:, :, 1] *= np.exp(rng.normal(0, 0.06, (n, 7)))
    waves[:, _P, 0] += rng.normal(0, 0.006, n)
    # The T wave keeps its distance with the square root of the RR interval before it (Bazett 1920).
    rr = np.clip(np.diff(times, prepend=2 * times[0] - times[1]), 0.4, 1.4)
    waves[:, _T, 0] *= np.sqrt(rr[beats])
    signals = np.zeros((2, n_samples))
    for wave in range(7):
        used = np.any(waves[:, wave, 2:] != 0, axis=1)
        _add(signals, times[beats[used]] + waves[used, wave, 0], waves[used, wave, 1], waves[used, wave, 2:])
    if fibrillation:
        seconds = np.arange(n_samples) / FS
        phase = 2 * np.pi * (5.8 * seconds + 0.4 * np.sin(2 * np.pi * 0.17 * seconds))
        signals += rng.uniform(0.02, 0.06, (2, 1)) * np.sin(phase)
    return signals


def _waves(
    symbols: NDArray[np.str_], basic: NDArray[np.str_], forms: dict[str, Floats], rng: np.random.Generator
) -> tuple[NDArray[np.int64], Floats]:
    """The forms that make up each beat: beat indices `(n,)` and waves `(n, 7, 4)`; a fusion is made of two."""
    beats, waves = [], []
    for i, (symbol, under) in enumerate(zip(symbols.tolist(), basic.tolist(), strict=True)):
        focus = "W" if rng.random() < 0.2 else "V"
        normal = "N" if under in "/f" else under
        share = rng.uniform(0.25, 0.85)
        parts = {
            "A": {normal: 1.0},
            "V": {focus: 1.0},
            "F": {normal: share, "V": 1 - share},
            "f": {"N": share, "/": 1 - share},
            "Q": {normal: rng.uniform(0, 1), focus: rng.uniform(0, 1)},
        }.get(symbol, {symbol: 1.0})
        for form, weight in parts.items():
            wave = forms[form].copy()
            wave[:, 2:] *= weight
            if symbol == "A":
                wave[_P, 0] += rng.uniform(-0.02, 0.05)
                wave[_P, 2:] *= rng.uniform(-0.8, 0.8)
            elif symbol == "V":
                wave[:, 1] *= rng.uniform(0.75, 1.15)
            elif symbol == "Q":
                wave[:, 1] *= rng.uniform(0.7, 1.6)
            beats.append(i)
            waves.append(wave)
    return np.array(beats), np.array(waves)


def _add(signals: Floats, centres: Floats, widths: Floats, amplitudes: Floats) -> None:
    """Add Gaussians, `(n,)` centres and widths in s, `(n, 2)` amplitudes in mV, to `(2, n_samples)`."""
    if not centres.size:
        return
    reach = math.ceil(4 * float(widths.max()) * FS)
    index = np.rint(centres * FS).astype(np.int64)[:, None] + np.arange(-reach, reach + 1)
    shape = np.exp(-0.5 * ((index / FS - centres[:, None]) / widths[:, None]) ** 2)
    n_samples = signals.shape[1]
    shape[(index < 0) | (index >= n_samples)] = 0
    index = np.clip(index, 0, n_samples - 1).ravel()
    for lead in range(2):
        signals[lead] += np.bincount(index, (shape * amplitudes[:, lead, None]).ravel(), n_samples)


def _noise(n_samples: int, patient: np.random.Generator, rng: np.random.Generator) -> Floats:
    """Baseline wander, muscle noise in bursts and 60 Hz mains, `(2, n_samples)` in mV."""
    seconds = np.arange(n_samples) / FS
    wander, muscle = patient.uniform(0.02, 0.12), patient.uniform(0.008, 0.03)
    noise = np.zeros((2, n_samples))
    for frequency in rng.uniform(0.05, 0.6, 5):
        phase = rng.uniform(0, 2 * np.pi, (2, 1))
        noise += wander * rng.uniform(0.3, 1, (2, 1)) * np.sin(2 * np.pi * frequency * seconds + phase)
    knots = np.exp(rng.normal(0, 0.5, n_samples // (3 * FS) + 2))
    bursts = np.interp(seconds, 3 * np.arange(knots.size), knots)
    white = rng.standard_normal((2, n_samples + 1))
    noise += muscle * bursts * (white[:, 1:] - 0.5 * white[:, :-1])
    noise += patient.uniform(0.001, 0.01) * np.sin(2 * np.pi * 60 * seconds + rng.uniform(0, 2 * np.pi, (2, 1)))
    return noise
