"""Times as ECG files write them: read if the text can only mean one moment, otherwise missing.

A date without a time of day is not a moment; otherwise such ECGs would seem to have been recorded
at midnight. Times are local: a time zone after the time is ignored.
"""

import re
import unicodedata
from datetime import datetime

_MONTHS = ["january", "february", "march", "april", "may", "june"]
_MONTHS += ["july", "august", "september", "october", "november", "december"]
_NUMBERS = {name[:length]: i for i, name in enumerate(_MONTHS, 1) for length in (3, len(name))}
_NUMBERS["sept"] = 9

_MONTH = r"(?P<name>[A-Za-z]{3,9})\.?"
_DAY = r"(?P<day>\d{1,2})"
_YEAR = r"(?P<year>\d{4})"
_DATES = (
    rf"{_YEAR}(?P<sign>[-/.])(?P<month>\d{{1,2}})(?P=sign){_DAY}",
    rf"{_YEAR}(?P<month>\d\d)(?P<day>\d\d)",
    rf"(?P<first>\d{{1,2}})(?P<sign>[-/.])(?P<second_>\d{{1,2}})(?P=sign){_YEAR}",
    rf"{_DAY}(?:st|nd|rd|th)?[-/. ]+{_MONTH}[-/., ]+{_YEAR}",
    rf"{_MONTH}[-/ ]+{_DAY}(?:st|nd|rd|th)?[-/, ]+{_YEAR}",
    rf"{_YEAR}[-/. ]+{_MONTH}[-/. ]+{_DAY}",
)
_ZONE = r"(?: ?(?:Z|UTC|GMT|(?:UTC|GMT)?[+-]\d\d(?::?\d\d)?))?"
_CLOCK = (
    r"(?P<hour>\d{1,2}):(?P<minute>\d{1,2})(?::(?P<second>\d{1,2})(?:[.,]\d*)?)?"
    rf"(?: ?(?P<half>[AP])\.?M\.?)?{_ZONE}"
)
_DIGITS = rf"(?P<hour>\d\d)(?P<minute>\d\d)(?:(?P<second>\d\d)(?:[.,]\d*)?)?{_ZONE}"
_WEEKDAY = r"(?:(?:mon|tue|wed|thu|fri|sat|sun)[a-z]{0,6}\.?,? )?"
_BETWEEN = r"(?: ?T ?|,? (?:at )?|_|;)"
_FORMS = [
    re.compile(form, re.ASCII | re.IGNORECASE)
    for date in _DATES
    for form in (
        rf"{_WEEKDAY}{date}{_BETWEEN}{_CLOCK}",
        rf"{_CLOCK},? {_WEEKDAY}{date}",
    )
] + [re.compile(rf"{_DATES[1]}[T _]?{_DIGITS}", re.ASCII | re.IGNORECASE)]
_EAST_ASIAN = str.maketrans(
    {"年": "-", "月": "-", "日": " ", "时": ":", "時": ":", "点": ":", "分": ":", "秒": " "}
)
_LONGEST = 80


def read_moment(text: str, *, day_first: bool | None = None) -> datetime | None:
    """Return the moment that a text means, or None if it can mean none or more than one.

    It reads `2020-01-31T10:11:12`, `20200131101112`, `31/01/2020 10:11`, `31-Jan-2020 10:11:12`,
    `10:11:12 31/01/2020`, `Jan 31, 2020 10:11 PM` and the like, with fractions of a second and a
    time zone, both of which are ignored. Years have four digits.

    Args:
        text: a date and a time of day.
        day_first: whether the format writes the day before the month, where both are numbers. If it
            is None, the date is only read if one of the two cannot be a month, or both are equal.

    Example:
        >>> str(read_moment("31/01/2020 10:11")), read_moment("02/01/2020 10:11")
        ('2020-01-31 10:11:00', None)
    """
    if len(text) > _LONGEST:
        return None
    plain = unicodedata.normalize("NFKC", text).translate(_EAST_ASIAN)
    plain = re.sub(r"\s+", " ", plain).strip(" :;,")
    for form in _FORMS:
        found = form.fullmatch(plain)
        if found is not None:
            return _moment(found.groupdict(), day_first)
    return None


def moment_of(
    year: float | None,
    month: float | None,
    day: float | None,
    hour: float | None,
    minute: float | None,
    second: float | None,
) -> datetime | None:
    """Return the moment of numbers that a file gives one by one; only the seconds may be missing.

    Args:
        year: all four digits.
        month: 1 to 12.
        day: 1 to 31.
        hour: 0 to 23.
        minute: 0 to 59.
        second: fractions are cut off; None is 0.

    Returns:
        None if another number is missing, or there is no such moment.

    Example:
        >>> str(moment_of(2020, 1, 31, 10, 11, None)), moment_of(2020, 2, 31, 10, 11, None)
        ('2020-01-31 10:11:00', None)
    """
    given = (year, month, day, hour, minute, 0.0 if second is None else second)
    if any(part is None or not 0 <= part < 10_000 for part in given):
        return None
    try:
        years, months, days, *clock = (int(part) for part in given if part is not None)
        return datetime(years, months, days, clock[0], clock[1], clock[2])
    except ValueError:
        return None


def _moment(parts: dict[str, str | None], day_first: bool | None) -> datetime | None:
    day, month = parts.get("day"), parts.get("month")
    if parts.get("name") is not None:
        number = _NUMBERS.get((parts["name"] or "").lower())
        month = None if number is None else str(number)
    elif parts.get("first") is not None:
        one, two = int(parts["first"] or 0), int(parts["second_"] or 0)
        if day_first is None and one != two:
            if (one > 12) == (two > 12):
                return None
            day_first = one > 12
        day, month = (str(one), str(two)) if day_first else (str(two), str(one))
    hour = int(parts["hour"] or 0)
    if parts.get("half") is not None:
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + (12 if (parts["half"] or "").upper() == "P" else 0)
    numbers = (parts["year"], month, day, str(hour), parts["minute"], parts["second"])
    return moment_of(*(None if number is None else float(number) for number in numbers))
