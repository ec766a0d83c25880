"""Whether a variant moves any of a group of phenotypes, in NumPy.

With r the partial correlations of x with them and R their residual correlation,

    R² = r' R⁻¹ r,    F = (R² / k) / ((1 - R²) / (n - c - k)),    r = t / √(n - c - 1 + t²)

for n samples and c covariates with the intercept. (n - c) R² is the chi-squared statistic of the
decorrelated z-scores; F is exact also where samples are few.
"""

import numpy as np
from numpy.typing import NDArray

from ecg_spark.genetics.testing.p_values import neg_log10_p_of_f

Reals = NDArray[np.float64]

_SINGULAR = 1e-8


def whitening(phenotypes: Reals) -> Reals:
    """W [rank, k] with W'W = R⁻¹ for the correlation R of residual phenotypes [n, k].

    Directions in which the phenotypes do not vary are left out, so rank may be below k.
    """
    correlation = np.atleast_2d(np.corrcoef(phenotypes, rowvar=False))
    values, vectors = np.linalg.eigh(correlation)
    held = values > _SINGULAR * values.max()
    return np.asarray((vectors[:, held] / np.sqrt(values[held])).T)


def omnibus(t: Reals, weights: Reals, df: int) -> tuple[Reals, Reals]:
    """chi-squared and -log10 p [variants] of the tests t [variants, k] together.

    `weights`: of `whitening`; `df`: of each single test. NaN where one of the tests has no result,
    or the people are too few.
    """
    rank = len(weights)
    df2 = df + 1 - rank
    if df2 <= 0:
        return np.full(len(t), np.nan), np.full(len(t), np.nan)
    r2 = ((t / np.sqrt(df + t**2) @ weights.T) ** 2).sum(axis=1)
    f = (r2 / rank) / ((1 - r2) / df2)
    return np.asarray((df + 1) * r2), neg_log10_p_of_f(f, rank, df2)
