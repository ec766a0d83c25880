"""A genotype set in parts as a Hail MatrixTable, for the tests that Hail computes."""

from collections.abc import Iterator

import hail as hl
import numpy as np
import pyarrow as pa
from pyspark.sql import SparkSession

from ecg_spark.genetics.genotypes.parts import SITES, Batch, GenotypeSet
from ecg_spark.genetics.genotypes.rows import as_dosages, decode
from ecg_spark.store import remove_folder

_ROWS = "contig string, position int, ref string, alt string, rsid string, n_alt array<float>"


def as_matrix(spark: SparkSession, genotypes: GenotypeSet, reference_genome: str) -> hl.MatrixTable:
    """Write the chosen variants as a MatrixTable into Hail's temporary folder.

    Returns:
        Rows in the order of the genome, keyed by locus and alleles (the second is the effect
        allele), with `rsid`; columns keyed by the sample id `s`; the entry field `n_alt`, the
        dosage of the effect allele from 0 to 2, missing where unknown.

    Raises:
        DataError: in a task, if a part has been altered since it was written.
    """
    n_samples = len(genotypes.samples)

    def rows(_: int, batches: Iterator[Batch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            # Dosages are multiples of 1/16384, which four bytes hold exactly.
            values = decode(as_dosages(batch.rows(), n_samples)).astype(np.float32)
            ends = pa.array(np.arange(len(values) + 1) * n_samples, pa.int32())
            lists = pa.ListArray.from_arrays(ends, pa.array(values.ravel()))
            sites = [batch.sites.column(name).combine_chunks() for name in SITES.names]
            yield pa.record_batch([*sites, lists], [*SITES.names, "n_alt"])

    frame = genotypes.map(spark, rows, _ROWS, SITES.names)
    # Saved, so that the parts are read only once: `key_by` reads the keys, to find that they are
    # in order, and then the rows.
    unkeyed = hl.utils.new_temp_file("rows", "ht")
    table = hl.Table.from_spark(frame).checkpoint(unkeyed)
    table = table.select(
        "rsid",
        locus=hl.locus(table.contig, table.position, reference_genome),
        alleles=[table.ref, table.alt],
        entries=table.n_alt.map(
            lambda x: hl.struct(n_alt=hl.or_missing(~hl.is_nan(x), hl.float64(x)))
        ),
    ).key_by("locus", "alleles")
    people = [{"s": str(name)} for name in genotypes.samples]
    table = table.annotate_globals(columns=hl.literal(people, "array<struct{s: str}>"))
    matrix = table._unlocalize_entries("entries", "columns", ["s"])
    matrix = matrix.checkpoint(hl.utils.new_temp_file("genotypes", "mt"))
    remove_folder(unkeyed)
    return matrix
