"""Panels: who is tested by which predictors, as sent to every task.

There are two panels. That of ECGs has the factors, traits and own phenotypes of the people who
have an ECG (or own phenotypes), and the days of their ECGs. That of genotypes has lead variants
and scores of everybody genotyped: genes have no date, and a biobank has many more genotypes than
ECGs. Without a date prevalent and incident disease cannot be told apart: cases of that panel have
the disease at any time, and their age is that of the participant table.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ecg_spark.diseases.logistic import Flags, Reals

ECG, GENOTYPES = "ecg", "genotypes"

VARIANTS, SCORES = "variants", "scores"
"""The groups of lead variants and of polygenic scores."""


@dataclass(frozen=True)
class Predictor:
    """A predictor's name and group; if `is_tested` is false, it is only used for prediction
    (see `prediction`).
    """

    name: str
    group: str
    is_tested: bool = True


@dataclass(frozen=True)
class Panel:
    """People, their predictors, covariates and sex.

    Attributes:
        people: `ECG` or `GENOTYPES`.
        predictors: the k predictors.
        filled: their values [n, k]; missing ones are replaced by what the covariates predict.
        known: where a value is not missing, [n, k].
        covariates: [n, c], without missing values.
        is_male: 1, 0 or NaN, [n].
        first_day: the day of the first ECG in days since 1970-01-01, [n]; NaN where unknown, None
            if the panel has no days.
        last_day: the day of the last ECG, in the same form.
        until: the last day of the records, in the same form.
    """

    people: str
    predictors: tuple[Predictor, ...]
    filled: Reals
    known: Flags
    covariates: Reals
    is_male: Reals
    first_day: Reals | None = None
    last_day: Reals | None = None
    until: Reals | None = None

    @property
    def is_dated(self) -> bool:
        """Whether it can be told if a diagnosis was before or after an ECG."""
        return self.first_day is not None

    def columns(self, *groups: str) -> NDArray[np.int64]:
        """The places of the predictors of some groups."""
        return np.array([k for k, one in enumerate(self.predictors) if one.group in groups], int)

    @property
    def tested(self) -> NDArray[np.int64]:
        """The places of the predictors that are tested."""
        return np.array([k for k, one in enumerate(self.predictors) if one.is_tested], int)


def make_panel(
    people: str,
    values: pd.DataFrame,
    groups: Mapping[str, Sequence[str]],
    covariates: pd.DataFrame,
    is_male: pd.Series | None,
    only_predicting: Sequence[str] = (),
    days: pd.DataFrame | None = None,
) -> Panel:
    """Make a panel.

    Args:
        people: `ECG` or `GENOTYPES`.
        values: predictors, indexed by participant; NaN where missing.
        groups: the columns of `values` by group.
        covariates: of the same people in the same order, without missing values.
        is_male: by participant; None if unknown.
        only_predicting: groups that are not tested.
        days: the columns first, last and until, in the order of the rows.
    """
    predictors = tuple(
        Predictor(name, group, group not in only_predicting)
        for group, names in groups.items()
        for name in names
    )
    table = values[[one.name for one in predictors]].to_numpy(float)
    terms = covariates.to_numpy(float)
    sex = np.full(len(table), np.nan)
    if is_male is not None:
        sex = is_male.reindex(values.index).to_numpy(float)
    by_day: dict[str, Reals] = {}
    if days is not None:
        for name in ("first", "last", "until"):
            key = name if name == "until" else f"{name}_day"
            by_day[key] = days[name].to_numpy(float)
    filled, known = fill(table, terms)
    return Panel(people, predictors, filled, known, terms, sex, **by_day)


def fill(values: Reals, covariates: Reals) -> tuple[Reals, Flags]:
    """Replace missing values by their linear prediction from the covariates.

    Such values give a test no information beyond the covariates.

    Args:
        values: [n, k]; NaN where missing.
        covariates: [n, c].

    Returns:
        The filled values, and which were known.

    Example:
        >>> values = np.array([[1.0], [2.0], [np.nan]])
        >>> fill(values, np.array([[0.0], [1.0], [2.0]]))[0].round(6).ravel().tolist()
        [1.0, 2.0, 3.0]
    """
    known = np.isfinite(values)
    filled = values.copy()
    terms = np.column_stack([np.ones(len(values)), covariates])
    for k in np.flatnonzero(~known.all(axis=0)):
        own = known[:, k]
        weights = np.linalg.lstsq(terms[own], values[own, k], rcond=None)[0]
        filled[~own, k] = terms[~own] @ weights
    return filled, known
