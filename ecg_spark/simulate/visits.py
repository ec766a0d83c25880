"""The recordings of a simulated participant, sound ones and those with a known defect."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ecg_spark.ecg import average_beat, read_recording
from ecg_spark.ecg.filtering import resample
from ecg_spark.ecg.recording import INDEPENDENT_LEADS, INDEPENDENT_ROWS, Reason
from ecg_spark.simulate.files import FORMATS, NO_VALUE, FileFormat, Files, Visit
from ecg_spark.simulate.genome import Stream, stream
from ecg_spark.simulate.heart import Hearts, qt_ms
from ecg_spark.simulate.noise import noise_mv
from ecg_spark.simulate.people import People, participant_id
from ecg_spark.simulate.recorded import changed
from ecg_spark.simulate.rhythm import RATE_HZ, SAMPLES, Rhythm, draw_rhythm, session_heart, strip_mv

NAMES_PER_PARTICIPANT = 4  # up to three visits and a copy
VISITS = NAMES_PER_PARTICIPANT
"""As many of a person's recordings as have a name become visits."""

_SECOND_VISIT, _THIRD_VISIT = 0.15, 0.02
_FIRST_DAY = datetime(2014, 5, 1, 8)
_DEFECT_SHARE = 0.0015  # of participants, for each kind
_EMPTY_FIELD_SHARE = 0.03


class Defect(StrEnum):
    """What can be wrong with a recording's file."""

    TRUNCATED = "truncated"
    NOT_XML = "not_xml"
    FLAT_LEAD = "flat_lead"
    NAN = "nan"
    WRONG_UNIT = "wrong_unit"
    DUPLICATE = "duplicate"
    SWAPPED_ARMS = "swapped_arms"


REASONS = {
    Defect.TRUNCATED: Reason.MALFORMED,
    Defect.NOT_XML: Reason.UNKNOWN_FORMAT,
    Defect.FLAT_LEAD: Reason.FLAT_LEAD,
    Defect.NAN: Reason.NOT_FINITE,
    Defect.WRONG_UNIT: Reason.IMPLAUSIBLE_AMPLITUDE,
    Defect.DUPLICATE: Reason.DUPLICATE,
    Defect.SWAPPED_ARMS: Reason.ARM_ELECTRODES_SWAPPED,
}
"""Why a recording with each defect must be set aside or flagged."""


@dataclass(frozen=True)
class Recorded:
    """One recording as it lies in the folder.

    Attributes:
        uri: the file that describes it.
        files: the content of each file by name.
        participant: the participant's id.
        acquired_at: when it was recorded.
        format: its file format.
        samples: what was stored before any defect of the file, in the format's units.
        rhythm: its beats; None for a recorded heart.
        defect: None for a sound one.
    """

    uri: str
    files: dict[str, bytes]
    participant: str
    acquired_at: datetime
    format: FileFormat
    samples: NDArray[np.int16]
    rhythm: Rhythm | None
    defect: Defect | None


def choose_defects(seed: int, participants: int) -> dict[int, Defect]:
    """Return which participants, by index, have a recording with a defect, at least one per kind.

    If there are fewer participants than kinds, there are as many defects as participants.

    Args:
        seed: decides who they are.
        participants: how many participants there are.
    """
    many = max(1, round(_DEFECT_SHARE * participants))
    kinds = [kind for kind in Defect for _ in range(many)][:participants]
    rng = stream(seed, Stream.DEFECTS, participants)
    chosen = rng.choice(participants, size=len(kinds), replace=False)
    return dict(zip(chosen.tolist(), kinds, strict=True))


def recordings_of(
    seed: int, people: People, row: int, defect: Defect | None = None
) -> Iterator[Recorded]:
    """Yield every recording of one participant of a chunk; the last one has the defect, if any.

    Visits of a person share the heart; noise, heart rate and posture change from day to day.

    Args:
        seed: decides everything that is random.
        people: the chunk.
        row: the participant's place in it.
        defect: what is wrong with the last recording, or None.
    """
    index = int(people.index[row])
    rng = stream(seed, Stream.VISIT, index)
    again = rng.random()
    n_visits = 1 + (again < _SECOND_VISIT) + (again < _THIRD_VISIT)
    when = _first_day(rng)
    heart = {name: value[row : row + 1] for name, value in people.hearts.items()}
    for visit in range(n_visits):
        chance = stream(seed, Stream.NOISE, index, visit)
        visit_defect = defect if visit == n_visits - 1 else None
        number = NAMES_PER_PARTICIPANT * index + visit
        yield from _record(chance, people, row, heart, when, number, visit_defect, seed)
        when += _time_between(rng)


def recorded_visits(seed: int, people: People, row: int, paths: list[Path]) -> Iterator[Recorded]:
    """Yield a participant's recordings as their planted variants and covariates change them.

    Args:
        seed: decides everything that is random.
        people: the chunk; the changes are those of `people.hearts`.
        row: the participant's place in it.
        paths: the files of one person's recordings, at most `VISITS`. Each becomes a visit, with
            its signal at 500 Hz.
    """
    index = int(people.index[row])
    rng = stream(seed, Stream.VISIT, index)
    when = _first_day(rng)
    change = {name: float(value[row]) for name, value in people.hearts.items()}
    for visit, path in enumerate(paths):
        recording = read_recording(path)
        eight = recording.signal_mv[INDEPENDENT_ROWS]
        at_500_hz = resample(eight, recording.sampling_rate_hz, RATE_HZ).astype(np.float64)
        signal = changed(at_500_hz, average_beat(recording), change)
        file_format = FORMATS[rng.integers(len(FORMATS))]
        samples = file_format.samples(signal)
        named = _visit(seed, people, row, NAMES_PER_PARTICIPANT * index + visit, signal, when, {})
        files = file_format.write(named, samples, file_format.microvolts_per_unit)
        yield _recorded(named, file_format, samples, None, files, None)
        when += _time_between(rng)


def _first_day(rng: np.random.Generator) -> datetime:
    return _FIRST_DAY + timedelta(
        days=int(rng.integers(0, 1800)), seconds=int(rng.integers(0, 9 * 3600))
    )


def _time_between(rng: np.random.Generator) -> timedelta:
    return timedelta(days=int(rng.integers(500, 1500)), seconds=int(rng.integers(-3600, 3600)))


def _record(
    rng: np.random.Generator,
    people: People,
    row: int,
    heart: Hearts,
    when: datetime,
    number: int,
    defect: Defect | None,
    seed: int,
) -> Iterator[Recorded]:
    cohort = people.cohort
    file_format = cohort.formats[rng.integers(len(cohort.formats))]
    if defect is Defect.NOT_XML:
        file_format = cohort.formats[0]
    day = session_heart(rng, heart)
    # Swapped arms are recognised by an inverted P wave, so that one is recorded in sinus rhythm.
    fibrillation = bool(people.fibrillation[row]) and defect is not Defect.SWAPPED_ARMS
    rhythm = draw_rhythm(rng, float(day["heart_rate"][0]), fibrillation, cohort.ectopy)
    signal = strip_mv(rng, day, rhythm)
    signal = signal + cohort.noise * noise_mv(rng, SAMPLES, rhythm.breaths_hz)
    if defect is Defect.SWAPPED_ARMS:
        signal[:2] = -signal[0], signal[1] - signal[0]
    if defect is Defect.FLAT_LEAD:
        signal[INDEPENDENT_LEADS.index("V3")] = 0
    samples = file_format.samples(signal)
    visit = _visit(seed, people, row, number, signal, when, _measured(rng, day, rhythm))
    damaged = _damage(rng, file_format, visit, samples, defect)
    yield _recorded(
        visit, file_format, samples, rhythm, damaged, None if _is_original(defect) else defect
    )
    if defect is Defect.DUPLICATE:
        copy = replace(visit, name=f"{number + 1:08d}")
        files = file_format.write(copy, samples, file_format.microvolts_per_unit)
        yield _recorded(copy, file_format, samples, rhythm, files, defect)


def _visit(
    seed: int,
    people: People,
    row: int,
    number: int,
    signal: NDArray[np.float64],
    when: datetime,
    measured: dict[str, int],
) -> Visit:
    return Visit(
        name=f"{number:08d}",
        signal_mv=signal,
        sampling_rate_hz=int(RATE_HZ),
        participant_id=participant_id(seed, int(people.index[row])),
        acquired_at=when,
        age=int(people.age[row]),
        sex=int(people.sex[row]),
        measured=measured,
    )


def _is_original(defect: Defect | None) -> bool:
    return defect is None or defect is Defect.DUPLICATE


def _recorded(
    visit: Visit,
    file_format: FileFormat,
    samples: NDArray[np.int16],
    rhythm: Rhythm | None,
    files: Files,
    defect: Defect | None,
) -> Recorded:
    return Recorded(
        uri=visit.name + (".hea" if ".hea" in files else ".xml"),
        files={visit.name + suffix: content for suffix, content in files.items()},
        participant=visit.participant_id,
        acquired_at=visit.acquired_at,
        format=file_format,
        samples=samples,
        rhythm=rhythm,
        defect=defect,
    )


def _damage(
    rng: np.random.Generator,
    file_format: FileFormat,
    visit: Visit,
    samples: NDArray[np.int16],
    defect: Defect | None,
) -> Files:
    """Return the files of a visit as the defect leaves them."""
    unit = file_format.microvolts_per_unit
    if defect is Defect.NOT_XML:
        return {".xml": b"503 Service Unavailable: the archive did not answer in time.\n"}
    if defect is Defect.NAN:
        samples = samples.copy()
        first = int(rng.integers(0, SAMPLES - 40))
        # Of a chest lead, the last six: what is missing of a limb lead, others give.
        samples[-1 - int(rng.integers(6)), first : first + 40] = NO_VALUE
    if defect is Defect.WRONG_UNIT:
        unit *= 1000
    files = file_format.write(visit, samples, unit)
    if defect is Defect.TRUNCATED:
        suffix = max(files, key=lambda name: len(files[name]))
        files[suffix] = files[suffix][: int(len(files[suffix]) * rng.uniform(0.3, 0.9))]
    return files


def _measured(rng: np.random.Generator, day: Hearts, rhythm: Rhythm) -> dict[str, int]:
    """Return what the device measures: the truth within some ms, with empty fields at times."""
    rr = 1000 * rhythm.mean_rr_s
    truth = {
        "heart_rate_bpm": 60_000 / rr,
        "rr_ms": rr,
        "pr_ms": day["pr_interval"][0],
        "p_ms": day["p_duration"][0],
        "qrs_ms": day["qrs_duration"][0],
        "qt_ms": qt_ms(day, rr)[0],
        "qtc_ms": day["qtc_interval"][0],
        "axis_deg": day["qrs_axis"][0],
    }
    error = {"heart_rate_bpm": 0.3, "rr_ms": 1.0}
    kept = {
        name: round(float(value + rng.normal(0, error.get(name, 3.0))))
        for name, value in truth.items()
        if rng.random() >= _EMPTY_FIELD_SHARE
    }
    absent = {"pr_ms", "p_ms"} if rhythm.fibrillation else set()
    return {name: value for name, value in kept.items() if name not in absent}
