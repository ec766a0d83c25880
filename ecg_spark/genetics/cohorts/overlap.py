"""Whether cohorts can be combined: same build and model, similar frequencies, different people.

Summary statistics do not show who is in two cohorts, but people in common correlate their noise.
If n_s people are in both of cohorts i and j, the z-scores of a phenotype at variants without
effect correlate by n_s / √(n_i n_j) (Lin & Sullivan 2009, Am J Hum Genet 85:862). Many small
effects, which are the same in cohorts without common people, contribute at most √((χ̄²_i - 1)
(χ̄²_j - 1)) by the Cauchy-Schwarz inequality, which is subtracted:

    ρ = mean(z_i z_j) - √(max(0, mean(z_i²) - 1) max(0, mean(z_j²) - 1))

over the results of all phenotypes within `joint.NULL_Z` in both. Its standard error is by a
jackknife over stretches of the genome, between which there is hardly any LD, but at least that of
as many independent results as there are variants.
"""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from ecg_spark.errors import DataError
from ecg_spark.genetics.cohorts.joint import FAR_APART, Gathered
from ecg_spark.genetics.outputs.reading import Cohort, genotype_sets
from ecg_spark.tables import is_latent

Reals = NDArray[np.float64]

MOST_SHARED = 0.02
"""The largest n_s / √(n_i n_j) that is accepted: below, tests are hardly inflated."""

CERTAIN = 5.0
"""ρ must exceed this many of its standard errors before a pair is refused."""

MOST_APART = 0.25
"""The largest share of variants with frequencies `FAR_APART` that is accepted. Populations of
different continents stay below it; swapped alleles or another build do not."""

FEWEST_ALIKE = 0.05
"""The least share of the smaller cohort's variants that another cohort must also have."""

ENOUGH = 200
"""The least number of variants with which these shares are judged."""


def refuse_different(cohorts: Sequence[Cohort]) -> None:
    """Refuse cohorts that lie on different builds or have latents of different models.

    Raises:
        DataError: for the first two cohorts that differ.
    """
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
                    f"{cohort.name} does not say which model its latents come from: run "
                    f"'ecg-spark run' on that study again, or give its traits alone, a folder of "
                    f"GWAS-SSF files."
                )
            whose, digest = known.setdefault(name[:3], (cohort.name, model))
            if digest != model:
                raise DataError(
                    f"The latents of {whose} and of {cohort.name} come from two models and share "
                    f"only their names: encode both by one model, or give the traits alone, "
                    f"folders of GWAS-SSF files."
                )


def refuse_unlike(cohorts: Sequence[Cohort], gathered: Gathered) -> None:
    """Refuse cohorts that share hardly any variant, or whose frequencies contradict each other.

    Cohorts of one genotype set may differ in frequency as they like: they name the same alleles.

    Raises:
        DataError: with the cohort that differs from most others.
    """
    names, sets = [one.name for one in cohorts], genotype_sets(cohorts)
    own, both = gathered.counts["variants"], gathered.compared
    i, j = np.triu_indices(len(cohorts), 1)
    smaller = np.minimum(own[i], own[j])
    apart = (smaller >= ENOUGH) & (gathered.variants[i, j] < FEWEST_ALIKE * smaller)
    if apart.any():
        worst = _most_often(names, i[apart], j[apart])
        raise DataError(
            f"Hardly any variant of {worst} has the same position and alleles as elsewhere: its "
            f"files lie on another build than its sidecars say, or name alleles differently; "
            f"correct them."
        )
    share = gathered.apart[i, j] / np.maximum(both[i, j], 1)
    unlike = (both[i, j] >= ENOUGH) & (share > MOST_APART) & (sets[i] != sets[j])
    if unlike.any():
        worst = _most_often(names, i[unlike], j[unlike])
        raise DataError(
            f"At {share[unlike].max():.0%} of the variants the frequency in {worst} differs by "
            f"more than {FAR_APART} from that elsewhere: its effect allele and its frequency "
            f"refer to different alleles; correct its columns."
        )


def shared_people(gathered: Gathered) -> tuple[Reals, Reals]:
    """ρ of every pair of cohorts and its standard error, each [cohorts, cohorts]; NaN without
    common results.
    """
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
    """Refuse cohorts that clearly have people in common.

    Raises:
        DataError: for the first such pair, with an estimate of how many people they share.
    """
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
    """A number of people rounded to two digits, since it is an estimate."""
    digits = max(0, int(np.log10(max(people, 1))) - 1)
    return f"{int(round(people, -digits)):,}"


def _most_often(names: Sequence[str], i: NDArray[np.int64], j: NDArray[np.int64]) -> str:
    """The cohort that is in most of the given pairs; several if they are in equally many."""
    counts = np.bincount(np.concatenate([i, j]), minlength=len(names))
    worst = [name for name, count in zip(names, counts, strict=True) if count == counts.max()]
    return " or ".join(worst)
