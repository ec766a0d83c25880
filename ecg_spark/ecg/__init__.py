"""Recordings, their formats, and the average beat: pure NumPy, without Spark."""

from ecg_spark.ecg.averaging import average_beat
from ecg_spark.ecg.beat import BEAT_RATE_HZ, BEAT_SAMPLES, BEAT_VERSION, R_INDEX, Beat
from ecg_spark.ecg.formats import read_recording
from ecg_spark.ecg.quality import FLAGS, Limits, weight
from ecg_spark.ecg.recording import (
    INDEPENDENT_LEADS,
    INDEPENDENT_ROWS,
    LEADS,
    Note,
    Reason,
    Recording,
    RecordingError,
    derive_leads,
)
from ecg_spark.ecg.rpeaks import detect_r_peaks
from ecg_spark.ecg.traits import measure_traits
from ecg_spark.ecg.vendor import Source, beat_of

__all__ = [
    "BEAT_RATE_HZ",
    "BEAT_SAMPLES",
    "BEAT_VERSION",
    "FLAGS",
    "INDEPENDENT_LEADS",
    "INDEPENDENT_ROWS",
    "LEADS",
    "R_INDEX",
    "Beat",
    "Limits",
    "Note",
    "Reason",
    "Recording",
    "RecordingError",
    "Source",
    "average_beat",
    "beat_of",
    "derive_leads",
    "detect_r_peaks",
    "measure_traits",
    "read_recording",
    "weight",
]
