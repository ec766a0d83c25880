"""Phenotypes and covariates as the regression takes them: checked, on one scale.

Covariates stay in the regression; phenotypes are not residualised beforehand (but see `traits`).
"""

from collections.abc import Collection

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import betaincinv, ndtri  # scipy.stats takes a second, which tasks would pay

from ecg_spark.errors import DataError
from ecg_spark.genetics.null_model.projection import residuals

COLLINEAR = 1e-6
"""A covariate is redundant if less than this share of its length is new (within rounding)."""

JOINT_ROUNDS = 5
FEWEST_JOINT = 5
"""People for each phenotype, of whom fewer are far out by what the others' spread happens to be."""

LEAST_VARIANCE = 0.5
"""No relatives make a test more certain than this times what independent people make it."""


def rank_inverse_normal(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks as normal quantiles, Φ⁻¹((r - 3/8) / (n + 1/4)); ties share a rank, NaN stays.

    Blom (1958), as in Beasley et al. (2009, Behav Genet 39:580).
    """
    values = np.asarray(values, float)
    result = np.full(values.shape, np.nan)
    known = np.isfinite(values)
    n = int(known.sum())
    if n:
        result[known] = ndtri((pd.Series(values[known]).rank().to_numpy() - 0.375) / (n + 0.25))
    return result


def jointly_normal(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Normal scores [n, k] of phenotypes, complete, whose distance from the mean is that of k
    independent normal deviates, too.

    One odd heartbeat lies far out in many latents at once. Each alone is made normal by its ranks;
    the sum of squares over all is not, and a few carriers of that kind make a test of all together
    far smaller than it should be. Here, in units of the spread in every direction, nobody is left
    farther out in a principal direction than the largest of n normal scores, each person's distance
    is moved to its quantile among n normal deviates, and the values to their normal scores, in
    turn. By the spread of the n themselves d² / (n - 1) is of the beta distribution with k / 2 and
    (n - 1 - k) / 2 (Gnanadesikan & Kettenring 1972, Biometrics 28:81). As they are where people are
    too few to tell the spread.
    """
    n, k = values.shape
    scores = np.apply_along_axis(rank_inverse_normal, 0, values)
    farthest = ndtri((n - 0.375) / (n + 0.25))
    for _ in range(JOINT_ROUNDS if n > FEWEST_JOINT * k else 0):
        centred = scores - scores.mean(axis=0)
        spread, directions = np.linalg.eigh(centred.T @ centred / n)
        held = spread > 1e-8 * spread.max()
        root = np.sqrt(spread[held])
        white = np.clip(centred @ directions[:, held] / root, -farthest, farthest)
        distance = np.linalg.norm(white, axis=1)
        share = (pd.Series(distance).rank().to_numpy() - 0.5) / n
        rank = int(held.sum())
        wanted = np.sqrt((n - 1) * betaincinv(rank / 2, (n - 1 - rank) / 2, share))
        white *= (wanted / np.maximum(distance, 1e-12))[:, None]
        scores = np.apply_along_axis(rank_inverse_normal, 0, white * root @ directions[:, held].T)
    return scores


def usable_covariates(covariates: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Complete rows and independent columns of the covariates, centred and scaled, and notes.

    Samples that lack a covariate are left out. A covariate that is constant, or that those before
    it (and the intercept) already hold, is left out. Both are told in the notes. Scaling changes
    no test; it keeps the regression well conditioned.

    Raises `DataError` where no sample has every covariate.
    """
    notes = []
    complete = covariates[np.isfinite(covariates.to_numpy(float)).all(axis=1)]
    if len(complete) < len(covariates):
        notes.append(
            f"{len(covariates) - len(complete)} of {len(covariates)} samples lack a covariate and "
            f"are left out"
        )
    if not len(complete):
        raise DataError(
            "No sample has a value of every covariate: take covariates out of "
            "participants.covariates, or complete the participant table."
        )
    basis = np.full((len(complete), 1), 1 / np.sqrt(len(complete)))
    columns = {}
    for name in complete.columns:
        values = complete[name].to_numpy(float)
        spread = np.std(values)
        if spread <= COLLINEAR * np.abs(values).max(initial=0):
            notes.append(f"the covariate {name} is constant and is left out")
            continue
        scaled = (values - values.mean()) / spread
        fresh = scaled - basis @ (basis.T @ scaled)
        if np.linalg.norm(fresh) <= COLLINEAR * np.linalg.norm(scaled):
            notes.append(f"the covariate {name} follows from those before it and is left out")
            continue
        fresh -= basis @ (basis.T @ fresh)
        basis = np.column_stack([basis, fresh / np.linalg.norm(fresh)])
        columns[name] = scaled
    return pd.DataFrame(columns, index=complete.index, dtype=float), notes


def usable_phenotypes(
    phenotypes: pd.DataFrame, n_covariates: int, untransformed: Collection[str] = ()
) -> tuple[pd.DataFrame, list[str]]:
    """Phenotypes after the rank-inverse-normal transform, but those that are `untransformed`,
    without those that cannot be tested.

    Left out, with a note: a phenotype with one value only, and one that fewer samples have than
    the regression has terms (intercept, variant, covariates) plus one.

    Raises `DataError` where none is left.
    """
    notes = []
    columns = {}
    for name in phenotypes.columns:
        values = phenotypes[name].to_numpy(float)
        values = np.where(np.isfinite(values), values, np.nan)
        known = int(np.isfinite(values).sum())
        if known and np.nanmax(values) == np.nanmin(values):
            notes.append(f"the phenotype {name} is constant and is left out")
        elif known < n_covariates + 3:
            notes.append(
                f"the phenotype {name} is left out: {known} samples have it, too few for "
                f"{n_covariates} covariates"
            )
        else:
            columns[name] = values if name in untransformed else rank_inverse_normal(values)
    if not columns:
        raise DataError(f"No phenotype can be tested: {'; '.join(notes) or 'there is none'}.")
    return pd.DataFrame(columns, index=phenotypes.index), notes


def variance_by_relatives(
    left: NDArray[np.float64], samples: pd.Index, relatives: pd.DataFrame | None
) -> NDArray[np.float64]:
    """The variance of a test of a variant with no effect, over that among independent people [k].

    The diagonal of `covariance_by_relatives`. Siblings whose residuals are alike make it larger
    than 1, and those whose residuals out-of-fold predictions have driven apart smaller, but never
    smaller than `LEAST_VARIANCE`.
    """
    if relatives is None:
        return np.ones(left.shape[1])
    first, second, kinship = _pairs(left, samples, relatives)
    products = 2 * (kinship * first * second).sum(axis=0)
    return np.maximum(1 + products / (left**2).sum(axis=0), LEAST_VARIANCE)


def covariance_by_relatives(
    left: NDArray[np.float64], samples: pd.Index, relatives: pd.DataFrame | None
) -> NDArray[np.float64]:
    """The covariance [k, k] of the tests of a variant with no effect, each of variance 1 among
    independent people.

    `left` [n, k]: residual phenotypes of the samples; `relatives`: pairs (s1, s2, kinship), of
    which those among the samples count; without any, the correlation of the residuals. A variant's
    covariance among two people is twice their kinship times its variance, so that the covariance of
    its products with the residuals r is Σ r r' + Σ 2φ (r₁r₂' + r₂r₁') in place of Σ r r'.
    """
    covariance = left.T @ left
    if relatives is not None:
        first, second, kinship = _pairs(left, samples, relatives)
        products = (kinship * first).T @ second
        covariance = covariance + products + products.T
    length = np.linalg.norm(left, axis=0)
    return np.asarray(covariance / np.outer(length, length))


def _pairs(
    left: NDArray[np.float64], samples: pd.Index, relatives: pd.DataFrame
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Of the pairs among the samples, the residuals of either [pairs, k] and twice their kinship
    [pairs, 1]."""
    first, second = (samples.get_indexer(relatives[key]) for key in ("s1", "s2"))
    both = (first >= 0) & (second >= 0)
    kinship = 2 * relatives["kinship"].to_numpy(float)[both, None]
    return left[first[both]], left[second[both]], kinship


def correlation_of(phenotypes: pd.DataFrame, covariates: pd.DataFrame) -> NDArray[np.float64]:
    """The correlation [k, k] of the tests of phenotypes at a variant with no effect.

    That of their residuals, 0 where one is missing: tests in different people are independent.
    """
    left = np.zeros(phenotypes.shape)
    for own in by_missingness(phenotypes):
        known = phenotypes[own[0]].notna().to_numpy()
        places = phenotypes.columns.get_indexer(own)
        left[np.ix_(known, places)] = residuals(
            phenotypes[own].to_numpy(float)[known], covariates.to_numpy(float)[known]
        )
    return covariance_by_relatives(left, phenotypes.index, None)


def by_missingness(phenotypes: pd.DataFrame) -> list[list[str]]:
    """Names of phenotypes in groups that are known for exactly the same samples."""
    groups: dict[bytes, list[str]] = {}
    for name in phenotypes.columns:
        groups.setdefault(phenotypes[name].notna().to_numpy().tobytes(), []).append(name)
    return list(groups.values())
