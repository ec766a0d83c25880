"""Association of a genotype set in parts with every phenotype, in NumPy and without Hail.

A task reads the variants of a part and tests them against the phenotypes (see `kernel`). It is
sent the phenotypes and the bases of the covariates, eight bytes for each person and column, where
each pattern of missing phenotypes has its own basis: 20 MB for 31,000 people, 20 phenotypes, 17
covariates and 4 patterns.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import DataFrame, SparkSession

from ecg_spark.genetics.genotypes.parts import SITES, Batch, GenotypeSet
from ecg_spark.genetics.null_model.whole_genome import Loco
from ecg_spark.genetics.testing.kernel import regress_batch
from ecg_spark.genetics.testing.results import (
    AS_ROWS,
    Sink,
    question,
    runs_of,
    terms_on,
    tests_of,
)
from ecg_spark.session import broadcast
from ecg_spark.study import Genotypes

MOST_TAKEN_OUT = 0.5
"""If at most this share of a set's people is analysed, they are extracted from its rows before the
tests; otherwise everybody stays in, the others without phenotypes."""


def associate(
    spark: SparkSession,
    genotypes: GenotypeSet,
    phenotypes: pd.DataFrame,
    covariates: pd.DataFrame,
    together: Mapping[str, Sequence[str]],
    offsets: Loco | None = None,
    relatives: pd.DataFrame | None = None,
    thresholds: Genotypes | None = None,
    judges: pd.DataFrame | None = None,
    sink: Sink = AS_ROWS,
) -> DataFrame:
    """Test the chosen variants of a set against every phenotype.

    A missing genotype counts as the variant's mean over the people who have the phenotype.

    Args:
        phenotypes: one row per sample, indexed by sample id; NaN where missing.
        covariates: one row per sample, without missing values and without the intercept.
        together: groups of phenotypes for the omnibus test; the same samples must have all of a
            group.
        offsets: LOCO predictions. The prediction from the other chromosomes is subtracted from a
            phenotype before its tests on a chromosome.
        relatives: pairs (s1, s2, kinship), by which standard errors are corrected (see
            `variance_by_relatives`); None if the samples are unrelated.
        thresholds: a variant has no result for a phenotype if it fails these among the people who
            have it (see `thresholds`); None to test every variant.
        judges: for each sample, whether it counts in the Hardy-Weinberg test and in imputation
            quality, on autosomes and on X; None if all do.
        sink: what becomes of the rows in the task that computes them.

    Returns:
        Rows of `TESTS`, or what `sink` makes of them.

    Raises:
        ValueError: if a sample is not in the set, or different samples have the phenotypes of a
            group.
    """
    places: NDArray[np.int64] | None = require_samples(genotypes, phenotypes.index)
    if len(phenotypes) > MOST_TAKEN_OUT * len(genotypes.samples):
        places = None
        samples = genotypes.samples
        phenotypes, covariates = (one.reindex(samples) for one in (phenotypes, covariates))
    asked = question(phenotypes, covariates, together, offsets, relatives, thresholds, judges)
    shared = broadcast(spark, (asked, places))

    def test(_: int, batches: Iterator[Batch]) -> Iterator[pa.RecordBatch]:
        asked, places = shared.value
        terms = lru_cache(1)(lambda contig: terms_on(asked, contig))
        for batch in batches:
            for contig, start, stop in runs_of(batch.sites.column("contig")):
                own = batch.slice(start, stop)
                found = regress_batch(own, terms(contig).patterns, places)
                yield tests_of(asked, terms(contig), own.sites, found)

    def taken(number: int, batches: Iterator[Batch]) -> Iterator[pa.RecordBatch]:
        return sink.take(test(number, batches))

    return genotypes.map(spark, taken, sink.schema, SITES.names)


def require_samples(genotypes: GenotypeSet, samples: pd.Index) -> NDArray[np.int64]:
    """The places of samples in a set.

    Raises:
        ValueError: if a sample is not in the set, with how many are not.
    """
    places = np.asarray(genotypes.samples.get_indexer(samples), np.int64)
    if (places < 0).any():
        raise ValueError(f"{(places < 0).sum()} samples are not in the genotype set")
    return places
