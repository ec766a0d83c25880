"""Readers: real files sample for sample against independent decoders, and hostile input."""

import base64
import contextlib
import csv
import time
import xml.etree.ElementTree as ET
import zlib
from pathlib import Path

import numpy as np
import pytest
import wfdb
from hypothesis import given, settings
from hypothesis import strategies as st

from ecg_spark.ecg import INDEPENDENT_LEADS, LEADS, Reason, RecordingError, read_recording
from ecg_spark.ecg.formats.leads import lead_name
from tests.builders.ecg_files import (
    DESCRIBED,
    cardiosoft,
    heart_mv,
    small_cardiosoft,
    small_files,
    small_muse,
    small_wfdb,
    text_rows,
    wfdb_record,
)

DERIVED = {
    "III": lambda one, two: two - one,
    "aVR": lambda one, two: -(one + two) / 2,
    "aVL": lambda one, two: one - two / 2,
    "aVF": lambda one, two: two - one / 2,
}


def reason_of(source: bytes, companions: dict[str, bytes] | None = None) -> Reason:
    with pytest.raises(RecordingError) as error:
        read_recording(source, companions=companions)
    return error.value.reason


# --- real files ----------------------------------------------------------------------------------


def test_cardiosoft_example_is_read_sample_for_sample(shared_data):
    path = next((shared_data / "cardiosoft").glob("*.xml"))
    root = ET.parse(path).getroot()
    recording = read_recording(path)
    assert recording.source_format == "cardiosoft"
    assert recording.sampling_rate_hz == 500
    assert recording.microvolts_per_unit == 5
    for group, rows in (
        ("StripData", recording.samples),
        ("RestingECGMeasurements/MedianSamples", recording.vendor_median),
    ):
        stored = {w.get("lead"): w.text for w in root.find(group).iterfind("WaveformData")}
        for lead, row in zip(LEADS, rows, strict=True):
            expected = [int(value) for value in stored[lead].replace("\t", "").split(",")]
            assert row.tolist() == expected
    assert recording.participant_id == root.findtext("PatientInfo/PID")
    assert recording.acquired_at.isoformat() == "2018-07-19T14:19:39"
    assert recording.device == "CardioSoft V6.73"
    assert recording.vendor["heart_rate_bpm"] == 50
    assert recording.vendor["pr_ms"] == 174
    assert recording.vendor["qt_ms"] == 440
    assert recording.vendor["qrs_onset_ms"] == 432


@pytest.mark.parametrize("name", ["example1.xml", "example4.xml"])
def test_muse_examples_are_read_sample_for_sample(shared_data, name):
    path = shared_data / "muse" / name
    root = ET.parse(path).getroot()
    recording = read_recording(path)
    assert recording.source_format == "muse"
    # Half of the stored 4.88 µV, so that (I + II) / 2 is a whole number of units.
    assert recording.microvolts_per_unit == 4.88 / 2
    for kind, rows in (("Rhythm", recording.samples), ("Median", recording.vendor_median)):
        waveform = next(w for w in root.iter("Waveform") if w.findtext("WaveformType") == kind)
        stored = {}
        for data in waveform.iter("LeadData"):
            raw = base64.b64decode(data.findtext("WaveFormData"))
            assert zlib.crc32(raw) == int(data.findtext("LeadDataCRC32"))
            stored[data.findtext("LeadID")] = np.frombuffer(raw, "<i2").astype(int)
        assert sorted(stored) == sorted(INDEPENDENT_LEADS)
        for lead, row in zip(LEADS, rows, strict=True):
            units = row / 2
            expected = stored.get(lead)
            if expected is None:
                expected = DERIVED[lead](stored["I"], stored["II"])
            np.testing.assert_array_equal(units, expected)
    assert recording.vendor["qrs_ms"] == float(root.findtext("RestingECGMeasurements/QRSDuration"))
    one, two, three, right, left, foot = recording.samples[:6].astype(int)
    np.testing.assert_array_equal(three, two - one)
    np.testing.assert_array_equal(right + left + foot, 0)


def test_every_ptbxl_record_equals_the_wfdb_package(shared_data):
    headers = sorted((shared_data / "ptbxl").glob("*_hr.hea"))
    assert len(headers) == 180
    for header in headers:
        recording = read_recording(header)
        record = wfdb.rdrecord(str(header.with_suffix("")), physical=False)
        rows = {lead_name(name): i for i, name in enumerate(record.sig_name)}
        expected = record.d_signal[:, [rows[lead] for lead in LEADS]].T
        np.testing.assert_array_equal(recording.samples, expected)
        assert recording.microvolts_per_unit == 1
        assert recording.sampling_rate_hz == 500
        assert recording.participant_id is None


def test_leads_of_different_gain_share_a_unit(shared_data):
    for header in sorted((shared_data / "ludb").glob("*.hea"))[:10]:
        recording = read_recording(header)
        record = wfdb.rdrecord(str(header.with_suffix("")))
        rows = {lead_name(name): i for i, name in enumerate(record.sig_name)}
        expected = record.p_signal[:, [rows[lead] for lead in LEADS]].T
        step_mv = recording.microvolts_per_unit / 1000
        np.testing.assert_allclose(recording.signal_mv, expected, atol=0.51 * step_mv)


def test_format_212_equals_the_wfdb_package(shared_data):
    """A record of MIT-BIH: two leads of 12 bits, decoded from a header that names twelve."""
    header = shared_data / "mitdb" / "100.hea"
    names = ["I", "II", "V1", "V2", "V3", "V4", "V5", "V6"]
    content = header.with_suffix(".dat").read_bytes()[: 3 * 20_000]
    record = wfdb.rdrecord(str(header.with_suffix("")), physical=False, sampto=20_000)
    interleaved = record.d_signal.reshape(-1, len(names))
    text = f"100 {len(names)} 360 {len(interleaved)}\n" + "\n".join(
        f"100.dat 212 200 11 1024 0 0 0 {name}" for name in names
    )
    recording = read_recording(text.encode(), companions={"100.dat": content})
    step = recording.microvolts_per_unit / 5.0
    for i, name in enumerate(names):
        row = recording.samples[LEADS.index(name)] * step
        np.testing.assert_array_equal(row, interleaved[:, i] - 1024)


def test_no_other_file_of_the_data_is_taken_for_an_ecg_we_read(shared_data):
    for name in ("ptbxl/00001_hr.dat", "ptbxl/ptbxl_database.csv", "mitdb/100.atr"):
        assert reason_of((shared_data / name).read_bytes()) == Reason.NOT_AN_ECG


# --- leads ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spelling", "lead"),
    [("avr", "aVR"), ("AVF", "aVF"), ("Lead II", "II"), ("ECG_V1", "V1"), ("C3", "V3"),
     ("MDC_ECG_LEAD_aVL", "aVL"), (" v6 ", "V6"), ("-aVR", None), ("EKG DII", "II"),
     ("Lead I (Einthoven)", "I"), ("V7", None), ("", None)],
)  # fmt: skip
def test_lead_spellings(spelling, lead):
    assert lead_name(spelling) == lead


@given(order=st.permutations(range(8)))
@settings(max_examples=10, deadline=None)
def test_leads_are_mapped_by_name_and_never_by_order(order):
    rows = list(text_rows(heart_mv()).items())
    straight = read_recording(cardiosoft(dict(rows)))
    mixed = read_recording(cardiosoft({rows[i][0].lower(): rows[i][1] for i in order}))
    np.testing.assert_array_equal(straight.samples, mixed.samples)
    assert straight.microvolts_per_unit == mixed.microvolts_per_unit


def test_stored_limb_leads_win_over_derived_ones():
    signal = heart_mv()
    swapped = np.concatenate([signal, np.full((1, 5000), 0.3) * np.sin(np.arange(5000))])
    names = [*INDEPENDENT_LEADS, "AVL"]
    header, files = wfdb_record(np.rint(swapped * 1000).astype(int), names, gains=["1000/mV"] * 9)
    recording = read_recording(header, companions=files)
    np.testing.assert_allclose(recording.signal_mv[LEADS.index("aVL")], swapped[8], atol=6e-4)


def test_gains_and_units_mean_the_same_signal():
    signal = heart_mv()
    names = list(INDEPENDENT_LEADS)
    digital = np.rint(signal * 1000).astype(int)
    plain, files = wfdb_record(digital, names, gains=["1000/mV"] * 8)
    microvolts, _ = wfdb_record(digital, names, gains=["1/uV"] * 8)
    a, b = (read_recording(header, companions=files) for header in (plain, microvolts))
    np.testing.assert_allclose(a.signal_mv, b.signal_mv)
    mixed_digital = digital.copy()
    mixed_digital[3] = digital[3] * 2 + 7
    mixed, files = wfdb_record(
        mixed_digital, names, gains=["1000/mV"] * 3 + ["2000(7)/mV"] + ["1000/mV"] * 4
    )
    c = read_recording(mixed, companions=files)
    np.testing.assert_allclose(a.signal_mv, c.signal_mv, atol=1e-9)


# --- what is refused, and why --------------------------------------------------------------------


def test_malformed_xml_is_refused_with_its_reason():
    good = text_rows(heart_mv())
    assert read_recording(cardiosoft(good)).samples.shape == (12, 5000)
    assert (
        reason_of(cardiosoft({k: v for k, v in good.items() if k != "V4"})) == Reason.MISSING_LEAD
    )
    assert reason_of(cardiosoft(good)[:-5000]) == Reason.MALFORMED
    assert reason_of(cardiosoft(good, count=4999)) == Reason.MALFORMED
    assert reason_of(cardiosoft(good, rate="fast")) == Reason.MALFORMED
    assert reason_of(cardiosoft(good, rate=50)) == Reason.UNSUPPORTED_RATE
    assert reason_of(cardiosoft(good, rate=20_000)) == Reason.UNSUPPORTED_RATE
    nan = good | {"V2": "NaN" + good["V2"][good["V2"].index(",") :]}
    assert reason_of(cardiosoft(nan)) == Reason.NOT_FINITE
    words = good | {"V2": "x" + good["V2"][good["V2"].index(",") :]}
    assert reason_of(cardiosoft(words)) == Reason.MALFORMED
    flat = good | {"V2": ",".join(["3"] * 5000)}
    assert reason_of(cardiosoft(flat)) == Reason.FLAT_LEAD
    for unit in (b">5000<", b">0.005<"):
        wrong = cardiosoft(good).replace(b'"uVperLsb">5<', b'"uVperLsb"' + unit)
        assert reason_of(wrong) == Reason.IMPLAUSIBLE_AMPLITUDE
    short = text_rows(heart_mv(2000))
    assert reason_of(cardiosoft(short, count=2000)) == Reason.TOO_SHORT


def test_malformed_wfdb_is_refused_with_its_reason():
    digital = np.rint(heart_mv() * 1000).astype(int)
    names, gains = list(INDEPENDENT_LEADS), ["1000/mV"] * 8
    header, files = wfdb_record(digital, names, gains=gains)
    assert read_recording(header, companions=files).source_format == "wfdb"
    assert reason_of(header, {}) == Reason.MALFORMED
    assert reason_of(header, {"r.dat": files["r.dat"][:-1]}) == Reason.MALFORMED
    changed = b"\x01" + files["r.dat"][1:]
    assert reason_of(header, {"r.dat": changed}) == Reason.CHECKSUM_MISMATCH
    assert reason_of(header.replace(b" 5000\n", b" 1000000000\n"), files) == Reason.TOO_LARGE
    assert reason_of(header.replace(b"r.dat 16", b"r.dat 999"), files) == Reason.UNKNOWN_FORMAT
    assert reason_of(header.replace(b"mV", b"mmHg"), files) == Reason.MALFORMED
    missing = digital.copy()
    missing[5, 100:111] = -32768
    assert reason_of(*wfdb_record(missing, names, gains=gains)) == Reason.NOT_FINITE
    renamed = ["I", "II", "V1", "V2", "V3", "V4", "V5", "RESP"]
    assert reason_of(*wfdb_record(digital, renamed, gains=gains)) == Reason.MISSING_LEAD
    twice = ["I", "II", "V1", "V2", "V3", "V4", "V5", "V5"]
    assert reason_of(*wfdb_record(digital, twice, gains=gains)) == Reason.MALFORMED


@pytest.mark.parametrize(
    "file", ["../r.dat", "/etc/passwd", "a/r.dat", "..", "~root", "-", "..\\r.dat", "~/r.dat"]
)
def test_a_header_that_names_another_folder_is_unsafe(tmp_path, file):
    digital = np.rint(heart_mv() * 1000).astype(int)
    header, files = wfdb_record(digital, list(INDEPENDENT_LEADS), gains=["1000/mV"] * 8, file=file)
    (tmp_path / "r.dat").write_bytes(files["r.dat"])
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "r.hea").write_bytes(header)
    for source in (header, tmp_path / "inner" / "r.hea"):
        with pytest.raises(RecordingError) as error:
            read_recording(source, companions={file: files["r.dat"]})
        assert error.value.reason == Reason.UNSAFE


def test_paths_read_their_own_folder_only(tmp_path):
    digital = np.rint(heart_mv() * 1000).astype(int)
    header, files = wfdb_record(digital, list(INDEPENDENT_LEADS), gains=["1000/mV"] * 8)
    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / "anything.bin").write_bytes(header)
    (tmp_path / "r.dat").write_bytes(files["r.dat"])
    with pytest.raises(RecordingError, match="missing"):
        read_recording(inner / "anything.bin")
    (inner / "r.dat").symlink_to(tmp_path / "r.dat")
    with pytest.raises(RecordingError) as error:
        read_recording(str(inner / "anything.bin"))
    assert error.value.reason == Reason.UNSAFE
    (inner / "r.dat").unlink()
    (inner / "r.dat").write_bytes(files["r.dat"])
    expected = read_recording(header, companions=files)
    np.testing.assert_array_equal(read_recording(inner / "anything.bin").samples, expected.samples)
    with pytest.raises(FileNotFoundError):
        read_recording(inner / "nothing.xml")


def entity_bomb(root: str) -> bytes:
    levels = "".join(f'<!ENTITY e{i + 1} "{f"&e{i};" * 10}">' for i in range(12))
    return f'<!DOCTYPE x [<!ENTITY e0 "lol">{levels}]><{root}>&e12;</{root}>'.encode()


@pytest.mark.parametrize("root", ["CardiologyXML", "RestingECG", "restingecgdata", "AnnotatedECG"])
def test_entities_are_refused_at_once(root, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("1,2,3")
    external = (
        f'<!DOCTYPE x [<!ENTITY s SYSTEM "{secret.as_uri()}">]><{root}><StripData>&s;</StripData>'
        f"</{root}>"
    ).encode()
    parameter = (
        f'<!DOCTYPE x [<!ENTITY % p SYSTEM "{secret.as_uri()}"> %p;]><{root}></{root}>'.encode()
    )
    for hostile in (entity_bomb(root), external, parameter):
        started = time.perf_counter()
        assert reason_of(hostile) == Reason.UNSAFE
        assert time.perf_counter() - started < 1


def test_deep_and_crowded_xml_is_refused():
    deep = b"<CardiologyXML>" + b"<a>" * 100_000
    crowded = b"<RestingECG>" + b"<a/>" * 300_000 + b"</RestingECG>"
    for hostile in (deep, crowded):
        assert reason_of(hostile) == Reason.TOO_LARGE


def test_nothing_of_the_patient_section_is_kept(shared_data):
    path = next((shared_data / "cardiosoft").glob("*.xml"))
    content = path.read_bytes().replace(b"<GivenName>ACE<", b"<GivenName>Zaphod<")
    assert "Zaphod" not in repr(read_recording(content))
    broken = content.replace(b"<SampleRate units", b"<SampleRat units")
    broken = broken.replace(b"</SampleRate>", b"</SampleRat>")
    with pytest.raises(RecordingError) as error:
        read_recording(broken)
    for private in ("Zaphod", "1532006361", "1965"):
        assert private not in str(error.value)


# --- arbitrary bytes -----------------------------------------------------------------------------


def read_quietly(data: bytes, companions: dict[str, bytes] | None = None) -> None:
    """Read; nothing but a RecordingError may come out, and soon."""
    started = time.perf_counter()
    with contextlib.suppress(RecordingError):
        read_recording(data, companions=companions, samples=DESCRIBED)
    assert time.perf_counter() - started < 2


@given(st.binary(max_size=2000))
@settings(max_examples=200, deadline=None)
def test_random_bytes_only_raise_recording_errors(data):
    read_quietly(data)
    read_quietly(b"<CardiologyXML>" + data)
    read_quietly(b"<RestingECG><Waveform>" + data)
    read_quietly(b"\x1f\x8b\x08" + data)
    read_quietly(bytes(128) + b"DICM" + data)
    read_quietly(b"0       " + data)
    read_quietly(bytes(16) + b"SCPECG" + data)
    read_quietly(b"r 8 500 5000\n" + data, {"r.dat": data})


def test_the_small_files_are_sound():
    header, files = small_wfdb()
    a, b, c = (
        read_recording(small_cardiosoft()),
        read_recording(small_muse()),
        read_recording(header, companions=files),
    )
    assert a.samples.shape == b.samples.shape == c.samples.shape == (12, 600)
    np.testing.assert_allclose(a.signal_mv, c.signal_mv, atol=0.006)


SMALL_FILES = small_files()


def test_every_format_is_read():
    for name, (content, companions) in SMALL_FILES.items():
        recording = read_recording(content, companions=companions, samples=DESCRIBED)
        assert recording.source_format in name


@given(
    name=st.sampled_from(sorted(SMALL_FILES)),
    place=st.floats(0, 1, exclude_max=True),
    length=st.integers(0, 40),
    new=st.binary(max_size=40),
    cut=st.booleans(),
)
@settings(max_examples=400, deadline=None)
def test_mutated_files_only_raise_recording_errors(name, place, length, new, cut):
    content, companions = SMALL_FILES[name]
    at = int(place**2 * len(content))  # the head of a file is where it breaks
    read_quietly(content[:at] + new + (b"" if cut else content[at + length :]), companions)


@given(
    line=st.from_regex(rb"r \d{1,12}( \d{1,12}){0,2}\n", fullmatch=True),
    signals=st.lists(
        st.from_regex(
            rb"r.dat (16|212|80|160|61|8)(x\d)?(\+\d{1,20})? "
            rb"-?\d{0,5}(\.\d)?(e\d{1,4})?(\(-?\d{1,9}\))?(/(mV|uV))? "
            rb"\d{1,3} -?\d{1,9} \d \d \d V[1-6]",
            fullmatch=True,
        ),
        max_size=9,
    ),
    data=st.binary(max_size=300),
)
@settings(max_examples=60, deadline=None)
def test_strange_headers_only_raise_recording_errors(line, signals, data):
    read_quietly(line + b"\n".join(signals), {"r.dat": data})


def test_ptbxl_participants_are_not_in_the_files(shared_data):
    """PTB-XL keeps its patients in a table: the reader must not make an id up."""
    with Path(shared_data / "ptbxl" / "ptbxl_database.csv").open() as table:
        row = next(csv.DictReader(table))
    header = shared_data / "ptbxl" / f"{Path(row['filename_hr']).name}.hea"
    assert read_recording(header).participant_id is None
