"""From the columns of a participant table to the terms of a regression.

A column of numbers is a term, yes and no become 1 and 0, and a text or a declared category becomes
one indicator for each level except the reference.
"""

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from ecg_spark.errors import DataError
from ecg_spark.ids import normal_id
from ecg_spark.number_columns import NumberReader
from ecg_spark.study import Participants

Terms = dict[str, pd.Series]

MOST_LEVELS = 200
"""A text with more values is not a category; nor is one that differs for nearly everybody."""

_TRUE, _FALSE = {"true", "t", "yes", "y"}, {"false", "f", "no", "n"}
_UNFIT = re.compile(r"[^\w.+-]+")
"""Characters that a term's name may not have: other programs read it as a column's name."""


def covariate_terms(
    columns: pd.DataFrame, settings: Participants, what: str
) -> tuple[pd.DataFrame, list[str]]:
    """Return the terms of `settings.covariates` as numbers, and notes for the report.

    A term is a column, its square (`age^2`) or a product (`age:sex`). Squares and products are
    taken of centred columns: otherwise a square would be almost collinear with its column.

    Terms are floats, NaN where missing.

    Args:
        columns: the text columns that the terms need, by participant, None where missing.
        settings: the section `participants` of the study file.
        what: how messages name the table.

    Raises:
        DataError: a column has no value, mixes decimal points and commas, has commas that may
            separate thousands, is a text with too many values, or is a category to be squared; or
            two terms have the same name. The message names the column.
    """
    reader = NumberReader(what, "covariate", "participants")
    codes = settings.missing_codes
    known = {name: reader.known(columns[name], codes) for name in columns.columns}
    parts = {name: _terms_of(values, settings, reader) for name, values in known.items()}
    reader.refuse_mixed_marks()
    found: Terms = {}
    for term in settings.covariates:
        for name, values in _product(term, parts, what).items():
            label = re.sub(r"\s+", "_", name)
            if label in found:
                raise DataError(
                    f"Two covariates of the {what} have the same name, {label}: rename a column."
                )
            found[label] = values
    return pd.DataFrame(found, index=columns.index, dtype=float), reader.notes


def columns_of(terms: Iterable[str], present: Iterable[str] = ()) -> list[str]:
    """Return the columns that terms need, each once, in the order of the terms.

    Args:
        terms: such as `age`, `age^2` or `age:sex`.
        present: names of columns; a term that is itself one of them needs that column only.

    Example:
        >>> columns_of(["age", "age^2", "age:sex"])
        ['age', 'sex']
        >>> columns_of(["pc:1"], present=["pc:1"])
        ['pc:1']
    """
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


def _terms_of(values: pd.Series, settings: Participants, reader: NumberReader) -> Terms:
    """Return the terms that a column of texts becomes, by name; none if it has a single level."""
    name = str(values.name)
    known = values.dropna()
    if known.empty:
        raise DataError(
            f"The covariate {name} in the {reader.what} has no values: fill it or take it out "
            f"of participants.covariates."
        )
    if name in settings.categories:
        return _indicators(values.map(normal_id, na_action="ignore"), reader)
    words = known.str.lower()
    is_true, is_false = words.isin({*_TRUE, "1"}), words.isin({*_FALSE, "0"})
    if words.isin(_TRUE | _FALSE).any() and (is_true | is_false).all() and 0 < is_true.mean() < 1:
        return {name: is_true.astype(float).reindex(values.index)}
    numbers = reader.numbers(values)
    return _indicators(values, reader) if numbers is None else {name: numbers}


def _indicators(values: pd.Series, reader: NumberReader) -> Terms:
    """Return 1 and 0 for each level but the most frequent, NaN where missing."""
    name = str(values.name)
    counts = values.value_counts()
    levels = sorted(counts.index, key=lambda level: (-counts[level], level))
    if len(levels) > MOST_LEVELS or (len(levels) > 20 and 5 * len(levels) > counts.sum()):
        raise DataError(
            f"The covariate {name} in the {reader.what} has {len(levels)} different texts, too "
            f"many for a category: code it as numbers or take it out of participants.covariates."
        )
    if len(levels) == 1:
        reader.tell(f"the covariate {name} has a single level ({levels[0]}) and is left out")
        return {}
    reader.notes.append(
        f"the covariate {name} is a category of {len(levels)} levels; the reference is {levels[0]}"
    )
    for level in levels:
        reader.tell_if_usual_code(name, level, int(counts[level]))
    labels = [f"{name}_{_UNFIT.sub('_', level)}" for level in levels[1:]]
    if len(set(labels)) < len(labels):
        labels = [f"{label}_{k + 2}" for k, label in enumerate(labels)]
    return {
        label: (values == level).astype(float).where(values.notna())
        for label, level in zip(labels, levels[1:], strict=True)
    }


def _product(term: str, parts: Mapping[str, Terms], what: str) -> Terms:
    """Return what a term stands for: the terms of its column, or all products of its factors."""
    if term in parts:
        return parts[term]
    factors: list[Sequence[tuple[str, pd.Series]]] = []
    for factor in term.split(":"):
        own = parts[_base(factor)]
        if factor != _base(factor) and list(own) != [_base(factor)]:
            raise DataError(
                f"The covariate {_base(factor)} in the {what} is a category and cannot be squared: "
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
