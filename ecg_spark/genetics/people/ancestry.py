"""The ancestry of each sample, inferred from a reference of people whose populations are known.

The principal components are those of the reference (such as the 1000 Genomes Project), and the
samples are projected onto them. Each population is modelled as a normal distribution on the
components. A sample is assigned to the population with the highest likelihood, unless another
comes close or the sample lies far from all of them.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pyspark.sql import SparkSession
from scipy.special import softmax
from scipy.stats import chi2

from ecg_spark.errors import DataError
from ecg_spark.genetics.genotypes.contigs import AUTOSOMES
from ecg_spark.genetics.genotypes.long_range import outside_long_range
from ecg_spark.genetics.genotypes.packed import MISSING, Packed, centred
from ecg_spark.genetics.genotypes.quality import FEWEST_OF_ANCESTRY
from ecg_spark.genetics.genotypes.view import IS_SNP
from ecg_spark.genetics.people.pruning import at_most, pruned
from ecg_spark.ids import id_column
from ecg_spark.session import broadcast
from ecg_spark.tables import VARIANT
from ecg_spark.text_tables import read_text_table

Reals = NDArray[np.float64]

MAX_SHARED, MAX_VARIANTS, FEWEST_VARIANTS = 100_000, 20_000, 500
MIN_MAF, MAX_R2 = 0.05, 0.2
COMPONENTS = 8
LEAST_PROBABILITY = 0.9
FARTHEST = 2 * float(chi2.isf(1e-4, COMPONENTS))
"""The squared Mahalanobis distance beyond which nobody is assigned to a population. Twice a strict
quantile, since the reference holds only some of the peoples of a continent."""

FEWEST_PEOPLE = 20
"""The least size of a population of the reference: its covariance must be estimated."""

_SAMPLES_AT_A_TIME = 500
_COMPLEMENT = str.maketrans("ACGT", "TGCA")


@dataclass(frozen=True)
class Inferred:
    """The inferred ancestry.

    Attributes:
        populations: the population of each sample [n]; None where it is uncertain.
        variants: how many variants it was inferred from.
    """

    populations: NDArray[np.object_]
    variants: int


def read_populations(path: str) -> pd.Series:
    """The population of each person of the reference, from a table with columns sample_id and
    population.

    Raises:
        DataError: if the table cannot be read, lacks a column or names somebody twice.
    """
    what = "table of the reference (genotypes.ancestry.populations)"
    table = read_text_table(path, what)
    if missing := [name for name in ("sample_id", "population") if name not in table.columns]:
        raise DataError(f"The {what} has no column {', '.join(missing)}: add it.")
    table = table[["sample_id", "population"]].assign(sample_id=id_column(table["sample_id"], what))
    table = table.dropna()
    if repeated := int(table["sample_id"].duplicated().sum()):
        raise DataError(f"The {what} names {repeated} samples more than once: keep one row.")
    return pd.Series(table.set_index("sample_id")["population"])


def people_of(ancestry: pd.Series) -> dict[str, int | None]:
    """How many are of each population, by name; None for fewer than `FEWEST_OF_ANCESTRY`, whose
    number is not told."""
    counts = ancestry.value_counts().sort_index()
    return {str(name): int(n) if n >= FEWEST_OF_ANCESTRY else None for name, n in counts.items()}


def of_population(scores: pd.DataFrame, population: str | None) -> pd.DataFrame:
    """The samples of the table `scores` (indexed by `s`) that are of a population, with `pc` among
    its own people; all as they are where it is None.

    Raises `DataError` where nobody is of it, or its people are too few for components.
    """
    if population is None:
        return scores
    own = scores[scores["ancestry"] == population]
    if own.empty:
        raise DataError(
            f"No sample is of the population {population} (genotypes.ancestry.analyse): the "
            f"samples are of {', '.join(sorted(scores['ancestry'].dropna().unique())) or 'none'}."
        )
    if own["pc_of_ancestry"].isna().any():
        raise DataError(
            f"Too few people are of the population {population} (genotypes.ancestry.analyse) "
            f"for principal components of their own: lower genotypes.components."
        )
    return own.assign(pc=own["pc_of_ancestry"])


def infer_ancestry(
    spark: SparkSession,
    packed: Packed,
    reference: Packed,
    populations: pd.Series,
    reference_genome: str,
    seed: int,
) -> Inferred:
    """Infer the population of each sample of a packed set.

    Used are autosomal SNPs that both sets have, outside long-range LD, common and independent in
    the reference, and with alleles that reveal the strand (not A/T or C/G).

    Args:
        packed: the set, with `IS_SNP` among its sites.
        reference: the reference, with `IS_SNP` among its sites.
        populations: the population of the people of the reference, by sample id.
        seed: for the random choice among the variants.

    Raises:
        DataError: if the sets share too few variants, or fewer than two populations have enough
            people.
    """
    known = populations.reindex(reference.samples)
    counts = known.value_counts()
    names = sorted(counts.index[counts >= FEWEST_PEOPLE])
    if len(names) < 2:
        raise DataError(
            f"Fewer than two populations of genotypes.ancestry.populations have {FEWEST_PEOPLE} "
            f"people in genotypes.ancestry.reference: name the populations of its samples."
        )
    theirs, ours, turned = _shared(packed, reference, reference_genome, seed)
    independent = pruned(spark, reference, theirs, np.arange(len(reference.samples)), MAX_R2, seed)
    place = at_most(np.flatnonzero(np.isin(theirs, independent)), MAX_VARIANTS, seed)
    calls = reference.calls.read(theirs[place])
    frequency = _frequency(calls)
    common = np.minimum(frequency, 1 - frequency) >= MIN_MAF
    place, calls, frequency = place[common], calls[common], frequency[common]
    if len(place) < FEWEST_VARIANTS:
        raise DataError(
            f"The genotype set shares {len(place)} independent common variants with "
            f"genotypes.ancestry.reference, too few to tell anybody's ancestry: both must lie on "
            f"{reference_genome}, with alleles on the same strand."
        )
    values = _scaled(calls, frequency)
    k = min(COMPONENTS, len(reference.samples) - 1)
    spread, vectors = np.linalg.eigh(values.T @ values)
    vectors = vectors[:, ::-1][:, :k]
    loadings = values @ (vectors / np.sqrt(np.maximum(spread[::-1][:k], 1e-9)))
    scores = values.T @ loadings
    centre = turned[place]
    projected = _projected(
        spark, packed, ours[place], np.where(centre, 1 - frequency, frequency),
        np.where(centre, -1, 1)[:, None] * loadings,
    )  # fmt: skip
    return Inferred(_nearest(projected, scores, known.to_numpy(object), names), len(place))


def _shared(
    packed: Packed, reference: Packed, reference_genome: str, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """The places of shared variants in the reference and in the set, and whether the set has
    ref and alt swapped.
    """
    tables = []
    for one in (reference, packed):
        suitable = one.on(AUTOSOMES) & one.sites[IS_SNP].to_numpy()
        places = np.flatnonzero(suitable & outside_long_range(one, reference_genome))
        sites = pd.DataFrame(
            {
                "contig": one.sites["contig"].cat.codes.to_numpy()[places],  # among all contigs
                "position": one.sites["position"].to_numpy()[places],
                "place": places,
            }
        )
        tables.append(sites.drop_duplicates(["contig", "position"], keep=False))
    both = tables[0].merge(tables[1], on=["contig", "position"], suffixes=("", "_here"))
    both = both.sort_values("place", ignore_index=True)
    both = both.iloc[at_most(np.arange(len(both)), MAX_SHARED, seed)]
    theirs, ours = (both[name].to_numpy(np.int64) for name in ("place", "place_here"))
    there, here = (
        one.named(places)[VARIANT].astype(str)
        for one, places in ((reference, theirs), (packed, ours))
    )
    told = there["ref"].str.translate(_COMPLEMENT) != there["alt"]
    same = (there["ref"] == here["ref"]) & (there["alt"] == here["alt"])
    turned = (there["ref"] == here["alt"]) & (there["alt"] == here["ref"])
    chosen = (told & (same | turned)).to_numpy()
    return theirs[chosen], ours[chosen], turned.to_numpy()[chosen]


def _frequency(calls: NDArray[np.int8]) -> Reals:
    known = calls != MISSING
    total = np.where(known, calls, 0).sum(axis=1, dtype=np.int64)
    return np.asarray(total / np.maximum(2 * known.sum(axis=1), 1))


def _scaled(calls: NDArray[np.int8], frequency: Reals) -> NDArray[np.float32]:
    """Calls centred at twice the allele frequency and divided by their expected spread; 0
    where missing.
    """
    spread = np.sqrt(2 * frequency * (1 - frequency)).astype(np.float32)[:, None]
    return np.asarray(centred(calls, 2 * frequency) / spread)


def _projected(
    spark: SparkSession,
    packed: Packed,
    variants: NDArray[np.int64],
    frequency: Reals,
    loadings: Reals,
) -> Reals:
    """The position [n, k] of every sample on the components, corrected for missing calls.

    A missing call counts as the mean of the reference, which pulls a sample towards the centre.
    The position is therefore divided by the share of the loadings' sum of squares that is known.
    """
    n, size = len(packed.samples), _SAMPLES_AT_A_TIME
    shared = broadcast(spark, (packed.calls, variants, frequency, loadings))

    def projected(starts: Iterable[int]) -> Iterator[Reals]:
        calls, variants, frequency, loadings = shared.value
        total: Any = 0.0
        for start in starts:
            own = slice(start, start + size)
            rows = calls.read(variants[own])
            values = _scaled(rows, frequency[own])
            known = (rows != MISSING).astype(np.float32)
            total = total + np.stack(
                [values.T @ loadings[own].astype(np.float32),
                 known.T @ (loadings[own] ** 2).astype(np.float32)]
            )  # fmt: skip
        yield np.asarray(total)

    starts = range(0, len(variants), size)
    tasks = max(1, min(len(starts), spark.sparkContext.defaultParallelism))
    parts = spark.sparkContext.parallelize(starts, tasks).mapPartitions(projected)
    total, known = parts.treeReduce(np.add).reshape(2, n, -1).astype(float)
    shared.unpersist()
    return np.asarray(total / np.maximum(known / (loadings**2).sum(axis=0), 1e-3))


def _nearest(
    projected: Reals, scores: Reals, known: NDArray[np.object_], names: Sequence[str]
) -> NDArray[np.object_]:
    """The population of each sample by its position; None where it is uncertain."""
    likelihood, distance = np.empty((2, len(projected), len(names)))
    for j, name in enumerate(names):
        own = scores[known == name]
        mean, spread = own.mean(axis=0), np.atleast_2d(np.cov(own, rowvar=False))
        root = np.linalg.cholesky(spread + 1e-9 * np.trace(spread) * np.eye(len(spread)))
        away = np.linalg.solve(root, (projected - mean).T)
        distance[:, j] = (away**2).sum(axis=0)
        likelihood[:, j] = -distance[:, j] / 2 - np.log(np.diag(root)).sum()
    best = likelihood.argmax(axis=1)
    rows = np.arange(len(projected))
    sure = softmax(likelihood, axis=1)[rows, best] >= LEAST_PROBABILITY
    sure &= distance[rows, best] <= FARTHEST
    found = np.array(names, object)[best]
    found[~sure] = None
    return found
