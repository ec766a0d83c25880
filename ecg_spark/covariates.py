"""From the columns of a participant table to the terms of a regression.

A column of numbers is a term, yes and no are 1 and 0, and a text or a declared category becomes an
indicator for each level but one. Codes for missing values are those that the study declares; one
that looks like such a code and is not declared is told, for plink2 and others read it as a number.
"""

import itertools
import logging
import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from ecg_spark.errors import DataError
from ecg_spark.ids import normal_id
from ecg_spark.study import Participants

log = logging.getLogger(__name__)

Terms = dict[str, pd.Series]

MOST_LEVELS = 200
"""A text with more values is no category; nor is one that nearly everybody has another value of."""

_TRUE, _FALSE = {"true", "t", "yes", "y"}, {"false", "f", "no", "n"}
_WHOLE = re.compile(r"[+-]?\d+([eE][+-]?\d+)?")
_POINT = re.compile(r"[+-]?(\d+\.\d*|\.\d+)([eE][+-]?\d+)?")
_COMMA = re.compile(r"[+-]?\d+,\d+")
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+(\.\d+)?")
_USUAL_CODES = (-1, -2, -3, -7, -8, -9, -77, -88, -99, -777, -888, -999, -9999, 999, 9999)
_FAR = 5.0
_UNFIT = re.compile(r"[^\w.+-]+")
"""What no name of a term may hold: other programs read them as columns of a text table."""


def covariate_terms(
    columns: pd.DataFrame, settings: Participants, what: str
) -> tuple[pd.DataFrame, list[str]]:
    """The terms of `settings.covariates` as floats, NaN where missing, and notes for the report.

    `columns`: the text columns that the terms need, by participant, None where missing. A term is a
    column, its square (`age^2`) or a product (`age:sex`); both are of columns about their means, so
    that a square is not almost the column itself. `what` names the table in messages.

    Raises `DataError`, naming the column, where one has no value, mixes decimal points and commas,
    has commas that may part thousands, is a text with too many values, or is a category of which
    a square is asked; and where two terms have the same name.
    """
    notes: list[str] = []
    known = {name: _without_codes(columns[name], settings, notes) for name in columns.columns}
    marks: dict[str, str] = {}
    parts = {
        name: _terms_of(values, settings, what, marks, notes) for name, values in known.items()
    }
    if len(set(marks.values())) > 1:
        comma = next(name for name, mark in marks.items() if mark == ",")
        point = next(name for name, mark in marks.items() if mark == ".")
        raise DataError(
            f"The {what} has decimal commas in {comma} and decimal points in {point}: write all "
            f"numbers with one of them."
        )
    found: Terms = {}
    for term in settings.covariates:
        for name, values in _product(term, parts, what).items():
            label = re.sub(r"\s+", "_", name)
            if label in found:
                raise DataError(
                    f"Two covariates of the {what} have the same name, {label}: rename a column."
                )
            found[label] = values
    return pd.DataFrame(found, index=columns.index, dtype=float), notes


def columns_of(terms: Iterable[str], present: Iterable[str] = ()) -> list[str]:
    """The columns that terms need; one that is `present` under a term's own name is that term."""
    own = set(present)
    return list(
        dict.fromkeys(
            name
            for term in terms
            for name in ([term] if term in own else [_base(part) for part in term.split(":")])
        )
    )


def _base(factor: str) -> str:
    return factor.removesuffix("^2")


def _without_codes(values: pd.Series, settings: Participants, notes: list[str]) -> pd.Series:
    """A column in which declared codes are missing; how many were is noted."""
    declared = settings.missing_codes
    name = str(values.name)
    codes = declared.get(name, ()) if isinstance(declared, Mapping) else declared
    if not codes:
        return values
    texts = {str(code).strip() for code in codes}
    numbers = {float(code) for code in texts if _WHOLE.fullmatch(code) or _POINT.fullmatch(code)}
    is_code = {
        value: value in texts or ((number := _number(value)) is not None and number in numbers)
        for value in values.dropna().unique()
    }
    hit = values.map(is_code).fillna(False).astype(bool)
    if hit.any():
        counts = values[hit].value_counts().sort_index()
        listed = ", ".join(f"{code}: {count}" for code, count in counts.items())
        notes.append(f"{int(hit.sum())} values of {name} are codes for a missing value ({listed})")
    return values.where(~hit, None)


def _number(text: str) -> float | None:
    if _WHOLE.fullmatch(text) or _POINT.fullmatch(text):
        return float(text)
    return float(text.replace(",", ".")) if _COMMA.fullmatch(text) else None


def _terms_of(
    values: pd.Series, settings: Participants, what: str, marks: dict[str, str], notes: list[str]
) -> Terms:
    """The terms that a column of texts becomes, by name; none where it has one level only."""
    name = str(values.name)
    values = values.where(values != ".", None)  # a missing value of SAS and plink
    known = values.dropna()
    if known.empty:
        raise DataError(
            f"The covariate {name} in the {what} holds no value: complete it or take it out of "
            f"participants.covariates."
        )
    if name in settings.categories:
        return _indicators(values.map(normal_id, na_action="ignore"), what, notes)
    words = known.str.lower()
    is_true, is_false = words.isin({*_TRUE, "1"}), words.isin({*_FALSE, "0"})
    if words.isin(_TRUE | _FALSE).any() and (is_true | is_false).all() and 0 < is_true.mean() < 1:
        return {name: is_true.astype(float).reindex(values.index)}
    numbers = _numbers(values, what, marks)
    others = int(numbers.isna().sum() - values.isna().sum())
    if 2 * others > len(known):
        return _indicators(values, what, notes)
    if others:
        _tell(notes, f"{others} values of {name} are no numbers and count as missing")
    _tell_usual_codes(numbers, notes)
    return {name: numbers}


def _numbers(values: pd.Series, what: str, marks: dict[str, str]) -> pd.Series:
    """A column as numbers, NaN where it is none; its decimal mark, where it has one, in `marks`."""
    name = str(values.name)
    texts = values.dropna().unique()
    with_comma = [text for text in texts if "," in text]
    by_comma = [text for text in with_comma if _COMMA.fullmatch(text)]
    parted = [text for text in with_comma if _THOUSANDS.fullmatch(text)]
    by_point = {text: float(text) for text in texts if "." in text and _POINT.fullmatch(text)}
    if parted and len(parted) >= len(by_comma):
        raise DataError(
            f"The covariate {name} in the {what} has commas that may part thousands or be decimal "
            f"({len(parted)} values): write its numbers with a decimal point and without thousands."
        )
    if by_comma and by_point:
        raise DataError(
            f"The covariate {name} in the {what} has {len(by_comma)} values with a decimal comma "
            f"and {len(by_point)} with a decimal point: write all with one of them."
        )
    if by_comma or by_point:
        marks[name] = "," if by_comma else "."
    others = {text: _number(text) for text in texts if text not in by_point}
    return values.map(by_point | others).astype(float)


def _indicators(values: pd.Series, what: str, notes: list[str]) -> Terms:
    """1 and 0 for each level but the most frequent, NaN where missing."""
    name = str(values.name)
    counts = values.value_counts()
    levels = sorted(counts.index, key=lambda level: (-counts[level], level))
    if len(levels) > MOST_LEVELS or (len(levels) > 20 and 5 * len(levels) > counts.sum()):
        raise DataError(
            f"The covariate {name} in the {what} has {len(levels)} different texts, too many for a "
            f"category: code it as numbers or take it out of participants.covariates."
        )
    if len(levels) == 1:
        _tell(notes, f"the covariate {name} has one level only ({levels[0]}) and is left out")
        return {}
    notes.append(
        f"the covariate {name} is a category of {len(levels)} levels, each held against {levels[0]}"
    )
    for level in levels:
        if _number(level) in _USUAL_CODES and level.startswith("-"):
            _tell(notes, _usual_code(name, level, int(counts[level]), "a level of its own"))
    labels = [f"{name}_{_UNFIT.sub('_', level)}" for level in levels[1:]]
    if len(set(labels)) < len(labels):
        labels = [f"{label}_{k + 2}" for k, label in enumerate(labels)]
    return {
        label: (values == level).astype(float).where(values.notna())
        for label, level in zip(labels, levels[1:], strict=True)
    }


def _tell_usual_codes(numbers: pd.Series, notes: list[str]) -> None:
    """Tell where numbers hold what studies write for a missing value, out of line with the rest.

    Out of line is a negative code where nothing else is negative, and any that lies outside of all
    other values and more than five of their standard deviations from their mean.
    """
    known = numbers.dropna()
    counts = {code: count for code in _USUAL_CODES if (count := int((known == code).sum()))}
    rest = known[~known.isin(list(counts))]
    if rest.empty or set(known.unique()) <= {-1.0, 0.0, 1.0}:
        return
    spread, mean = float(rest.std(ddof=0)), float(rest.mean())
    told = {
        code: count
        for code, count in counts.items()
        if (code < 0 <= rest.min())
        or (not rest.min() <= code <= rest.max() and abs(code - mean) > _FAR * spread)
    }
    for code, count in told.items():
        use = "a number, out of line with its other values"
        _tell(notes, _usual_code(str(numbers.name), str(code), count, use))


def _usual_code(name: str, code: str, count: int, use: str) -> str:
    return (
        f"the covariate {name} holds {code} {count} time{'s' if count > 1 else ''}, and it was "
        f"used as {use}: if it stands for a missing value, declare it in participants.missing_codes"
    )


def _tell(notes: list[str], note: str) -> None:
    log.warning("participants: %s", note)
    notes.append(note)


def _product(term: str, parts: Mapping[str, Terms], what: str) -> Terms:
    """The terms that a term stands for: a column's own, or all products of its factors'."""
    if term in parts:
        return parts[term]
    factors: list[Sequence[tuple[str, pd.Series]]] = []
    for factor in term.split(":"):
        own = parts[_base(factor)]
        if factor != _base(factor) and list(own) != [_base(factor)]:
            raise DataError(
                f"The covariate {_base(factor)} in the {what} is a category and has no square: "
                f"take {factor} out of participants.covariates."
            )
        power = 1 if factor == _base(factor) else 2
        factors.append(
            [(factor if power == 2 else k, (v - v.mean()) ** power) for k, v in own.items()]
        )
    return {
        ":".join(name for name, _ in chosen): pd.Series(
            np.prod([values.to_numpy(float) for _, values in chosen], axis=0), chosen[0][1].index
        )
        for chosen in itertools.product(*factors)
    }
