"""The conventional ECG traits in the form in which they are tested.

An electrical axis is an angle: ranks of it would put the two sides of 180 degrees farthest apart,
so it becomes its signed distance from the mean direction. QT and QTc become their residuals on
heart rate, which every study of QT has among its covariates (Arking et al. 2014, Nat Genet
46:826). Bazett's formula corrects too little at slow rates and too much at fast ones, and the loci
of heart rate would otherwise appear among those of QTc.
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
"""Traits that are adjusted for heart rate before they are tested."""

GROUP = "traits"
"""The group of phenotypes that holds the conventional traits."""

FEWEST = 10


def conventional(
    phenotypes: pd.DataFrame, groups: Mapping[str, Sequence[str]]
) -> tuple[pd.DataFrame, list[str]]:
    """Bring the conventional traits among the phenotypes into the form in which they are tested.

    Args:
        phenotypes: one row per person analysed; NaN where missing.
        groups: the columns by group; the conventional traits are in the group `GROUP`.

    Returns:
        All phenotypes, and notes on the traits that were changed.
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
            f"{' and '.join(adjusted)} are tested as their residuals on heart rate and its square"
        )
    return found, notes


def units_kept(groups: Mapping[str, Sequence[str]], scale: str) -> list[str]:
    """The phenotypes that are tested in their own units, for a `scale` of `Gwas`. Latents
    never are.
    """
    if scale == "ranks":
        return []
    return [name for key, members in groups.items() if key not in LATENT for name in members]


def ranked_again(
    phenotypes: pd.DataFrame, groups: Mapping[str, Sequence[str]], scale: str
) -> pd.DataFrame:
    """Rank-inverse-normal transform the phenotypes again among the people in the table, except
    those that stay in their units.
    """
    kept = units_kept(groups, scale)
    return phenotypes.apply(
        lambda one: one if one.name in kept else pd.Series(rank_inverse_normal(one), one.index)
    )


def from_mean_direction(degrees: Reals) -> Reals:
    """The signed distance of each angle from the mean direction, from -180 to 180 degrees.

    Args:
        degrees: NaN where missing; they stay NaN.

    Example:
        >>> from_mean_direction(np.array([170.0, -170.0, np.nan])).round(6).tolist()
        [-10.0, 10.0, nan]
    """
    angles = np.radians(degrees)
    known = np.isfinite(angles)
    if not known.any():
        return degrees
    mean = np.arctan2(np.sin(angles[known]).mean(), np.cos(angles[known]).mean())
    return np.degrees(np.angle(np.exp(1j * (angles - mean))))


def given_rate(values: Reals, rate: Reals) -> Reals:
    """The residuals of values on heart rate and its square, plus the mean of the values.

    Args:
        values: NaN where missing.
        rate: heart rate in beats per minute; NaN where missing.

    Returns:
        NaN where either is missing, and for everybody if fewer than `FEWEST` people have both.
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
