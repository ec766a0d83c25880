"""BGEN and PGEN as Spark frames: sites found by a task a file, dosages decoded in parts by all.

Hail's own reader takes neither PGEN nor BGEN of 16 bits, zstd or people with one allele. What runs
in tasks is here, apart from Hail, whose import takes a task ten seconds.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice, pairwise

import fsspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import DataFrame, SparkSession

from ecg_spark.genetics.genotypes import bgen
from ecg_spark.genetics.genotypes.contigs import BEYOND, SEVERAL_ALTERNATES, Genome, chromosome_of
from ecg_spark.genetics.genotypes.files import pvar_of
from ecg_spark.genetics.genotypes.plink import pgen_dosages, pgen_sites
from ecg_spark.genetics.genotypes.samples import Columns

PART_BYTES = 128 << 20
"""Dosages, eight bytes each, that one task decodes."""

_BATCH_BYTES = 8 << 20
_SITES = (
    "file int, place long, size long, contig string, contig_order int, position int, "
    "alleles array<string>, rsid string, reason string"
)
_DECODED = "contig string, position int, alleles array<string>, rsid string, n_alt array<double>"


def _read_bgen(path: str, blocks: Iterable[tuple[int, int]]) -> Iterator[NDArray[np.float64]]:
    """Dosages of variants of a BGEN by place and size of their blocks."""
    _, _, samples, compression, _ = bgen.header(path)
    with fsspec.open(path, "rb") as file:
        for place, size in blocks:
            file.seek(place)
            yield bgen.dosages(file.read(size), compression, samples)


def decoded(
    spark: SparkSession,
    kind: str,
    files: list[str],
    columns: Columns,
    genome: Genome,
    scratch: str,
    min_partitions: int,
) -> tuple[DataFrame, dict[str, int]]:
    """The usable variants of .bgen or .pgen files in the order of the genome (contig, position,
    alleles, rsid, dosages `n_alt` [samples], NaN where missing); how many others, by reason.

    Raises `DataError` where sites lie beyond the end of a chromosome.
    """
    find = bgen.sites if kind == ".bgen" else pgen_sites
    sites = _sites(spark, files, find, genome, f"{scratch}/sites")
    counts = {row["reason"]: row["count"] for row in sites.groupBy("reason").count().collect()}
    usable = counts.pop(None, 0)
    if BEYOND in counts:
        raise genome.other_build(counts[BEYOND], f"positions {BEYOND}")
    samples = len(columns.names)
    is_split = SEVERAL_ALTERNATES not in counts

    def read(path: str, blocks: Iterable[tuple[int, int]]) -> Iterator[NDArray[np.float64]]:
        if kind == ".bgen":
            return _read_bgen(path, blocks)
        pvar = None if is_split else pvar_of(path)
        return (pgen_dosages(path, pvar, place, samples) for place, _ in blocks)

    parts = max(min_partitions, -(-usable * samples * 8 // PART_BYTES))
    order = ["contig_order", "position", "alleles"]
    ordered = (
        sites.filter("reason is null")
        .repartitionByRange(parts, *order)
        .sortWithinPartitions(*order, "file", "place")
    )
    places = spark.sparkContext.broadcast(columns.places)
    names = dict(enumerate(files))

    def decode(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            file = batch.column("file").to_numpy()
            step = max(1, _BATCH_BYTES // (8 * samples))
            # Runs of rows of one file, so that it is opened once.
            cuts = [0, *(np.flatnonzero(np.diff(file)) + 1).tolist(), batch.num_rows]
            for start, stop in pairwise(cuts):
                if start == stop:
                    continue
                number = int(file[start])
                blocks = zip(
                    batch.column("place")[start:stop].to_pylist(),
                    batch.column("size")[start:stop].to_pylist(),
                    strict=True,
                )
                rows = read(names[number], blocks)
                place = places.value[number]
                while part := list(islice(rows, step)):
                    values = np.stack(part) if place is None else np.stack(part)[:, place]
                    yield _dosage_batch(batch.slice(start, len(part)), values)
                    start += len(part)

    return ordered.mapInArrow(decode, _DECODED), counts


def _sites(
    spark: SparkSession,
    files: list[str],
    find: Callable[[str], Iterator[bgen.Site]],
    genome: Genome,
    folder: str,
) -> DataFrame:
    """Every site of the files, with the reason why it cannot be used, if there is one."""
    order = {contig: i for i, contig in enumerate(genome.contigs.values())}
    names = list(enumerate(files))

    def walk(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for number in batch.column("file").to_pylist():
                found = find(names[number][1])
                while part := list(islice(found, 10_000)):
                    yield _site_batch(number, part)

    def _site_batch(number: int, part: list[bgen.Site]) -> pa.RecordBatch:
        place, size, contig, position, alleles, rsid = zip(*part, strict=True)
        chromosomes = [chromosome_of(name) for name in contig]
        contigs = [genome.contigs[one] if one else None for one in chromosomes]
        reasons = [
            genome.judge(*one) for one in zip(contig, position, map(len, alleles), strict=True)
        ]
        return pa.RecordBatch.from_arrays(
            [
                pa.array([number] * len(part), pa.int32()),
                pa.array(place, pa.int64()),
                pa.array(size, pa.int64()),
                pa.array(contigs, pa.string()),
                pa.array([order.get(one or "") for one in contigs], pa.int32()),
                pa.array([min(one, 2**31 - 1) for one in position], pa.int32()),
                pa.array(alleles, pa.list_(pa.string())),
                pa.array([one or None for one in rsid], pa.string()),
                pa.array(reasons, pa.string()),
            ],
            ["file", "place", "size", "contig", "contig_order", "position", "alleles", "rsid",
             "reason"],
        )  # fmt: skip

    each = spark.createDataFrame([(number,) for number, _ in names], "file int")
    each.repartition(len(files), "file").mapInArrow(walk, _SITES).write.mode("overwrite").parquet(
        folder
    )
    return spark.read.schema(_SITES).parquet(folder)


def _dosage_batch(sites: pa.RecordBatch, values: NDArray[np.float64]) -> pa.RecordBatch:
    count, samples = values.shape
    ends = pa.array(np.arange(count + 1) * samples, pa.int32())
    names = ["contig", "position", "alleles", "rsid"]
    return pa.RecordBatch.from_arrays(
        [
            *(sites.column(name) for name in names),
            pa.ListArray.from_arrays(ends, pa.array(values.ravel())),
        ],
        [*names, "n_alt"],
    )
