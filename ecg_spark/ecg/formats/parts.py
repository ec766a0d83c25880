"""Recordings that a file stores in several parts, and parts that a recording can do without."""

import contextlib
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ecg_spark.ecg.formats.leads import (
    MIN_SECONDS,
    StoredLead,
    add_lead,
    check_extent,
    has_twelve,
)
from ecg_spark.ecg.recording import Note, Reason, RecordingError

TOGETHER = 0.5
"""Correlation of two parts' slopes above which they hold the same beats: leads of one recording
reach 0.8 and more, those of two recordings rarely 0.3."""

_SMOOTH_SECONDS = 0.08
_MAX_PARTS = 64

T = TypeVar("T")


@dataclass(frozen=True)
class Part:
    """Leads that were recorded together. A rate that is not supported raises `RecordingError`.

    Attributes:
        leads: by their names in `LEADS`.
        rate_hz: their sampling rate.
        start_s: when they begin, on any clock of the file; None if it does not say.
        place: the part's number in the file, or that of the first if several were joined.
    """

    leads: dict[str, StoredLead]
    rate_hz: float
    start_s: float | None = None
    place: int = 0

    def __post_init__(self) -> None:
        if self.leads:
            check_extent(self.rate_hz, 0, is_part=True)

    @property
    def is_whole(self) -> bool:
        """Whether all twelve leads are there or can be derived, and have one length."""
        return has_twelve(self.leads) and len({x.samples.size for x in self.leads.values()}) == 1

    @property
    def seconds(self) -> float:
        """The length of the longest lead."""
        return max((lead.samples.size for lead in self.leads.values()), default=0) / self.rate_hz


def spared(read: Callable[[], T], notes: list[Note], note: Note) -> T | None:
    """Return what `read` returns, or None with a note if it raises `RecordingError`.

    Args:
        read: reads a part that the recording can do without.
        notes: receives `note` if the part is dropped.
        note: says which part it was.
    """
    try:
        return read()
    except RecordingError:
        notes.append(note)
        return None


def noted_time(moment: datetime | None, given: str | None, notes: list[Note]) -> datetime | None:
    """Return a time that was read; note if the file had text for it that could not be read.

    Args:
        moment: the time that was read; None if there was none.
        given: the text in the file.
        notes: receives `time_unreadable` if there was text but no time.
    """
    if moment is None and (given or "").strip():
        notes.append(Note.TIME_UNREADABLE)
    return moment


def twelve_leads(readers: Iterable[Callable[[], Part]], notes: list[Note]) -> Part:
    """Return the part of a file that holds twelve simultaneous leads, if need be joined.

    That is the first part of at least `MIN_SECONDS` with all twelve, else the first with all
    twelve, else parts of one rate, length and start together. If a file does not say when its parts
    began, they are joined only if their beats coincide.

    Args:
        readers: each reads one part.
        notes: receives `part_dropped` if a part could not be read and is not needed.

    Raises:
        RecordingError: `not_simultaneous` if all leads are there but were recorded in groups one
            after the other (4 x 2.5 s); the error of a part that is needed and could not be read;
            `missing_lead`; `too_large` if there are more than 64 parts.
    """
    parts: list[Part] = []
    errors: list[RecordingError] = []
    for read in readers:
        try:
            parts.append(read())
        except RecordingError as error:
            errors.append(error)
        if len(parts) + len(errors) > _MAX_PARTS:
            raise RecordingError(Reason.TOO_LARGE, f"more than {_MAX_PARTS} parts")
    try:
        found = _chosen([part for part in parts if part.leads])
    except RecordingError as error:
        raise errors[0] if errors else error from None
    if errors and not found.is_whole:
        raise errors[0]
    if errors:
        notes.append(Note.PART_DROPPED)
    return found


def _chosen(parts: list[Part]) -> Part:
    if not parts:
        raise RecordingError(Reason.MISSING_LEAD, "no ECG lead")
    whole = [part for part in parts if part.is_whole]
    if whole:
        return next((part for part in whole if part.seconds >= MIN_SECONDS), whole[0])
    groups: dict[tuple[float, int, float | None], list[Part]] = {}
    for part in parts:
        size = round(part.seconds * part.rate_hz)
        start = None if part.start_s is None else round(part.start_s * part.rate_hz)
        groups.setdefault((part.rate_hz, size, start), []).append(part)
    joined = [_joined(group) for group in groups.values()]
    for part, group in zip(joined, groups.values(), strict=True):
        if part.is_whole:
            if part.start_s is None and (part.seconds < MIN_SECONDS or not _beat_together(group)):
                raise _one_after_another(parts)
            return part
    if len(parts) > 1 and has_twelve({name for part in parts for name in part.leads}):
        raise _one_after_another(parts)
    return max(joined, key=lambda part: len(part.leads))


def _joined(group: list[Part]) -> Part:
    leads: dict[str, StoredLead] = {}
    for part in group:
        for name, lead in part.leads.items():
            known = leads.get(name)
            if known is None or not _is_same(known, lead):
                add_lead(leads, name, lead)
    return Part(leads, group[0].rate_hz, group[0].start_s, group[0].place)


def _is_same(one: StoredLead, other: StoredLead) -> bool:
    same_unit = one.microvolts_per_unit == other.microvolts_per_unit
    return same_unit and np.array_equal(one.samples, other.samples)


def _one_after_another(parts: list[Part]) -> RecordingError:
    counts = Counter(f"{part.seconds:.3g} s" for part in parts)
    what = " and ".join(f"{count} x {seconds}" for seconds, count in counts.most_common(3))
    return RecordingError(
        Reason.NOT_SIMULTANEOUS,
        f"{what}: the leads were recorded in groups one after the other, or the file does not say "
        "that they were recorded at the same time",
    )


def _beat_together(parts: list[Part]) -> bool:
    """Return whether the beats of the parts coincide, as those of one recording do."""
    slopes = [_slope(part) for part in parts]
    with contextlib.suppress(FloatingPointError), np.errstate(all="raise"):
        return all(np.corrcoef(slopes[0], other)[0, 1] >= TOGETHER for other in slopes[1:])
    return False


def _slope(part: Part) -> NDArray[np.float64]:
    """Return the steepness of a part's leads together, smoothed over a QRS complex."""
    rows = np.stack([lead.samples for lead in part.leads.values()]).astype(np.float64)
    steps = np.abs(np.diff(rows, axis=1))
    largest = np.maximum(np.quantile(steps, 0.99, axis=1, keepdims=True), 1.0)
    width = max(int(_SMOOTH_SECONDS * part.rate_hz), 1)
    return np.convolve((steps / largest).clip(max=1.0).sum(axis=0), np.ones(width) / width, "same")
