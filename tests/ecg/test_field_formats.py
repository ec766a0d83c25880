"""Every input of the field folders of formats gives the outcome that their README states."""

import re
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from ecg_spark.ecg import Note, Reason, RecordingError, read_recording

FOLDERS = (
    "xml-declaration", "decimal-comma", "lead-names", "lead-order", "several-parts", "dicom", "scp",
    "edf", "damaged-extra", "time",
)  # fmt: skip


def reference(folder: Path) -> np.ndarray:
    """The twelve leads in µV, [12, 3000]."""
    return np.loadtxt(folder / "reference" / "e07504-6s.csv", delimiter=",", skiprows=1).T


@pytest.mark.parametrize("name", FOLDERS)
def test_field_files_have_the_outcome_that_is_stated(field, name):
    folder, outcomes = field
    expected = reference(folder)
    cases = {path: told for path, told in outcomes.items() if path.split("/")[0] == name}
    assert cases
    for path, told in cases.items():
        if told.startswith("refused"):
            with pytest.raises(RecordingError) as error:
                read_recording(folder / path)
            reason = re.match(r"refused: (\w+)", told)
            assert reason is None or error.value.reason == Reason(reason[1]), path
            continue
        recording = read_recording(folder / path)
        within = re.search(r"within ([\d.]+) µV", told)
        microvolts = recording.samples * recording.microvolts_per_unit
        np.testing.assert_allclose(microvolts, expected, atol=float(within[1]), err_msg=path)
        assert recording.sampling_rate_hz == 500
        time = re.search(r"time (\S+)$", told)
        if time is not None:
            expected_time = None if time[1] == "unknown" else datetime.fromisoformat(time[1])
            assert recording.acquired_at == expected_time, path


def test_what_is_wrong_in_field_files_is_said(field):
    folder, _ = field
    for path, words in (
        ("xml-declaration/cut.xml", ("MUSE", "ends early")),
        ("lead-names/twice.edf", ("lead I ",)),
        ("several-parts/dicom-4x2.5s.dcm", ("4 x 2.5 s",)),
        ("edf/discontinuous-gap.edf", ("gaps", "2 s")),
    ):
        with pytest.raises(RecordingError) as error:
            read_recording(folder / path)
        assert all(word in error.value.detail for word in words)
    for path, note in (
        ("damaged-extra/muse-median-crc.xml", Note.MEDIAN_BEAT_DROPPED),
        ("damaged-extra/cardiosoft-median-599.xml", Note.MEDIAN_BEAT_DROPPED),
        ("damaged-extra/dicom-annotation.dcm", Note.MEASUREMENT_UNREADABLE),
        ("damaged-extra/dicom-annotation.dcm", Note.TIME_UNREADABLE),
        ("time/muse-unreadable.xml", Note.TIME_UNREADABLE),
        ("scp/crc-zero.scp", Note.CHECKSUM_ABSENT),
        ("scp/crc-swapped.scp", Note.CHECKSUM_SWAPPED),
    ):
        assert note in read_recording(folder / path).notes
