"""Files of bare samples (HDF5, CSV, Parquet): what they do not state comes from the study file.

Rate, unit and order of the leads come from the file or the study and are never guessed; if both
state something, they must agree.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ecg_spark.ecg.formats.leads import StoredLead, add_lead, lead_name, make_recording
from ecg_spark.ecg.formats.quantities import decimal, microvolts
from ecg_spark.ecg.recording import Note, Reason, Recording, RecordingError

MAX_SAMPLES = 1 << 20
"""Per lead: more than three times the longest resting ECG, so that there is room for padding."""

PADDING_SAMPLES = 3
"""So many equal samples in all leads at once, at an end, are padding."""

FINEST_MICROVOLTS = 0.1
"""To what fractions are rounded: a tenth of the finest step of any electrocardiograph."""

_UNIT = re.compile(r"(\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?)?\s*(\D+)")
_HERTZ = re.compile(r"([^a-z]+?)\s*(?:hz|hertz|/s|1/s|sps|samples ?(?:/|per) ?s(?:ec(?:ond)?)?)?")
_LONGEST = 60  # a longer text is neither a rate nor a unit, and slow to search
_IN_BRACKETS = re.compile(r"[(\[]\s*([^()\[\]]+?)\s*[)\]]\s*$")
_RATES = {"fs", "sfreq", "samplerate", "samplingrate", "samplingfreq", "samplingfrequency"}
_UNITS = {"unit", "units"}
_LEADS = {"leads", "leadname", "leadnames", "leadorder", "channelnames", "signames", "signame"}

Value = TypeVar("Value")


@dataclass(frozen=True)
class Samples:
    """What a study says about its files of bare samples; None where the files say it themselves.

    Attributes:
        sampling_rate_hz: the rate.
        unit: one of nV, uV, mV and V, with or without a number (`mV`, `4.88 uV`).
        leads: the order of the leads, where they are an axis of an HDF5 dataset.
        dataset: the HDF5 dataset of the samples.
        ids: the HDF5 dataset of the recordings' ids, where a file holds several recordings.
    """

    sampling_rate_hz: float | None = None
    unit: str | None = None
    leads: tuple[str, ...] | None = None
    dataset: str | None = None
    ids: str | None = None


NOTHING_SAID = Samples()
"""For a study without files of bare samples."""


@dataclass(frozen=True)
class Said:
    """What a file itself says about its samples; None where it does not.

    Attributes:
        sampling_rate_hz: the rate.
        microvolts: how many µV its unit is.
        leads: the leads in their order.
    """

    sampling_rate_hz: float | None = None
    microvolts: float | None = None
    leads: tuple[str, ...] | None = None


def microvolts_of(unit: str) -> float | None:
    """Return how many µV a unit with or without a number is; None if it is not a voltage.

    Example:
        >>> microvolts_of("mV"), microvolts_of("4.88 uV"), microvolts_of("mmHg")
        (1000.0, 4.88, None)
    """
    found = _UNIT.fullmatch(unit.strip()) if len(unit) <= _LONGEST else None
    volts = None if found is None else microvolts(found[2])
    if found is None or volts is None:
        return None
    size = float(found[1] or 1.0) * volts
    return size if 0 < size < math.inf else None


def unit_in_name(name: str) -> float | None:
    """Return how many µV the unit in a column's name is; None if it names none.

    Example:
        >>> unit_in_name("I [mV]"), unit_in_name("I")
        (1000.0, None)
    """
    found = _IN_BRACKETS.search(name)
    return None if found is None else microvolts_of(found[1])


def said_by(attributes: Mapping[str, Any]) -> Said:
    """Return what a file's attributes say about its samples.

    Args:
        attributes: texts and numbers by name; those with a common name are used (`fs`, `units`,
            ...).

    Raises:
        RecordingError: `malformed` if one of them cannot be understood.
    """
    rate = unit = None
    leads: tuple[str, ...] | None = None
    for name, value in attributes.items():
        key = re.sub(r"[^a-z]", "", name.lower())
        if key.removesuffix("hz") in _RATES:
            rate = _number(value)
        elif key in _UNITS:
            sizes = {microvolts_of(text) for text in _texts(value)}
            unit = sizes.pop() if len(sizes) == 1 else None
            if unit is None:
                raise RecordingError(Reason.MALFORMED, "its unit attribute is not a voltage")
        elif key in _LEADS:
            leads = _texts(value)
    return Said(rate, unit, leads)


def _number(value: Any) -> float:
    """Return a rate: a number, or a text of one with or without `Hz`."""
    number = float("nan")
    if np.size(value) == 1:
        text = value if isinstance(value, str | bytes) else np.ravel(value)[0]
        plain = text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)
        found = _HERTZ.fullmatch(plain.strip().lower()) if len(plain) <= _LONGEST else None
        number = (decimal(found[1]) if found is not None else None) or number
    if not 0 < number < math.inf:
        raise RecordingError(Reason.MALFORMED, "its attribute for the rate is not a number")
    return number


def _texts(value: Any) -> tuple[str, ...]:
    items = np.ravel(value).tolist()
    texts = [
        item.decode("utf-8", "replace") if isinstance(item, bytes) else str(item) for item in items
    ]
    if len(texts) == 1:
        texts = re.split(r"[,;|]", texts[0].strip("[]() "))
    return tuple(text.strip(" '\"") for text in texts)


def lead_order(said: Said, samples: Samples) -> tuple[str, ...]:
    """Return the leads in the order of their axis, as the file or the study says.

    Args:
        said: what the file says about its samples.
        samples: what the study says about them.

    Raises:
        RecordingError: `malformed` if file and study differ, or a lead is not named exactly once;
            `not_described` if neither says what rate, unit or order are.
    """
    _check_told(
        sampling_rate_hz=said.sampling_rate_hz or samples.sampling_rate_hz,
        unit=said.microvolts or samples.unit,
        leads=said.leads or samples.leads,
    )
    of_file, of_study = (
        None if order is None else tuple(lead_name(name) or "" for name in order)
        for order in (said.leads, samples.leads)
    )
    order = _agreed("leads", of_file, of_study)
    if "" in order or len(set(order)) < len(order):
        raise RecordingError(Reason.MALFORMED, "its attributes do not name each lead once")
    return order


def _check_told(**values: object) -> None:
    """Raise `RecordingError` if neither the file nor the study says what its numbers mean."""
    if missing := [f"ecg.samples.{key}" for key, value in values.items() if value is None]:
        raise RecordingError(
            Reason.NOT_DESCRIBED,
            f"a file of bare samples needs {' and '.join(missing)} in the study file",
        )


def _agreed(key: str, of_file: Value | None, of_study: Value | None) -> Value:
    """Return what the file or the study says; if both say something, it must be the same."""
    _check_told(**{key: of_study if of_file is None else of_file})
    if of_file is not None and of_study is not None and not _same(of_file, of_study):
        raise RecordingError(Reason.MALFORMED, f"the file itself contradicts ecg.samples.{key}")
    value = of_study if of_file is None else of_file
    assert value is not None
    return value


def _same(one: Any, other: Any) -> bool:
    return math.isclose(one, other) if isinstance(one, float) else bool(one == other)


def recording_of(
    columns: Mapping[str, NDArray[Any]],
    said: Said,
    samples: Samples,
    source_format: str,
) -> Recording:
    """Return the Recording of bare samples.

    Padding is removed: samples at either end that are zero or missing in all leads at once. Columns
    that are not leads are ignored.

    Args:
        columns: the samples of each lead by its name in the file, [n]; NaN where missing.
        said: what the file says about them.
        samples: what the study says about them.
        source_format: the name of the format.

    Raises:
        RecordingError: `not_described` if neither says what rate or unit is; `malformed` if they
            differ; otherwise as `make_recording` raises it.
    """
    chosen = {name: values for name, values in columns.items() if lead_name(name)}
    if len({values.size for values in chosen.values()}) > 1:
        raise RecordingError(Reason.MALFORMED, "the leads differ in length")
    study = None if samples.unit is None else microvolts_of(samples.unit)
    of_file = {name: unit_in_name(name) or said.microvolts for name in chosen}
    _check_told(
        sampling_rate_hz=said.sampling_rate_hz or samples.sampling_rate_hz,
        unit=study or (None if None in of_file.values() else True),
    )
    rate = float(_agreed("sampling_rate_hz", said.sampling_rate_hz, samples.sampling_rate_hz))
    units = {name: _agreed("unit", unit, study) for name, unit in of_file.items()}
    values = np.array([_as_floats(values) for values in chosen.values()])
    values, is_padded = _without_padding(values)
    leads: dict[str, StoredLead] = {}
    for (name, unit), row in zip(units.items(), values, strict=True):
        add_lead(leads, name, _stored(row, unit))
    notes = (Note.PADDING_LEFT_OFF,) if is_padded else ()
    return make_recording(leads, rate, source_format, notes=notes)


def _as_floats(values: NDArray[Any]) -> NDArray[np.float64]:
    if values.ndim != 1 or values.dtype.kind not in "iuf":
        raise RecordingError(Reason.MALFORMED, "the samples of a lead are not a row of numbers")
    with np.errstate(invalid="ignore", over="ignore"):  # infinite values are refused later
        return values.astype(np.float64)


def _without_padding(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], bool]:
    """Return the samples [leads, n] without padding at their ends, and whether there was any."""
    if values.size == 0:
        return values, False
    is_empty = (values == 0).all(axis=0) | np.isnan(values).all(axis=0)
    filled = np.flatnonzero(~is_empty)
    if not filled.size:
        raise RecordingError(Reason.FLAT_LEAD, "every sample is zero or missing")
    n = values.shape[1]
    start, stop = int(filled[0]), int(filled[-1]) + 1
    start = start if start >= PADDING_SAMPLES else 0
    stop = stop if n - stop >= PADDING_SAMPLES else n
    return values[:, start:stop], stop - start < n


def _stored(row: NDArray[np.float64], unit: float) -> StoredLead:
    """Return a lead in whole numbers: of its unit if they are whole, else of `FINEST_MICROVOLTS`.

    NaN is a missing sample.
    """
    missing = np.isnan(row)
    row = np.where(missing, 0.0, row)
    if np.isinf(row).any():
        raise RecordingError(Reason.NOT_FINITE, "a sample is infinite")
    if not (row == np.rint(row)).all():
        with np.errstate(over="ignore"):
            row, unit = np.rint(row * (unit / FINEST_MICROVOLTS)), FINEST_MICROVOLTS
    if np.abs(row).max(initial=0) > 1 << 40:
        raise RecordingError(
            Reason.IMPLAUSIBLE_AMPLITUDE, "samples larger than any electrode measures"
        )
    return StoredLead(row.astype(np.int64), unit, missing)
