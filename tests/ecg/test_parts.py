"""Recordings in several parts, of rarer encodings, and with extras that are damaged."""

import base64
import re
import struct
import zlib
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from ecg_spark.ecg import INDEPENDENT_LEADS, LEADS, Note, Reason, RecordingError, read_recording
from tests.builders.ecg_files import (
    aecg,
    bare_dicom,
    cardiosoft,
    dicom,
    discontinuous_edf,
    heart,
    heart_mv,
    leads_section,
    scp,
    sierra,
    signal_section,
    small_muse,
    text_rows,
    xli,
)

EIGHT = heart(3000)
CUTS = st.lists(st.integers(1, 7), min_size=1, max_size=3, unique=True).map(sorted)


def rows_of(recording) -> np.ndarray:
    """The eight independent leads in µV."""
    rows = [LEADS.index(lead) for lead in INDEPENDENT_LEADS]
    return recording.samples[rows] * recording.microvolts_per_unit


def refusal(data: bytes) -> RecordingError:
    with pytest.raises(RecordingError) as error:
        read_recording(data)
    return error.value


def grouped(cuts: list[int]) -> tuple[tuple[str, ...], ...]:
    ends = [0, *cuts, 8]
    return tuple(INDEPENDENT_LEADS[a:b] for a, b in pairwise(ends))


def aecg_of(groups: tuple[tuple[str, ...], ...], heads: list[str], *, series: bool) -> bytes:
    """An annotated ECG with a sequence set, or a series, a group of leads."""
    text = aecg(EIGHT).decode()
    sequences = {
        lead: re.search(
            rf'<component><sequence><code code="MDC_ECG_LEAD_{lead}"/>.*?</sequence></component>',
            text,
        )[0]
        for lead in INDEPENDENT_LEADS
    }
    sets = []
    for names, head in zip(groups, heads, strict=True):
        time = (
            f'<component><sequence><code code="TIME_ABSOLUTE"/><value><head value="{head}"/>'
            '<increment value="0.002" unit="s"/></value></sequence></component>'
        )
        inside = time + "".join(sequences[lead] for lead in names)
        sets.append(f"<component><sequenceSet>{inside}</sequenceSet></component>")
    body = "</series></component><component><series>".join(sets) if series else "".join(sets)
    return f"<AnnotatedECG><component><series>{body}</series></component></AnnotatedECG>".encode()


@given(CUTS, st.booleans(), st.sampled_from(["", "same"]))
@settings(max_examples=15, deadline=None)
def test_parts_of_one_time_are_one_recording(cuts, series, told):
    groups = grouped(cuts)
    heads = ["20200101101112.000" if told else ""] * len(groups)
    np.testing.assert_array_equal(
        rows_of(read_recording(aecg_of(groups, heads, series=series))), EIGHT
    )
    offsets = (0.0,) * len(groups) if told else ()
    np.testing.assert_array_equal(
        rows_of(read_recording(dicom(EIGHT, groups, offsets_ms=offsets))), EIGHT
    )


@given(CUTS)
@settings(max_examples=8, deadline=None)
def test_parts_of_different_times_are_no_recording(cuts):
    groups = grouped(cuts)
    n = len(groups)
    heads = [f"202001011011{10 + 6 * i}.000" for i in range(n)]
    for data in (
        aecg_of(groups, heads, series=False),
        aecg_of(groups, heads, series=True),
        dicom(EIGHT, groups, offsets_ms=tuple(6000.0 * i for i in range(n))),
    ):
        error = refusal(data)
        assert error.reason == Reason.NOT_SIMULTANEOUS
        assert f"{n} x 6 s" in error.detail


def test_parts_whose_time_is_not_told_are_joined_only_if_their_beats_fall_together():
    groups = grouped([2])
    shifted = EIGHT.copy()
    shifted[2:] = np.roll(shifted[2:], 170, axis=1)
    assert refusal(dicom(shifted, groups)).reason == Reason.NOT_SIMULTANEOUS
    np.testing.assert_array_equal(
        rows_of(read_recording(dicom(shifted, groups, offsets_ms=(0.0, 0.0)))), shifted
    )


def test_four_times_two_and_a_half_seconds_is_called_so():
    groups = grouped([2, 4, 6])
    short = EIGHT[:, :1250]
    for offsets in ((), (0.0, 2500.0, 5000.0, 7500.0)):
        error = refusal(dicom(short, groups, offsets_ms=offsets))
        assert error.reason == Reason.NOT_SIMULTANEOUS
        assert "4 x 2.5 s" in error.detail


def test_a_rhythm_strip_in_front_is_not_the_recording():
    muse = small_muse().decode()
    sound = read_recording(muse.encode())
    waveform = muse[muse.index("<Waveform>") : muse.index("</RestingECG>")]
    strip = waveform[: waveform.index("</LeadData>") + 11] + "</Waveform>"
    both = muse.replace("<Waveform>", f"{strip}<Waveform>", 1)
    np.testing.assert_array_equal(read_recording(both.encode()).samples, sound.samples)
    damaged = strip.replace("<LeadDataCRC32>", "<LeadDataCRC32>1")
    recording = read_recording(muse.replace("<Waveform>", f"{damaged}<Waveform>", 1).encode())
    np.testing.assert_array_equal(recording.samples, sound.samples)
    assert recording.notes == (Note.PART_DROPPED,)
    needed = muse.replace("<LeadDataCRC32>", "<LeadDataCRC32>1", 1)
    assert refusal(needed.encode()).reason == Reason.CHECKSUM_MISMATCH
    cut = waveform.index("<LeadData>", waveform.index("<LeadID>II<"))
    halves = waveform[:cut] + "</Waveform>" + waveform[: waveform.index("<LeadData>")]
    halves += waveform[cut:]
    np.testing.assert_array_equal(
        read_recording(muse.replace(waveform, halves).encode()).samples, sound.samples
    )


# --- DICOM ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "syntax",
    [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian,
     DeflatedExplicitVRLittleEndian],
)  # fmt: skip
def test_dicom_in_every_encoding(syntax):
    data = dicom(EIGHT, syntax=syntax)
    np.testing.assert_array_equal(rows_of(read_recording(data)), EIGHT)
    np.testing.assert_array_equal(rows_of(read_recording(data[132:])), EIGHT)
    if syntax != DeflatedExplicitVRLittleEndian:
        np.testing.assert_array_equal(rows_of(read_recording(bare_dicom(data))), EIGHT)


def test_a_deflated_bomb_is_too_large():
    data = dicom(EIGHT, syntax=DeflatedExplicitVRLittleEndian)
    end = len(data) - len(bare_dicom(data))
    bomb = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    content = bomb.compress(bytes(200 << 20)) + bomb.flush()
    assert refusal(data[:end] + content).reason == Reason.TOO_LARGE
    assert refusal(data[:-500]).reason == Reason.MALFORMED


def test_a_padding_value_is_a_sample_where_the_lead_passes_through_it():
    assert (EIGHT == 0).any()
    np.testing.assert_array_equal(rows_of(read_recording(dicom(EIGHT, padding=0))), EIGHT)
    missing = EIGHT.copy()
    missing[3, 1000:1100] = -32768
    assert refusal(dicom(missing, padding=-32768)).reason == Reason.NOT_FINITE
    missing[3, 1000:1100] = 5000
    assert refusal(dicom(missing, padding=5000)).reason == Reason.NOT_FINITE
    missing[3, 1000:1600] = 0
    assert refusal(dicom(missing, padding=0)).reason == Reason.NOT_FINITE


def test_an_unreadable_time_or_measurement_of_dicom_costs_only_itself():
    recording = read_recording(dicom(EIGHT, AcquisitionDateTime="unknown"))
    assert recording.acquired_at is None
    assert recording.notes == (Note.TIME_UNREADABLE,)
    assert read_recording(dicom(EIGHT)).notes == ()


# --- SCP-ECG and EDF -----------------------------------------------------------------------------


def record(crc=lambda stored: stored) -> bytes:
    """A sound SCP-ECG record whose CRCs are changed by `crc`."""
    raw = [row.astype("<i2").tobytes() for row in EIGHT]
    data = bytearray(scp({3: leads_section(3000), 6: signal_section(raw, 1000, 0)}))
    data[:2] = struct.pack("<H", crc(struct.unpack_from("<H", data)[0]))
    for at in (22, 32, 42):
        _, _, start = struct.unpack_from("<HII", data, at)
        (stored,) = struct.unpack_from("<H", data, start - 1)
        struct.pack_into("<H", data, start - 1, crc(stored))
    return bytes(data)


def swapped(crc: int) -> int:
    return (crc & 255) << 8 | crc >> 8


@given(st.integers(200, 40_000), st.integers(0, 7))
@settings(max_examples=20, deadline=None)
def test_swapped_crcs_still_show_damage(place, bit):
    assert read_recording(record()).notes == ()
    assert read_recording(record(swapped)).notes == (Note.CHECKSUM_SWAPPED,)
    assert read_recording(record(lambda crc: 0)).notes == (Note.CHECKSUM_ABSENT,)
    damaged = bytearray(record(swapped))
    damaged[place] ^= 1 << bit
    assert refusal(bytes(damaged)).reason == Reason.CHECKSUM_MISMATCH


@pytest.mark.parametrize("section", [3, 6])
def test_a_crc_of_zero_among_others_is_damage(section):
    data = bytearray(record())
    for at in (32, 42):
        number, _, start = struct.unpack_from("<HII", data, at)
        if number == section:
            data[start - 1 : start + 1] = b"\0\0"
    assert refusal(bytes(data)).reason == Reason.CHECKSUM_MISMATCH


@given(st.sampled_from([16, 24]), st.lists(st.floats(-3, 3), min_size=6, max_size=6), st.data())
@settings(max_examples=30, deadline=None)
def test_discontinuous_records_are_read_where_they_follow_each_other(bits, shifts, data):
    first = data.draw(st.integers(0, 1000)) / 10
    starts = [first + i for i in range(6)]
    recording = read_recording(discontinuous_edf(EIGHT, starts, bits=bits))
    np.testing.assert_array_equal(rows_of(recording), EIGHT)
    moved = [round(5 + start + shift, 2) for start, shift in zip(starts, shifts, strict=True)]
    late = np.array(moved) - moved[0] - np.arange(6)
    if np.abs(late).max() > 0.003:
        error = refusal(discontinuous_edf(EIGHT, moved, bits=bits))
        assert error.reason == Reason.NOT_FINITE
        assert "gaps" in error.detail


# --- damaged extras ------------------------------------------------------------------------------


@given(st.sampled_from(["short", "crc", "base64", "unit", "lead", "rate"]))
@settings(max_examples=6, deadline=None)
def test_a_damaged_median_beat_of_muse_is_dropped_alone(damage):
    muse = small_muse().decode()
    sound = read_recording(muse.encode())
    waveform = muse[muse.index("<Waveform>") : muse.index("</RestingECG>")]
    median = waveform.replace(">Rhythm<", ">Median<").replace(">600<", ">100<")
    for raw in set(re.findall("<WaveFormData>(.*?)<", waveform)):
        part = base64.b64decode(raw)[:200]
        median = median.replace(raw, base64.b64encode(part).decode())
    median = re.sub("<LeadDataCRC32>.*?</LeadDataCRC32>", "", median)
    whole = read_recording(muse.replace("</RestingECG>", median + "</RestingECG>").encode())
    assert whole.vendor_median.shape == (12, 100)
    assert whole.notes == ()
    old, new = {
        "short": (">100<", ">99<"),
        "crc": ("<LeadID>", "<LeadDataCRC32>7</LeadDataCRC32><LeadID>"),
        "base64": ("<WaveFormData>", "<WaveFormData>?"),
        "unit": (">4.88<", ">x<"),
        "lead": ("<LeadID>V3<", "<LeadID>V2<"),
        "rate": ("<SampleBase>100<", "<SampleBase>?<"),
    }[damage]
    damaged = median.replace(old, new, 1)
    recording = read_recording(muse.replace("</RestingECG>", damaged + "</RestingECG>").encode())
    np.testing.assert_array_equal(recording.samples, sound.samples)
    assert recording.vendor_median is None
    assert recording.notes == (Note.MEDIAN_BEAT_DROPPED,)


def test_a_measurement_that_is_no_number_costs_only_itself():
    measured = (
        "<RestingECGMeasurements><PQInterval>n/a</PQInterval><QTInterval>400</QTInterval>"
        "<QRSDuration></QRSDuration></RestingECGMeasurements></CardiologyXML>"
    )
    data = cardiosoft(text_rows(heart_mv())).decode("latin-1")
    recording = read_recording(data.replace("</CardiologyXML>", measured).encode("latin-1"))
    assert recording.vendor == {"qt_ms": 400}
    assert recording.notes == (Note.MEASUREMENT_UNREADABLE,)


def test_a_damaged_lead_that_is_not_needed_costs_nothing():
    muse = small_muse().decode()
    extra = (
        "<LeadData><LeadSampleCountTotal>600</LeadSampleCountTotal>"
        "<LeadAmplitudeUnitsPerBit>?</LeadAmplitudeUnitsPerBit><LeadID>V4R</LeadID>"
        "<LeadDataCRC32>1</LeadDataCRC32><WaveFormData>?</WaveFormData></LeadData>"
    )
    wave = '<WaveformData lead="V7">1,x</WaveformData>'
    soft = cardiosoft(text_rows(heart_mv())).decode("latin-1")
    five = [row // 5 for row in EIGHT]
    twelve = [*five[:2], *[np.zeros_like(five[0])] * 4, *five[2:]]
    plain = sierra(twelve).decode()
    chunks = base64.b64encode(xli(twelve) + b"\xff" * 40).decode()
    damaged = re.sub("(<parsedwaveforms[^>]*>)[^<]*", lambda tag: tag[1] + chunks, plain)
    damaged = damaged.replace('V6"', 'V6 V7"')
    for sound, other in (
        (muse, muse.replace("</Waveform>", extra + "</Waveform>")),
        (soft, soft.replace("</StripData>", wave + "</StripData>")),
        (plain, damaged),
    ):
        assert other != sound
        np.testing.assert_array_equal(
            read_recording(other.encode()).samples, read_recording(sound.encode()).samples
        )
