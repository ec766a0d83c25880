"""Phenotypes and covariates as the regression uses them: checked, and on one scale.

Covariates stay in the regression; phenotypes are not residualised beforehand (but see `traits`).
"""

from collections.abc import Collection

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import chdtri, ndtri  # scipy.stats takes a second, which tasks would pay

from ecg_spark.errors import DataError
from ecg_spark.genetics.null_model.projection import residuals

COLLINEAR = 1e-6
"""A covariate is redundant if the covariates before it leave less than this share of its length."""

JOINT_ROUNDS = 5
FEWEST_JOINT = 5
"""With fewer people per phenotype, the covariance is too uncertain to tell outliers by it."""

LEAST_VARIANCE = 0.5
"""Lower bound on the variance of a test among relatives, relative to independent people."""


def rank_inverse_normal(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks as quantiles of the normal distribution, Φ⁻¹((r - 3/8) / (n + 1/4)); ties share a
    rank.

    Blom 1958, as in Beasley et al. 2009, Behav Genet 39:580.

    Args:
        values: NaN where missing; they stay NaN.

    Example:
        >>> rank_inverse_normal(np.array([3.0, np.nan, 1.0, 2.0])).round(3).tolist()
        [0.869, nan, -0.869, 0.0]
    """
    values = np.asarray(values, float)
    result = np.full(values.shape, np.nan)
    known = np.isfinite(values)
    n = int(known.sum())
    if n:
        result[known] = ndtri((pd.Series(values[known]).rank().to_numpy() - 0.375) / (n + 0.25))
    return result


def jointly_normal(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Normal scores of several phenotypes whose joint distances from the mean are also normal.

    One unusual heartbeat is an outlier in many latents at once. Ranks make each latent normal, but
    not the sum of squares over all, so a few such carriers would make the p-value of a joint test
    far too small. Here each person's Mahalanobis distance is moved to its quantile of the chi
    distribution with k degrees of freedom, and each phenotype to its normal scores, in
    alternation.

    Args:
        values: [n, k], without missing values.

    Returns:
        The scores [n, k]. If there are too few people to estimate the covariance, each phenotype
        is only rank-transformed.
    """
    n, k = values.shape
    scores = np.apply_along_axis(rank_inverse_normal, 0, values)
    for _ in range(JOINT_ROUNDS if n > FEWEST_JOINT * k else 0):
        centred = scores - scores.mean(axis=0)
        spread, directions = np.linalg.eigh(centred.T @ centred / n)
        held = spread > 1e-8 * spread.max()
        root = np.sqrt(spread[held])
        white = centred @ directions[:, held] / root
        distance = np.linalg.norm(white, axis=1)
        share = (pd.Series(distance).rank().to_numpy() - 0.5) / n
        wanted = np.sqrt(chdtri(held.sum(), 1 - share))
        white *= (wanted / np.maximum(distance, 1e-12))[:, None]
        scores = np.apply_along_axis(rank_inverse_normal, 0, white * root @ directions[:, held].T)
    return scores


def usable_covariates(covariates: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """The covariates that the regression can use, centred and scaled to variance 1.

    Samples that lack a covariate are left out. So is a covariate that is constant or follows from
    the intercept and the covariates before it. The notes report both. Scaling changes no test, but
    keeps the regression numerically well conditioned.

    Returns:
        The covariates without missing values, and the notes.

    Raises:
        DataError: if no sample has every covariate.
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
    """The phenotypes that can be tested, rank-inverse-normal transformed.

    Left out, with a note, is a phenotype that is constant, or that fewer samples have than the
    regression has terms (intercept, variant, covariates) plus one.

    Args:
        phenotypes: NaN where missing.
        n_covariates: how many covariates the regression has.
        untransformed: the phenotypes that stay in their units.

    Raises:
        DataError: if none is left.
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
    """How much relatives inflate the variance of the test of a variant without effect, [k].

    This is the variance over that among independent people: the diagonal of
    `covariance_by_relatives`. It is above 1 if the residuals of relatives are alike, and below 1
    if out-of-fold predictions have driven them apart, but never below `LEAST_VARIANCE`.

    Args:
        left: residual phenotypes [n, k].
        samples: their ids.
        relatives: pairs (s1, s2, kinship); None for all 1.
    """
    if relatives is None:
        return np.ones(left.shape[1])
    first, second, kinship = _pairs(left, samples, relatives)
    products = 2 * (kinship * first * second).sum(axis=0)
    return np.maximum(1 + products / (left**2).sum(axis=0), LEAST_VARIANCE)


def covariance_by_relatives(
    left: NDArray[np.float64], samples: pd.Index, relatives: pd.DataFrame | None
) -> NDArray[np.float64]:
    """The covariance [k, k] of the tests of k phenotypes at a variant without effect; each test
    has variance 1 among independent people.

    The genotypes of two people covary by twice their kinship φ times the variance of the genotype.
    The products of the genotype with residuals r and r' therefore have covariance Σ r r' + Σ 2φ
    (r₁r₂' + r₂r₁') in place of Σ r r', where the second sum is over related pairs.

    Args:
        left: residual phenotypes [n, k].
        samples: their ids.
        relatives: pairs (s1, s2, kinship), of which only those among the samples count; None for
            the plain correlation of the residuals.
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
    """For the related pairs among the samples: the residuals of the first and of the second
    [pairs, k], and twice their kinship [pairs, 1].
    """
    first, second = (samples.get_indexer(relatives[key]) for key in ("s1", "s2"))
    both = (first >= 0) & (second >= 0)
    kinship = 2 * relatives["kinship"].to_numpy(float)[both, None]
    return left[first[both]], left[second[both]], kinship


def correlation_of(phenotypes: pd.DataFrame, covariates: pd.DataFrame) -> NDArray[np.float64]:
    """The correlation [k, k] of the tests of phenotypes at a variant without effect.

    It is the correlation of their residuals. A missing residual counts as 0, since tests in
    different people are independent.
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
    """Group phenotypes that exactly the same samples have.

    Example:
        >>> table = pd.DataFrame({"a": [1, None], "b": [2, 3], "c": [4, None]})
        >>> by_missingness(table)
        [['a', 'c'], ['b']]
    """
    groups: dict[bytes, list[str]] = {}
    for name in phenotypes.columns:
        groups.setdefault(phenotypes[name].notna().to_numpy().tobytes(), []).append(name)
    return list(groups.values())
