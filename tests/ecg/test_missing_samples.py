"""Missing samples follow one rule in every format: few are filled and said, more are refused."""

import base64
import re

import numpy as np
import pytest

from ecg_spark.ecg import INDEPENDENT_LEADS, LEADS, RecordingError, read_recording
from ecg_spark.ecg.recording import Note, Reason
from tests.builders.ecg_files import DESCRIBED, csv_table, hdf5, heart, small_muse

V2 = INDEPENDENT_LEADS.index("V2")


def muse_with_missing(lead: str, first: int, count: int) -> bytes:
    """A MUSE file in which samples of a lead are marked as missing."""

    def marked(found: re.Match[bytes]) -> bytes:
        samples = np.frombuffer(base64.b64decode(found[2]), "<i2").copy()
        samples[first : first + count] = -32768
        return found[1] + base64.b64encode(samples.tobytes()) + found[3]

    text = re.sub(rb"<LeadDataCRC32>[^<]*</LeadDataCRC32>", b"", small_muse())
    block = rb"(<WaveFormData>)([^<]*)(</WaveFormData>)"
    parts = re.split(rb"(<LeadData>.*?</LeadData>)", text, flags=re.DOTALL)
    named = [f"<LeadID>{lead}</LeadID>".encode() in part for part in parts]
    assert any(named)
    return b"".join(
        re.sub(block, marked, part) if is_named else part
        for part, is_named in zip(parts, named, strict=True)
    )


def test_a_few_missing_samples_of_muse_are_filled_and_more_are_refused():
    few = read_recording(muse_with_missing("V2", 40, 2))
    whole = read_recording(small_muse())
    assert Note.SAMPLES_FILLED in few.notes
    row = LEADS.index("V2")
    others = [i for i in range(12) if i != row]
    np.testing.assert_array_equal(few.samples[others], whole.samples[others])
    steps = few.samples[row, 39:43].astype(float)
    np.testing.assert_allclose(steps, np.linspace(steps[0], steps[-1], 4), atol=1)
    with pytest.raises(RecordingError) as error:
        read_recording(muse_with_missing("V2", 40, 30))
    assert error.value.reason == Reason.NOT_FINITE


@pytest.mark.parametrize("write", [lambda rows: hdf5({"ecg": rows}), None])
def test_nan_in_bare_samples_is_a_missing_sample(write):
    names = list(INDEPENDENT_LEADS)
    write = write or (lambda rows: csv_table(rows, names))
    rows = heart().astype(float)
    rows[V2, 200:205] = np.nan
    recording = read_recording(write(rows), samples=DESCRIBED)
    assert Note.SAMPLES_FILLED in recording.notes
    assert np.isfinite(recording.signal_mv).all()
    filled = 1000 * recording.signal_mv[LEADS.index("V2"), 199:206]
    np.testing.assert_allclose(filled, np.linspace(filled[0], filled[-1], 7), atol=2)
    for value, reason in ((np.nan, "ms of lead V2"), (np.inf, "infinite")):
        rows[V2, 200:260] = value
        with pytest.raises(RecordingError) as error:
            read_recording(hdf5({"ecg": rows}), samples=DESCRIBED)
        assert error.value.reason == Reason.NOT_FINITE
        assert reason in error.value.detail
