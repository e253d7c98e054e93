"""Digital units become mV in one way, read strictly or repaired, whatever gain, baseline and format a record has."""

from __future__ import annotations

import re
from pathlib import Path

import clinics
import numpy as np
import pytest
import wfdb
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ecglib.data import records
from ecglib.data.records import LEADS

UNITS = clinics.units()
"""1000 to a mV."""


def strict(folder: Path, name: str) -> NDArray[np.float32]:
    return records.read_recording(folder, name).signals


def repairing(folder: Path, name: str) -> NDArray[np.float32]:
    return records.read_repaired(folder, name).signals


def both_read(folder: Path, expected: NDArray[np.float64], atol: float = 1e-7) -> None:
    """In mV, of the record `r`."""
    for read in (strict, repairing):
        np.testing.assert_allclose(read(folder, "r"), expected, rtol=1e-6, atol=atol)


def wfdb_mv(folder: Path, samples: int) -> NDArray[np.float64]:
    """What wfdb reads of the record `r` by another header, which says how long it is."""
    text = (folder / "r.hea").read_text()
    lines = [re.sub(r"^(\S+ \d+ \S+).*", rf"\1 {samples}", text.splitlines()[0]), *text.splitlines()[1:]]
    (folder / "other.hea").write_text("\n".join(lines) + "\n")
    read: NDArray[np.float64] = wfdb.rdrecord(str(folder / "other")).p_signal.T
    return read


def both_refuse(folder: Path) -> list[str]:
    """Why they do."""
    return [clinics.refused(read, folder, "r") for read in (strict, repairing)]


# --- 33 bits and more -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fmt", ["16", "24", "32", "80", "212", "508", "516", "524"])
def test_what_wfdb_writes_is_what_it_reads(tmp_path: Path, fmt: str) -> None:
    """Of signals in mV it makes gain and baseline that fill the range of the format."""
    mv = clinics.units(2000).T / 1000
    names, units = list(LEADS), ["mV"] * 12
    wfdb.wrsamp("r", fs=128.5, units=units, sig_name=names, p_signal=mv, fmt=[fmt] * 12, write_dir=str(tmp_path))
    both_read(tmp_path, wfdb.rdrecord(str(tmp_path / "r")).p_signal.T, atol=1e-5)
    assert records.read_recording(tmp_path, "r").fs == records.read_repaired(tmp_path, "r").fs == 128.5
    for length in ("128.5 0", "128.5"):  # as many as the files have
        clinics.edit(tmp_path / "r.hea", "128.5 2000", length)
        both_read(tmp_path, wfdb_mv(tmp_path, 2000), atol=1e-5)
        clinics.edit(tmp_path / "r.hea", length, "128.5 2000")
    for length in (1999, 2001):
        clinics.edit(tmp_path / "r.hea", "128.5 2000", f"128.5 {length}")
        assert both_refuse(tmp_path) == ["truncated signal" if length > 2000 else "signal longer than header says"] * 2
        clinics.edit(tmp_path / "r.hea", f"128.5 {length}", "128.5 2000")


MISSING = {"16": -(2**15), "24": -(2**23), "32": -(2**31), "80": -128, "212": -2048, "508": -128, "516": -(2**15),
           "524": -(2**23)}  # fmt: skip


@pytest.mark.parametrize("frame", [1, 5])
@pytest.mark.parametrize("fmt", MISSING)
def test_missing_samples_leave_no_spike(tmp_path: Path, fmt: str, frame: int) -> None:
    """A frame is missing where a sample of it is. The repairing reader fills it in, the strict one refuses."""
    per_mv = 40 if MISSING[fmt] == -128 else 500
    units = np.round(clinics.units(2000, 6) / (1000 / per_mv)).astype(np.int64)
    units[4, 503:507:3] = MISSING[fmt]
    wfdb.Record(
        record_name="r", n_sig=6, fs=125, sig_len=2000 // frame, file_name=["r.dat"] * 6, fmt=[fmt] * 6,
        adc_gain=[float(per_mv)] * 6, baseline=[0] * 6, units=["mV"] * 6, sig_name=list(LEADS[6:]),
        e_d_signal=list(units), adc_res=[16] * 6, adc_zero=[0] * 6, init_value=[int(u[0]) for u in units],
        samps_per_frame=[frame] * 6, checksum=[int(u.sum()) % 65536 for u in units], block_size=[0] * 6,
    ).wrsamp(write_dir=str(tmp_path), expanded=True)  # fmt: skip
    found = records.read_repaired(tmp_path, "r")
    assert found.repairs == ("V5: samples without a number interpolated",)
    frames = units.reshape(6, -1, frame)
    mean = np.trunc(frames.mean(2)) / per_mv
    whole = (frames != MISSING[fmt]).all(2)
    assert 1 <= (~whole).sum() <= 2
    np.testing.assert_allclose(found.signals[6:][whole], mean[whole], rtol=1e-5)
    assert np.abs(found.signals).max() <= np.abs(mean[whole]).max() + 1e-5
    assert clinics.refused(strict, tmp_path, "r") == "NaN samples"


@pytest.mark.parametrize("offset", [1, 24, 512])
def test_checksums_are_of_what_follows_a_byte_offset(tmp_path: Path, offset: int) -> None:
    path = clinics.dat(tmp_path, "r", UNITS)
    clinics.edit(path, " 16 1000", f" 16+{offset} 1000")
    data = path.with_suffix(".dat")
    data.write_bytes(b"\7" * offset + data.read_bytes())
    both_read(tmp_path, UNITS / 1000)


def test_a_skew_within_frames_leaves_no_spike(tmp_path: Path) -> None:
    units = clinics.units(1000, 2) + np.int16(500)
    clinics.edit(
        clinics.dat(tmp_path, "r", units, ["I", "II"], first="r 2 100 100", fs=100), " 16 1000", " 16x5:3 1000"
    )
    units.reshape(2, 200, 5).transpose(1, 0, 2).astype("<i2").tofile(tmp_path / "r.dat")
    clinics.edit(tmp_path / "r.hea", "r 2 100 100", "r 2 100 200")
    found = records.read_repaired(tmp_path, "r").signals[:2]
    mean = np.trunc(units.reshape(2, 200, 5).mean(2)) / 1000
    np.testing.assert_allclose(found[:, :197], mean[:, 3:], rtol=1e-5)
    np.testing.assert_allclose(found[:, 197:], mean[:, -1:].repeat(3, 1), rtol=1e-5)


@pytest.mark.parametrize("offset", [0.0, -0.5, 2.0, -2.0, 3.0, -10.0, 40.0, -1000.0, 1e5])
def test_an_offset_beside_a_gain_that_fills_32_bits(tmp_path: Path, offset: float) -> None:
    """The baseline then lies beyond 32 bits: by a factor of ten thousand at most here."""
    mv = UNITS / 1000 + offset
    gain = ((2**32 - 3) / np.ptp(mv, 1)).round(4)
    baseline = np.round(1 - 2**31 - mv.min(1) * gain)
    digital = np.round(mv * gain[:, None] + baseline[:, None]).astype(np.int64).clip(2 - 2**31, 2**31 - 1)
    gains = [f"{g:.4f}({b:.0f})/mV" for g, b in zip(gain, baseline, strict=True)]
    clinics.dat(tmp_path, "r", digital, fmt="32", gain=gains)
    both_read(tmp_path, mv, atol=1e-6)


@pytest.mark.parametrize("zero", ["-23007708097", "2147483648", "-2147483649", "+1024", "1024", "-512"])
def test_without_a_baseline_the_zero_of_the_adc_is_it(tmp_path: Path, zero: str) -> None:
    digital = UNITS + (int(zero) if abs(int(zero)) < 2**15 else 0)
    clinics.edit(clinics.dat(tmp_path, "r", digital), " 16 0 ", f" 16 {zero} ")
    both_read(tmp_path, (digital.astype(np.float64) - int(zero)) / 1000, atol=1e-6)


@pytest.mark.parametrize("baseline", ["9" * 19, "-" + "9" * 19, "+" + "9" * 20, "-" + "9" * 30, "9" * 37])
def test_a_baseline_of_any_size(tmp_path: Path, baseline: str) -> None:
    """Is read as wfdb reads it. No amplitude is left then, so the repairing reader sets the record aside."""
    gain = 10.0 ** len(baseline)
    clinics.dat(tmp_path, "r", UNITS, gain=f"{gain:.0f}({baseline})/mV")
    np.testing.assert_allclose(strict(tmp_path, "r"), (UNITS - float(baseline)) / gain, rtol=1e-6)
    assert clinics.refused(repairing, tmp_path, "r") == "no standard lead with a signal"


@pytest.mark.parametrize("baseline", ["9" * 40, "-" + "9" * 299])
def test_a_baseline_beyond_single_precision_is_set_aside(tmp_path: Path, baseline: str) -> None:
    clinics.dat(tmp_path, "r", gain=f"1000({baseline})/mV")
    assert both_refuse(tmp_path) == ["bad gain", "no standard lead with a signal"]


@settings(max_examples=60)
@given(
    digital=st.lists(st.integers(2 - 2**31, 2**31 - 1), min_size=2, max_size=30),
    baseline=st.integers(-(2**52), 2**52),
    gain=st.floats(1e-3, 1e12),
)
def test_the_difference_is_exact_and_rounded_once(digital: list[int], baseline: int, gain: float) -> None:
    found = records.millivolts(np.array(digital, dtype=np.int32), gain, baseline)
    exact = np.array([np.float32(float(one - baseline)) for one in digital])
    np.testing.assert_array_equal(found, exact / np.float32(gain))


def test_the_look_for_plateaus_takes_steps_of_33_bits(tmp_path: Path) -> None:
    """In 32 bits every step of this lead is its own negative, and none is left to compare with."""
    digital = np.where(np.arange(1000) % 20 < 10, -(2**30), 2**30)[None]
    clinics.dat(tmp_path, "r", digital, ["I"], fmt="32", gain=f"{2**30}(0)/mV")
    np.testing.assert_array_equal(strict(tmp_path, "r"), digital / 2**30)


# --- units ------------------------------------------------------------------------------------------------------------

MICRO, MU = "\N{MICRO SIGN}", "\N{GREEK SMALL LETTER MU}"
MV_IN = {
    "mV": 1.0, "mv": 1.0, "MV": 1.0, "": 1.0, "millivolt": 1.0, "milliVolts": 1.0, "mVolt": 1.0, "㎷": 1.0,
    "uV": 1e-3, "uv": 1e-3, "UV": 1e-3, f"{MICRO}V": 1e-3, f"{MU}V": 1e-3, f"{MICRO}v": 1e-3, f"{MU}v": 1e-3,
    "\N{GREEK CAPITAL LETTER MU}V": 1e-3, "㎶": 1e-3, "microvolt": 1e-3, "Microvolts": 1e-3, "microV": 1e-3,
    "uVolt": 1e-3, f"{MICRO}Volts": 1e-3, f"{MU}volt": 1e-3,
    "nV": 1e-6, "nanovolts": 1e-6, "V": 1e3, "v": 1e3, "volt": 1e3, "Volts": 1e3,
}  # fmt: skip
"""What may stand for a unit -> mV in one of it."""


@pytest.mark.parametrize("unit", MV_IN)
def test_units_of_voltage_however_they_are_spelt(tmp_path: Path, unit: str) -> None:
    gain = 1000 * MV_IN[unit]  # so many units of the format to one of the unit
    clinics.dat(tmp_path, "r", UNITS, gain=f"{gain:.10g}(0)/{unit}")
    both_read(tmp_path, UNITS / 1000)
    assert records.read_repaired(tmp_path, "r").repairs == ()


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "mac-roman", "utf-8", "utf-8-sig", "iso8859-15"])
@pytest.mark.parametrize("comment", ["Ort: Köln", "plain"])
def test_a_micro_sign_in_any_encoding(tmp_path: Path, encoding: str, comment: str) -> None:
    """The reader is told none; Latin-1, its kin and the Macintosh's have the sign in one place."""
    clinics.dat(tmp_path, "r", UNITS, gain=f"1(0)/{MICRO}V", comments=[comment], encoding=encoding)
    both_read(tmp_path, UNITS / 1000)


def test_a_unit_of_each_lead(tmp_path: Path) -> None:
    units = [f"1(0)/{MICRO}V", f"1/{MU}V", "1000", "1000000(0)/V", "1/uV", "0.001/nV"] * 2
    clinics.dat(tmp_path, "r", UNITS, gain=units)
    both_read(tmp_path, UNITS / 1000)


@pytest.mark.parametrize(
    "unit", ["?V", "ÂµV", "�V", "kV", "mmHg", "mA", "uV/bit", "nd", f"{MICRO}", f"{MICRO}S", "¦ÌV", "mV²", "cV", "_V"]
)
def test_what_is_no_voltage_or_no_longer_legible(tmp_path: Path, unit: str) -> None:
    """Where wfdb reads V of what it can't read, the record would be a million times too large."""
    clinics.dat(tmp_path, "r", gain=f"1(0)/{unit}")
    assert both_refuse(tmp_path) == ["no voltage"] * 2


@pytest.mark.parametrize(
    ("gain", "per_mv", "baseline"),
    [
        ("1E3(0)/mV", 1000, 0),
        ("1e3/mV", 1000, 0),
        ("1.0e+03(-7)/mV", 1000, -7),
        ("+200(1024)/mV", 200, 1024),
        ("2.(+5)/uV", 2000, 5),
        (".5(0)/uV", 500, 0),
        ("2.5E-1(3)/uV", 250, 3),
        ("200(1024)", 200, 1024),
        ("200(1024)/", 200, 1024),
        ("00200(007)/mV", 200, 7),
        ("1000000(12)/V", 1000, 12),
    ],
)
def test_a_gain_as_it_is_written(tmp_path: Path, gain: str, per_mv: float, baseline: int) -> None:
    """Half of them wfdb reads in part, and guesses the rest."""
    clinics.dat(tmp_path, "r", UNITS, gain=gain)
    both_read(tmp_path, (UNITS - float(baseline)) / per_mv)


# --- nothing but a RecordError ----------------------------------------------------------------------------------------

LARGE, HUGE, BEYOND = "9" * 400, "9" * 4299, "9" * 5000
NO_GAINS = ["0(0)", "-1000", "1000.0.0", "(1000)", "1000(0.5)", "1000(5", "inf", "nan(0)", "1e39", "1e-46"]
NO_GAINS += ["1000(mV)/500", "1000(mV)"]
BAD_GAINS = (*(f"{gain}/mV" for gain in (*NO_GAINS, LARGE, f"1000(-{BEYOND})")), "mV", "1e300/nV")
HOSTILE = {
    "1000/mV": (*BAD_GAINS, "1e-36(-999)/mV", "1000 (1024)/mV", "1000 /uV"),
    " 16 0 ": (f" 16 {BEYOND} ", " 16 1e3 "),
    "12 500 1000": (
        *(f"12 {rate} 1000" for rate in ("1e309", "1e3", "inf", "-500")),
        *(f"12 500 {samples}" for samples in (2**65, HUGE, BEYOND)),
        f"{LARGE} 500 1000",
    ),
    " 16 1000": [  # frames, skew, offset and format
        f" {each} 1000" for each in (f"16x{HUGE}", "16x0", f"16:{LARGE}", f"16:{10**11}", f"16+{LARGE}", LARGE, "310")
    ],
    "r.dat": (f"{'r' * 300}.dat", "sub", "circle.dat"),  # a name too long, a folder, and a link in a circle
}
"""What stands in the header -> what in the place of it; all of a record that is good otherwise."""


@pytest.mark.parametrize("old", HOSTILE)
def test_numbers_that_no_record_has(tmp_path: Path, old: str) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "circle.dat").symlink_to("circle.dat")
    for new in HOSTILE[old]:
        clinics.edit(clinics.dat(tmp_path, "r"), old, new)
        strictly, repaired = both_refuse(tmp_path)
        assert strictly == "bad gain" or new not in BAD_GAINS[:2]
        assert repaired == "bad gain" or not (new in BAD_GAINS or old == " 16 0 "), new[:40]


def test_the_repairing_reader_looks_at_no_first_value(tmp_path: Path) -> None:
    clinics.edit(clinics.dat(tmp_path, "r"), " 16 0 ", f" 16 0 {LARGE}")
    assert clinics.refused(strict, tmp_path, "r")
    assert repairing(tmp_path, "r").any()


@pytest.mark.parametrize(
    ("first", "skew"), [("r 12 500 1000", 1001), ("r 12 500 1000", 10**9), ("r 12 500", 2**16 + 1)]
)
def test_a_skew_beyond_the_record_takes_no_memory(tmp_path: Path, first: str, skew: int) -> None:
    """wfdb makes room for as many samples of every lead."""
    clinics.edit(clinics.dat(tmp_path, "r", first=first), " 16 1000", f" 16:{skew} 1000")
    assert both_refuse(tmp_path) == ["unreadable header"] * 2


def test_a_length_that_no_file_backs_takes_no_memory(tmp_path: Path) -> None:
    """That of a FLAC file is in its first block; wfdb makes room for it."""
    units, most = UNITS[:2].T.astype(np.int64), 2**36 - 1
    how = {"fmt": ["516"] * 2, "adc_gain": [1000.0] * 2, "baseline": [0] * 2, "write_dir": str(tmp_path)}
    wfdb.wrsamp("r", fs=500, units=["mV"] * 2, sig_name=["I", "V1"], d_signal=units, **how)
    content = bytearray((tmp_path / "r.dat").read_bytes())
    content[21:26] = (int.from_bytes(content[21:26]) | most).to_bytes(5)
    (tmp_path / "r.dat").write_bytes(content)
    clinics.edit(tmp_path / "r.hea", "500 1000", f"500 {most}")
    assert both_refuse(tmp_path) == ["truncated signal"] * 2
