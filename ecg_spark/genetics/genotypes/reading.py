"""Genotypes from PLINK, BGEN, VCF or a Hail MatrixTable, all converted to one form.

The form is a set in parts (see `parts`) in the order of the genome. It holds the number of
alternate (effect) alleles: 0, 1, 2, a dosage in between, or missing. A person with a single allele
is on the same scale, with 0 or 2.
"""

import gzip
import re
import struct
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial, reduce
from typing import Any

import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from ecg_spark.errors import DataError
from ecg_spark.genetics.genotypes.contigs import Genome, declared_contigs, genome
from ecg_spark.genetics.genotypes.decoding import read_by_place
from ecg_spark.genetics.genotypes.files import (
    bcf_as_vcf,
    check,
    expand,
    file_of,
    format_of,
    is_read_by_hail,
    side_by_side,
    stem_of,
)
from ecg_spark.genetics.genotypes.parts import (
    SITES,
    Batch,
    GenotypeSet,
    batch_variants,
)
from ecg_spark.genetics.genotypes.samples import (
    matched,
    places_in,
    read_bgen_ids,
    read_fam,
    read_psam_beside,
    read_vcf_ids,
    require_names,
)
from ecg_spark.genetics.genotypes.writing import (
    WRITTEN,
    told,
    write_part,
    write_parts,
    written,
)
from ecg_spark.locations import spelled_like
from ecg_spark.session import start_hail
from ecg_spark.store import remove_folder

_UNREADABLE = (
    PySparkException, Py4JError, ValueError, LookupError, RuntimeError, EOFError, struct.error,
    zlib.error, gzip.BadGzipFile,
)  # fmt: skip
"""What Spark and the readers raise for a damaged file."""


@dataclass(frozen=True)
class Imported:
    """A genotype set as it was read, and the number of variants that were not read, by reason."""

    genotypes: GenotypeSet
    left_out: dict[str, int]


def import_genotypes(
    spark: SparkSession,
    path: str,
    reference_genome: str,
    scratch: str,
    min_partitions: int = 8,
    sample: str | None = None,
) -> Imported:
    """Read a genotype set of any supported format into parts in the folder `scratch`.

    Samples of several files are matched by id, in the order of the first file. Variants with
    several alternate alleles are split if they come from a VCF or MatrixTable, and left out
    otherwise. The folder of the user's files is never written to.

    Args:
        path: a .bed (with .bim and .fam), a .bgen (with a .sample beside it, `sample`, or ids
            inside), a .pgen (with .pvar and .psam), a .vcf, .vcf.gz, .vcf.bgz or .bcf, or a Hail
            .mt; or a glob of several such files, for example one per chromosome.
        reference_genome: GRCh37 or GRCh38.
        scratch: a folder for the parts and temporary copies.
        min_partitions: a large set gets at least this many parts; a small one may get fewer.
        sample: the .sample of a BGEN, if it is not the one beside it.

    Raises:
        DataError: if the set is missing, is not in the format that its name says, lies on another
            reference genome, names a sample twice or with white space, or if its files have
            different samples.
    """
    path = path.rstrip("/")
    kind, files = format_of(path), expand(path)
    known = genome(reference_genome)
    if kind != ".mt":
        check(files, kind)
    errors: tuple[type[Exception], ...] = _UNREADABLE
    if is_read_by_hail(path):
        hl = start_hail(spark)
        errors = (*errors, hl.utils.java.FatalError, hl.utils.HailUserError)
    try:
        if kind == ".bcf":
            kind, files = ".vcf.gz", bcf_as_vcf(spark, files, scratch)
        if kind == ".mt":
            return _read_matrices(spark, files, known, scratch)
        if kind.startswith(".vcf"):
            return _read_vcf(spark, files, known, scratch, min_partitions)
        if kind == ".bgen":
            read: Any = partial(read_bgen_ids, sample=sample)
        else:
            read = read_psam_beside if kind == ".pgen" else _read_fam_beside
        columns = matched(spark, files, read)
        return Imported(*read_by_place(spark, kind, files, columns, known, scratch, min_partitions))
    except errors as error:
        if "No space left on device" in str(error):
            raise
        # A `DataError` of a task is quoted; the rest of the text may name samples and is dropped.
        words = re.search(r"DataError: (.+)", str(error))
        raise DataError(
            words[1]
            if words
            else f"The genotypes (genotypes.path) cannot be read as {kind[1:]}: the set is "
            f"damaged, or its files do not belong together."
        ) from None


def _read_fam_beside(bed: str) -> list[str]:
    return read_fam(f"{stem_of(bed)}.fam")


def _read_vcf(
    spark: SparkSession, files: list[str], known: Genome, scratch: str, min_partitions: int
) -> Imported:
    from ecg_spark.genetics.genotypes.vcf import NOT_A_NUMBER, read_vcf

    columns = matched(spark, files, read_vcf_ids)
    _require_build(files, known)

    def read(replace: tuple[str, str] | None) -> Imported:
        tables, left_out = read_vcf(files, columns, known, scratch, min_partitions, replace)
        return Imported(_from_tables(spark, tables, columns.names, scratch), left_out)

    try:
        return read(None)
    except Exception as error:
        if "NumberFormatException" not in str(error):
            raise
    return read(NOT_A_NUMBER)


def _require_build(files: list[str], known: Genome) -> None:
    """Refuse VCFs whose headers declare contig lengths of another build."""

    def count(file: str) -> int:
        return sum(known.other_length(*one) for one in declared_contigs(file))

    if wrong := max(side_by_side(count, files)):
        raise known.other_build(wrong, "contigs whose length is not the chromosome's")


def _read_matrices(spark: SparkSession, files: list[str], known: Genome, scratch: str) -> Imported:
    import hail as hl

    from ecg_spark.genetics.genotypes.vcf import split, survey

    tables: list[Any] = []
    names: list[str] = []
    counts: Counter[str] = Counter()
    for number, path in enumerate(files, 1):
        name = file_of(number, len(files))
        genotypes = hl.read_matrix_table(path)
        if "locus" not in genotypes.row or "s" not in genotypes.col:
            raise DataError(f"{name}, a MatrixTable, has no row field locus or no column field s.")
        found = getattr(genotypes.locus.dtype, "reference_genome", None)
        if found is None or found.name != known.name:
            raise DataError(
                f"{name}, a MatrixTable, lies on {found.name if found else 'no reference genome'}, "
                f"not on {known.name}: correct genotypes.reference_genome."
            )
        # Unkeyed: a keyed table of columns is sorted by id, but the calls are in file order.
        own = hl.str(genotypes.key_cols_by().s).collect()
        require_names(own, number, len(files))
        counts.update(survey(genotypes.rows(), known)[1])
        names = names or own
        tables.append(split(genotypes, known, places_in(names, own, number, len(files))))
    return Imported(_from_tables(spark, tables, names, scratch), dict(counts))


def _from_tables(
    spark: SparkSession, tables: list[Any], samples: list[str], scratch: str
) -> GenotypeSet:
    """Write tables of `vcf.split` as one set in parts. Raises `DataError` for the faults they
    count.
    """
    from ecg_spark.genetics.genotypes.vcf import FAULTS, refuse

    rows = reduce(lambda one, other: one.union(other), tables).key_by()
    copy = f"{scratch}/rows"
    # Hail's rows go through files: a task that handed them straight to Python would hang, because
    # Hail looks for its context in another thread than the one that reads the rows.
    rows.select(
        contig=rows.locus.contig,
        position=rows.locus.position,
        ref=rows.alleles[0],
        alt=rows.alleles[1],
        rsid=rows.rsid,
        dosages=rows.dosages,
        **{kind: rows[kind] for kind in FAULTS},
    ).to_spark(flatten=False).write.mode("overwrite").parquet(copy)
    files, base = fsspec.core.url_to_fs(copy)
    names = spelled_like(copy, sorted(files.glob(f"{base}/part-*.parquet")))
    folder, n_samples, step = f"{scratch}/imported", len(samples), batch_variants(len(samples))

    def write(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        counts = {kind: [0, 0] for kind in FAULTS}

        def rows_of() -> Iterator[Batch]:
            for name in (one for batch in batches for one in batch.column(0).to_pylist()):
                with fsspec.open(name, "rb") as file:
                    for batch in pq.ParquetFile(file).iter_batches(step):
                        for kind, own in counts.items():
                            values = batch.column(kind).to_numpy()
                            own[0] += int(values.sum())
                            own[1] += int((values > 0).sum())
                        dosages = batch.column("dosages").flatten().to_numpy().astype(np.uint16)
                        sites = pa.Table.from_batches([batch.select(SITES.names)]).cast(SITES)
                        yield written(sites, dosages.reshape(len(sites), n_samples))

        part = write_part(folder, rows_of())
        return told(part, counts)

    tasks = spark.createDataFrame(
        spark.sparkContext.parallelize([(name,) for name in names], max(1, len(names))),
        "name string",
    )
    found, counted = write_parts(folder, pd.Index(samples), tasks.mapInArrow(write, WRITTEN))
    refuse({kind: tuple(sum(one[kind][i] for one in counted) for i in (0, 1)) for kind in FAULTS})
    remove_folder(copy)
    return found
