"""What all variants show together: LD scores, heritability and genetic correlation of phenotypes.

The major histocompatibility complex is left out, since its LD reaches beyond any window. z and n
of every phenotype are columns of a scratch table. One task per phenotype, and then one task per
phenotype with all that follow it, reads the columns that it needs, two at a time.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from ecg_spark.genetics.findings.ld_regression import (
    GeneticCorrelation,
    Heritability,
    Univariate,
    are_polygenic,
    correlation,
    enough,
    heritability,
    univariate,
)
from ecg_spark.genetics.findings.ld_score import ld_scores
from ecg_spark.genetics.genotypes.contigs import AUTOSOMES, CONTIGS
from ecg_spark.genetics.genotypes.long_range import MHC
from ecg_spark.genetics.genotypes.packed import Packed
from ecg_spark.genetics.outputs.tables import GENETIC_CORRELATION, HERITABILITY
from ecg_spark.session import broadcast
from ecg_spark.store import remove_folder
from ecg_spark.tables import VARIANT, write_rows

log = logging.getLogger(__name__)

MIN_MAF = 0.01
MAX_VARIANTS = 1_000_000
"""From a larger set a share is used, which bounds the work: every pair of phenotypes is regressed
over all variants three times, and the work of LD scores grows with the square of their density.
This many take 400 MB of z on disk for 47 phenotypes. The driver holds only their places and LD
scores, 17 bytes each."""

NAMED_BY_TASK = 20_000
FILES = 8
"""The number of files of the scratch table; a task opens all of them for each column."""

_DRAWS = 1 << 20

_APART = 1_000_000_000
"""In bp, longer than any contig."""


def write_polygenic(
    spark: SparkSession,
    packed: Packed,
    wide: DataFrame,
    covariates: pd.DataFrame,
    phenotypes: Sequence[str],
    correlated: Sequence[str],
    kept: Mapping[str, float],
    folder: str,
) -> dict[str, Any]:
    """Estimate heritability and genetic correlation, and write the tables heritability and
    genetic_correlation.

    Common autosomal variants are used. From a set of more than `MAX_VARIANTS`, a share that leaves
    this many is chosen by a hash of their names. Every phenotype gets a heritability; every pair
    of `correlated` gets a correlation if there are enough variants outside the large loci of
    either.

    Args:
        packed: the candidate variants.
        wide: one row per variant with contig, position, ref, alt and `results` (phenotype, beta,
            se, n, af).
        covariates: of the people from whom LD scores are computed, conditioned on these.
        phenotypes: the names of all phenotypes.
        correlated: the names of those whose pairs are correlated.
        kept: for each phenotype, the share of its variance that remained after subtracting LOCO
            predictions (1 if not given). Effects on the remainder are as large, and would
            otherwise seem to explain more.
        folder: also for a temporary scratch table; every task must be able to reach it.

    Returns:
        The summary.
    """
    share = MAX_VARIANTS / len(packed.sites)
    tests = _tests(wide, phenotypes, share).join(
        _drawn(_placed(spark, packed), share), VARIANT, "left"
    )
    statistics = _write(tests, len(phenotypes), f"{folder}/.polygenic")
    places, sound = statistics.columns(["place", "sound"])
    samples = packed.places(list(covariates.index))
    scores = ld_scores(spark, packed, places, samples, covariates.to_numpy(float))[sound]
    shared = broadcast(spark, (sound, scores, _along(packed, places[sound])))
    chosen = [phenotypes.index(name) for name in correlated] if enough(scores) else []

    def alone(number: int) -> tuple[float, Heritability, Univariate | None]:
        sound, scores, along = shared.value
        z, counts = (own[sound] for own in statistics.columns([f"z_{number}", f"n_{number}"]))
        n = float(counts.mean())
        used = are_polygenic(z**2, n, along)
        # The number of people with whom tests without offsets would have been as precise.
        as_many = n / kept.get(phenotypes[number], 1.0)
        found = heritability(z[used] ** 2, as_many, scores[used], len(scores))
        own = None
        if number in chosen and enough(scores[used]):
            own = univariate(z, as_many, scores, used)
        return n, replace(found, mean_chi2=float((z**2).mean())), own

    numbers = range(len(phenotypes) if len(scores) else 0)
    found = _each(spark, numbers).map(alone).collect()
    sizes = [n for n, _, _ in found]
    rows = [
        {"phenotype": phenotypes[number], "n": int(n), "variants": len(scores), **asdict(one)}
        for number, (n, one, _) in zip(numbers, found, strict=True)
    ]
    write_rows(rows, HERITABILITY, f"{folder}/{HERITABILITY.name}")
    own_fit = {number: one for number, (_, _, one) in zip(numbers, found, strict=True) if one}

    chosen = [number for number in chosen if number in own_fit]

    def paired(first: int) -> Iterator[tuple[int, int, GeneticCorrelation]]:
        sound, scores, along = shared.value
        columns = statistics.columns([f"z_{number}" for number in chosen[first:]])
        z: Any = None
        for second, column in enumerate(columns, first):
            other = column[sound]
            used = are_polygenic(other**2, sizes[chosen[second]], along)
            if z is None:
                z, own = other, used
                continue
            if enough(scores[own & used]):
                of = own_fit[chosen[first]], own_fit[chosen[second]]
                yield first, second, correlation((z, other), of, scores, (own, used))

    pairs = _each(spark, range(len(chosen) - 1)).flatMap(paired).collect()
    write_rows(
        [
            {"phenotype_1": phenotypes[chosen[i]], "phenotype_2": phenotypes[chosen[j]]}
            | asdict(one)
            for i, j, one in pairs
        ],
        GENETIC_CORRELATION,
        f"{folder}/{GENETIC_CORRELATION.name}",
    )
    shared.unpersist()
    remove_folder(statistics.folder)
    log.info("gwas: heritability of %d phenotypes from %d variants", len(rows), len(scores))
    return {
        "ld_score_variants": len(scores),
        "mean_ld_score": round(float(scores.mean()), 2) if len(scores) else None,
        "h2": {row["phenotype"]: round(row["h2"], 4) for row in rows if np.isfinite(row["h2"])},
    }


@dataclass(frozen=True)
class _Statistics:
    """The scratch table: the `place` of each variant in the packed set, whether all its tests
    are `sound`, and the columns z_0 and n_0 of the first phenotype, and so on.
    """

    folder: str

    def columns(self, names: Sequence[str]) -> Iterator[NDArray[Any]]:
        """Some columns, one at a time, in the order of the genome; NaN where missing."""
        files, base = fsspec.core.url_to_fs(self.folder)
        paths = sorted(files.glob(f"{base}/part-*.parquet"))

        def read(name: str) -> pa.ChunkedArray:
            tables = []
            for path in paths:
                with files.open(path, "rb") as file:
                    tables.append(pq.read_table(file, columns=[name], use_threads=False))
            return pa.concat_tables(tables).column(name)

        places = read("place")
        if places.null_count:
            raise ValueError("the packed genotypes lack variants that were tested")
        order = np.argsort(places.to_numpy())
        for name in names:
            yield read(name).to_numpy()[order]


def _write(tests: DataFrame, phenotypes: int, folder: str) -> _Statistics:
    """Write the scratch table from one row per variant with its place, z and n."""
    is_sound = F.forall("z", lambda z: F.coalesce(F.abs(z) < float("inf"), F.lit(False)))
    columns = [F.col(kind)[k].alias(f"{kind}_{k}") for k in range(phenotypes) for kind in "zn"]
    table = tests.select("place", is_sound.alias("sound"), *columns)
    table.repartition(FILES, "place").write.parquet(folder)
    return _Statistics(folder)


def _along(packed: Packed, places: NDArray[np.int64]) -> NDArray[np.int64]:
    """Positions of variants that increase over the contigs (see `are_polygenic`)."""
    sites = packed.sites.iloc[places]
    contigs = sites["contig"].cat.codes.to_numpy()
    begins = np.diff(contigs, prepend=contigs[:1]) != 0
    return np.asarray(sites["position"].to_numpy(np.int64) + np.cumsum(begins) * _APART)


def _placed(spark: SparkSession, packed: Packed) -> DataFrame:
    """The place of each variant in a packed set, by contig, position, ref and alt, read by
    tasks.
    """
    m = len(packed.sites)
    unnamed = replace(packed, samples=packed.samples[:0], sites=packed.sites[:0])
    shared = broadcast(spark, unnamed)

    def read(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for first in batch.column(0).to_pylist():
                places = np.arange(first, min(first + NAMED_BY_TASK, m), dtype=np.int32)
                table = shared.value.named(places)[VARIANT].assign(place=places)
                yield pa.RecordBatch.from_pandas(
                    table.astype({"position": np.int32}), preserve_index=False
                )

    starts = spark.range(0, m, NAMED_BY_TASK, -(-m // NAMED_BY_TASK))
    kinds = "contig string, position int, ref string, alt string, place int"
    return starts.mapInArrow(read, kinds)


def _drawn(frame: DataFrame, share: float) -> DataFrame:
    """The variants on autosomes and outside `MHC`, or a `share` of them.

    Whether a variant is chosen depends only on its name, so partitions make no difference.
    """
    autosomal = [contig for contig, one in CONTIGS.items() if one in AUTOSOMES]
    frame = frame.filter(F.col("contig").isin(autosomal))
    chromosome, start, end = MHC
    of_it = F.col("contig").isin([one for one, own in CONTIGS.items() if own == chromosome])
    frame = frame.filter(~(of_it & F.col("position").between(start, end)))
    if share < 1:
        drawn = F.pmod(F.xxhash64(*VARIANT), F.lit(_DRAWS))
        frame = frame.filter(drawn < int(share * _DRAWS))
    return frame


def _tests(wide: DataFrame, phenotypes: Sequence[str], share: float) -> DataFrame:
    """z and n of every phenotype, in their order, at a `share` of the common autosomal
    variants.
    """
    by_name = F.map_from_entries(
        F.transform("results", lambda one: F.struct(one["phenotype"], one))
    )
    frame = _drawn(wide, share).withColumn("test", by_name)
    af = F.col("test")[phenotypes[0]]["af"]
    frame = frame.filter(F.least(af, 1 - af) >= MIN_MAF)
    tests = [F.col("test")[name] for name in phenotypes]
    return frame.select(
        *VARIANT,
        F.array(*[one["beta"] / one["se"] for one in tests]).alias("z"),
        F.array(*[one["n"].cast("int") for one in tests]).alias("n"),
    )


def _each(spark: SparkSession, numbers: range) -> Any:
    """An RDD with one task per number."""
    return spark.sparkContext.parallelize(numbers, max(1, len(numbers)))
