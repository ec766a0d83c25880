"""Population structure and relatives, from independent common variants.

Relatives are found with some thousand variants, whose calls fit in memory at one byte each (2 GB
for 500,000 people). Principal components use up to a hundred thousand, which are read in blocks.
Where ancestry is known, the people of each population have components of their own, too, for an
analysis of them alone: those of everybody separate populations, and show little of what is within
one.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pyspark.sql import SparkSession

from ecg_spark.errors import DataError
from ecg_spark.genetics.genotypes.contigs import AUTOSOMES
from ecg_spark.genetics.genotypes.long_range import outside_long_range
from ecg_spark.genetics.genotypes.packed import Packed
from ecg_spark.genetics.genotypes.quality import FEWEST_OF_ANCESTRY
from ecg_spark.genetics.genotypes.view import IS_SNP
from ecg_spark.genetics.people.components import (
    blocks_of,
    frequencies,
    principal_components,
    squared_loadings,
)
from ecg_spark.genetics.people.kinship import chance_relatives, related_pairs, unrelated_set
from ecg_spark.genetics.people.pruning import at_most, pruned

MAX_CANDIDATES = 200_000
MAX_VARIANTS = 100_000
KINSHIP_VARIANTS = 8_000
MAX_BYTES = 2**31
MIN_MAF = 0.05
PEOPLE_OF_COMPONENT = 4
"""Unrelated people of an ancestry for each component of their own."""
MAX_R2 = 0.2

WINDOW_BP = 5_000_000
LARGE_PART, LARGE_RATIO = 0.1, 10.0
"""A stretch of `WINDOW_BP` dominates a component if it has this share of the squared loadings, and
this many times its share of the variants."""


@dataclass(frozen=True)
class Structure:
    """The structure of a genotype set.

    Attributes:
        scores: principal components, [samples, k].
        of_ancestry: components among the people of the sample's population, [samples, k]; NaN where
            it has none, or too few people.
        unrelated: who is in the unrelated set, [samples].
        n_variants: how many variants the components were computed from.
        related: related pairs, as numbers of samples, [pairs, 2].
        kinship: the kinship of each pair, [pairs].
        notes: what a reader should know about these.
    """

    scores: NDArray[np.float64]
    of_ancestry: NDArray[np.float64]
    unrelated: NDArray[np.bool_]
    n_variants: int
    related: NDArray[np.int64]
    kinship: NDArray[np.float64]
    notes: tuple[str, ...]


def structure(
    spark: SparkSession,
    packed: Packed,
    allele_frequency: NDArray[np.float64],
    reference_genome: str,
    components: int,
    max_kinship: float,
    ancestry: NDArray[np.object_],
    seed: int,
) -> Structure:
    """Find the principal components, the related pairs and an unrelated set of a packed set.

    Variants are common (MAF ≥ 0.05) autosomal SNPs outside regions of long-range LD: of a random
    choice of `MAX_CANDIDATES`, those that remain after pruning to r² ≤ 0.2 within 1 Mb, at most
    `MAX_VARIANTS`; of these, at most `KINSHIP_VARIANTS` are used to find relatives. One sample of
    each pair with a kinship over `max_kinship` is left out of the unrelated set. Components are
    computed from the unrelated people, and everybody is projected onto them;
    likewise among the people of each population, where they are enough.

    Args:
        packed: the set, with `IS_SNP` among its sites.
        allele_frequency: of the alternate allele of each variant; 0 leaves a variant out.
        components: how many components to compute.
        ancestry: the population of each sample, [samples]; None where it is of none.
        seed: for the random choices.

    Raises:
        DataError: if too few independent variants remain for that many components.
    """
    n_samples = len(packed.samples)
    everybody = np.arange(n_samples)
    common = _candidates(packed, allele_frequency, reference_genome)
    common = at_most(common, MAX_CANDIDATES, seed)
    chosen = at_most(pruned(spark, packed, common, everybody, MAX_R2, seed), MAX_VARIANTS, seed)
    most = min(KINSHIP_VARIANTS, MAX_BYTES // max(n_samples, 1))
    calls = packed.calls.read(at_most(chosen, most, seed))
    notes = []
    expected = chance_relatives(calls, max_kinship)
    if expected > 0.01 * n_samples:
        pairs, kinship = np.empty((0, 2), np.int64), np.empty(0)
        notes.append(
            f"{len(calls)} independent variants are too few to tell a kinship of {max_kinship:g} "
            f"from chance: relatives were not looked for"
        )
    else:
        pairs, kinship = related_pairs(spark, calls, max_kinship)
    unrelated = unrelated_set(n_samples, pairs)
    if components and len(chosen) <= 2 * components:
        raise DataError(
            f"Only {len(chosen)} independent common variants are left, too few for {components} "
            f"principal components: lower genotypes.components."
        )

    def scored(
        variants: NDArray[np.int64], samples: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], list[str]]:
        """Scores [samples, k] of some people on components of their own, and notes."""
        alone = unrelated & np.isin(everybody, samples)
        shared = _shared(pairs, kinship, alone)[samples]
        own = alone[samples]
        over_blocks = blocks_of(spark, packed, variants, samples, own)
        scores = principal_components(over_blocks, own, components, len(variants), shared, seed)
        if not components:
            return scores, []
        loadings = squared_loadings(spark, packed, variants, samples, own, scores)
        return scores, regional(packed.sites.iloc[variants], loadings)

    scores, found = scored(chosen, everybody)
    notes += found
    of_ancestry = np.full((n_samples, components), np.nan)
    populations = sorted(pd.Series(ancestry).dropna().unique()) if components else []
    for name in populations:
        samples = np.flatnonzero(ancestry == name)
        if unrelated[samples].sum() < max(FEWEST_OF_ANCESTRY, PEOPLE_OF_COMPONENT * components):
            continue
        af = frequencies(spark, packed, common, samples)
        own = common[np.minimum(af, 1 - af) >= MIN_MAF]
        own = at_most(pruned(spark, packed, own, samples, MAX_R2, seed), MAX_VARIANTS, seed)
        if len(own) > 2 * components:
            of_ancestry[samples], found = scored(own, samples)
            notes += [f"among people of {name}, {note}" for note in found]
    return Structure(scores, of_ancestry, unrelated, len(chosen), pairs, kinship, tuple(notes))


def regional(sites: pd.DataFrame, loadings: NDArray[np.float64]) -> list[str]:
    """Notes on components that a single stretch of the genome dominates.

    Ancestry is reflected everywhere in the genome; such a component rather reflects LD.

    Args:
        sites: contig and position of the variants.
        loadings: squared loadings, [variants, k].
    """
    window = sites["position"].to_numpy() // WINDOW_BP
    _, first, place = np.unique(
        [sites["contig"].cat.codes.to_numpy(), window], axis=1, return_index=True,
        return_inverse=True,
    )  # fmt: skip
    place = place.ravel()
    share_of_variants = np.bincount(place) / len(sites)
    notes = []
    for k, column in enumerate(loadings.T, 1):
        share = np.bincount(place, column) / column.sum()
        most = int(share.argmax())
        if share[most] >= LARGE_PART and share[most] >= LARGE_RATIO * share_of_variants[most]:
            contig, start = sites["contig"].iloc[first[most]], window[first[most]] * WINDOW_BP / 1e6
            notes.append(
                f"principal component {k} may reflect linkage rather than ancestry: "
                f"{share[most]:.0%} of its squared loadings are those of {contig}:{start:.0f} to "
                f"{start + WINDOW_BP / 1e6:.0f} Mb, where {share_of_variants[most]:.1%} of the "
                f"variants are"
            )
    return notes


def _shared(
    pairs: NDArray[np.int64], kinship: NDArray[np.float64], unrelated: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """The share of each sample's genome that unrelated people also have: twice the kinship."""
    shared = np.zeros(len(unrelated))
    for one, other in (pairs.T, pairs.T[::-1]):
        np.add.at(shared, one, 2 * kinship * unrelated[other])
    return shared


def _candidates(
    packed: Packed, allele_frequency: NDArray[np.float64], reference_genome: str
) -> NDArray[np.int64]:
    """The places of common autosomal SNPs outside long-range LD."""
    sites = packed.sites
    maf = np.minimum(allele_frequency, 1 - allele_frequency)
    suitable = packed.on(AUTOSOMES) & (maf >= MIN_MAF) & sites[IS_SNP].to_numpy()
    return np.flatnonzero(suitable & outside_long_range(packed, reference_genome))
