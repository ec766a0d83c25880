"""Association of a genotype set with every phenotype: linear regression computed by Hail.

Each phenotype y is regressed on an intercept, the covariates and the dosage x of the alternate
allele; missing dosages count as the variant's mean over the samples that have the phenotype. What
is derived from the regression is the same for all engines (see `results`).
"""

import math
from collections.abc import Mapping, Sequence
from functools import partial

import hail as hl
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pyspark.sql import DataFrame, SparkSession

from ecg_spark.genetics.genotypes.matrix import as_matrix
from ecg_spark.genetics.genotypes.parts import GenotypeSet
from ecg_spark.genetics.genotypes.rows import CALL_TOLERANCE
from ecg_spark.genetics.testing.blocks import require_samples
from ecg_spark.genetics.testing.regressed import column_of, tests_told
from ecg_spark.genetics.testing.results import (
    AS_ROWS,
    Question,
    Sink,
    question,
)
from ecg_spark.session import broadcast
from ecg_spark.study import Genotypes

BLOCK_SIZE = 256


def associate(
    spark: SparkSession,
    genotypes: GenotypeSet,
    reference_genome: str,
    phenotypes: pd.DataFrame,
    covariates: pd.DataFrame,
    together: Mapping[str, Sequence[str]],
    relatives: pd.DataFrame | None = None,
    thresholds: Genotypes | None = None,
    judges: pd.DataFrame | None = None,
    sink: Sink = AS_ROWS,
) -> DataFrame:
    """Test the chosen variants of a set against every phenotype, by Hail.

    Phenotypes that the same samples have share one pass. The remaining arguments are those of
    `blocks.associate`, and so are the results.

    Args:
        reference_genome: GRCh37 or GRCh38.

    Returns:
        Rows of `TESTS`, or what `sink` makes of them.

    Raises:
        ValueError: if a sample is not in the set, or different samples have the phenotypes of a
            group.
    """
    require_samples(genotypes, phenotypes.index)
    asked = question(phenotypes, covariates, together, None, relatives, thresholds, judges)
    matrix = as_matrix(spark, genotypes, reference_genome)
    tables = [_regressed(spark, matrix, asked, own, covariates) for own in asked.members]
    first, *others = tables
    sites = {
        "contig": first.locus.contig,
        "position": first.locus.position,
        "ref": first.alleles[0],
        "alt": first.alleles[1],
        "rsid": first.rsid,
    }
    found = [first.found, *(other[first.key].found for other in others)]
    columns = {column_of(i): one for i, one in enumerate(found)}
    rows = first.select(**sites, **columns).key_by().select(*sites, *columns).select_globals()
    tell = partial(tests_told, broadcast(spark, asked), sink)
    # Through files: a task that handed Hail's rows straight to Python would hang, because Hail
    # looks for its context in another thread than the one that reads the rows.
    copy = hl.utils.new_temp_file("tests", "parquet")
    frame = rows.to_spark(flatten=False)
    frame.write.parquet(copy)
    read = spark.read.schema(frame.schema).parquet(copy)
    return read.mapInArrow(tell, sink.schema)


def design_table(
    spark: SparkSession,
    phenotypes: NDArray[np.float64],
    covariates: pd.DataFrame,
    judging: NDArray[np.bool_] | None = None,
) -> hl.Table:
    """The right-hand and left-hand sides of the regression as a Hail table keyed by sample `s`.

    Args:
        phenotypes: [samples, p], without missing values; the array `y`.
        covariates: indexed by sample id; the array `c`.
        judging: who judges a variant on autosomes and on X, [samples, 2]; the array `j`.
    """
    columns = {
        "s": covariates.index.astype(str),
        "y": phenotypes.tolist(),
        "c": covariates.to_numpy(float).tolist(),
    }
    kinds = "s string, y array<double>, c array<double>"
    if judging is not None:
        columns["j"], kinds = judging.tolist(), f"{kinds}, j array<boolean>"
    frame = spark.createDataFrame(pd.DataFrame(columns), kinds)
    table = hl.Table.from_spark(frame).key_by("s")
    return table.checkpoint(hl.utils.new_temp_file("design", "ht"))


def _regressed(
    spark: SparkSession,
    genotypes: hl.MatrixTable,
    asked: Question,
    own: Sequence[int],
    covariates: pd.DataFrame,
) -> hl.Table:
    """For every variant `found`: the tests of the phenotypes of a group, and the counts of
    `Tally`.
    """
    known = asked.known(own)
    judging = np.column_stack([asked.judging(known, contig) for contig in ("1", "X")])
    design = design_table(spark, asked.y[known][:, own], covariates[known], judging[known])
    used = genotypes.semi_join_cols(design)
    used = used.annotate_cols(**design[used.s])
    by = hl.if_else(used.locus.in_x_nonpar() | used.locus.in_x_par(), used.j[1], used.j[0])
    used = used.annotate_rows(
        counts=_counts(used.n_alt), judged=hl.agg.filter(by, _counts(used.n_alt))
    )
    # One call per group: several groups in one call (chained) took ten times as long.
    tested = hl.linear_regression_rows(
        y=[used.y[i] for i in range(len(own))],
        x=used.n_alt,
        covariates=[1.0, *(used.c[i] for i in range(covariates.shape[1]))],
        block_size=BLOCK_SIZE,
        pass_through=["rsid", "counts", "judged"],
    )
    numbers = {"beta": tested.beta, "se": tested.standard_error, "t": tested.t_stat}
    numbers = {
        name: values.map(lambda one: hl.or_else(one, math.nan)) for name, values in numbers.items()
    }
    found = hl.struct(sum_x=tested.sum_x, judged=tested.judged, **numbers, **tested.counts)
    table: hl.Table = tested.select("rsid", found=found).select_globals()
    return table


def _counts(n_alt: hl.Float64Expression) -> hl.StructExpression:
    """The counts of `Tally` for a variant, over the columns."""
    kinds = {"hom_ref": 0, "het": 1, "hom_alt": 2}
    dosages = hl.agg.stats(n_alt)
    return hl.struct(
        known=hl.agg.count_where(hl.is_defined(n_alt)),
        total=hl.agg.sum(n_alt),
        square=hl.agg.sum(n_alt * n_alt),
        varies=hl.coalesce(dosages.max > dosages.min, False),
        **{
            name: hl.agg.count_where(hl.abs(n_alt - code) <= CALL_TOLERANCE)
            for name, code in kinds.items()
        },
    )
