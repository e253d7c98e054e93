"""Reading clinical recordings: leads in their order and in mV, repairs by rule and named, the rest refused."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import clinics
import numpy as np
import pytest
import scipy.io
import wfdb
from clinics import edit
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ecglib.data import records
from ecglib.data.records import LEADS, Recording, at_rate

NO_NAME = "record line begins with '{}.mat', which is no record name"
GAIN = "gain of {} units per mV taken for 1000"
FLAT = "{}: never varies, so taken for not recorded"
UNREAD = "no standard lead, so not read: {}"
SECOND = "another channel is plainly this lead, so not read: {}"
NEGATED = "negated by its name, so turned over: {}"
REPAIRS = {
    "E00015": (NO_NAME.format("E00015"), GAIN.format(4880)),
    "E00018": (NO_NAME.format("E00018"), GAIN.format(4880)),
    "E00793": (NO_NAME.format("E00793"), GAIN.format(4880)),
    "HR00599": (GAIN.format(200),),
    "HR20715": (GAIN.format(200),),
    "JS45542": (FLAT.format("V1, V2, V3, V4, V5, V6"),),
    "JS45544": (FLAT.format("V2, V3, V4, V5, V6"),),
    "JS45551": (FLAT.format("V4, V5, V6"),),
}
"""Of the 94 records of the Challenge that we have; nothing else is put right."""
SPELLINGS = {"I": "D1", "II": "DII", "III": "d3", "AVR": "aVR", "AVL": "avl", "AVF": "aVF", "V1": "v1"}
OTHERS = ("vx", "vy", "vz", "V7", "V3R", "MLII", "RESP")
WRITERS = [clinics.mat, clinics.dat]
Write = Callable[..., Path]
MARK = -(2**15)
"""What formats of 16 bits write for a sample that is missing."""
UNITS = clinics.units()
FEW_UNITS = np.round(UNITS / 25).astype(np.int64)
"""40 to a mV."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The database's, with a folder above that a path could lead out to."""
    path = tmp_path / "database"
    path.mkdir()
    return path


@pytest.fixture(params=WRITERS, ids=["mat", "dat"])
def write(request: pytest.FixtureRequest) -> Write:
    """Writes a record as a matrix, or in a WFDB format."""
    found: Write = request.param
    return found


@pytest.fixture(scope="module")
def real_challenge(real_data: Path) -> Path:
    if not (real_data / "challenge-2021" / "HR00001.mat").is_file():
        pytest.skip("challenge-2021: no real records in ECGLIB_DATA")
    return real_data / "challenge-2021"


def read(folder: Path, name: str = "r") -> Recording:
    return records.read_repaired(folder, name)


def resampled(folder: Path) -> NDArray[np.float32]:
    """At 100 Hz."""
    found = read(folder)
    return at_rate(found.signals, found.fs, 100)


def known(recording: Recording) -> NDArray[np.bool_]:
    return recording.signals.any(1)


def refused(folder: Path, name: str = "r") -> str:
    return clinics.refused(read, folder, name)


# --- the real records -------------------------------------------------------------------------------------------------


@pytest.mark.real
def test_the_94_records_of_the_challenge_are_read_and_eight_put_right(real_challenge: Path) -> None:
    names = records.list_records(real_challenge)
    repairs = {}
    for name in names:
        signal = read(real_challenge, name)
        assert signal.fs == (1000 if name.startswith("S0") else 500)
        flat = REPAIRS.get(name, ("",))[0].partition(":")[0].split(", ")
        assert [lead for lead, known in zip(LEADS, signal.signals.any(1), strict=True) if not known] == [
            lead for lead in LEADS if lead in flat
        ]
        if signal.repairs:
            repairs[name] = signal.repairs
    assert len(names) == 94
    assert repairs == REPAIRS


@pytest.mark.real
def test_ten_records_are_those_of_ptb_xl_sample_for_sample(real_challenge: Path, real_data: Path) -> None:
    for n in range(1, 11):
        ours = read(real_challenge, f"HR{n:05d}")
        theirs = read(real_data / "ptb-xl", f"records500/00000/{n:05d}_hr")
        assert ours.fs == theirs.fs == 500
        np.testing.assert_array_equal(ours.signals, theirs.signals)
        assert ours.repairs == theirs.repairs == ()


@pytest.mark.real
@pytest.mark.parametrize("gain", [4880, 200])
def test_a_gain_put_right_gives_mv_of_ptb_xl(real_challenge: Path, real_data: Path, folder: Path, gain: int) -> None:
    for suffix in (".hea", ".mat"):
        shutil.copy(real_challenge / f"HR00001{suffix}", folder)
    edit(folder / "HR00001.hea", "1000/mv", f"{gain}/mV")
    found = read(folder, "HR00001")
    np.testing.assert_array_equal(found.signals, read(real_data / "ptb-xl", "records500/00000/00001_hr").signals)
    assert found.repairs == (GAIN.format(gain),)


@settings(max_examples=25)
@given(
    write=st.sampled_from(WRITERS),
    chosen=st.lists(st.sampled_from([*LEADS, *OTHERS]), min_size=1, max_size=15, unique=True),
    respell=st.booleans(),
)
def test_any_leads_in_any_order(write: Write, chosen: list[str], respell: bool) -> None:
    names = [SPELLINGS.get(name, name) if respell else name for name in chosen]
    signals = clinics.units(100, len(names), fs=100)  # a second is enough
    with tempfile.TemporaryDirectory() as place:
        write(Path(place), "r", signals, names, fs=100)
        if not set(chosen) & set(LEADS):
            assert refused(Path(place)) == "no standard lead with a signal"
            return
        found = read(Path(place))
    assert found.signals.shape == (12, 100)
    assert found.signals.dtype == np.float32
    others = [name for name in names if name in OTHERS]
    assert found.repairs == ((UNREAD.format(", ".join(others)),) if others and not set(LEADS) <= set(chosen) else ())
    for row, lead in enumerate(LEADS):
        assert known(found)[row] == (lead in chosen)
        expected = signals[chosen.index(lead)] if lead in chosen else np.zeros(100)
        np.testing.assert_allclose(found.signals[row], expected / 1000, rtol=1e-6)


EN_DASH, MINUS = "\N{EN DASH}", "\N{MINUS SIGN}"
KNOWN_AS = {
    "I": f'D1, DI, Lead I, LEAD_I, ECG I, ECG-I, EKG lead I, MDC_ECG_LEAD_I, I. , I:, "I", Lead{EN_DASH}I, ECG{MINUS}I',
    "II": f"D-II, d 2, lead:ii, ECG_II, II;, D{EN_DASH}II, ECG-Lead-II",
    "AVR": f"aVR, av_R, aV-R, Lead aVR, MDC_ECG_LEAD_AVR, MDC_ECG_LEAD_aVR, aVR., aV{MINUS}R",
    "V1": f"V-1, V 1, V_1, V.1, Ｖ１, MDC_ECG_LEAD_V1, ECG V1, ECG{EN_DASH}V1, V{EN_DASH}1",
    "-AVR": f"-aVR, {MINUS}aVR, {EN_DASH}avr, Lead -aVR, ECG -aVR, ECG {EN_DASH}aVR, MDC_ECG_LEAD_AVRneg",
    "-I": "-I, -D1, ECG -I",
    "": "MCL1, MLII, MDC_ECG_LEAD_MLII, I-II, V1-V2, II+, aVR-, C1, C3, ECG C4, C7, V3R, Lead 2, ECG1, L1, VF, CM5, 1, "
    "-, ECG lead, ECG--I, ECG_-aVR",
}
"""Lead, negated or not -> how it is written; what is none is no other lead."""


@pytest.mark.parametrize("lead", KNOWN_AS)
def test_leads_by_the_names_that_they_have_in_the_wild(folder: Path, write: Write, lead: str) -> None:
    for spelling in [*KNOWN_AS[lead].split(", "), *["I,"] * (lead == "I")]:
        write(folder, "r", UNITS[:2], ["V5", spelling])
        found, row = read(folder), LEADS.index(lead.strip("-")) if lead else None
        assert np.flatnonzero(known(found)).tolist() == sorted({10, row} - {None}), spelling
        says = {"-": NEGATED, "": UNREAD}.get(lead[:1])
        assert found.repairs == ((says.format(spelling),) if says else ())
        if row is not None:
            sign = -1 if lead.startswith("-") else 1
            np.testing.assert_allclose(found.signals[row], sign * UNITS[1] / 1000, rtol=1e-6)
            if write is clinics.dat:
                if sign > 0:
                    assert records.read_recording(folder, "r", [lead]).leads == (" ".join(spelling.split()),)
                else:
                    assert clinics.refused(records.read_recording, folder, "r", [lead.strip("-")]) == "missing lead"


CHEST = ("C1", "c-2", "ECG C3", "C4", "C5", "C6")
SEVERAL: dict[str, tuple[tuple[str, ...], str, tuple[str, ...]]] = {
    "chest leads by C": ((*LEADS[:6], *CHEST), "0 1 2 3 4 5 6 7 8 9 10 11", ()),
    "an EEG": (("I", "C3", "C4", "F3", "O1"), "0", (UNREAD.format("C3, C4, F3, O1"),)),
    "an EEG beside V": (("V1", *CHEST), "0", (SECOND.format("C1"), UNREAD.format("c-2, ECG C3, C4, C5, C6"))),
    "an EEG beside twelve": ((*LEADS, "C3", "C4", "F3"), "0 1 2 3 4 5 6 7 8 9 10 11", (SECOND.format("C3, C4"),)),
    "negated too": (("-aVR", *LEADS), "1 2 3 4 5 6 7 8 9 10 11 12", (SECOND.format("-aVR"),)),
    "by name and plainly": (("Lead II", "II", "RESP"), "1", (SECOND.format("Lead II"), UNREAD.format("RESP"))),
    "by name and negated": (("-II", "Lead II"), "1", (SECOND.format("-II"),)),
}
"""Leads -> places of those read, in the order of `LEADS`, and what is told."""


@pytest.mark.parametrize("case", SEVERAL)
def test_of_several_channels_the_plainly_spelt_is_the_lead(folder: Path, write: Write, case: str) -> None:
    leads, rows, told = SEVERAL[case]
    signals = clinics.units(leads=len(leads))
    write(folder, "r", signals, leads)
    found = read(folder)
    assert found.repairs == told
    np.testing.assert_allclose(found.signals[known(found)], signals[list(map(int, rows.split()))] / 1000, rtol=1e-6)


@pytest.mark.parametrize(
    ("leads", "asked", "said"),
    [
        (["ECG II", "Lead II"], "II", "a lead twice"),
        (["ECG II", "Lead II"], "Lead II", ""),
        (["ECG II", "II"], "II", ""),
        (["ECG II", "Lead II", "V1"], "V1", ""),
        (["I", "C3"], "V3", "missing lead"),
    ],
)
def test_a_lead_asked_for_that_two_channels_may_be(folder: Path, leads: list[str], asked: str, said: str) -> None:
    clinics.dat(folder, "r", UNITS[: len(leads)], leads)
    if said:
        assert clinics.refused(records.read_recording, folder, "r", [asked]) == said
    else:
        assert records.read_recording(folder, "r", [asked]).leads == (asked,)


def test_a_lead_that_never_varies_is_not_known(folder: Path, write: Write) -> None:
    signals = UNITS.copy()
    signals[[2, 7]], signals[4] = 0, 700
    write(folder, "r", signals)
    found = read(folder)
    assert found.repairs == (FLAT.format("III, AVL, V2"),)
    assert np.flatnonzero(~known(found)).tolist() == [2, 4, 7]


@pytest.mark.parametrize(
    ("write", "mark", "other"),
    [(clinics.mat, MARK, MARK), (clinics.dat, MARK, MARK), (clinics.mat, np.nan, np.inf)],
    ids=["mat", "dat", "floats"],
)
def test_samples_without_a_number_are_filled_in_if_few(folder: Path, write: Write, mark: float, other: float) -> None:
    holes = UNITS.astype(type(mark))
    holes[1, 300:350] = mark  # 5 % of the samples: the most that may be
    holes[6, [0, 999]] = other
    holes[3, 300:351] = holes[11] = mark
    write(folder, "r", holes)
    found = read(folder)
    expected = UNITS / 1000
    expected[1, 299:351] = np.linspace(expected[1, 299], expected[1, 350], 52)
    expected[6, [0, 999]] = expected[6, [1, 998]]
    expected[[3, 11]] = 0
    np.testing.assert_allclose(found.signals, expected, atol=1e-6)
    assert found.repairs == (
        "II, V1: samples without a number interpolated",
        "AVR, V6: no number in too many samples, so taken for not recorded",
    )
    assert np.flatnonzero(~known(found)).tolist() == [3, 11]


@pytest.mark.parametrize(("gain", "unit"), [("1/mV", "µV"), ("1000000/mV", "V")])
def test_another_unit_than_the_header_says(folder: Path, write: Write, gain: str, unit: str) -> None:
    found = read(write(folder, "r", gain=gain).parent)
    np.testing.assert_allclose(found.signals, UNITS / 1000, rtol=1e-5)
    assert found.repairs == (f"{unit} written as mV",)


def test_a_pop_of_one_electrode_does_not_decide_the_unit(folder: Path, write: Write) -> None:
    """Nor do several, of fewer than half of the leads."""
    for pops in (1, 5):
        units = UNITS.astype(np.int32)
        units[:pops, 400] = 2**15 - 1
        write(folder, "r", units, gain="1000000/mV")
        found = read(folder)
        np.testing.assert_allclose(found.signals, units / 1000, rtol=1e-5)
        assert found.repairs == ("V written as mV",)


@pytest.mark.parametrize("noise", [0.5, 2, 6, 12])
@pytest.mark.parametrize("beats", [1, 30])
def test_a_near_standstill_is_read_as_its_header_says(folder: Path, write: Write, noise: float, beats: int) -> None:
    """A beat in half a minute, or spikes of a pacemaker that nothing follows."""
    units = np.random.default_rng(0).normal(0, 10 * noise, (12, 15_000))
    units[:, :: 15_000 // beats] += 12_000
    write(folder, "r", np.round(units).astype(np.int16), gain="10000/mV")
    found = read(folder)
    np.testing.assert_allclose(found.signals, np.round(units) / 10_000, atol=1e-6)
    assert found.repairs == ()


@pytest.mark.parametrize("noise", [1, 2, 3])
def test_a_standstill_is_no_ecg_written_in_v(folder: Path, write: Write, noise: float) -> None:
    """A thousand times as high, the steps of its converter are 1 mV."""
    units = np.random.default_rng(0).normal(0, noise, (12, 5000))
    write(folder, "r", np.round(units).astype(np.int16))
    assert refused(folder) == "implausible amplitude"


@pytest.mark.parametrize(("per_mv", "read_as_v"), [(20, True), (10, False)])
def test_coarse_steps_are_taken_for_v_where_the_header_says_so(
    folder: Path, write: Write, per_mv: int, read_as_v: bool
) -> None:
    """From 0.05 mV on, the steps may be those of a converter that resolves 0.05 µV, at a standstill."""
    units = UNITS // (1000 // per_mv)
    write(folder, "r", units, gain=f"{1000 * per_mv}/V")
    np.testing.assert_allclose(read(folder).signals, units / per_mv, rtol=1e-6)
    write(folder, "r", units, gain=f"{1000 * per_mv}/mV")
    if read_as_v:
        np.testing.assert_allclose(read(folder).signals, units / per_mv, rtol=1e-5)
    else:
        assert refused(folder) == "implausible amplitude"


NO_ECG = {
    "implausible amplitude": [
        {"gain": gain} for gain in ("40/mV", "60000/mV", "0.00001/mV")
    ],  # 25 mV or 17 µV, and more
    "a lead twice": [{"leads": f"V1 {two}".split()} for two in ("I I", "I D1", "aVR AVR", "DII d2", "Lead_I ECG_I")],
    "no standard lead with a signal": [
        {"signals": 0 * UNITS},
        {"leads": ["RESP", "MLII"], "first": f"r 2 500 {2**40}"},  # no memory for so many
    ],
    "short signal": [{"signals": UNITS[:, :499]}],
    "empty signal": [{"signals": UNITS[:, :0]}],
}


@pytest.mark.parametrize("reason", NO_ECG)
def test_what_is_no_ecg_of_twelve_leads_is_refused(folder: Path, write: Write, reason: str) -> None:
    for how in NO_ECG[reason]:
        write(folder, "r", **how)
        assert refused(folder) == reason


# --- matrices ---------------------------------------------------------------------------------------------------------

SCALES = {
    "wfdb2mat": (200, 0, np.int16, "16", "200/mV"),
    "PTB": (2000, -77, np.int16, "16", "2000(-77)"),
    "unsigned": (1000, 32768, np.uint16, "16", "1000(32768)/mV"),
    "eight bits": (40, 0, np.int8, "8", "40(0)/mV"),
    "32 bits": (1e6, 2**30, np.int32, "32", "1000000(1073741824)/mV"),
    "64 bits": (1e6, -(2**45), np.int64, "32", f"1000000({-(2**45)})/mV"),
    "more unsigned bits": (1e5, 2**31, np.uint32, "32", f"100000({2**31})/mV"),
    "floats in mV": (1, 0, np.float64, "16", "1/mV"),
    "single floats in µV": (1000, 0, np.float32, "16", "1/uV"),
    "floats in units": (1000, 512, np.float64, "16", "1000(512)/mV"),
    "floats with an offset": (4, -3, np.float64, "16", "4(-3)/mV"),
}
"""Units per mV, units at 0 mV and their kind -> format and gain that a header says it with."""


@pytest.mark.parametrize("scale", SCALES)
def test_gain_and_baseline_of_a_matrix(folder: Path, scale: str) -> None:
    per_mv, baseline, kind, fmt, gain = SCALES[scale]
    values, whole = UNITS / 1000 * per_mv + baseline, np.dtype(kind).kind != "f"
    clinics.mat(folder, "r", (np.round(values) if whole else values).astype(kind), fmt=fmt, gain=gain)
    found = read(folder)
    np.testing.assert_allclose(found.signals, UNITS / 1000, rtol=1e-6, atol=0.501 / per_mv if whole else 1e-6)
    assert found.repairs == ()


@pytest.mark.parametrize("gain", ["1000/mV", "200/mV", "4880/mV", "1000(512)/mV", "1000/uV", "100000/mV"])
def test_numbers_in_mv_whatever_gain_the_header_has(folder: Path, gain: str) -> None:
    """Of a program that wrote mV beside a header for whole numbers."""
    clinics.mat(folder, "r", UNITS / 1000, gain=gain)
    found = read(folder)
    np.testing.assert_allclose(found.signals, UNITS / 1000, rtol=1e-6)
    assert found.repairs[-1] == "numbers that are no whole ones taken for mV"


@pytest.mark.parametrize(("fmt", "kind", "low"), [("16", np.int16, 0), ("32", np.int32, 0), ("80", np.uint8, 128)])
def test_a_matrix_is_read_as_wfdb_reads_it(folder: Path, fmt: str, kind: type, low: int) -> None:
    """Which takes it for a signal file of that format, 24 bytes on; bytes have their zero at 128 there."""
    path = clinics.mat(folder, "r", fmt=fmt, gain="40(3)/mV")
    scipy.io.savemat(path.with_suffix(".mat"), {"val": (FEW_UNITS + low).astype(kind)}, format="4")
    theirs = wfdb.rdrecord(str(folder / "r")).p_signal.T
    np.testing.assert_allclose(theirs, (FEW_UNITS - 3) / 40)
    np.testing.assert_allclose(read(folder).signals, theirs, rtol=1e-6)


@pytest.mark.parametrize("skews", ["0 1", "0 3", "7 0", "50 50", "51 0", "0 999", "1000 0", "5000 0", "9" * 14 + " 0"])
def test_a_lead_that_comes_late_is_shifted_as_wfdb_shifts_it(folder: Path, skews: str) -> None:
    path = clinics.mat(folder, "r", UNITS[:2], ["I", "V1"])
    scipy.io.savemat(path.with_suffix(".mat"), {"val": UNITS[:2]}, format="4")
    lines, late = path.read_text().splitlines(), [int(skew) for skew in skews.split()]
    lines[1:3] = [line.replace("16+24", f"16:{skew}+24") for line, skew in zip(lines[1:3], late, strict=True)]
    path.write_text("\n".join(lines))
    if max(late) > 1000:  # more than wfdb can read
        assert known(read(folder)).sum() == 1
        return
    theirs, found = wfdb.rdrecord(str(folder / "r")).p_signal.T, read(folder)
    for row, lead, skew in zip((0, 6), theirs, late, strict=True):
        lead[1000 - skew :] = np.nan  # of which wfdb marks too few
        if skew <= 50:
            np.testing.assert_allclose(found.signals[row][: 1000 - skew], lead[: 1000 - skew], rtol=1e-6)
            assert (found.signals[row][1000 - skew :] == found.signals[row][999 - skew]).all()
        else:
            assert not found.signals[row].any()
    assert len(found.repairs) == (max(late) > 0) == len({*found.repairs})


@pytest.mark.parametrize(
    ("fmt", "kind", "low", "mark"),
    [
        *(("16", kind, 0, MARK) for kind in (np.int16, np.int32, np.float64)),
        ("32", np.int32, 0, -(2**31)),
        ("80", np.uint8, 128, 0),
    ],
)
def test_marks_of_a_matrix_are_those_of_its_format(folder: Path, fmt: str, kind: type, low: int, mark: int) -> None:
    holes = FEW_UNITS + low
    holes[1, 10], holes[6, 990:] = mark, mark
    clinics.mat(folder, "r", holes.astype(kind), fmt=fmt, gain="40/mV")
    found = read(folder)
    assert found.repairs == ("II, V1: samples without a number interpolated",)
    assert np.abs(found.signals).max() < 5


NO_DX = ("Age: 61", "Creator: wfdb2mat")
WITH_DX = ("Dx: 426783006",)


@pytest.mark.parametrize(
    ("cases", "comments", "wrong"),
    [
        ("E00015 4880/mV, HR00599 4880(0)/mV, renamed 4880/mV, E00015 200/mV, g1/HR00599 200.0(0)/mv", WITH_DX, True),
        ("E00015 4880/mV", NO_DX, True),
        ("own 4880/mV, HR00599 200/mV", NO_DX, False),
        ("E00015 4880(12)/mV, HR00599m 200/mV, E0001 200/mV, 100m 200/mV, HR00599 1000/mV", WITH_DX, False),
    ],
)
def test_1000_units_per_mv_are_taken_in_the_challenges_own_mat_files_alone(
    folder: Path, write: Write, cases: str, comments: tuple[str, ...], wrong: bool
) -> None:
    for name, gain in (case.split() for case in cases.split(", ")):
        write(folder, name, UNITS, gain=gain, comments=comments)
        found, put_right = read(folder, name), wrong and write is clinics.mat
        says, baseline = float(gain.partition("/")[0].partition("(")[0]), 12 if "(12)" in gain else 0
        expected = (UNITS - baseline) / (1000 if put_right else says)
        np.testing.assert_allclose(found.signals, expected, rtol=1e-6, atol=1e-7)
        assert found.repairs == ((GAIN.format(f"{says:g}"),) if put_right else ())


def test_every_wrong_gain_is_named(folder: Path) -> None:
    clinics.mat(folder, "E00001", gain=["4880/mV", "200/mV", *["1000/mV"] * 10])
    found = read(folder, "E00001")
    assert found.repairs == (GAIN.format("200 and 4880"),)
    np.testing.assert_allclose(found.signals, UNITS / 1000, rtol=1e-6)


@pytest.mark.parametrize("gain", ["1/NU", "1/mmHg", "0", "1/l/min", "-5/%", "x", "1000(mV)/500", "9" * 400])
def test_what_other_channels_measure_is_no_matter(folder: Path, write: Write, gain: str) -> None:
    signals = clinics.units(leads=14)
    write(folder, "r", signals, [*LEADS, "RESP", "RESP"], gain=["1000/mV"] * 12 + [gain] * 2)
    np.testing.assert_allclose(read(folder).signals, signals[:12] / 1000, rtol=1e-6)


@pytest.mark.parametrize("fs", [100, 250, 257, 500, 1000])
def test_a_sine_keeps_amplitude_and_phase_at_another_rate_without_aliases(folder: Path, fs: float) -> None:
    t, hertz, phase = np.arange(10 * fs) / fs, 5.0, 0.7
    wave = np.sin(2 * np.pi * hertz * t + phase)
    high = np.sin(2 * np.pi * 90 * t) * (fs >= 500)  # 90 Hz would come back as 10 Hz
    signals = np.round(1000 * np.stack([wave + high, -2 * wave])).astype(np.int16)
    clinics.dat(folder, "r", signals, ["V2", "I"], fs=fs)
    recorded, found = known(read(folder)), resampled(folder)
    assert (found.shape, found.dtype) == ((12, 1000), np.float32)
    expected = np.sin(2 * np.pi * hertz * np.arange(1000) / 100 + phase)
    inner = slice(20, -20)  # the filter knows nothing of what was before and after
    np.testing.assert_allclose(found[7, inner], expected[inner], atol=0.02)
    np.testing.assert_allclose(found[0, inner], -2 * expected[inner], atol=0.02)
    assert np.flatnonzero(recorded).tolist() == [0, 7]
    assert not found[~recorded].any()


def test_an_offset_gets_no_ripple_at_the_ends(folder: Path) -> None:
    clinics.dat(folder, "r", clinics.units(5000) + np.int16(5000))
    assert np.abs(resampled(folder)[:, [0, -1]] - 5).max() < 0.1


# --- broken files -----------------------------------------------------------------------------------------------------


HDF5 = b"MATLAB 7.3 MAT-file".ljust(124) + b"\0\2IM" + b"\x89HDF\r\n\x1a\n".ljust(400, b"\0")
"""As MATLAB 7.3 writes them."""


def holding(**variables: object) -> Callable[[Path], object]:
    return lambda path: scipy.io.savemat(path, variables)


BROKEN = {
    "missing signal": [Path.unlink],
    "unreadable signal": [
        lambda path: path.write_text("val = [1 2 3]\n"),
        lambda path: path.write_bytes(HDF5),
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        holding(data=UNITS),
        *(holding(val=each) for each in ("a text", {"signal": UNITS}, [[UNITS, "x"]], UNITS[None], 1j * UNITS)),
        holding(val=UNITS.astype(np.int64) + 2**60),  # no converter gives such numbers
    ],
    "header and signal disagree": [
        holding(val=each) for each in (UNITS.T, UNITS[:11], UNITS[:, :-1], clinics.units(1001))
    ],
}


@pytest.mark.parametrize("reason", BROKEN)
def test_a_broken_matrix_is_refused(folder: Path, reason: str) -> None:
    for spoil in BROKEN[reason]:
        spoil(clinics.mat(folder, "r").with_suffix(".mat"))
        assert refused(folder) == reason


@pytest.mark.parametrize(
    ("reason", "lines"),
    [
        ("unreadable header", ["", "r", "r twelve 500 1000", "r 12 fast 1000", "r 11 500 1000", "r 13 500 1000"]),
        ("unreadable header", ["r 0 500 1000", "r 12 500 -1000", f"r 12 500 {2**41}", "r 12 nan 1000", "r 12 -500"]),
        ("unreadable header", [f"r 12 500 {n}" for n in ("1000.0", "1e3", "1O00", "1_000", "+1000", "x", "1e3 2006")]),
        (
            "unreadable header",
            ["r 1_2 500 1000", "r +12 500 1000", "r 12 9000000 1000", "r 12 5_00 1000", "r 12 500 1_000 a b c d e"],
        ),
        ("unsupported record", ["r/2 12 500 1000", "r/12 12 500 1000"]),
        ("unsupported rate", [f"r 12 {fs} 1000" for fs in (1, 50, 99.9, 1000.1, 2000)]),
    ],
)
def test_a_broken_record_line_or_rate_is_refused(folder: Path, write: Write, reason: str, lines: list[str]) -> None:
    path = write(folder, "r")
    header = path.read_text()
    for line in lines:
        path.write_text(header.replace("r 12 500 1000", line))
        assert refused(folder) == reason, line


def test_a_header_without_signals(folder: Path) -> None:
    (folder / "r.hea").write_text("r 0 500 0\n# Age: 61\n")
    assert refused(folder) == clinics.refused(records.read_recording, folder, "r") == "no signals"


def test_a_header_that_is_a_folder(folder: Path) -> None:
    (folder / "f.hea").mkdir()
    assert refused(folder, "f") == "unreadable header"


@pytest.mark.parametrize("where", ["../r", "../outside/r", "/tmp/r", "sub/r", "~r", "./r", "..\\r"])
def test_a_signal_file_lies_beside_its_header(folder: Path, write: Write, where: str) -> None:
    path = write(folder, "r")
    suffix = ".mat" if write is clinics.mat else ".dat"
    for place in (folder.parent, folder.parent / "outside", folder / "sub"):  # what would be read is there
        place.mkdir(exist_ok=True)
        shutil.copy(path.with_suffix(suffix), place)
    edit(path, f"r{suffix}", f"{where}{suffix}")
    assert refused(folder) == "unsafe path"


def test_one_matrix_is_all_of_a_record(folder: Path) -> None:
    edit(clinics.mat(folder, "r"), " III\nr.mat", " III\ns.mat")
    assert refused(folder) == "unsupported record"


# --- headers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", ["r.mat 12 500 1000 05-May-2020 14:50:55", "r.mat 12 500/500 1000 1:2:3", "r 12 500"])
def test_a_record_line_is_read_by_position_and_may_lack_the_length(folder: Path, first: str) -> None:
    clinics.mat(folder, "r", UNITS, first=first)
    found = read(folder)
    np.testing.assert_allclose(found.signals, UNITS / 1000, rtol=1e-6)
    assert (found.fs, found.repairs) == (500, (NO_NAME.format("r"),) if first.startswith("r.mat") else ())


DATES = (
    "10:00:00 12/05/2020", "12-May-2020 10:00:00", "10:00:00 2020-05-12", "2020-05-12T10:00:00Z", "2006", "10:00 2006",
    "10:00 12/05/20", "9:5:3 1/5/199", "25:61:00 31/02/2020", "10:00:00.1234567 12/05/2020", "12.05.2020", "? ?", "-",
)  # fmt: skip


@pytest.mark.parametrize(
    "first",
    [
        *(f"r 12 500 1000 {date}" for date in DATES),
        *(f"r 12 500 {when}" for when in ("10:00:00", "12/05/2020", "12-May-2020 9:5:3", "9:5:3 2006")),
        *(f"r 12 500{rest}" for rest in ("", " 0", " 0 10:00:00", "/360 1000", "/360(12.5) 1000", ".0 1000")),
        *(f"{name} 12 500 1000" for name in ("some_folder/r", "a/b/r", "other", "R")),
    ],
)
def test_what_a_record_line_says_beside_rate_and_length(folder: Path, write: Write, first: str) -> None:
    write(folder, "r", UNITS, first=first)
    found = read(folder)
    np.testing.assert_allclose(found.signals, UNITS / 1000, rtol=1e-6)
    assert found.repairs == ()
    if write is clinics.dat:
        np.testing.assert_array_equal(records.read_recording(folder, "r").signals, found.signals)


@pytest.mark.parametrize(
    "name", ["dots.v1", "a+b", "Müller", "日本", "two words", "100 (1)", "a,b", "x&y #1", "%20", "it's"]
)
def test_names_of_records_and_folders(folder: Path, write: Write, name: str) -> None:
    for record in (name, f"{name}/r", f"{name}/{name}"):
        write(folder, record)
        found = read(folder, record)
        np.testing.assert_allclose(found.signals, UNITS / 1000, rtol=1e-6)
        assert (found.repairs, found.name) == ((), record)


def test_signals_in_several_files(folder: Path) -> None:
    signals = clinics.units(leads=15)
    clinics.with_frank(folder, "r", signals)
    np.testing.assert_allclose(read(folder).signals, signals[:12] / 1000, rtol=1e-6)
    (folder / "r.xyz").unlink()  # nobody asks for the leads of Frank
    np.testing.assert_allclose(read(folder).signals, signals[:12] / 1000, rtol=1e-6)
    np.testing.assert_allclose(records.read_recording(folder, "r", ["II"]).signals, signals[1:2] / 1000, rtol=1e-6)
    assert clinics.refused(records.read_recording, folder, "r") == "missing signal"
    (folder / "r.dat").unlink()
    assert refused(folder) == "missing signal"


@pytest.mark.parametrize("mark", ["#", "# ", "#   ", "  # "])
def test_comments_and_their_fields(folder: Path, mark: str) -> None:
    clinics.mat(folder, "sub/r", comments=("Age: 61", "Dx: 1,2", "Rx: a: b", "no field"), mark=mark)
    said = records.comments(folder, "sub/r")
    assert said == ("Age: 61", "Dx: 1,2", "Rx: a: b", "no field") == read(folder, "sub/r").comments
    assert [records.field(said, name) for name in ("dx", "Age", "Rx", "Hx")] == ["1,2", "61", "a: b", ""]
    (folder / "sub" / "r.mat").unlink()
    assert records.comments(folder, "sub/r") == said, "they are had without a signal"
    assert clinics.refused(records.comments, folder, "nothing") == "missing header"
