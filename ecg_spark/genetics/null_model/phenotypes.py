"""Phenotypes and covariates as the regression takes them: checked, on one scale.

Covariates stay in the regression; phenotypes are not residualised beforehand.
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtri  # scipy.stats takes a second, which tasks would pay

from ecg_spark.errors import DataError
from ecg_spark.genetics.null_model.projection import residuals

COLLINEAR = 1e-6
"""A covariate is redundant if less than this share of its length is new (within rounding)."""

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
    phenotypes: pd.DataFrame, n_covariates: int
) -> tuple[pd.DataFrame, list[str]]:
    """Phenotypes after the rank-inverse-normal transform, without those that cannot be tested.

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
            columns[name] = rank_inverse_normal(values)
    if not columns:
        raise DataError(f"No phenotype can be tested: {'; '.join(notes) or 'there is none'}.")
    return pd.DataFrame(columns, index=phenotypes.index), notes


def variance_by_relatives(
    left: NDArray[np.float64], samples: pd.Index, relatives: pd.DataFrame | None
) -> NDArray[np.float64]:
    """The variance of a test of a variant with no effect, over that among independent people [k].

    `left` [n, k]: residual phenotypes of the samples; `relatives`: pairs (s1, s2, kinship), of
    which those among the samples count; without any, 1. A variant's covariance among two people is
    twice their kinship times its variance, so that the variance of its product with the residuals r
    is Σ r² + 2 Σ 2φ r₁r₂ in place of Σ r². Siblings whose residuals are alike make it larger than
    1, and those whose residuals out-of-fold predictions have driven apart smaller, but never
    smaller than `LEAST_VARIANCE`.
    """
    if relatives is None:
        return np.ones(left.shape[1])
    first, second = (samples.get_indexer(relatives[key]) for key in ("s1", "s2"))
    both = (first >= 0) & (second >= 0)
    kinship = relatives["kinship"].to_numpy(float)[both, None]
    products = (4 * kinship * left[first[both]] * left[second[both]]).sum(axis=0)
    return np.maximum(1 + products / (left**2).sum(axis=0), LEAST_VARIANCE)


def effective_number(correlation: NDArray[np.float64]) -> float:
    """The effective number of independent tests from a correlation matrix (Li & Ji 2005).

    Heredity 95:221, eq. 5: Σ I(λ ≥ 1) + (λ - ⌊λ⌋) over the eigenvalues.
    """
    # Eigenvalues of uncorrelated phenotypes are 1 only within rounding.
    eigenvalues = np.round(np.abs(np.linalg.eigvalsh(correlation)), 9)
    return float(np.sum((eigenvalues >= 1) + (eigenvalues - np.floor(eigenvalues))))


def correlation_of(phenotypes: pd.DataFrame, covariates: pd.DataFrame) -> NDArray[np.float64]:
    """Correlation of the residual phenotypes, of each pair over the samples that have both."""
    left = {}
    for name in phenotypes.columns:
        known = phenotypes[name].notna().to_numpy()
        values = np.full(len(phenotypes), np.nan)
        values[known] = residuals(
            phenotypes[name].to_numpy(float)[known, None], covariates.to_numpy(float)[known]
        )[:, 0]
        left[name] = values
    matrix = pd.DataFrame(left).corr().fillna(0).to_numpy(copy=True)
    np.fill_diagonal(matrix, 1)
    return np.asarray(matrix)


def by_missingness(phenotypes: pd.DataFrame) -> list[list[str]]:
    """Names of phenotypes in groups that are known for exactly the same samples."""
    groups: dict[bytes, list[str]] = {}
    for name in phenotypes.columns:
        groups.setdefault(phenotypes[name].notna().to_numpy().tobytes(), []).append(name)
    return list(groups.values())
