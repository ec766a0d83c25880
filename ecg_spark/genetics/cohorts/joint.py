"""One pass over the results of all cohorts, variant by variant.

Spark brings the rows of a variant together, in stretches of `BLOCK_BP` that stay within one task.
A task aligns and combines some thousand variants at a time in NumPy, and writes its part of the
tables. The driver receives only counts, and sums for each stretch of the genome, however many
variants there are.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial, reduce
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from ecg_spark.genetics.cohorts.alignment import align, mean_by_cell
from ecg_spark.genetics.genotypes.contigs import CHROMOSOMES, contig_of
from ecg_spark.genetics.outputs.alleles import AMBIGUOUS, KEY, alleles, keyed
from ecg_spark.genetics.outputs.associations import elements
from ecg_spark.genetics.outputs.reading import Cohort, genotype_sets

Reals = NDArray[np.float64]
Whole = NDArray[np.int64]

BLOCK_BP = 5_000_000
"""The length of a stretch: LD hardly reaches from one into the next."""

NULL_Z = 4.0
"""Larger |z| do not count in correlations of z-scores, which a few large loci would dominate."""

FAR_APART = 0.2
"""If two cohorts' frequencies of an allele differ by more than this, the variant is counted."""

PARTITION_BYTES = 32 << 20
"""About how many bytes of the cohorts' files a task handles."""

CELLS, FEWEST_RESULTS = 2_500_000, 20_000
"""How many results times cohorts a task combines at once, at 100 bytes each, and at least how many
results."""

_TOLD = "kind string, place long, values array<double>"
COUNTS = (
    "variants", "results", "swapped", "other_strand", "by_frequency", "unclear", "repeated",
    "unknown_chromosome",
)  # fmt: skip
"""What is counted for each cohort: its variants and results, and the outcome of the alignment (see
`alignment.Aligned`). `repeated` variants are left out, since the cohort has them twice."""


@dataclass(frozen=True)
class Joined:
    """Variants of all cohorts, each in a single coding.

    `beta`, `se`, `n` and `af` are [variants, phenotypes, cohorts]; NaN where missing.
    """

    chromosome: Whole
    position: Whole
    ref: list[str]
    alt: list[str]
    rsid: pa.Array
    beta: Reals
    se: Reals
    n: Reals
    af: Reals


@dataclass(frozen=True)
class Gathered:
    """What the tasks of a pass report to the driver.

    Attributes:
        counts: for each of `COUNTS`, the numbers by cohort.
        apart: at how many variants the frequencies of two cohorts differ by more than `FAR_APART`,
            [cohorts, cohorts].
        compared: at how many variants they were compared, [cohorts, cohorts].
        n: the largest number of people of a result, [cohorts].
        blocks: for each stretch of the genome, over the results within `NULL_Z` in both of two
            cohorts: how many there are, Σ z_i z_j and Σ z_i², [blocks, 3, cohorts, cohorts].
        variants: at how many variants two cohorts have such results, [cohorts, cohorts].
        correlation: of the z-scores of phenotypes (see `Take`), [sets, phenotypes, phenotypes].
    """

    counts: dict[str, Whole]
    apart: Whole
    compared: Whole
    n: Reals
    blocks: Reals
    variants: Whole
    correlation: Reals


Take = Callable[[Joined], Reals]
"""Handles some variants, and returns z-scores [sets, variants, phenotypes], from which the
correlation of the phenotypes is computed for each set."""

Worker = Callable[[], AbstractContextManager[Take]]
"""Opens the context of a task, which lasts from its start to its end; sent to every task."""


@contextmanager
def looking_only() -> Iterator[Take]:
    """A worker that writes nothing and returns the z-scores of each cohort as one set."""
    yield lambda joined: np.moveaxis(joined.beta / joined.se, 2, 0)


def pass_over(
    spark: SparkSession, cohorts: Sequence[Cohort], phenotypes: Sequence[str], worker: Worker
) -> Gathered:
    """Bring the cohorts' results for some phenotypes together, and let the tasks work on them.

    Args:
        worker: makes the context in which a task handles its variants.
    """
    frames = [
        keyed(one.rows)
        .withColumn("cohort", F.lit(number))
        .withColumn("chromosome", F.coalesce("chromosome", F.lit(0)))
        for number, one in enumerate(cohorts)
    ]
    together = reduce(DataFrame.unionByName, frames)
    least = 2 * spark.sparkContext.defaultParallelism
    wanted = sum(one.bytes for one in cohorts) // PARTITION_BYTES
    block = (F.col("position") / BLOCK_BP).cast("int")
    told = (
        together.repartition(max(least, wanted), "chromosome", block)
        .sortWithinPartitions(*KEY)
        .mapInArrow(partial(_task, genotype_sets(cohorts), tuple(phenotypes), worker), _TOLD)
        .collect()
    )
    return _gathered(told, len(cohorts), len(phenotypes))


def contigs(build: str, chromosomes: Whole) -> list[str]:
    """The names of chromosomes on a build, by their numbers.

    Example:
        >>> contigs("GRCh38", np.array([1, 23]))
        ['chr1', 'chrX']
    """
    names = [contig_of(build, one) for one in CHROMOSOMES]
    return [names[number - 1] for number in chromosomes.tolist()]


def _task(
    sets: Whole, phenotypes: tuple[str, ...], worker: Worker, batches: Iterable[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    """Join the rows of a task, work on them, and yield the sums; `sets` as in `align`."""
    sums = _Sums(sets)
    with worker() as take:
        for piece in _pieces(batches, len(sets)):
            joined = sums.joined(piece, phenotypes)
            if joined.ref:
                sums.add(joined, take(joined))
    yield from sums.told()


def _pieces(batches: Iterable[pa.RecordBatch], cohorts: int) -> Iterator[pa.Table]:
    """Sorted rows in pieces of limited size; all rows of a variant are in the same piece."""
    most = max(FEWEST_RESULTS, CELLS // cohorts)
    held: list[pa.RecordBatch] = []
    size = 0
    for batch in batches:
        held.append(batch)
        size += len(batch.column("results").flatten())
        if size < most:
            continue
        table = pa.Table.from_batches(held).combine_chunks()
        last = int(_begins(table).nonzero()[0][-1])
        if last:
            yield table.slice(0, last).combine_chunks()
        held = table.slice(last).combine_chunks().to_batches()
        size = sum(len(one.column("results").flatten()) for one in held)
    if held:
        yield pa.Table.from_batches(held).combine_chunks()


def _begins(table: pa.Table) -> NDArray[np.bool_]:
    """Whether a row is the first of its variant."""
    codes = pc.dictionary_encode(table["pair"].combine_chunks()).indices
    columns = [table["chromosome"], table["position"], codes]
    changes = [np.diff(np.asarray(one, np.int64), prepend=-1) != 0 for one in columns]
    first = np.logical_or.reduce(changes)
    first[:1] = True
    return np.asarray(first)


class _Sums:
    """What a task counts over all its variants."""

    def __init__(self, sets: Whole) -> None:
        self.sets, cohorts = sets, len(sets)
        self.cohorts = cohorts
        self.counts = np.zeros((len(COUNTS), cohorts))
        self.pairs = np.zeros((3, cohorts, cohorts))  # apart, compared, variants of the null
        self.n = np.zeros(cohorts)
        self.blocks: dict[int, Reals] = defaultdict(lambda: np.zeros((3, cohorts, cohorts)))
        self.phenotypes: Reals | None = None

    def joined(self, table: pa.Table, phenotypes: tuple[str, ...]) -> Joined:
        """Align some variants, with all their rows, and count them."""
        k, p = self.cohorts, len(phenotypes)
        chromosome = np.asarray(table["chromosome"], np.int64)
        cohort = np.asarray(table["cohort"], np.int64)
        if (chromosome == 0).any():
            self._count("unknown_chromosome", np.bincount(cohort[chromosome == 0], minlength=k))
            table = table.filter(pa.array(chromosome != 0)).combine_chunks()
        batch = (table.to_batches() or [pa.RecordBatch.from_pylist([], table.schema)])[0]
        fields, row = elements(batch, "results")
        number = _numbers(fields["phenotype"], phenotypes)
        beta, se, n, af = (_reals(fields[name]) for name in ("beta", "se", "n", "af"))
        own = (number >= 0) & np.isfinite(beta) & np.isfinite(se) & (se > 0)
        number, row = number[own], row[own]
        beta, se, n, af = beta[own], se[own], n[own], af[own]

        results = np.bincount(row, minlength=len(batch))
        rows = np.flatnonzero(results)
        place = np.full(len(batch), -1)
        place[rows] = np.arange(len(rows))
        row, batch, results = place[row], batch.take(pa.array(rows)), results[rows]
        first = _begins(pa.Table.from_batches([batch]))
        variant = np.cumsum(first) - 1
        m = int(first.sum())
        cohort = np.asarray(batch.column("cohort"), np.int64)
        sites = batch.take(pa.array(np.flatnonzero(first)))
        pairs = sites.column("pair")
        af_of_row = mean_by_cell(af, row, (len(batch), 1))[:, 0]
        aligned = align(
            variant, cohort, _truths(batch, "complemented"), _truths(batch, "effect_first"),
            af_of_row, results, np.isin(pairs.to_pylist(), AMBIGUOUS), self.sets,
        )  # fmt: skip

        sign = aligned.sign[row]
        cell = (variant[row] * p + number) * k + cohort[row]
        size = m * p * k
        times = np.bincount(cell, minlength=size)
        alone = (times[cell] == 1) & (sign != 0)
        dense = np.full((4, size), np.nan)
        told = (sign * beta, se, n, np.where(sign < 0, 1 - af, af))
        for target, values in zip(dense, told, strict=True):
            target[cell[alone]] = values[alone]
        beta_, se_, n_, af_ = (each.reshape(m, p, k) for each in dense)

        repeated = (times.reshape(m, p, k) > 1).any(axis=1)
        known = np.isfinite(beta_)
        for name, counts in {
            "variants": known.any(axis=1).sum(axis=0),
            "results": known.sum(axis=(0, 1)),
            "swapped": aligned.swapped,
            "other_strand": aligned.other_strand,
            "by_frequency": aligned.by_frequency,
            "unclear": aligned.unclear,
            "repeated": repeated.sum(axis=0),
        }.items():
            self._count(name, counts)
        with np.errstate(invalid="ignore"):
            frequency = _mean(af_, axis=1)
            for i in range(k):
                both = np.isfinite(frequency[:, i, None]) & np.isfinite(frequency)
                apart = np.abs(frequency[:, i, None] - frequency) > FAR_APART
                self.pairs[0, i] += (apart & both).sum(axis=0)
                self.pairs[1, i] += both.sum(axis=0)
        if m:
            self.n = np.fmax(self.n, np.nan_to_num(n_).max(axis=(0, 1)))
        refs, alts = alleles(pairs.to_pylist(), aligned.coding)
        names = pa.table({"variant": variant, "rsid": batch.column("rsid")})
        rsid = names.group_by("variant").aggregate([("rsid", "min")]).sort_by("variant")
        return Joined(
            np.asarray(sites.column("chromosome"), np.int64),
            np.asarray(sites.column("position"), np.int64),
            refs, alts, rsid["rsid_min"].combine_chunks(), beta_, se_, n_, af_,
        )  # fmt: skip

    def add(self, joined: Joined, z: Reals) -> None:
        """Add the z-scores of some variants to the sums, by stretch of the genome, and those
        from `Take`.
        """
        own = joined.beta / joined.se
        null = np.abs(own) < NULL_Z
        self.pairs[2] += _products(null.any(axis=1).astype(float))
        own = np.where(null, own, 0.0)
        stretch = joined.chromosome * 1000 + joined.position // BLOCK_BP
        for number in np.unique(stretch):
            here = stretch == number
            some, which = own[here].reshape(-1, self.cohorts), null[here].astype(float)
            which = which.reshape(-1, self.cohorts)
            self.blocks[int(number)] += np.array(
                [_products(which), _products(some), np.square(some).T @ which]
            )
        null_z = np.abs(z) < NULL_Z
        z, mask = np.where(null_z, z, 0.0), null_z.astype(float)
        moments = np.array([
            np.swapaxes(z, 1, 2) @ z,
            np.swapaxes(np.square(z), 1, 2) @ mask,
        ])  # fmt: skip
        self.phenotypes = moments if self.phenotypes is None else self.phenotypes + moments

    def told(self) -> Iterator[pa.RecordBatch]:
        """The sums as rows of `_TOLD`, for the driver."""
        rows: list[tuple[str, int, Reals]] = [
            ("counts", 0, self.counts), ("pairs", 0, self.pairs), ("n", 0, self.n),
        ]  # fmt: skip
        if self.phenotypes is not None:
            rows.append(("phenotypes", 0, self.phenotypes))
        rows += [("block", place, sums) for place, sums in self.blocks.items()]
        kinds, places, values = zip(*rows, strict=True)
        yield pa.record_batch(
            [
                pa.array(kinds),
                pa.array(places, pa.int64()),
                pa.array([one.ravel() for one in values], pa.list_(pa.float64())),
            ],
            ["kind", "place", "values"],
        )

    def _count(self, name: str, counts: Any) -> None:
        self.counts[COUNTS.index(name)] += counts


def _gathered(told: Sequence[Any], k: int, p: int) -> Gathered:
    """The sums over all tasks."""
    arrays: dict[str, list[Reals]] = defaultdict(list)
    blocks: dict[int, Reals] = defaultdict(lambda: np.zeros((3, k, k)))
    for row in told:
        values = np.array(row["values"])
        if row["kind"] == "block":
            blocks[row["place"]] += values.reshape(3, k, k)
        else:
            arrays[row["kind"]].append(values)
    counts = np.sum(arrays["counts"], axis=0).reshape(len(COUNTS), k).astype(np.int64)
    pairs = np.sum(arrays["pairs"], axis=0).reshape(3, k, k).astype(np.int64)
    moments = np.sum(arrays["phenotypes"] or [np.zeros(2 * p * p)], axis=0)
    products, squares = moments.reshape(2, -1, p, p)
    with np.errstate(divide="ignore", invalid="ignore"):
        correlation = products / np.sqrt(squares * np.swapaxes(squares, 1, 2))
    correlation[~np.isfinite(correlation)] = 0.0
    correlation[:, range(p), range(p)] = 1.0
    return Gathered(
        dict(zip(COUNTS, counts, strict=True)),
        pairs[0],
        pairs[1],
        np.max(arrays["n"], axis=0),
        np.array([blocks[key] for key in sorted(blocks)]).reshape(-1, 3, k, k),
        pairs[2],
        correlation,
    )


def _products(values: Reals) -> Reals:
    return np.asarray(values.T @ values)


def _mean(values: Reals, axis: int) -> Reals:
    """The mean of the known values; NaN where there are none."""
    known = np.isfinite(values)
    return np.asarray(np.where(known, values, 0.0).sum(axis=axis) / known.sum(axis=axis))


def _numbers(names: pa.Array, known: Sequence[str]) -> Whole:
    """The numbers of phenotypes among the known ones; -1 for others."""
    encoded = names.dictionary_encode()
    index = {name: number for number, name in enumerate(known)}
    table = np.array([index.get(name, -1) for name in encoded.dictionary.to_pylist()], np.int64)
    return table[encoded.indices.to_numpy()] if len(table) else np.zeros(0, np.int64)


def _reals(values: pa.Array) -> Reals:
    return np.asarray(pc.cast(values, pa.float64()).to_numpy(zero_copy_only=False), float)


def _truths(batch: pa.RecordBatch, name: str) -> NDArray[np.bool_]:
    return np.asarray(batch.column(name).to_numpy(zero_copy_only=False), bool)
