"""The device's own median beat instead of the computed average, if the study asks for it."""

from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ecg_spark.ecg.averaging import average_beat
from ecg_spark.ecg.beat import BEAT_RATE_HZ, BEAT_SAMPLES, R_INDEX, Beat
from ecg_spark.ecg.fiducials import find_fiducials, qrs_onset
from ecg_spark.ecg.filtering import resample
from ecg_spark.ecg.quality import Limits
from ecg_spark.ecg.recording import INDEPENDENT_ROWS, Reason, Recording, RecordingError
from ecg_spark.ecg.windows import cut, r_position

Source = Literal["computed", "vendor", "vendor_else_computed"]
"""Whose beat is used: ours, the device's, or the device's where the file carries one."""


def beat_of(
    recording: Recording, source: Source = "computed", limits: Limits | None = None
) -> Beat:
    """Return the average beat of a recording, or the device's median beat in its place.

    Rhythm, noise and flags are those of the recording either way; `Beat.source` says whose beat it
    is.

    Args:
        recording: may have a `vendor_median`.
        source: `computed` for the average beat; `vendor` for the device's; `vendor_else_computed`
            for the device's where the file has one.
        limits: the thresholds of the quality flags; None takes the defaults.

    Raises:
        RecordingError: as `average_beat` raises it; `no_vendor_beat` if `source` is `vendor` and
            the file has no median beat.
    """
    has_one = recording.vendor_median is not None and recording.vendor_median_rate_hz is not None
    if source == "vendor" and not has_one:
        raise RecordingError(Reason.NO_VENDOR_BEAT, "the file carries no median beat")
    beat = average_beat(recording, limits)
    if source == "computed" or not has_one:
        return beat
    signal = _vendor_signal(recording)
    at = find_fiducials(
        signal[INDEPENDENT_ROWS], beat.reach, beat.noise_uv / 1000.0, beat.p_agreement
    )
    return replace(beat, signal_mv=signal, fiducials=at, source="vendor")


def _vendor_signal(recording: Recording) -> NDArray[np.float32]:
    """Return the device's median beat with R at `R_INDEX` and zero at the onset of QRS."""
    assert recording.vendor_median is not None
    assert recording.vendor_median_rate_hz is not None
    median = recording.vendor_median * (recording.microvolts_per_unit / 1000.0)
    median = resample(median, recording.vendor_median_rate_hz, BEAT_RATE_HZ)
    # The median over leads and time is near the isoelectric line, so the QRS stands out most.
    power = np.sum((median - np.median(median, axis=1, keepdims=True)) ** 2, axis=0)
    position = np.array([float(power.argmax())])
    for _ in range(2):
        beat = cut(median, position, R_INDEX, BEAT_SAMPLES)[0]
        beat -= beat[:, [qrs_onset(beat)]]
        position = position + r_position(beat, R_INDEX) - R_INDEX
    beat = cut(median, position, R_INDEX, BEAT_SAMPLES)[0]
    onset = qrs_onset(beat)
    return (beat - beat[:, onset - 8 : onset + 1].mean(axis=1, keepdims=True)).astype(np.float32)
