"""The quality of latents: agreement between several ECGs of a person, and linear probes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from scipy.stats import rankdata

from ecg_spark.selection import used_rows, weighted_mean
from ecg_spark.tables import TRAIT_NAMES

Array = NDArray[np.float64]

FOLDS = 5
MIN_PEOPLE = 50
"""The fewest people with both values for which a probe is reported."""

OUTSIDE_SD = 3.0
"""A distance from 0, in SD of the training data, within which nearly all of these lie."""

MIN_REPEATED = 20
"""The fewest people with several ECGs for which their agreement is reported."""


@dataclass(frozen=True)
class Repeatability:
    """How well several ECGs of a person agree.

    Attributes:
        icc: the intraclass correlation ICC(1) of each latent, [k].
        sd: the SD of each latent within people, [k].
    """

    icc: Array
    sd: Array


def repeatability(latents: DataFrame, n_latents: int) -> Repeatability | None:
    """Return the agreement of several ECGs of a person; None if fewer than 20 people have several.

    One-way random effects with groups of unequal size (Shrout and Fleiss, Psychol Bull 1979;
    86:420; Donner, Int Stat Rev 1986; 54:67). The SD is that of one ECG about the person's mean:
    measurement error, and how the heart differs from day to day.

    Args:
        latents: one row per person: `n_ecgs`, and the arrays `plain_mean`, the unweighted mean over
            their ECGs, and `squares`, the mean of the squares.
        n_latents: the length of the arrays.
    """
    n = F.col("n_ecgs").cast("double")
    sums = [F.count(n), F.sum(n), F.sum(n * n)]
    for i in range(n_latents):
        z, square = F.col("plain_mean")[i], F.col("squares")[i]
        sums += [F.sum(n * z), F.sum(n * z * z), F.sum(n * (square - z * z))]
    (row,) = latents.where(F.col("n_ecgs") > 1).agg(*sums).collect()
    people, ecgs, ecgs_squared = (float(value or 0) for value in row[:3])
    if people < MIN_REPEATED:
        return None
    first, second, within = np.array(row[3:], np.float64).reshape(-1, 3).T
    between = (second - first**2 / ecgs) / (people - 1)
    within = within / (ecgs - people)
    size = (ecgs - ecgs_squared / ecgs) / (people - 1)
    icc = (between - within) / (between + (size - 1) * within)
    # Two identical ECGs leave a rounding error of either sign.
    return Repeatability(np.asarray(icc), np.sqrt(np.maximum(within, 0)))


def factor_distribution(latents: DataFrame, n_latents: int) -> dict[str, list[float]]:
    """Return mean and SD of each factor over people, and the share further than three SD from 0.

    Factors are in SD of the beats that the model was trained on, whose mean is 0; hardly any of
    these lies beyond three SD.

    Args:
        latents: one row per person, with the array `z`.
        n_latents: the length of the array.

    Returns:
        `mean`, `sd` and `outside`, each a list with one value per factor.
    """
    measures: dict[str, Callable[[Column], Column]] = {
        "mean": F.avg,
        "sd": F.stddev_samp,
        "outside": lambda z: F.avg((F.abs(z) > OUTSIDE_SD).cast("double")),
    }
    columns = [
        measure(F.col("z")[i]).alias(f"{name}_{i}")
        for name, measure in measures.items()
        for i in range(n_latents)
    ]
    row = latents.agg(*columns).collect()[0]
    return {
        name: [round(float(row[f"{name}_{i}"] or 0.0), 4) for i in range(n_latents)]
        for name in measures
    }


def trait_correlations(
    latents: DataFrame, traits: DataFrame, leave_out: Sequence[str], n_latents: int
) -> dict[str, list[float | None]]:
    """Return Pearson's correlation of each factor with each trait over the people.

    The frontal axis is left out: it is an angle, for which this correlation has no meaning. Traits
    of several ECGs are averaged as they are for the association study.

    Args:
        latents: the table `latents`; the rows of the VAE are used.
        traits: the table `traits`, one row per ECG.
        leave_out: recordings with one of these flags are not used.
        n_latents: the number of factors.

    Returns:
        For each trait one value per factor; None if fewer than 50 people have the trait or it does
        not vary.
    """
    names = [name for name in TRAIT_NAMES if name != "axis_deg"]
    means = [weighted_mean(F.col(name)).alias(name) for name in names]
    by_person = used_rows(traits, leave_out).groupBy("participant_id").agg(*means)
    own = latents.where(F.col("model") == "vae").select("participant_id", "z")
    both = own.join(by_person, "participant_id")
    columns = []
    for name in names:
        y = F.col(name).cast("double")
        columns.append(F.count(y).alias(f"{name}_n"))
        for i in range(n_latents):
            z = F.when(y.isNotNull(), F.col("z")[i])
            columns.append(F.corr(z, y).alias(f"{name}_{i}"))
    row = both.agg(*columns).collect()[0]

    def shown(name: str, i: int) -> float | None:
        value = row[f"{name}_{i}"]
        few = row[f"{name}_n"] < MIN_PEOPLE
        return None if few or value is None or np.isnan(value) else round(float(value), 4)

    return {name: [shown(name, i) for i in range(n_latents)] for name in names}


def linear_probes(latents: Array, targets: pd.DataFrame, seed: int) -> dict[str, float]:
    """Return how well a linear model predicts each target from latents, on held-out folds.

    Args:
        latents: [n, k]; rows with missing values are left out.
        targets: one column per target, n rows. Those that are not numbers, are constant or are
            known for too few people are left out.
        seed: divides the rows into folds.

    Returns:
        The squared correlation between prediction and target (`<name>_r2`), or for a target with
        two values the area under the ROC curve (`<name>_auc`).
    """
    fold = np.random.default_rng(seed).permutation(len(latents)) % FOLDS
    found = {}
    for name in targets.select_dtypes("number"):
        target = targets[name].to_numpy(float)
        known = np.isfinite(target) & np.isfinite(latents).all(axis=1)
        y, x = target[known], np.column_stack([np.ones(known.sum()), latents[known]])
        if len(y) < max(MIN_PEOPLE, 3 * x.shape[1]) or np.ptp(y) == 0:
            continue
        part = fold[known]
        read = np.empty(len(y))
        for k in range(FOLDS):
            weights = np.linalg.lstsq(x[part != k], y[part != k], rcond=None)[0]
            read[part == k] = x[part == k] @ weights
        if len(np.unique(y)) == 2:
            found[f"{name}_auc"] = _area_under_curve(read, y == y.max())
        else:
            found[f"{name}_r2"] = float(np.corrcoef(read, y)[0, 1] ** 2)
    return found


def _area_under_curve(score: Array, is_case: NDArray[np.bool_]) -> float:
    """Return the share of pairs of case and control in which the case is higher (Mann-Whitney)."""
    cases, controls = int(is_case.sum()), int((~is_case).sum())
    above = rankdata(score)[is_case].sum() - cases * (cases + 1) / 2
    return float(above / (cases * controls))
