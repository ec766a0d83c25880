"""A rate that no electrocardiograph has is refused before anything is divided by it."""

import contextlib
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecg_spark.ecg import Note, Reason, RecordingError, read_recording
from tests.builders.ecg_files import cardiosoft, heart_mv, small_files, text_rows

SOUND = {name: content for name, (content, _) in small_files().items()}
RATES = st.sampled_from(["0", "-500", "0.0", "-0", "1e-30", "5", "1e9", "99999999999"])


@given(rate=RATES)
@settings(max_examples=8, deadline=None)
def test_a_muse_rhythm_of_no_rate_is_refused_and_a_second_one_left_out(rate):
    whole = SOUND["muse"].decode()
    bad = whole.replace("<SampleBase>100<", f"<SampleBase>{rate}<")
    with pytest.raises(RecordingError) as error:
        read_recording(bad.encode())
    assert error.value.reason is Reason.UNSUPPORTED_RATE
    (second,) = re.findall(r"<Waveform>.*</Waveform>", bad)
    for kind, note in (("Rhythm", Note.PART_DROPPED), ("Median", Note.MEDIAN_BEAT_DROPPED)):
        more = second.replace("Rhythm", kind)
        both = read_recording(whole.replace("</RestingECG>", f"{more}</RestingECG>").encode())
        assert both.sampling_rate_hz == 100
        assert both.vendor_median is None
        assert note in both.notes


@given(rate=RATES)
@settings(max_examples=8, deadline=None)
def test_a_cardiosoft_strip_of_no_rate_is_refused(rate):
    with pytest.raises(RecordingError) as error:
        read_recording(cardiosoft(text_rows(heart_mv(5000, 500.0)), rate=rate))
    assert error.value.reason is Reason.UNSUPPORTED_RATE


@given(name=st.sampled_from(sorted(SOUND)), old=st.sampled_from([b"500", b"100", b"0.002"]),
       rate=RATES)  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_no_number_of_a_file_that_becomes_no_rate_is_more_than_a_reason(name, old, rate):
    """Of every format: only a `RecordingError` may come of it."""
    with contextlib.suppress(RecordingError):
        read_recording(SOUND[name].replace(old, rate.encode(), 1))
