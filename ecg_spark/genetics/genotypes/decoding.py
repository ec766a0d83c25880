"""Import of PLINK .bed, BGEN and PGEN: one task per file lists the sites, then all tasks read
genotypes.

Hail's own readers support neither PGEN nor BGEN with 16 bits, zstd or haploid people. Code that
runs in tasks is kept apart from Hail, which takes ten seconds to import in each task.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice, pairwise

import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession

from ecg_spark.errors import DataError
from ecg_spark.genetics.genotypes import bgen
from ecg_spark.genetics.genotypes.contigs import BEYOND, SEVERAL_ALTERNATES, Genome, chromosome_of
from ecg_spark.genetics.genotypes.files import file_of, pvar_of, stem_of
from ecg_spark.genetics.genotypes.packed import Calls
from ecg_spark.genetics.genotypes.parts import (
    BATCH_BYTES,
    SITES,
    TASK_VARIANTS,
    Batch,
    GenotypeSet,
    batch_variants,
)
from ecg_spark.genetics.genotypes.plink import bim_sites, pgen_dosages, pgen_sites
from ecg_spark.genetics.genotypes.rows import Dosages, Rows, encode, in_order
from ecg_spark.genetics.genotypes.samples import Columns
from ecg_spark.genetics.genotypes.writing import (
    WRITTEN,
    told,
    write_part,
    write_parts,
    written,
)
from ecg_spark.needs import PROCESS_BYTES, Needs, require
from ecg_spark.session import broadcast

LEAST_VARIANTS = 250
"""A part has at least about this many variants."""

COPIES = 2
"""The imported set stays on disk while its quality-controlled copy is written."""

SITE_BYTES = 80
"""Bytes on disk for the description of one variant, without its genotypes."""

_SITES = (
    "file int, place long, size long, contig string, contig_order int, position int, "
    "alleles array<string>, rsid string, reason string"
)


def read_by_place(
    spark: SparkSession,
    kind: str,
    files: list[str],
    columns: Columns,
    genome: Genome,
    scratch: str,
    min_partitions: int,
) -> tuple[GenotypeSet, dict[str, int]]:
    """Read the usable variants of .bed, .bgen or .pgen files into parts under `scratch`.

    Args:
        kind: `.bed`, `.bgen` or `.pgen`.
        columns: the samples, and their columns in each file.
        scratch: a folder for the parts and temporary tables.
        min_partitions: how many parts a large set has at least.

    Returns:
        The set in the order of the genome, and the number of unusable sites by reason.

    Raises:
        DataError: if positions lie beyond the end of a chromosome, or if the size of a .bed does
            not match its .bim and .fam.
    """
    find = {".bed": _bed_sites, ".bgen": bgen.sites, ".pgen": pgen_sites}[kind]
    sites = _sites(spark, files, find, genome, f"{scratch}/sites")
    rows = sites.groupBy("file", "reason").count().collect()
    counts: dict[str | None, int] = {}
    for row in rows:
        counts[row["reason"]] = counts.get(row["reason"], 0) + row["count"]
    usable = counts.pop(None, 0)
    if BEYOND in counts:
        raise genome.other_build(counts[BEYOND], f"positions {BEYOND}")
    samples = len(columns.names)
    if kind == ".bed":
        for number, file in enumerate(files):
            held = sum(row["count"] for row in rows if row["file"] == number)
            _require_size(file, held, samples, file_of(number + 1, len(files)))
    each = SITE_BYTES + samples / 4 + (0 if kind == ".bed" else 2 * samples)
    require(
        spark,
        f"The import of {usable} variants of {samples} people",
        scratch,
        Needs(COPIES * each * usable, task=PROCESS_BYTES + 4 * BATCH_BYTES),
    )
    is_split = SEVERAL_ALTERNATES not in counts

    def read(path: str, places: list[int], sizes: list[int]) -> Iterator[Rows]:
        step = batch_variants(samples)
        if kind == ".bed":
            calls = Calls(path, samples)
            for start in range(0, len(places), step):
                yield calls.packed(np.array(places[start : start + step], np.int64))
            return
        if kind == ".bgen":
            each = _read_bgen(path, zip(places, sizes, strict=True))
        else:
            pvar = None if is_split else pvar_of(path)
            each = (encode(pgen_dosages(path, pvar, place, samples)) for place in places)
        while part := list(islice(each, step)):
            yield np.stack(part)

    parts = max(min(min_partitions, -(-usable // LEAST_VARIANTS)), -(-usable // TASK_VARIANTS), 1)
    order = ["contig_order", "position", "alleles"]
    ordered = (
        sites.filter("reason is null")
        .repartitionByRange(parts, *order)
        .sortWithinPartitions(*order, "file", "place")
    )
    places = broadcast(spark, columns.places)
    names, folder = dict(enumerate(files)), f"{scratch}/imported"

    def write(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        return told(write_part(folder, rows_of(batches)))

    def rows_of(batches: Iterable[pa.RecordBatch]) -> Iterator[Batch]:
        for batch in batches:
            file = batch.column("file").to_numpy()
            # Consecutive rows of one file are read together, so that it is opened once.
            cuts = [0, *(np.flatnonzero(np.diff(file)) + 1).tolist(), batch.num_rows]
            for start, stop in pairwise(cuts):
                if start == stop:
                    continue
                number = int(file[start])
                own = batch.slice(start, stop - start)
                place = places.value[number]
                for rows in read(
                    names[number],
                    own.column("place").to_pylist(),
                    own.column("size").to_pylist(),
                ):
                    if place is not None:
                        rows = in_order(rows, place)
                    yield written(_named(own.slice(0, len(rows))), rows)
                    own = own.slice(len(rows))

    index = pd.Index(columns.names)
    found, _ = write_parts(folder, index, ordered.mapInArrow(write, WRITTEN))
    return found, {str(reason): count for reason, count in counts.items()}


def _read_bgen(path: str, blocks: Iterable[tuple[int, int]]) -> Iterator[Dosages]:
    """The dosages of BGEN variants, given offset and size of each genotype block."""
    _, _, samples, compression, _ = bgen.header(path)
    with fsspec.open(path, "rb") as file:
        for place, size in blocks:
            file.seek(place)
            yield encode(bgen.dosages(file.read(size), compression, samples))


def _bed_sites(path: str) -> Iterator[bgen.Site]:
    return bim_sites(f"{stem_of(path)}.bim")


def _require_size(bed: str, variants: int, samples: int, name: str) -> None:
    files, place = fsspec.core.url_to_fs(bed)
    if files.size(place) != 3 + variants * -(-samples // 4):
        raise DataError(
            f"{name} cannot be read as bed: its size is not that of the {variants} variants of its "
            f".bim and the {samples} people of its .fam; copy the three files again."
        )


def _named(sites: pa.RecordBatch) -> pa.Table:
    """The columns of `SITES` for some variants."""
    alleles = sites.column("alleles").to_pylist()
    columns = {name: sites.column(name) for name in ("contig", "position", "rsid")}
    columns |= {
        name: pa.array([one[k] for one in alleles], pa.string())
        for k, name in enumerate(("ref", "alt"))
    }
    return pa.table({name: columns[name] for name in SITES.names}, SITES)


def _sites(
    spark: SparkSession,
    files: list[str],
    find: Callable[[str], Iterator[bgen.Site]],
    genome: Genome,
    folder: str,
) -> DataFrame:
    """Every site of the files; `reason` says why it cannot be used and is null if it can."""
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
