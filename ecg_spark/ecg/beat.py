"""The Beat: the average of a recording's sinus beats, what the VAE sees and traits measure."""

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
    """Fractional sample indices in an average beat; None if a wave is absent."""

    p_onset: float | None
    p_offset: float | None
    qrs_onset: float
    qrs_offset: float
    t_peak: float | None
    t_offset: float | None


@dataclass(frozen=True)
class Beat:
    """The average beat of one recording.

    `signal_mv` is float32 of shape [12, 600] in the order of `LEADS`, in mV at 500 Hz, zero
    before the onset of the QRS complex, with R (the centre of the QRS complex's power, see
    `r_position`) at `R_INDEX`. Where the neighbouring beats reach into the window, it fades to
    zero. `fiducials` bound its waves. `n_beats` of `n_detected` beats were averaged, `rr_ms` is
    the mean interval between all detected beats, `noise_uv` the standard error of the average
    (median over leads). `flags` and the score `quality` (0 to 1) are those of `quality.assess`.
    `p_agreement` is the correlation of the time before QRS between two halves of the beats: near
    1 where a P wave repeats, low where the atria fibrillate. `source` is `computed`, or `vendor`:
    the signal is then the device's own median beat. `r_samples` are the positions of `R_INDEX` in
    the recording of the beats that were averaged, in samples at 500 Hz, with fraction. `reach`:
    how many samples before and after R belong to this beat and not to its neighbours.
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
