"""The inbreeding coefficient on X, which shows whether a sample fits the reported sex.

A man has one X, so his calls on it are never heterozygous. Over the calls outside the
pseudo-autosomal regions, F is near 1 in men and near 0 in women.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from ecg_spark.genetics.genotypes.contigs import PSEUDOAUTOSOMAL, contig_of
from ecg_spark.genetics.genotypes.packed import MISSING
from ecg_spark.genetics.genotypes.parts import Batch, GenotypeSet
from ecg_spark.genetics.genotypes.rows import as_calls
from ecg_spark.genetics.genotypes.site_rows import named, site_rows

MIN_VARIANTS = 200
"""With fewer common variants on X, F is too uncertain to judge anybody's sex."""

MIN_MAF = 0.05


def x_inbreeding(
    spark: SparkSession, genotypes: GenotypeSet, reference_genome: str
) -> NDArray[np.float64] | None:
    """The inbreeding coefficient F of each sample on X, as in PLINK's --check-sex.

    F is (O - E) / (N - E) for a sample with N calls, O of them homozygous. E is the sum of 1 - 2 f
    (1 - f) over the called variants, where f is the frequency of the alternate allele in all
    samples (`af` of the sites).

    Returns:
        [samples], NaN for a sample without calls on X; None if X has too few common variants.
    """
    sites = site_rows(spark, genotypes, ["contig", "position", "af", "is_common"])
    chosen = sites.filter(F.col("contig") == contig_of(reference_genome, "X"))
    for first, last in PSEUDOAUTOSOMAL[reference_genome]:
        chosen = chosen.filter(~F.col("position").between(first, last))
    chosen = chosen.filter("is_common").filter(F.least("af", 1 - F.col("af")) >= MIN_MAF)
    on_x = named(genotypes, chosen)
    if on_x.sum() < MIN_VARIANTS:
        return None
    n_samples = len(genotypes.samples)

    def count(batches: Iterator[Batch]) -> NDArray[np.float64]:
        sums = np.zeros((3, n_samples))
        for batch in batches:
            af = batch.sites.column("af").to_numpy()
            calls = as_calls(batch.rows(), n_samples)
            known = calls != MISSING
            sums[0] += (known & (calls != 1)).sum(axis=0)
            sums[1] += (1 - 2 * af * (1 - af)) @ known
            sums[2] += known.sum(axis=0)
        return sums

    sums = genotypes.only(on_x).total(spark, count, ["af"])
    homozygous, expected, known = sums.reshape(3, n_samples)
    with np.errstate(invalid="ignore"):
        return np.asarray((homozygous - expected) / (known - expected))
