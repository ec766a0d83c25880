"""The conventional traits as they are tested.

An axis is an angle: ranks of it would put the two sides of 180 degrees farthest apart. It becomes
its signed distance from the mean direction. QT and QTc become what heart rate leaves of them, which
every study of QT has among its covariates (Arking et al. 2014, Nat Genet 46:826): Bazett's formula
takes off too little of it at slow and too much at fast rates, and the loci of heart rate would be
among those of QTc.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ecg_spark.genetics.null_model.phenotypes import rank_inverse_normal
from ecg_spark.tables import LATENT

Reals = NDArray[np.float64]

ANGLE, RATE = "axis_deg", "heart_rate_bpm"
OF_THE_RATE = ("qt_ms", "qtc_ms")
"""Traits that are tested given the heart rate."""

GROUP = "traits"
"""The group of phenotypes that the conventional traits are."""

FEWEST = 10


def conventional(
    phenotypes: pd.DataFrame, groups: Mapping[str, Sequence[str]]
) -> tuple[pd.DataFrame, list[str]]:
    """The phenotypes with the conventional traits as they are tested, and notes on these.

    `phenotypes`: a row for each person analysed, NaN where missing.
    """
    members, notes = groups.get(GROUP, ()), []
    found = phenotypes.copy()
    if ANGLE in members:
        found[ANGLE] = from_mean_direction(found[ANGLE].to_numpy(float))
    adjusted = [name for name in OF_THE_RATE if name in members and RATE in members]
    for name in adjusted:
        found[name] = given_rate(found[name].to_numpy(float), found[RATE].to_numpy(float))
    if adjusted:
        notes.append(
            f"{' and '.join(adjusted)} are tested as what heart rate and its square leave of them"
        )
    return found, notes


def units_kept(groups: Mapping[str, Sequence[str]], scale: str) -> list[str]:
    """The phenotypes that are tested in their units, on a `scale` of `Gwas`: no latents."""
    if scale == "ranks":
        return []
    return [name for key, members in groups.items() if key not in LATENT for name in members]


def described(phenotype: str, in_units: bool) -> str:
    """A phenotype in the words of a published file: what its effects and weights are of."""
    return f"{phenotype}, {'in its units' if in_units else 'rank-inverse-normal transformed'}"


def ranked_again(
    phenotypes: pd.DataFrame, groups: Mapping[str, Sequence[str]], scale: str
) -> pd.DataFrame:
    """Phenotypes rank-inverse-normal transformed among those who are left, but those in units."""
    kept = units_kept(groups, scale)
    return phenotypes.apply(
        lambda one: one if one.name in kept else pd.Series(rank_inverse_normal(one), one.index)
    )


def from_mean_direction(degrees: Reals) -> Reals:
    """The signed distance of each angle from their mean direction, -180 to 180; NaN stays."""
    angles = np.radians(degrees)
    known = np.isfinite(angles)
    if not known.any():
        return degrees
    mean = np.arctan2(np.sin(angles[known]).mean(), np.cos(angles[known]).mean())
    return np.degrees(np.angle(np.exp(1j * (angles - mean))))


def given_rate(values: Reals, rate: Reals) -> Reals:
    """What a parabola in heart rate leaves of some values, about their mean.

    NaN where either is missing, and of everybody where fewer than `FEWEST` people have both.
    """
    known = np.isfinite(values) & np.isfinite(rate)
    left = np.full(len(values), np.nan)
    if known.sum() >= FEWEST:
        spread = max(float(rate[known].std()), 1e-9)
        scaled = (rate[known] - rate[known].mean()) / spread
        design = np.column_stack([np.ones(len(scaled)), scaled, scaled**2])
        fit = np.linalg.lstsq(design, values[known], rcond=None)[0]
        left[known] = values[known] - design @ fit + values[known].mean()
    return left
