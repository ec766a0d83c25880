"""The average beat of a recording: what the VAE is trained on and traits are measured in."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

BEAT_RATE_HZ = 500.0
"""Sampling rate of every beat, whatever the recording's."""

BEAT_VERSION = 4
"""Version of the averaging: raise it when recordings give other beats. Models are tied to one."""

BEAT_SAMPLES = 600
"""Length of a beat: 1.2 s."""

R_INDEX = 248
"""Sample of the R peak: 496 ms of atrial activity before it, 702 ms of repolarisation after."""


@dataclass(frozen=True)
class Fiducials:
    """Where the waves of an average beat begin and end, in fractional samples; None if absent."""

    p_onset: float | None
    p_offset: float | None
    qrs_onset: float
    qrs_offset: float
    t_peak: float | None
    t_offset: float | None


@dataclass(frozen=True)
class Beat:
    """The average beat of one recording.

    Attributes:
        signal_mv: [12, 600] in the order of `LEADS`, in mV at 500 Hz. It is zero before the onset
            of the QRS complex; R, the centre of the QRS complex's power (see `r_position`), is at
            `R_INDEX`. Where neighbouring beats reach into the window, it fades to zero.
        fiducials: where its waves begin and end.
        n_beats: how many beats were averaged.
        n_detected: how many beats were detected.
        rr_ms: the mean interval between all detected beats.
        noise_uv: the standard error of the average, median over leads, in µV.
        flags: the quality flags of `quality.assess`.
        quality: its score, 0 to 1.
        p_agreement: the correlation of the time before QRS between two halves of the beats: near 1
            where a P wave repeats, low in atrial fibrillation.
        reach: how many samples before and after R belong to this beat and not to its neighbours.
        source: `computed`, or `vendor` if the signal is the device's own median beat.
        r_samples: where `R_INDEX` of each averaged beat lies in the recording, in samples at 500
            Hz, with fraction.
    """

    signal_mv: NDArray[np.float32]
    fiducials: Fiducials
    n_beats: int
    n_detected: int
    rr_ms: float
    noise_uv: float
    flags: tuple[str, ...] = ()
    quality: float = 1.0
    p_agreement: float = 1.0
    reach: tuple[float, float] = (R_INDEX, BEAT_SAMPLES - R_INDEX)
    source: str = "computed"
    r_samples: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
