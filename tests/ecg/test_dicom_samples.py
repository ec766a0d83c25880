"""Samples of every kind that DICOM has give the millivolts that pydicom gives."""

import io

import numpy as np
import pydicom
import pytest
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian

from ecg_spark.ecg import INDEPENDENT_LEADS, LEADS, read_recording
from tests.builders.ecg_files import dicom, heart

ROWS = [LEADS.index(lead) for lead in INDEPENDENT_LEADS]


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ExplicitVRBigEndian])
@pytest.mark.parametrize(
    ("interpretation", "kind", "zero"),
    [
        ("SS", "i2", 0),
        ("US", "u2", 32768),
        ("US", "u2", 2000),
        ("SL", "i4", -5),
        ("UL", "u4", 9000),
    ],
)
@pytest.mark.parametrize("sensitivity", [1.0, 0.5])
def test_samples_of_every_kind_are_what_pydicom_reads(
    syntax, interpretation, kind, zero, sensitivity
):
    """The baseline is what the stored value 0 means, in unsigned samples as in signed ones."""
    stored = np.rint(heart() / sensitivity).astype(np.int64) + zero
    dataset = pydicom.dcmread(io.BytesIO(dicom(heart(), syntax=syntax)))
    group = dataset.WaveformSequence[0]
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    group.WaveformSampleInterpretation = interpretation
    group.WaveformBitsAllocated = 8 * int(kind[1])
    del group[0x54001010]
    group.add_new(0x54001010, "OW", stored.T.astype(order + kind).tobytes())
    for channel in group.ChannelDefinitionSequence:
        channel.ChannelSensitivity = str(sensitivity)
        channel.ChannelBaseline = str(-zero * sensitivity)
    file = io.BytesIO()
    pydicom.dcmwrite(file, dataset, enforce_file_format=True)
    found = read_recording(file.getvalue()).signal_mv[ROWS] * 1000
    np.testing.assert_allclose(found, heart(), atol=0.5)
    if order == "<":
        np.testing.assert_allclose(found, dataset.waveform_array(0).T, atol=0.5)
