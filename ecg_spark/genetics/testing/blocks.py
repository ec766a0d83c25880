"""Association of a genotype set in parts with every phenotype, in NumPy: no Hail.

A task reads the variants of a part and tests them against the phenotypes of their contig (see
`kernel`). It is sent the phenotypes and the covariates' bases, eight bytes for each person, column
and pattern of missing phenotypes: 20 MB for 31,000 people, 20 phenotypes, 17 covariates and 4
patterns.
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
"""Up to this share of a set's people are taken out of its rows before the tests; of more, the
others stay in as people without phenotypes."""


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
    """Test the chosen variants of a set; a frame of `TESTS`, or of what a sink makes of them.

    `phenotypes` (NaN where missing) and `covariates` (complete, without the intercept) have one
    row a sample, indexed by sample id. `together` names groups of phenotypes, known for the same
    samples, for the omnibus test. With `offsets`, what the other chromosomes predict of a phenotype
    is taken off it before its tests on each chromosome. With `relatives` (s1, s2, kinship) standard
    errors are those of a test among such people (see `variance_by_relatives`); without, those of
    independent people. With `thresholds`, a variant has a result only for phenotypes in whose
    people it passes them (see `thresholds`). `judges`: by sample, whether the Hardy-Weinberg test
    and imputation quality are of their genotypes, on autosomes and on X; without, of all. A missing
    genotype is at the variant's mean over the people who have the phenotype.

    Raises `ValueError` where a sample is not in the set, or phenotypes that are tested together are
    known for different samples.
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
    """The places of samples in a set, in which all of them must be."""
    places = np.asarray(genotypes.samples.get_indexer(samples), np.int64)
    if (places < 0).any():
        raise ValueError(f"{(places < 0).sum()} samples are not in the genotype set")
    return places
