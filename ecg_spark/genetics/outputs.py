"""What the genetic steps publish besides the associations: the tables and their schemas."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import (
    ArrayType,
    BooleanType,
    DoubleType,
    IntegerType,
    StringType,
    StructField,
    StructType,
)

from ecg_spark.tables import ASSOCIATIONS, Table, read_table, write_table

_VARIANT = [
    StructField("contig", StringType(), False),
    StructField("position", IntegerType(), False),
    StructField("ref", StringType(), False),
    StructField("alt", StringType(), False),
    StructField("rsid", StringType(), True),
]

SCORES = Table(
    "scores",
    ("s",),
    StructType(
        [
            StructField("s", StringType(), False),
            StructField("call_rate", DoubleType(), False),
            StructField("unrelated", BooleanType(), False),
            StructField("pc", ArrayType(DoubleType(), False), False),
            StructField("x_f", DoubleType(), True),  # inbreeding on X; null with too few variants
        ]
    ),
)
"""A genotyped sample: is it in the unrelated set, its scores on the principal components, and
what tells its sex."""

RELATIVES = Table(
    "relatives",
    ("s1", "s2"),
    StructType(
        [
            StructField("s1", StringType(), False),
            StructField("s2", StringType(), False),
            StructField("kinship", DoubleType(), False),  # 0.25 for siblings
        ]
    ),
)
"""Pairs of samples related more closely than the study's limit."""

FEWEST_TOGETHER = 40
"""Minor alleles in the people tested, below which latents are not tested together: with real
beats and 165 people p < 0.001 came 3 times as often as it should from 16 to 33 of them, 30 times
from fewer than 7."""

OMNIBUS = Table(
    "omnibus",
    ("contig", "position", "ref", "alt", "model"),
    StructType(
        [
            *_VARIANT,
            StructField("model", StringType(), False),
            StructField("chi2", DoubleType(), True),
            StructField("df", IntegerType(), False),
            StructField("neg_log10_p", DoubleType(), True),
            StructField("n", IntegerType(), False),
            StructField("af", DoubleType(), False),
        ]
    ),
)
"""A variant against all latents of a model together."""

LOCI = Table(
    "loci",
    ("method", "contig", "position", "ref", "alt"),
    StructType(
        [
            StructField("method", StringType(), False),  # vae, vae omnibus, pca, …, traits
            *_VARIANT,  # of the lead variant
            StructField("start", IntegerType(), False),  # of the variants in it, bp, inclusive
            StructField("end", IntegerType(), False),
            StructField("phenotype", StringType(), False),
            StructField("beta", DoubleType(), True),  # null for an omnibus test
            StructField("se", DoubleType(), True),
            StructField("neg_log10_p", DoubleType(), False),
            StructField("n", IntegerType(), False),
            StructField("af", DoubleType(), False),
            StructField("phenotypes", ArrayType(StringType(), False), False),
            StructField("n_variants", IntegerType(), False),
            StructField("n_clumps", IntegerType(), False),
            StructField("n_signals", IntegerType(), True),  # null for an omnibus test
            StructField("nearest_gene", StringType(), True),  # null without a table of genes
            StructField("gene_distance_bp", IntegerType(), True),
            StructField("published", BooleanType(), True),  # null without a table of such loci
        ]
    ),
)
"""A locus that a method has found, and its lead variant."""

SIGNALS = Table(
    "signals",
    ("method", "contig", "lead", "step"),
    StructType(
        [
            StructField("method", StringType(), False),
            StructField("lead", IntegerType(), False),  # the position of the locus's lead variant
            StructField("step", IntegerType(), False),  # from 1
            *_VARIANT,
            StructField("phenotype", StringType(), False),
            StructField("beta", DoubleType(), False),  # given the signals of the steps before
            StructField("se", DoubleType(), False),
            StructField("neg_log10_p", DoubleType(), False),
        ]
    ),
)
"""An independent signal of a locus, by stepwise conditional regression."""


LD = Table(
    "ld",
    ("contig", "lead", "lead_ref", "lead_alt", "position", "ref", "alt"),
    StructType(
        [
            StructField("contig", StringType(), False),
            StructField("lead", IntegerType(), False),  # the position of a locus's lead variant
            StructField("lead_ref", StringType(), False),
            StructField("lead_alt", StringType(), False),
            StructField("position", IntegerType(), False),
            StructField("ref", StringType(), False),
            StructField("alt", StringType(), False),
            StructField("r2", DoubleType(), False),  # of the calls of the people analysed
        ]
    ),
)
"""The linkage of lead variants with their neighbours."""

NEARBY_GENES = Table(
    "nearby_genes",
    ("contig", "start", "end", "gene"),
    StructType(
        [
            StructField("contig", StringType(), False),  # named as in the loci
            StructField("start", IntegerType(), False),  # bp, inclusive
            StructField("end", IntegerType(), False),
            StructField("gene", StringType(), False),
        ]
    ),
)
"""The genes about the loci; empty where no table of genes is given."""


HERITABILITY = Table(
    "heritability",
    ("phenotype",),
    StructType(
        [
            StructField("phenotype", StringType(), False),
            StructField("n", IntegerType(), False),
            StructField("variants", IntegerType(), False),  # in the regression
            StructField("mean_chi2", DoubleType(), False),
            StructField("h2", DoubleType(), True),  # null where there are too few variants
            StructField("h2_se", DoubleType(), True),
            StructField("intercept", DoubleType(), True),
            StructField("intercept_se", DoubleType(), True),
        ]
    ),
)
"""The share of a phenotype's variance that the variants explain, by LD-score regression."""

GENETIC_CORRELATION = Table(
    "genetic_correlation",
    ("phenotype_1", "phenotype_2"),
    StructType(
        [
            StructField("phenotype_1", StringType(), False),
            StructField("phenotype_2", StringType(), False),
            StructField("rg", DoubleType(), True),  # null where one has no heritability
            StructField("rg_se", DoubleType(), True),
            StructField("covariance", DoubleType(), False),
            StructField("covariance_se", DoubleType(), False),
            StructField("intercept", DoubleType(), False),
        ]
    ),
)
"""How far two phenotypes share their genetic causes, by LD-score regression."""


GENES = Table(
    "genes",
    ("gene", "phenotype"),
    StructType(
        [
            StructField("gene", StringType(), False),
            StructField("phenotype", StringType(), False),
            StructField("n_variants", IntegerType(), False),
            StructField("alleles", DoubleType(), False),  # minor alleles in all people
            StructField("n", IntegerType(), False),
            StructField("burden_beta", DoubleType(), True),  # per minor allele
            StructField("burden_se", DoubleType(), True),
            StructField("burden_neg_log10_p", DoubleType(), True),
            StructField("skat_q", DoubleType(), True),
            StructField("skat_neg_log10_p", DoubleType(), True),
        ]
    ),
)
"""The rare variants of a gene against a phenotype; empty where no gene table is given."""


def write_associations(rows: DataFrame, folder: str) -> DataFrame:
    """Write `folder`/associations, a row a variant and phenotype, from Hail's wide rows."""
    long = rows.select(*_columns(), F.explode("results").alias("one")).select(
        *[field.name for field in _VARIANT],
        *[F.col(f"one.{name}") for name in ("phenotype", "beta", "se", "neg_log10_p", "n", "af")],
    )
    write_table(long, ASSOCIATIONS, f"{folder}/associations")
    return read_table(rows.sparkSession, ASSOCIATIONS, f"{folder}/associations")


def write_omnibus(rows: DataFrame, folder: str) -> DataFrame:
    """Write `folder`/omnibus, a row a variant and model, from Hail's wide rows.

    A variant with fewer than `FEWEST_TOGETHER` minor alleles among the people has no result: the
    sum of squares over many latents is chi-squared for many carriers, not for one odd heartbeat.
    """
    long = rows.select(*_columns(), F.explode("omnibus").alias("one")).select(
        *[field.name for field in _VARIANT],
        *[F.col(f"one.{name}") for name in ("model", "chi2", "df", "neg_log10_p", "n", "af")],
    )
    minor = 2 * F.col("n") * F.least("af", 1 - F.col("af"))
    for name in ("chi2", "neg_log10_p"):
        long = long.withColumn(name, F.when(minor >= FEWEST_TOGETHER, F.col(name)))
    write_table(long, OMNIBUS, f"{folder}/omnibus")
    return read_table(rows.sparkSession, OMNIBUS, f"{folder}/omnibus")


def write_rows(
    spark: SparkSession, records: Sequence[Mapping[str, Any]], table: Table, folder: str
) -> int:
    """Write a small table from records (NaN and NumPy's numbers too); return the number of rows."""
    ordered = [tuple(_plain(record[name]) for name in table.schema.names) for record in records]
    frame = spark.createDataFrame(ordered, table.schema).coalesce(1)
    return write_table(frame, table, f"{folder}/{table.name}")


def _plain(value: Any) -> Any:
    """A NumPy scalar as Python's own, NaN as None."""
    value = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(value, float) and np.isnan(value) else value


def _columns() -> list[str]:
    return [field.name for field in _VARIANT]
