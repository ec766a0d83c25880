"""Who is tested by which predictors: what every task is sent.

There are two panels. That of ECGs has the factors, traits and own phenotypes of those who have an
ECG (or own phenotypes), and the days of their ECGs. That of genotypes has lead variants and scores,
of everybody genotyped: genes have no day, and a biobank has many more genotypes than ECGs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ecg_spark.diseases.logistic import Flags, Reals

ECG, GENOTYPES = "ecg", "genotypes"

VARIANTS = "variants"
"""The group of lead variants."""


@dataclass(frozen=True)
class Predictor:
    """A predictor's name and group; one of `is_tested` false only predicts (see `prediction`)."""

    name: str
    group: str
    is_tested: bool = True


@dataclass(frozen=True)
class Panel:
    """People [n] and their predictors [n, k], covariates [n, c] and sex.

    `filled`: the predictors, with what covariates say of one where it is missing; `known`: where it
    is not. `is_male`: 1, 0 or NaN. `first_day`, `last_day`: of their first and last ECG, `until`:
    of their records, in days since 1970-01-01; None where there are no days, NaN where one is not
    known.
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
        """Whether a diagnosis can be told to be before an ECG or after it."""
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
    """A panel of the rows of `values`, which `covariates` has in the same order.

    `groups`: the columns of `values` by group, of which those `only_predicting` are not tested;
    `is_male`: by participant; `days`: first, last and until, in the order of the rows.
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
    """Values [n, k] with what covariates [n, c] say of the missing ones, and which are known.

    What a straight line says of it from covariates tells a test nothing that they do not.
    """
    known = np.isfinite(values)
    filled = values.copy()
    terms = np.column_stack([np.ones(len(values)), covariates])
    for k in np.flatnonzero(~known.all(axis=0)):
        own = known[:, k]
        weights = np.linalg.lstsq(terms[own], values[own, k], rcond=None)[0]
        filled[~own, k] = terms[~own] @ weights
    return filled, known
