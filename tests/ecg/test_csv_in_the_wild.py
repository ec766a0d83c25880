"""Tables of samples as spreadsheets and scripts write them."""

import io
import re
import time
from dataclasses import replace

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecg_spark.ecg import (
    INDEPENDENT_LEADS,
    LEADS,
    Reason,
    Recording,
    RecordingError,
    read_recording,
)
from tests.builders.ecg_files import DESCRIBED, csv_table, heart

EIGHT = heart()
NAMES = list(INDEPENDENT_LEADS)
ROWS = [LEADS.index(lead) for lead in NAMES]
PLAIN = csv_table(EIGHT, NAMES)


def assert_eight(recording: Recording) -> None:
    np.testing.assert_allclose(recording.signal_mv[ROWS] * 1000, EIGHT, atol=0.2)


@pytest.mark.parametrize("codec", ["utf-16", "utf-8-sig", "latin-1"])
def test_a_table_in_any_encoding_of_spreadsheets_is_read(codec):
    named = csv_table(EIGHT, [f"{lead} (µV)" for lead in NAMES], "\t").decode()
    assert_eight(read_recording(named.encode(codec), samples=replace(DESCRIBED, unit=None)))


@given(
    separator=st.sampled_from([",", ";", "\t", "|", " "]),
    first=st.sampled_from(["", "# exported\n\n", "sep={}\n", '"sep={}"\n']),
    end=st.sampled_from(["\n", "\r\n"]),
    width=st.sampled_from([0, 9]),
    comma=st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_a_table_is_read_whatever_separates_its_columns(separator, first, end, width, comma):
    """Numbers of mV, the first of them whole, with a decimal point or comma."""
    comma = comma and separator != ","
    rows = [[f"{value / 1000:g}" for value in row] for row in EIGHT.T]
    rows[0] = ["0"] * len(NAMES)
    if comma:
        rows = [[cell.replace(".", ",") for cell in row] for row in rows]
    lines = [separator.join(cell.rjust(width) for cell in row) for row in [NAMES, *rows]]
    content = (first.format(separator) + end.join(lines)).encode()
    recording = read_recording(content, samples=replace(DESCRIBED, unit="mV"))
    found = recording.signal_mv[ROWS] * 1000
    np.testing.assert_allclose(found[:, 1:], EIGHT[:, 1:], atol=0.2)
    assert np.abs(found[:, 0]).max() == 0


@pytest.mark.parametrize("missing", ["", "NaN", "n/a", "N/A", "<NA>", "-", "?", "None", "null"])
def test_a_missing_value_of_any_spelling_is_a_missing_sample(missing):
    lines = PLAIN.decode().splitlines()
    lines[500] = re.sub(r"^[^,]*", missing, lines[500])
    recording = read_recording("\n".join(lines).encode(), samples=DESCRIBED)
    assert recording.notes
    np.testing.assert_allclose(recording.signal_mv[ROWS][1:] * 1000, EIGHT[1:], atol=0.2)


@pytest.mark.parametrize(
    "text", ["Leads I II and III were recorded\nall well\n", "I II III\n1 2 3\n"]
)
def test_a_sentence_about_leads_is_no_table(text):
    with pytest.raises(RecordingError) as error:
        read_recording(text.encode(), samples=DESCRIBED, name="note.txt")
    assert error.value.reason == Reason.NOT_AN_ECG


def described(rate: object, unit: str) -> bytes:
    """An HDF5 file that says its own rate and unit."""
    file = io.BytesIO()
    with h5py.File(file, "w") as opened:
        dataset = opened.create_dataset("ecg", data=EIGHT)
        dataset.attrs["sampling_rate"] = rate
        dataset.attrs["unit"] = unit
        dataset.attrs["leads"] = ",".join(NAMES)
    return file.getvalue()


@pytest.mark.parametrize(
    "rate", [500, "500", "500 Hz", "500.0Hz", "500,0 hz", "500 /s", b"500 sps", "500 samples/s"]
)
@pytest.mark.parametrize("unit", ["uV", "µV", "microvolts", "Microvolt", "0.001 mV", "1e-6 volts"])
def test_a_files_own_rate_and_unit_are_understood(rate, unit):
    assert_eight(read_recording(described(rate, unit)))


@pytest.mark.parametrize(("rate", "unit"), [("fast", "uV"), ("500 ms", "uV"), (500, "bpm")])
def test_a_rate_or_unit_that_is_none_is_refused(rate, unit):
    with pytest.raises(RecordingError) as error:
        read_recording(described(rate, unit))
    assert error.value.reason == Reason.MALFORMED


@pytest.mark.parametrize("text", ["1" + " " * 200_000 + "x", " 1" * 100_000, "V" * 200_000 + "1"])
def test_a_long_text_in_place_of_a_rate_or_unit_is_refused_at_once(text):
    before = time.process_time()
    for content in (described(text, "uV"), described(500, text)):
        with pytest.raises(RecordingError) as error:
            read_recording(content)
        assert error.value.reason == Reason.MALFORMED
    assert time.process_time() - before < 5
