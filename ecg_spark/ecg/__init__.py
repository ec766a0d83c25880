"""Recordings, their formats, and the average beat: pure NumPy, without Spark."""

from ecg_spark.ecg.formats import read_recording
from ecg_spark.ecg.recording import INDEPENDENT_LEADS, LEADS, Reason, Recording, RecordingError

__all__ = [
    "INDEPENDENT_LEADS",
    "LEADS",
    "Reason",
    "Recording",
    "RecordingError",
    "read_recording",
]
