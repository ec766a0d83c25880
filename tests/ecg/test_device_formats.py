"""Sierra, aECG, SCP-ECG, DICOM, EDF and the rarer WFDB: real files and independent oracles."""

import base64
import contextlib
import gzip
import re
import struct
import time
import xml.etree.ElementTree as ET

import numpy as np
import pytest
import wfdb
from wfdb.io.convert.edf import read_edf

from ecg_spark.ecg import INDEPENDENT_LEADS, LEADS, Reason, RecordingError, read_recording
from ecg_spark.ecg.formats import huffman
from tests.builders.ecg_files import (
    OWN_TABLE,
    bits_of,
    differences_of,
    edf,
    encoded,
    heart,
    leads_section,
    packed,
    scp,
    sierra,
    signal_section,
    table_section,
)


def reason_of(source: bytes, companions: dict[str, bytes] | None = None) -> Reason:
    with pytest.raises(RecordingError) as error:
        read_recording(source, companions=companions)
    return error.value.reason


def rows_of(recording) -> np.ndarray:
    """The eight independent leads in µV."""
    rows = [LEADS.index(lead) for lead in INDEPENDENT_LEADS]
    return recording.samples[rows] * recording.microvolts_per_unit


# --- Philips Sierra and HL7 aECG -----------------------------------------------------------------


def sierra_files(shared_data):
    folder = shared_data / "sierra" / "examples" / "xml"
    files = [path for path in sorted(folder.rglob("*.*")) if "converted" not in path.name]
    assert len(files) == 4
    return files


def test_sierra_limb_leads_obey_einthoven(shared_data):
    for path in sierra_files(shared_data):
        recording = read_recording(path)
        assert recording.source_format == "sierra"
        assert recording.sampling_rate_hz == 500
        # The files hold 11 s of which the last 0.4 s are padding and a calibration pulse.
        assert recording.samples.shape[1] in (5264, 5300)
        one, two, three, right, left, foot = recording.samples[:6] * recording.microvolts_per_unit
        # Whole units of 5 µV, each lead rounded on its own.
        assert np.abs(three - (two - one)).max() <= 10
        assert np.abs(right + left + foot).max() <= 15


def test_sierra_and_its_conversion_to_aecg_agree(shared_data):
    """The maker's converter kept the representative beat and filtered the rhythm a little."""
    folder = shared_data / "sierra" / "examples" / "xml" / "1_04"
    ours = read_recording(folder / "ad4d3d80-d165_1-04_orig.xml")
    other = read_recording(folder / "ad4d3d80-d165_1-04_converted.xml")
    assert (ours.source_format, other.source_format) == ("sierra", "aecg")
    assert ours.vendor_median_rate_hz == other.vendor_median_rate_hz == 500
    np.testing.assert_array_equal(ours.vendor_median, other.vendor_median)
    assert ours.vendor_median.shape == (12, 600)
    for a, b in zip(ours.signal_mv, other.signal_mv[:, : ours.samples.shape[1]], strict=True):
        assert np.corrcoef(a, b)[0, 1] > 0.996
        assert np.sqrt(np.mean((a - b) ** 2)) < 0.005
    for name in ("heart_rate_bpm", "rr_ms", "pr_ms", "qrs_ms", "qt_ms", "qtc_ms"):
        assert ours.vendor[name] == other.vendor[name]


def test_a_median_beat_keeps_its_own_rate_and_unit(shared_data):
    """1.04.01 stores the rhythm as 5 µV at 500 Hz and the beat as 1 µV at 1000 Hz."""
    path = shared_data / "sierra" / "examples" / "xml" / "1_04_01" / "2020-5-18_15-48-11.xml"
    recording = read_recording(path)
    assert recording.microvolts_per_unit == 1
    assert (recording.samples % 5 == 0).all()
    assert recording.vendor_median_rate_hz == 1000
    root = ET.fromstring(path.read_bytes())
    for beat in root.iter("{*}repbeat"):
        raw = base64.b64decode(beat.findtext("{*}waveform"))
        row = recording.vendor_median[LEADS.index(beat.get("leadname"))]
        assert row.tolist() == list(struct.unpack(f"<{len(raw) // 2}h", raw))


def test_aecg_and_scp_hold_the_same_recording(shared_data):
    aecg = read_recording(shared_data / "aecg" / "ecg_hl7.xml")
    scp = read_recording(shared_data / "scp" / "Example.scp")
    assert (aecg.source_format, scp.source_format) == ("aecg", "scp")
    np.testing.assert_array_equal(aecg.samples, scp.samples)
    assert aecg.samples.shape == (12, 5000)
    assert aecg.microvolts_per_unit == scp.microvolts_per_unit == 2.5
    np.testing.assert_array_equal(aecg.vendor_median, scp.vendor_median)
    for name in ("p_ms", "pr_ms", "qrs_ms", "qt_ms", "p_axis_deg", "axis_deg", "t_axis_deg"):
        assert aecg.vendor[name] == scp.vendor[name]
    assert aecg.participant_id == scp.participant_id == "SBJ-123"
    assert aecg.acquired_at == scp.acquired_at
    text = (shared_data / "aecg" / "ecg_hl7.xml").read_text()
    stored = re.findall(r'MDC_ECG_LEAD_(\w+)"[^/]*/>\s*<value.*?<digits>([^<]*)<', text, re.S)
    for name, digits in stored[:12]:
        row = aecg.samples[[lead.upper() for lead in LEADS].index(name)]
        assert row.tolist() == [int(value) for value in digits.split()]


def test_sierra_stores_limb_leads_as_differences_or_as_they_are():
    eight = heart() // 5
    one, two = eight[:2]
    limb = [two - one, -(one + two) // 2, one - two // 2, two - one // 2]
    nothing = [np.zeros_like(one)] * 4
    compressed = read_recording(sierra([one, two, *nothing, *eight[2:]]))
    np.testing.assert_array_equal(rows_of(compressed), eight * 5)
    assert np.abs(compressed.samples[:6] - np.array([one, two, *limb])).max() <= 1
    plain = np.array([one, two, *limb, *eight[2:]]).astype("<i2").tobytes()
    whole = read_recording(sierra([one], plain, "Uncompressed"))
    np.testing.assert_array_equal(whole.samples, np.frombuffer(plain, "<i2").reshape(12, -1))


def test_malformed_sierra_is_refused_with_its_reason():
    rows = [row // 5 for row in np.vstack([heart(), heart()[:4]])]
    good = sierra(rows)
    assert reason_of(good.replace(b">1.04<", b">9.99<")) == Reason.UNKNOWN_FORMAT
    assert reason_of(good.replace(b'"XLI"', b'"ZIP"')) == Reason.UNKNOWN_FORMAT
    assert reason_of(good.replace(b'"6000"', b'"6e9"')) == Reason.TOO_LARGE
    assert reason_of(good.replace(b'"6000"', b'"8000"')) == Reason.MALFORMED
    # 10-bit codes that double the table's longest string: a megabyte would become gigabytes.
    codes = [0, *range(256, 1022)] + [1021] * 500_000
    bits = (np.array(codes)[:, None] >> np.arange(9, -1, -1)) & 1
    packed = np.packbits(bits.astype(np.uint8).ravel()).tobytes()
    bomb = struct.pack("<ihh", len(packed), 1, 0) + packed
    assert reason_of(sierra(rows, bomb)) == Reason.MALFORMED


# --- SCP-ECG -------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [0, 1, 2])
@pytest.mark.parametrize("coding", ["none", "default", "own"])
def test_scp_codings(order, coding):
    eight = heart()
    rows = [differences_of(row, order) for row in eight]
    tables = {"default": (19999).to_bytes(2, "little"), "own": table_section(OWN_TABLE)}
    sections = {}
    if coding == "none":
        coded = [row.astype("<i2").tobytes() for row in rows]
    else:
        codes = OWN_TABLE if coding == "own" else huffman.DEFAULT_TABLE.codes
        coded = [encoded(row, codes) for row in rows]
        sections[2] = tables[coding]
    sections |= {3: leads_section(3000), 6: signal_section(coded, 1000, order)}
    recording = read_recording(scp(sections))
    np.testing.assert_array_equal(rows_of(recording), eight)


SWITCHING = (
    (
        huffman.HuffmanCode(1, 0, False, 0, 0b0),
        huffman.HuffmanCode(2, 16, False, 0, 0b10),
        huffman.HuffmanCode(2, 0, True, 2, 0b11),
    ),
    (
        huffman.HuffmanCode(2, 0, False, -1, 0b00),
        huffman.HuffmanCode(2, 0, False, 1, 0b01),
        huffman.HuffmanCode(2, 16, False, 0, 0b10),
        huffman.HuffmanCode(2, 0, True, 1, 0b11),
    ),
)
"""Two tables, each with a code that switches to the other."""


def test_scp_codes_switch_between_tables():
    eight = heart()
    coded = []
    for row in eight:
        parts = [bits_of(part, SWITCHING[k % 2]) for k, part in enumerate(np.array_split(row, 7))]
        coded.append(packed("11".join(parts)))
    sections = {2: table_section(*SWITCHING), 3: leads_section(3000)}
    sections[6] = signal_section(coded, 1000, 0)
    np.testing.assert_array_equal(rows_of(read_recording(scp(sections))), eight)


ONE_ROW = encoded(heart()[0], OWN_TABLE)


@pytest.mark.parametrize(
    ("tables", "coded"),
    [
        (struct.pack("<H", 33), ONE_ROW),
        (struct.pack("<HH", 1, 2000), ONE_ROW),
        (struct.pack("<HHBBBhI", 1, 1, 0, 5, 1, 0, 0), ONE_ROW),
        (struct.pack("<HHBBBhI", 1, 1, 2, 40, 1, 0, 0), ONE_ROW),
        (table_section((huffman.HuffmanCode(1, 0, True, 9, 0b0),)), bytes(100)),
        (table_section((huffman.HuffmanCode(1, 0, True, 0, 0b0),)), bytes(100)),
        (table_section((huffman.HuffmanCode(2, 0, False, 0, 0b11),)), bytes(100)),
        (table_section(OWN_TABLE), ONE_ROW[:-40]),
        (table_section((huffman.HuffmanCode(1, 16, False, 0, 0b0),)), bytes(17 * 3000 // 8 - 1)),
    ],
    ids=["tables", "codes", "no bits", "bits", "no table 9", "no table 0", "no code", "cut", "end"],
)
def test_a_damaged_huffman_code_is_malformed(tables, coded):
    sections = {2: tables, 3: leads_section(3000), 6: signal_section([coded] * 8, 1000, 0)}
    assert reason_of(scp(sections)) == Reason.MALFORMED


def test_scp_reference_beats_are_added_back():
    beat = np.rint(heart(400) * 2).astype(int)  # in 0.5 µV
    eight = heart()
    residual = eight.copy()
    places = b""
    for kind, centre in ((0, 700), (1, 1200), (0, 1800)):
        first, last = centre - 60, centre + 90
        places += struct.pack("<HIII", kind, first, centre, last)
        if kind == 0:  # sample `first` is the beat's sample first - centre + 150
            window = slice(first - 1, last)
            residual[:, window] -= beat[:, first - centre + 149 : last - centre + 150] // 2
    beat = beat // 2 * 2
    sections = {
        3: leads_section(3000, flags=5),
        4: struct.pack("<HHH", 800, 150, 3) + places,
        5: signal_section([row.astype("<i2").tobytes() for row in beat], 500, 0),
        6: signal_section([row.astype("<i2").tobytes() for row in residual], 1000, 0),
    }
    recording = read_recording(scp(sections))
    np.testing.assert_array_equal(rows_of(recording), eight)
    assert recording.vendor_median.shape == (12, 400)


def test_scp_demo_is_read_as_stored(shared_data):
    """Its writer counts samples from zero."""
    data = (shared_data / "scp" / "demo.scp").read_bytes()
    recording = read_recording(data)
    body = data[386 + 16 : 386 + 160_038]
    stored = np.frombuffer(body[6 + 16 :], "<i2").reshape(8, 10_000)
    np.testing.assert_allclose(rows_of(recording), stored * 0.183)
    assert recording.sampling_rate_hz == 1000


def test_scp_with_many_leads_is_read_in_bounded_time():
    """Zeros take a bit each: nothing is decoded for leads that are not wanted."""
    n = 99_000
    names = leads_section(n)[2:]
    others = b"".join(struct.pack("<IIB", 1, n, 100) for _ in range(56))
    zeros = [bytes(n // 8 + 1)] * 64
    head = struct.pack("<HHBB", 1000, 1000, 0, 0) + struct.pack("<64H", *map(len, zeros))
    record = scp({2: (19999).to_bytes(2, "little"), 3: bytes([64, 4]) + names + others,
                  6: head + b"".join(zeros)})  # fmt: skip
    started = time.perf_counter()
    assert reason_of(record) == Reason.FLAT_LEAD
    assert time.perf_counter() - started < 20


def test_malformed_scp_is_refused_with_its_reason(shared_data):
    data = (shared_data / "scp" / "Example.scp").read_bytes()
    damaged = bytearray(data)
    damaged[20_000] ^= 1
    assert reason_of(bytes(damaged)) == Reason.CHECKSUM_MISMATCH
    assert reason_of(data[:20_000]) == Reason.MALFORMED
    rows = [row.astype("<i2").tobytes() for row in heart()]
    bimodal = bytearray(signal_section(rows, 1000, 0))
    bimodal[5] = 1
    assert reason_of(scp({3: leads_section(3000), 6: bytes(bimodal)})) == Reason.UNKNOWN_FORMAT
    endless = scp({3: leads_section(1 << 31), 6: signal_section(rows, 1000, 0)})
    assert reason_of(endless) == Reason.TOO_LARGE


# --- DICOM ---------------------------------------------------------------------------------------


def test_dicom_rhythm_and_median(shared_data):
    path = shared_data / "dicom" / "waveform_ecg.dcm"
    recording = read_recording(path)
    assert recording.source_format == "dicom"
    assert recording.sampling_rate_hz == recording.vendor_median_rate_hz == 1000
    assert recording.samples.shape == (12, 10_000)
    assert recording.vendor_median.shape == (12, 1200)
    assert recording.microvolts_per_unit == 1.25
    # Read beside any decoder: the two blocks of waveform data, found by their length.
    data = path.read_bytes()
    for rows, n in ((recording.samples, 10_000), (recording.vendor_median, 1200)):
        at = data.index(b"\x00\x54\x10\x10OW\0\0" + struct.pack("<I", n * 24)) + 12
        stored = np.frombuffer(data[at : at + n * 24], "<i2").reshape(n, 12).T
        np.testing.assert_array_equal(rows, stored)
        one, two, three, right, left, foot = rows[:6].astype(int)
        np.testing.assert_array_equal(three, two - one)
        assert np.abs(right + left + foot).max() <= 1
    assert recording.vendor["pr_ms"] == 161
    assert recording.vendor["qtc_ms"] == 370
    assert recording.acquired_at.isoformat() == "2013-01-25T10:59:19"


def test_malformed_dicom_is_refused_with_its_reason(shared_data):
    data = (shared_data / "dicom" / "waveform_ecg.dcm").read_bytes()
    assert reason_of(data[:5000]) == Reason.MALFORMED
    deflated = data.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.1.99\0", 1)
    assert reason_of(deflated) == Reason.MALFORMED
    item = struct.pack("<HHI", 0xFFFE, 0xE000, 0)
    assert reason_of(data + item * 100_000) == Reason.TOO_LARGE


def test_dicom_says_nothing_about_the_patient(shared_data, caplog, recwarn):
    data = (shared_data / "dicom" / "waveform_ecg.dcm").read_bytes()
    broken = data.replace(b"642341", b"6\xff\xfe41\\").replace(b"19710123", b"Zaphod's")
    for content in (broken, broken[:100_000]):
        with contextlib.suppress(RecordingError):
            read_recording(content)
    assert not caplog.records
    assert not [warning for warning in recwarn if "ydicom" in str(warning.filename)]


# --- EDF -----------------------------------------------------------------------------------------


def test_edf_equals_the_wfdb_package(tmp_path):
    eight = heart()
    data = edf(eight, labels=list(INDEPENDENT_LEADS))
    recording = read_recording(data)
    np.testing.assert_array_equal(rows_of(recording), eight)
    assert recording.sampling_rate_hz == 500
    assert recording.participant_id == "P-7"
    assert recording.acquired_at.isoformat() == "2019-03-02T04:05:06"
    # The package averages faster signals down to the slowest: here all are as fast.
    plain = edf(eight, labels=list(INDEPENDENT_LEADS), reserved="", slower=500)
    (tmp_path / "r.edf").write_bytes(plain)
    assert read_recording(tmp_path / "r.edf").participant_id is None
    other = read_edf(str(tmp_path / "r.edf"), rdedfann_flag=False)
    columns = [other.sig_name.index(f"ECG {lead}") for lead in INDEPENDENT_LEADS]
    expected = other.p_signal[:, columns].T
    expected += eight[0, 0] - expected[0, 0]  # it takes the baseline half a step too low
    np.testing.assert_allclose(rows_of(recording), expected, atol=0.01)


def test_malformed_edf_is_refused_with_its_reason():
    labels = list(INDEPENDENT_LEADS)
    good = edf(heart(), labels=labels)
    assert reason_of(good[:-1000]) == Reason.MALFORMED
    assert reason_of(edf(heart(), labels=labels, reserved="EDF+D")) == Reason.UNKNOWN_FORMAT
    assert reason_of(edf(heart(), labels=labels, records="99999999")) == Reason.MALFORMED
    assert reason_of(edf(heart(), labels=labels, duration="0")) == Reason.MALFORMED
    assert reason_of(edf(heart(), labels=[*labels[:7], "V9"])) == Reason.MISSING_LEAD
    assert reason_of(good.replace(b"uV".ljust(8), b"mmHg".ljust(8), 1)) == Reason.MALFORMED


# --- WFDB through the package --------------------------------------------------------------------


def written(tmp_path, name: str, rows: np.ndarray, fmt: str) -> None:
    wfdb.wrsamp(
        name, fs=500, units=["mV"] * 8, sig_name=list(INDEPENDENT_LEADS), fmt=[fmt] * 8,
        d_signal=np.ascontiguousarray(rows.T), adc_gain=[1000.0] * 8, baseline=[0] * 8,
        write_dir=str(tmp_path),
    )  # fmt: skip


@pytest.mark.parametrize("fmt", ["24", "32", "516"])
def test_rarer_wfdb_formats(tmp_path, fmt):
    eight = heart()
    written(tmp_path, "r", eight, fmt)
    recording = read_recording(tmp_path / "r.hea")
    np.testing.assert_array_equal(rows_of(recording), eight)
    header = (tmp_path / "r.hea").read_text()
    changed = re.sub(r"(\S+)( \d+ V6)", r"1\2", header)
    files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert reason_of(changed.encode(), files) == Reason.CHECKSUM_MISMATCH


def test_a_record_of_several_segments(tmp_path):
    eight = heart(6000)
    for name, rows in (("s_0001", eight[:, :2500]), ("s_0002", eight[:, 2500:])):
        written(tmp_path, name, rows, "16")
    (tmp_path / "s.hea").write_text("s/2 8 500 6000\ns_0001 2500\ns_0002 3500\n")
    recording = read_recording(tmp_path / "s.hea")
    np.testing.assert_array_equal(rows_of(recording), eight)
    (tmp_path / "s.hea").write_text("s/3 8 500 6500\ns_0001 2500\n~ 500\ns_0002 3500\n")
    assert reason_of_path(tmp_path / "s.hea") == Reason.NOT_FINITE
    for line, reason in (
        ("../s_0001 2500", Reason.UNSAFE),
        ("s 2500", Reason.MALFORMED),
        ("missing 2500", Reason.MALFORMED),
    ):
        (tmp_path / "s.hea").write_text(f"s/2 8 500 6000\n{line}\ns_0002 3500\n")
        assert reason_of_path(tmp_path / "s.hea") == reason


def test_segments_without_name_or_signal_are_gaps(tmp_path):
    written(tmp_path, "s_1", heart(), "16")
    (tmp_path / "s.hea").write_text("s/1 8 500 3000\ns_1 3000\n")
    header = (tmp_path / "s_1.hea").read_text()
    (tmp_path / "s_1.hea").write_text(re.sub(r" (\d+) 0 (I|II|V\d)\n", r" \1 0\n", header))
    assert reason_of_path(tmp_path / "s.hea") == Reason.MISSING_LEAD
    (tmp_path / "s_1.hea").write_text("s_1 0 500 3000\n")
    (tmp_path / "s.hea").write_text("s/1 0 500 3000\ns_1 3000\n")
    assert reason_of_path(tmp_path / "s.hea") in (Reason.MISSING_LEAD, Reason.MALFORMED)


def reason_of_path(path) -> Reason:
    with pytest.raises(RecordingError) as error:
        read_recording(path)
    return error.value.reason


# --- what all formats share ----------------------------------------------------------------------


def test_gzip_is_unpacked_whatever_is_in_it(shared_data, tmp_path):
    path = shared_data / "scp" / "Example.scp"
    packed = gzip.compress(path.read_bytes())
    np.testing.assert_array_equal(read_recording(packed).samples, read_recording(path).samples)
    written(tmp_path, "r", heart(), "16")
    whole = read_recording(tmp_path / "r.hea")
    signals = (tmp_path / "r.dat").read_bytes()
    (tmp_path / "r.dat").unlink()
    (tmp_path / "r.dat.gz").write_bytes(gzip.compress(signals))
    np.testing.assert_array_equal(read_recording(tmp_path / "r.hea").samples, whole.samples)
    assert reason_of(packed[:-10]) == Reason.MALFORMED
    assert reason_of(gzip.compress(bytes(100 << 20))) == Reason.TOO_LARGE


@pytest.mark.parametrize("kept", [("II", "III"), ("I", "III"), ("aVR", "aVL"), ("aVL", "aVF")])
def test_two_limb_leads_give_the_others(kept):
    eight = heart()
    one, two = eight[:2].astype(float)
    limb = {
        "I": one, "II": two, "III": two - one, "aVR": -(one + two) / 2,
        "aVL": one - two / 2, "aVF": two - one / 2,
    }  # fmt: skip
    rows = np.vstack([*(limb[name] for name in kept), eight[2:]])
    recording = read_recording(edf(rows, labels=[*kept, *INDEPENDENT_LEADS[2:]]))
    expected = np.vstack([*limb.values(), eight[2:]])
    np.testing.assert_allclose(recording.signal_mv * 1000, expected, atol=0.7)
    alone = edf(rows[1:], labels=[kept[1], *INDEPENDENT_LEADS[2:]])
    assert reason_of(alone) == Reason.MISSING_LEAD
