"""Phenotypes and covariates as the regression takes them: matched, checked, on one scale.

Covariates stay in the regression; phenotypes are not residualised beforehand.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import norm, rankdata

from ecg_spark.errors import DataError

COLLINEAR = 1e-6
"""A covariate is redundant if less than this share of its length is new (within rounding)."""

LEAST_VARIANCE = 0.5
"""No relatives make a test more certain than this times what independent people make it."""


@dataclass(frozen=True)
class Matching:
    """Which sample is which participant: aligned arrays of ids, and the counts that are told."""

    samples: NDArray[np.object_]
    participants: NDArray[np.object_]
    n_samples: int
    n_participants: int


def match(
    samples: Sequence[str],
    participants: Sequence[str],
    pairing: str = "id",
    seed: int = 1,
) -> Matching:
    """Pair genotyped samples with participants, in the order of the samples.

    `pairing` id: where the ids are equal. random: by chance, as many as there are of the fewer; the
    same pairs for the same seed, in whatever order the participants come.

    Raises `DataError` where an id occurs twice or no id matches.
    """
    for ids, what in ((samples, "genotype sample"), (participants, "participant")):
        repeated = len(ids) - len(set(ids))
        if repeated:
            raise DataError(f"{repeated} {what} ids occur more than once: keep one row of each.")
    if pairing == "random":
        rng = np.random.default_rng(seed)
        size = min(len(samples), len(participants))
        places = np.sort(rng.choice(len(samples), size, replace=False))
        left = np.array(samples, object)[places]
        right = np.array(sorted(participants), object)[rng.permutation(len(participants))[:size]]
    else:
        known = set(participants)
        left = right = np.array([sample for sample in samples if sample in known], object)
    if not len(left):
        raise DataError(
            f"None of the {len(participants)} participants is among the {len(samples)} genotyped "
            f"samples: the ids differ; make them equal, or set genotypes.pairing."
        )
    return Matching(left, right, len(samples), len(participants))


MALE_F, FEMALE_F = 0.8, 0.2
"""Inbreeding on X above which a sample is a man's, below which a woman's (plink's limits)."""


def contradicts(x_f: pd.Series, is_male: pd.Series) -> pd.Series:
    """Whether the X chromosome contradicts the sex, by its inbreeding F; never where one lacks."""
    as_man = (is_male == 1) & (x_f < FEMALE_F)
    return as_man | ((is_male == 0) & (x_f > MALE_F))


FEWEST_JUDGED = 10
"""People of a sex, by the X chromosome, of whom fewer say nothing about how it is coded."""


def check_sex_coding(x_f: pd.Series, is_male: pd.Series) -> None:
    """Raise `DataError` where the X chromosome contradicts the sex of most people."""
    as_known = is_male.notna() & ((x_f < FEMALE_F) | (x_f > MALE_F))
    wrong = contradicts(x_f, is_male)[as_known]
    if as_known.sum() < FEWEST_JUDGED or 2 * wrong.sum() <= as_known.sum():
        return
    found = f"The X chromosome contradicts the sex of {wrong.sum()} of {as_known.sum()} people"
    by_sex = wrong.groupby(is_male[as_known]).mean()
    if (by_sex > 0.5).all():
        raise DataError(
            f"{found}: it is coded the other way round in the participant table, where 1, M and "
            f"male must be men and 0, 2, F and female women; correct the column that "
            f"participants.sex names, or name another."
        )
    raise DataError(
        f"{found}, of one sex alone: correct the column that participants.sex names, or look "
        f"whether the genotypes of X are those of these people."
    )


def rank_inverse_normal(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks as normal quantiles, Φ⁻¹((r - 3/8) / (n + 1/4)); ties share a rank, NaN stays.

    Blom (1958), as in Beasley et al. (2009, Behav Genet 39:580).
    """
    values = np.asarray(values, float)
    result = np.full(values.shape, np.nan)
    known = np.isfinite(values)
    n = int(known.sum())
    if n:
        result[known] = norm.ppf((rankdata(values[known]) - 0.375) / (n + 0.25))
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


def residuals(
    phenotypes: NDArray[np.float64], covariates: NDArray[np.float64]
) -> NDArray[np.float64]:
    """What an intercept and the covariates [n, c] leave of complete phenotypes [n, k]."""
    design = np.column_stack([np.ones(len(phenotypes)), covariates])
    basis, _ = np.linalg.qr(design)
    return np.asarray(phenotypes - basis @ (basis.T @ phenotypes))


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


def groups_of(phenotypes: Sequence[str], groups: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """The group of each phenotype."""
    group = {name: key for key, names in groups.items() for name in names}
    return {name: group[name] for name in phenotypes}
