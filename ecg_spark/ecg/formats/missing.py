"""Missing samples: derived from other leads, interpolated if they are few, otherwise refused."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ecg_spark.ecg.recording import LIMB_LEADS, Note, Reason, RecordingError, limb_weights

if TYPE_CHECKING:
    from ecg_spark.ecg.formats.leads import StoredLead

MAX_FILLED_SECONDS = 0.020
"""What may be missing in a lead and be filled: a QRS complex lasts four times as long."""

_AGREE_MICROVOLTS = 20.0
"""How far stored limb leads may deviate from Einthoven's and Goldberger's sums."""

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


def fill_missing(
    leads: Mapping[str, "StoredLead"], rate_hz: float
) -> tuple[dict[str, "StoredLead"], list[Note]]:
    """Return leads without missing samples, and notes on what was done.

    A missing sample of a limb lead is derived from two others (Einthoven, Goldberger) if these obey
    that rule in the rest of the recording. Others are interpolated linearly if no more than
    `MAX_FILLED_SECONDS` of the lead are missing. A limb lead that is missing completely is left
    out, as if it were not stored, if two others are there.

    Args:
        leads: by their names in `LEADS`, all of one length.
        rate_hz: their sampling rate.

    Raises:
        RecordingError: `not_finite` if more is missing.
    """
    notes: list[Note] = []
    given = dict(leads)
    holes = {name: lead.missing for name, lead in leads.items() if _is_missing(lead)}
    gone = [name for name, hole in holes.items() if hole is not None and hole.all()]
    for name in gone:
        others = [other for other in given if other in LIMB_LEADS and other not in gone]
        if name in LIMB_LEADS and len(others) >= 2:
            del given[name], holes[name]
            notes.append(Note.SAMPLES_DERIVED)
    for name, hole in holes.items():
        assert hole is not None
        left = hole.copy()
        samples = leads[name].samples.astype(np.float64)
        if name in LIMB_LEADS:
            _derive(name, leads, samples, left)
            if (hole & ~left).any():
                notes.append(Note.SAMPLES_DERIVED)
        if left.any():
            _fill(name, samples, left, rate_hz)
            notes.append(Note.SAMPLES_FILLED)
        whole = np.rint(samples).astype(np.int64)
        given[name] = replace(leads[name], samples=whole, missing=None)
    return given, notes


def _is_missing(lead: "StoredLead") -> bool:
    return lead.missing is not None and bool(lead.missing.any())


def _fill(name: str, samples: Floats, hole: Mask, rate_hz: float) -> None:
    """Fill the hole in place by straight lines; at an end by the nearest sample."""
    seconds = np.count_nonzero(hole) / rate_hz
    if seconds > MAX_FILLED_SECONDS * (1 + 1e-9) or hole.all():
        raise RecordingError(
            Reason.NOT_FINITE,
            f"{1000 * seconds:.0f} ms of lead {name} are missing, more than "
            f"{1000 * MAX_FILLED_SECONDS:.0f} ms",
        )
    at = np.arange(samples.size)
    samples[hole] = np.interp(at[hole], at[~hole], samples[~hole])


def _derive(name: str, leads: Mapping[str, "StoredLead"], samples: Floats, hole: Mask) -> None:
    """Fill missing samples of a limb lead from pairs of others, and unmark them."""
    others = [other for other in leads if other in LIMB_LEADS and other != name]
    unit = leads[name].microvolts_per_unit
    for i, first in enumerate(others):
        for second in others[i + 1 :]:
            one, two = leads[first], leads[second]
            known = ~(_mask(one) | _mask(two))
            if not (hole & known).any():
                continue
            weights = limb_weights(name, first, second)
            microvolts = (
                weights[0] * one.samples * one.microvolts_per_unit
                + weights[1] * two.samples * two.microvolts_per_unit
            )
            told = known & ~_mask(leads[name])
            steps = [unit, *np.abs(weights) * (one.microvolts_per_unit, two.microvolts_per_unit)]
            bound = max(_AGREE_MICROVOLTS, 2 * max(steps))
            apart = np.abs(microvolts - samples * unit)[told]
            if apart.size == 0 or np.quantile(apart, 0.95) > bound:
                continue
            samples[hole & known] = microvolts[hole & known] / unit
            hole &= ~known


def _mask(lead: "StoredLead") -> Mask:
    return np.zeros(lead.samples.size, dtype=np.bool_) if lead.missing is None else lead.missing
