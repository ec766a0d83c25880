"""Association of a genotype set with every phenotype: linear regression by Hail.

Each phenotype y is regressed on an intercept, the covariates and the dosage x of the alternate
allele; missing dosages are at the variant's mean over the samples that have the phenotype. What
follows from the regression is that of all engines (see `results`).
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from functools import lru_cache
from typing import Any

import hail as hl
import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import DataFrame, SparkSession

from ecg_spark.genetics.genotypes.matrix import as_matrix
from ecg_spark.genetics.genotypes.parts import SITES, GenotypeSet
from ecg_spark.genetics.genotypes.rows import CALL_TOLERANCE
from ecg_spark.genetics.genotypes.thresholds import Tally
from ecg_spark.genetics.testing.blocks import require_samples
from ecg_spark.genetics.testing.kernel import Pattern, Regression, checked
from ecg_spark.genetics.testing.results import (
    AS_ROWS,
    Question,
    Sink,
    question,
    runs_of,
    terms_on,
    tests_of,
)
from ecg_spark.session import broadcast
from ecg_spark.study import Genotypes

BLOCK_SIZE = 256

_TESTS = ("beta", "se", "t")


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
    """Test the chosen variants of a set on a reference genome; a frame of `TESTS`, or of what a
    sink makes of them.

    The other arguments are those of `blocks.associate`, and so are the numbers. Phenotypes known
    for the same samples share one pass.
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
    columns = {_column(i): one for i, one in enumerate(found)}
    rows = first.select(**sites, **columns).key_by().select(*sites, *columns).select_globals()
    shared = broadcast(spark, asked)

    def told(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        asked = shared.value
        terms = lru_cache(1)(lambda contig: terms_on(asked, contig))
        for batch in batches:
            for contig, start, stop in runs_of(batch.column("contig")):
                own, here = batch.slice(start, stop - start), terms(contig)
                results = [
                    _regression(own.column(_column(i)), each)
                    for i, each in enumerate(here.patterns)
                ]
                yield tests_of(asked, here, own.select(SITES.names), results)

    # Through files: a task that hands Hail's rows to Python itself never ends, since Hail looks for
    # its own context in another thread than the one that read them.
    copy = hl.utils.new_temp_file("tests", "parquet")
    rows.to_spark(flatten=False).write.parquet(copy)
    return spark.read.parquet(copy).mapInArrow(lambda rows: sink.take(told(rows)), sink.schema)


def design_table(
    spark: SparkSession,
    phenotypes: NDArray[np.float64],
    covariates: pd.DataFrame,
    judging: NDArray[np.bool_] | None = None,
) -> hl.Table:
    """Complete phenotypes `y` [samples, p], covariates `c` and, where given, who judges `j`
    [samples, 2], as arrays by sample `s`."""
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
    """Of every variant `found`, the tests of the phenotypes of a group and what `Tally` counts."""
    known = asked.known(own)
    judging = np.column_stack([asked.judging(known, contig) for contig in ("1", "X")])
    design = design_table(spark, asked.y[known][:, own], covariates[known], judging[known])
    used = genotypes.semi_join_cols(design)
    used = used.annotate_cols(**design[used.s])
    by = hl.if_else(used.locus.in_x_nonpar() | used.locus.in_x_par(), used.j[1], used.j[0])
    used = used.annotate_rows(
        counts=_counts(used.n_alt), judged=hl.agg.filter(by, _counts(used.n_alt))
    )
    # Several lists of phenotypes in one call (chained) took ten times as long.
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
    """What `Tally` counts of a variant over the columns."""
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


def _regression(found: pa.StructArray, each: Pattern) -> Regression:
    """What Hail found of variants, against one pattern of phenotypes."""

    def numbers(name: str) -> NDArray[Any]:
        return np.asarray(found.field(name).to_numpy(zero_copy_only=False))

    counts = _tally(found, int(each.known.sum()))
    judged = _tally(found.field("judged"), int(each.judges.sum()))
    k = each.left.shape[1]
    beta, se, t = (found.field(name).flatten().to_numpy().reshape(-1, k) for name in _TESTS)
    yy = np.einsum("ij,ij->j", each.left, each.left)
    # The residual sum of squares is se² x'x df and also y'y - beta² x'x.
    with np.errstate(divide="ignore", invalid="ignore"):
        left = yy / (each.df * se**2 + beta**2)
    return checked(beta, se, t, left, numbers("sum_x"), counts, judged)


def _tally(found: pa.StructArray, people: int) -> Tally:
    names = [field.name for field in fields(Tally)[1:]]
    return Tally(
        people, *(np.asarray(found.field(one).to_numpy(zero_copy_only=False)) for one in names)
    )


def _column(number: int) -> str:
    return f"found_{number}"
