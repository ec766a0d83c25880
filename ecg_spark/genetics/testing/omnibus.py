"""The omnibus test: whether a variant affects any phenotype of a group, in NumPy.

With r the partial correlations of x with the phenotypes and R their residual correlation,

    R² = r' R⁻¹ r,    F = (R² / k) / ((1 - R²) / (n - c - k)),    r = t / √(n - c - 1 + t²)

for n samples and c covariates including the intercept. (n - c) R² is the chi-squared statistic of
the decorrelated z-scores; F is also exact for few samples. Among relatives the tests have
covariance C instead of R, and r' C⁻¹ r replaces R² in the numerator of F: for a single phenotype
this is the square of its own test.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ecg_spark.genetics.testing.p_values import neg_log10_p_of_f

Reals = NDArray[np.float64]

_SINGULAR = 1e-8


@dataclass(frozen=True)
class Together:
    """How the tests of a group of phenotypes are combined.

    Attributes:
        own: W [rank, k] with W'W = R⁻¹ for the residual correlation R.
        related: V [rank, k] with V'V = C⁻¹ for the covariance C of the tests, which equals R if
            nobody is related.
    """

    own: Reals
    related: Reals


def decorrelation(correlation: Reals) -> Reals:
    """W [rank, k] with W'W = R⁻¹ for a correlation R [k, k].

    Directions without variance are left out, so the rank may be below k.

    Example:
        >>> decorrelation(np.eye(3)).shape, decorrelation(np.ones((3, 3))).shape
        ((3, 3), (1, 3))
    """
    values, vectors = np.linalg.eigh(np.atleast_2d(correlation))
    held = values > _SINGULAR * values.max()
    return np.asarray((vectors[:, held] / np.sqrt(values[held])).T)


def together(correlation: Reals, covariance: Reals, least: float) -> Together:
    """How to combine the tests of a group of phenotypes.

    Args:
        correlation: of the residual phenotypes, [k, k].
        covariance: of the tests at a variant without effect, [k, k] (see
            `phenotypes.covariance_by_relatives`).
        least: lower bound on the variance of any combination of the tests, relative to independent
            people.
    """
    own = decorrelation(correlation)
    values, vectors = np.linalg.eigh(own @ covariance @ own.T)
    return Together(own, (vectors / np.sqrt(np.maximum(values, least))).T @ own)


def omnibus(t: Reals, weights: Together, df: int) -> tuple[Reals, Reals]:
    """Test a group of phenotypes jointly.

    Args:
        t: the single tests [variants, k], as among independent people; NaN where a test has no
            result.
        weights: how the tests are combined.
        df: the residual degrees of freedom of each single test.

    Returns:
        Chi-squared and -log10 p, each [variants]; NaN where a single test has no result, or if
        there are too few people.
    """
    rank = len(weights.own)
    df2 = df + 1 - rank
    if df2 <= 0:
        return np.full(len(t), np.nan), np.full(len(t), np.nan)
    r = t / np.sqrt(df + t**2)
    r2, square = (((r @ one.T) ** 2).sum(axis=1) for one in (weights.own, weights.related))
    f = (square / rank) / ((1 - r2) / df2)
    return np.asarray((df + 1) * square), neg_log10_p_of_f(f, rank, df2)
