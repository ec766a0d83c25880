"""Whether cohorts can be combined: the same build and model, frequencies alike, different people.

Who is in two cohorts is in none of their summary statistics, but their chance is the same: where
n_s people are in both of cohorts i and j, z-scores of a phenotype at variants that do nothing
correlate by n_s / √(n_i n_j) (Lin and Sullivan, Am J Hum Genet 2009; 85:862). What many small
effects add, which are the same in cohorts without a person in common, is at most
√((χ̄²_i - 1) (χ̄²_j - 1)) by Cauchy and Schwarz, and is taken off:

    ρ = mean(z_i z_j) - √(max(0, mean(z_i²) - 1) max(0, mean(z_j²) - 1))

over results within `joint.NULL_Z` in both, of all phenotypes. Its standard error is by the
jackknife over stretches of the genome, which linkage hardly crosses, and not below that of as many
independent results as there are variants.
"""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from ecg_spark.errors import DataError
from ecg_spark.genetics.cohorts.joint import FAR_APART, Gathered
from ecg_spark.genetics.cohorts.reading import Cohort
from ecg_spark.tables import is_latent

Reals = NDArray[np.float64]

MOST_SHARED = 0.02
"""Of n_s / √(n_i n_j): with less, a test is hardly larger than it should be."""

CERTAIN = 5.0
"""Standard errors of ρ, above which it is no chance."""

MOST_APART = 0.25
"""The share of variants whose frequencies may be `FAR_APART`: populations of different continents
stay below it, other alleles or another build do not."""

FEWEST_ALIKE = 0.05
"""The share of the smaller cohort's variants that another cohort has, too."""

ENOUGH = 200
"""Variants, of which such shares are reckoned."""


def refuse_different(cohorts: Sequence[Cohort]) -> None:
    """Raise `DataError` where cohorts lie on two builds or have latents of two models."""
    first = cohorts[0]
    for other in cohorts[1:]:
        if other.build != first.build:
            raise DataError(
                f"{first.name} lies on {first.build} and {other.name} on {other.build}: lift one "
                f"of them over to the other's build."
            )
    known: dict[str, tuple[str, str]] = {}
    shared = [name for one in cohorts for name in one.models if is_latent(name)]
    for name in sorted({one for one in shared if shared.count(one) > 1}):
        for cohort in (one for one in cohorts if name in one.models):
            model = cohort.models[name]
            if model is None:
                raise DataError(
                    f"{cohort.name} does not say of which model its latents are: run "
                    f"'ecg-spark run' on that study again, or give its traits alone, a folder of "
                    f"GWAS-SSF files."
                )
            whose, digest = known.setdefault(name[:3], (cohort.name, model))
            if digest != model:
                raise DataError(
                    f"The latents of {whose} and of {cohort.name} are of two models and have only "
                    f"their names in common: encode both by one model, or give the traits alone, "
                    f"folders of GWAS-SSF files."
                )


def refuse_unlike(cohorts: Sequence[Cohort], gathered: Gathered) -> None:
    """Raise `DataError` where cohorts share hardly a variant, or have other frequencies."""
    names = [one.name for one in cohorts]
    own, both = gathered.counts["variants"], gathered.compared
    i, j = np.triu_indices(len(cohorts), 1)
    smaller = np.minimum(own[i], own[j])
    apart = (smaller >= ENOUGH) & (gathered.variants[i, j] < FEWEST_ALIKE * smaller)
    if apart.any():
        worst = _most_often(names, i[apart], j[apart])
        raise DataError(
            f"Hardly a variant of {worst} has the place and the alleles that it has elsewhere: "
            f"they lie on another build than its sidecars say, or its alleles have other names; "
            f"correct them."
        )
    share = gathered.apart[i, j] / np.maximum(both[i, j], 1)
    unlike = (both[i, j] >= ENOUGH) & (share > MOST_APART)
    if unlike.any():
        worst = _most_often(names, i[unlike], j[unlike])
        raise DataError(
            f"At {share[unlike].max():.0%} of the variants the frequency in {worst} is not that "
            f"elsewhere (by more than {FAR_APART}): its effect allele and its frequency are of two "
            f"alleles; correct its columns."
        )


def shared_people(gathered: Gathered) -> tuple[Reals, Reals]:
    """ρ of every pair of cohorts, and its standard error [cohorts, cohorts]; NaN without a result
    in common."""
    total = gathered.blocks.sum(axis=0)
    rho = _rho(total)
    floor = 1 / np.sqrt(np.maximum(gathered.variants, 1))
    blocks = len(gathered.blocks)
    if blocks < 2:
        return rho, floor
    without = np.nan_to_num([_rho(total - one) for one in gathered.blocks])
    spread = np.square(without - without.mean(axis=0)).sum(axis=0)
    return rho, np.maximum(floor, np.sqrt(spread * (blocks - 1) / blocks))


def refuse_shared(cohorts: Sequence[Cohort], gathered: Gathered) -> None:
    """Raise `DataError` where two cohorts clearly have people in common."""
    rho, error = shared_people(gathered)
    for i, j in combinations(range(len(cohorts)), 2):
        if rho[i, j] > max(MOST_SHARED, CERTAIN * error[i, j]):
            people = rho[i, j] * np.sqrt(gathered.n[i] * gathered.n[j])
            raise DataError(
                f"{cohorts[i].name} and {cohorts[j].name} seem to have about {_rounded(people)} "
                f"people in common (z-scores of null variants correlate by {rho[i, j]:.2f}): leave "
                f"those out of one of them and test it again."
            )


def _rho(sums: Reals) -> Reals:
    number, products, squares = sums
    with np.errstate(divide="ignore", invalid="ignore"):
        excess = np.maximum(squares / number - 1, 0.0)
        return np.asarray(products / number - np.sqrt(excess * excess.T))


def _rounded(people: float) -> str:
    """A number of people to two digits: it is an estimate."""
    digits = max(0, int(np.log10(max(people, 1))) - 1)
    return f"{int(round(people, -digits)):,}"


def _most_often(names: Sequence[str], i: NDArray[np.int64], j: NDArray[np.int64]) -> str:
    """The cohort that is in most of some pairs; both where no one is in more."""
    counts = np.bincount(np.concatenate([i, j]), minlength=len(names))
    worst = [name for name, count in zip(names, counts, strict=True) if count == counts.max()]
    return " or ".join(worst)
