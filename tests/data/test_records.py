"""Reading WFDB records: what is read is what was written, and nothing broken passes."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

import clinics
import numpy as np
import pytest
import wfdb
from clinics import edit, refused
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ecglib.data import records
from ecglib.errors import RecordError, UserError

FS = 360
LEADS = ["MLII", "V5"]
Content = bytes | tuple[str, str] | None
SPIKES = np.exp(-0.5 * ((np.arange(3600) % FS - 180) / 6.0) ** 2)
SIGNALS = np.stack([SPIKES, -0.5 * SPIKES], 1) + 0.05 * np.random.default_rng(0).standard_normal((3600, 2))
"""Two noisy leads with a spike a second, in mV, `(samples, 2)`."""


def write(
    folder: Path, name: str = "100", signals: NDArray[np.float64] = SIGNALS, samples: tuple[int, ...] = (180, 540, 900)
) -> Path:
    """A record with annotations, as wfdb writes it; returns the header."""
    n = signals.shape[1]
    wfdb.wrsamp(
        name, fs=FS, units=["mV"] * n, sig_name=LEADS[:n], p_signal=signals, fmt=["212"] * n, adc_gain=[200.0] * n,
        baseline=[0] * n, comments=["test"], write_dir=str(folder),
    )  # fmt: skip
    wfdb.wrann(name, "atr", np.array(samples), symbol=["N"] * len(samples), write_dir=str(folder))
    return folder / f"{name}.hea"


def reason_of(folder: Path, leads: list[str] | None = None) -> str:
    return refused(records.read_recording, folder, "100", leads)


def annotation_reason_of(folder: Path) -> str:
    return refused(records.read_annotations, folder, "100")


def spoil(path: Path, content: Content) -> None:
    """By other content, or other text in the place of some; None for no file."""
    if content is None:
        path.unlink()
    elif isinstance(content, bytes):
        path.write_bytes(content)
    else:
        edit(path, *content)


@pytest.mark.parametrize("fmt", ["8", "16", "24", "32", "80", "212", "310", "311", "508", "516"])
@pytest.mark.parametrize("skew", [0, 5])
def test_pieces_are_decoded_as_the_whole(tmp_path: Path, fmt: str, skew: int, monkeypatch: pytest.MonkeyPatch) -> None:
    skew = 0 if fmt == "8" else skew  # which wfdb can't read
    flac = fmt[0] == "5"
    written = fmt if fmt in ("16", "24", "32", "80", "212") or flac else "16"
    units = np.random.default_rng(0).integers(-100, 100, (3003, 2))
    about = {"fs": FS, "units": ["mV"] * 2, "sig_name": ["II", "V5"], "adc_gain": [200.0] * 2, "baseline": [0] * 2}
    wfdb.wrsamp("100", d_signal=units, fmt=[written] * 2, write_dir=str(tmp_path), **about)
    header = (tmp_path / "100.hea").read_text().replace(f".dat {written} ", f".dat {fmt}{f':{skew}' * (not flac)} ")
    bare = [" ".join(line.split()[:5] + line.split()[-1:]) for line in header.splitlines()[1:]]
    samples = {"8": 6006, "310": 4504, "311": 4504}.get(fmt, 3003)  # of the same bytes
    (tmp_path / "100.hea").write_text("\n".join([f"100 2 {FS} {samples}", *bare]))
    # a skew leaves samples without a number at the end, and some bytes stand for none in 311
    read = records.read_repaired if skew or fmt == "311" else records.read_recording
    whole = read(tmp_path, "100").signals
    monkeypatch.setattr(records, "PIECE", 998)
    assert np.array_equal(read(tmp_path, "100").signals, whole)
    assert whole.shape[1] == samples and np.ptp(whole) > 0


def test_reads_what_was_written_and_leads_by_name_in_the_order_asked(tmp_path: Path) -> None:
    write(tmp_path)
    recording = records.read_recording(tmp_path, "100")
    assert recording.signals.dtype == np.float32
    np.testing.assert_allclose(recording.signals, SIGNALS.T, atol=0.5 / 200 + 1e-6)
    assert (recording.fs, recording.leads, recording.comments) == (360.0, ("MLII", "V5"), ("test",))
    assert records.sampling_rate(tmp_path, "100") == 360
    annotations = records.read_annotations(tmp_path, "100")
    assert annotations.samples.tolist() == [180, 540, 900]
    assert annotations.symbols.tolist() == ["N", "N", "N"]
    swapped = records.read_recording(tmp_path, "100", ["v5", "mlii"])
    assert swapped.leads == ("V5", "MLII")
    np.testing.assert_array_equal(swapped.signals, recording.signals[::-1])
    with pytest.raises(RecordError, match=r"missing lead.*no aVR.*MLII V5"):
        records.read_recording(tmp_path, "100", ["MLII", "aVR"])
    assert reason_of(tmp_path, []) == "missing lead"


def test_files_without_rights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Access is refused by a stub: a superuser, as in many containers, may read everything.
    def refuse(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(self))

    write(tmp_path)
    monkeypatch.setattr(Path, "read_bytes", refuse)
    assert reason_of(tmp_path) == annotation_reason_of(tmp_path) == "no permission"
    monkeypatch.setattr("os.scandir", refuse)
    with pytest.raises(UserError, match="no permission"):
        records.list_records(tmp_path)


@pytest.mark.parametrize(
    ("suffix", "reason", "contents"),
    [
        (".hea", "missing header", [None]),
        (".hea", "empty header", [b"", b"# only a comment\n"]),
        (".hea", "unreadable header", [b"\x00\xff\x80 not a header at all\n", b"100 two 360 3600\n"]),
        (".hea", "unreadable header", [b"100 2 360 3600\n100.dat 212 200 11 1024 995 -22131 0 MLII\n"]),
        (".hea", "unreadable header", [("360 3600", "0 3600")]),
        (".hea", "signal longer than header says", [("3600", "3599")]),
        (".hea", "truncated signal", [("3600", "7200")]),
        (".hea", "missing signal", [("100.dat", "other.dat")]),
        (".dat", "missing signal", [None]),
        (".dat", "empty signal", [b""]),
        (".dat", "truncated signal", [b"\x00" * 3000]),
        (".dat", "signal longer than header says", [b"\x00" * 12000]),
    ],
)
def test_broken_files(tmp_path: Path, suffix: str, reason: str, contents: list[Content]) -> None:
    for content in contents:
        spoil(write(tmp_path).with_suffix(suffix), content)
        assert reason_of(tmp_path) == reason
        assert refused(records.read_repaired, tmp_path, "100") in (reason, "unsupported rate")


@settings(max_examples=25)
@given(text=st.text(max_size=200))
def test_any_text_as_header_is_refused(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    folder = tmp_path_factory.mktemp("text")
    (folder / "100.hea").write_text(text, encoding="utf-8")
    reason_of(folder)


@pytest.mark.parametrize(("column", "reason"), [(5, "initial value mismatch"), (6, "checksum mismatch")])
def test_initial_value_and_checksum(tmp_path: Path, column: int, reason: str) -> None:
    header = write(tmp_path)
    lines = header.read_text().splitlines()
    fields = lines[2].split()
    fields[column] = str(int(fields[column]) + 1)
    header.write_text("\n".join([*lines[:2], " ".join(fields), *lines[3:]]) + "\n")
    assert reason_of(tmp_path) == reason
    assert records.read_recording(tmp_path, "100", ["MLII"]).leads == ("MLII",)  # the other lead is sound


def test_a_header_without_checksums_or_gain_is_read(tmp_path: Path) -> None:
    header = write(tmp_path)
    calibrated = records.read_recording(tmp_path, "100")
    lines = header.read_text().splitlines()
    header.write_text("\n".join([lines[0], *(" ".join(line.split()[:3]) for line in lines[1:3])]) + "\n")
    assert records.read_recording(tmp_path, "100").signals.shape == (2, 3600)
    edit(header, "200.0(0)/mV", "0(0)/mV")
    taken = records.read_recording(tmp_path, "100", uncalibrated_gain=200.0)
    np.testing.assert_array_equal(taken.signals, calibrated.signals)


@pytest.mark.parametrize("name", ["../100", "/tmp/100", "a/../100", "", "s3://bucket/100", "100\\x", ".hidden", "100*"])
def test_record_names_stay_in_the_folder(tmp_path: Path, name: str) -> None:
    for read in (records.read_recording, records.read_annotations, records.comments):
        assert refused(read, tmp_path, name) == "unsafe path"


def test_nan_flat_and_clipped(tmp_path: Path) -> None:
    for samples, value, reason in ((slice(100, 101), np.nan, "NaN samples"), (slice(None), 0.1, "flat signal")):
        signals = SIGNALS.copy()
        signals[samples, 1] = value
        write(tmp_path, signals=signals)
        assert reason_of(tmp_path) == reason_of(tmp_path, ["V5"]) == reason
        assert records.read_recording(tmp_path, "100", ["MLII"]).leads == ("MLII",)
    write(tmp_path, signals=np.clip(SIGNALS, -0.4, 0.4))
    assert reason_of(tmp_path) == "clipped signal"
    signals = SIGNALS.copy()
    signals[-100:, 0] = 3.0
    write(tmp_path, signals=signals)
    records.read_recording(tmp_path, "100")  # a constant end is padding where it is shorter than a second
    signals[-500:, 0] = 3.0
    write(tmp_path, signals=signals)
    assert reason_of(tmp_path) == "clipped signal"


@settings(max_examples=20)
@given(amplitude=st.floats(0.1, 4.0), hertz=st.floats(0.2, 30.0), phase=st.floats(0, 6.3))
def test_an_unclipped_wave_is_not_called_clipped(
    tmp_path_factory: pytest.TempPathFactory, amplitude: float, hertz: float, phase: float
) -> None:
    folder = tmp_path_factory.mktemp("wave")
    wave = amplitude * np.sin(2 * np.pi * hertz * np.arange(7200) / FS + phase)
    write(folder, signals=wave[:, None])
    assert records.read_recording(folder, "100").signals.shape == (1, 7200)


@pytest.mark.parametrize(
    ("reason", "contents"),
    [
        ("missing annotations", [None]),
        ("empty annotations", [b"", b"\0\0"]),
        ("truncated annotations", [b"\x12", b"\x12\x04\x12", b"\x12\x04\x12\x04"]),
    ],
)
def test_broken_annotations(tmp_path: Path, reason: str, contents: list[bytes | None]) -> None:
    for content in contents:
        spoil(write(tmp_path).with_suffix(".atr"), content)
        assert annotation_reason_of(tmp_path) == reason


@settings(max_examples=40)
@given(content=st.binary(max_size=60))
def test_any_bytes_as_annotations(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    folder = tmp_path_factory.mktemp("bytes")
    clinics.header(folder, "100", 3600, LEADS, file="100.dat", fs=FS).with_suffix(".atr").write_bytes(content)
    with contextlib.suppress(RecordError):
        read = records.read_annotations(folder, "100")
        assert read.samples[0] >= 0 and read.samples[-1] < 3600
        assert np.all(np.diff(read.samples) >= 0)


def test_annotations_outside_the_record(tmp_path: Path) -> None:
    header = write(tmp_path, samples=(180, 3600))
    assert annotation_reason_of(tmp_path) == "annotations out of range"
    edit(header, "360 3600", "360 0")  # as many as the file has
    assert annotation_reason_of(tmp_path) == "annotations out of range"


@pytest.mark.real
def test_all_real_records_are_read_fast(real_mitdb: Path) -> None:
    names = records.list_records(real_mitdb)
    assert len(names) == 48
    start = time.process_time()
    for name in names:
        recording, annotations = records.read_recording(real_mitdb, name), records.read_annotations(real_mitdb, name)
        assert recording.signals.shape == (2, 650_000)
        assert recording.fs == 360
        assert ("MLII" in recording.leads) == (name not in ("102", "104"))
        assert annotations.samples.size > 1500
    # Measured: 0.8 s on one core of an AMD EPYC with wfdb 4.3; the bound is wide, for slow and shared machines.
    assert time.process_time() - start < 10


@pytest.mark.real
def test_the_first_samples_of_record_100(real_mitdb: Path) -> None:
    recording = records.read_recording(real_mitdb, "100")
    # The header: units start at 995 and 1011, zero is 1024, gain 200 per mV.
    np.testing.assert_allclose(recording.signals[:, 0], [(995 - 1024) / 200, (1011 - 1024) / 200], rtol=1e-6)
    annotations = records.read_annotations(real_mitdb, "100")
    assert annotations.samples[:3].tolist() == [18, 77, 370]
    assert annotations.symbols[:3].tolist() == ["+", "N", "N"]
    assert "".join(annotations.symbols).count("A") == 33
