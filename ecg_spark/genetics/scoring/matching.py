"""The variants of a file of weights found in a genotype set, whatever it calls their alleles.

The rules are those of `cohorts.alignment`: a variant is its place and its two alleles, on either
strand; A/T and C/G are told apart by their frequency in the file and in the set, and left out where
that is not known or near one half.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from ecg_spark.errors import DataError
from ecg_spark.genetics.cohorts.alignment import AMBIGUOUS, KEY, align, keyed
from ecg_spark.genetics.cohorts.joint import FAR_APART
from ecg_spark.genetics.cohorts.overlap import ENOUGH, MOST_APART
from ecg_spark.genetics.genotypes.contigs import CHROMOSOMES, CONTIGS
from ecg_spark.genetics.genotypes.parts import GenotypeSet
from ecg_spark.genetics.genotypes.site_rows import site_rows

LEAST_USED = 0.75
"""The share of a file's variants that the set must have, as in the PGS Catalog's own calculator: a
score of fewer is another score."""

_AUTOSOMES = 22
_FOUND = (
    "part int, row int, weight double, constant double, unclear boolean, other_allele boolean, "
    "other_strand boolean, apart boolean, compared boolean"
)


@dataclass(frozen=True)
class Matched:
    """The variants of a file that are scored: `part`, `row` and `weight`, that of an allele alt of
    the set; `constant`: what is added to everybody's sum, for weights of its other allele; `told`:
    counts for the table applied_files."""

    rows: DataFrame
    constant: float
    told: dict[str, Any]


def match_weights(
    spark: SparkSession, genotypes: GenotypeSet, weights: DataFrame, name: str
) -> Matched:
    """Find the rows of a file (see `catalog_file.read_weights`) in a set on the same build.

    `name` is what messages call the file. Raises `DataError` where it names a variant twice, where
    fewer than `LEAST_USED` of its variants are used, or frequencies are those of other alleles.
    """
    usable = F.col("weight").isNotNull()
    for column in ("chromosome", "position", "ref", "alt"):
        usable &= F.col(column).isNotNull() & (F.col(column).cast("string") != "")
    counted = weights.agg(
        F.count(F.lit(1)).alias("variants"),
        F.coalesce(F.sum(F.abs("weight")), F.lit(0.0)).alias("weight"),
        F.count(F.when(~usable, 1)).alias("no_weight"),
        F.count(F.when(usable & (F.col("chromosome") > _AUTOSOMES), 1)).alias("not_autosomal"),
    ).first()
    assert counted is not None
    own = keyed(weights.filter(usable & (F.col("chromosome") <= _AUTOSOMES)))
    repeated = own.groupBy(*KEY).count().filter("count > 1").count()
    if repeated:
        raise DataError(
            f"{name.capitalize()} names {repeated} variants more than once, by place and alleles: "
            f"keep one row of each."
        )
    sought = int(counted["variants"] - counted["no_weight"] - counted["not_autosomal"])
    joined = own.join(_sites(spark, genotypes), list(KEY)).persist()
    several = joined.groupBy(*KEY).count().filter("count > 1").select(*KEY)
    found = joined.join(several, list(KEY), "left_anti").mapInPandas(_aligned, _FOUND).persist()
    sums = found.agg(
        F.count(F.lit(1)).alias("found"),
        *[
            F.count(F.when(F.col(key), 1)).alias(key)
            for key in ("unclear", "other_allele", "other_strand", "apart", "compared")
        ],
        F.coalesce(F.sum(F.abs("weight")), F.lit(0.0)).alias("weight"),
        F.coalesce(F.sum("constant"), F.lit(0.0)).alias("constant"),
    ).first()
    assert sums is not None
    twice = several.count()
    joined.unpersist()
    used = int(sums["found"] - sums["unclear"])
    told = {
        "variants": int(counted["variants"]),
        "used": used,
        "weight_used": sums["weight"] / counted["weight"] if counted["weight"] else 0.0,
        "other_allele": int(sums["other_allele"]),
        "other_strand": int(sums["other_strand"]),
        "not_in_set": sought - int(sums["found"]) - twice,
        "unclear_strand": int(sums["unclear"]),
        "not_autosomal": int(counted["not_autosomal"]),
        "several_in_set": twice,
        "no_weight": int(counted["no_weight"]),
    }
    _refuse_few(told, name)
    if sums["compared"] >= ENOUGH and sums["apart"] > MOST_APART * sums["compared"]:
        raise DataError(
            f"{name.capitalize()} has other frequencies than the genotypes at {sums['apart']} of "
            f"{sums['compared']} variants: its effect alleles are the other ones, or it is of "
            f"another population; correct it."
        )
    rows = found.filter("not unclear").select("part", "row", "weight")
    return Matched(rows, float(sums["constant"]), told)


def _refuse_few(told: dict[str, Any], name: str) -> None:
    if told["used"] and told["used"] >= LEAST_USED * told["variants"]:
        return
    reasons = {
        "not_in_set": "are not in the checked set, at that place with these alleles",
        "unclear_strand": "are A/T or C/G of an unclear strand",
        "not_autosomal": "are on no autosome",
        "several_in_set": "are there twice in the set",
        "no_weight": "have no weight, place or allele",
    }
    why = ", ".join(f"{told[key]} {words}" for key, words in reasons.items() if told[key])
    raise DataError(
        f"Only {told['used']} of the {told['variants']} variants of {name} can be scored ({why}), "
        f"fewer than {LEAST_USED:.0%}: it would be another score; look whether build and alleles "
        f"are those of the genotypes."
    )


def _sites(spark: SparkSession, genotypes: GenotypeSet) -> DataFrame:
    """The autosomal variants of a set by `KEY`, with the frequency of alt."""
    numbers = {contig: 1 + CHROMOSOMES.index(one) for contig, one in CONTIGS.items()}
    number = F.create_map(*[F.lit(one) for pair in numbers.items() for one in pair])
    rows = site_rows(spark, genotypes, ["contig", "position", "ref", "alt", "af"])
    rows = rows.withColumn("chromosome", number[F.col("contig")]).drop("contig")
    names = {"complemented": "set_complemented", "effect_first": "set_first", "af": "set_af"}
    return keyed(rows.filter(F.col("chromosome") <= _AUTOSOMES)).withColumnsRenamed(names)


def _aligned(batches: Iterable[pd.DataFrame]) -> Iterator[pd.DataFrame]:
    """Rows of a file and the set by the alleles of the set."""
    for pairs in batches:
        n = len(pairs)
        both = np.tile(np.arange(n), 2)

        def stacked(of_set: str, of_file: str, kind: type, pairs: pd.DataFrame = pairs) -> Any:
            return np.concatenate([pairs[one].to_numpy(kind) for one in (of_set, of_file)])

        aligned = align(
            both,
            np.repeat([0, 1], n),
            stacked("set_complemented", "complemented", bool),
            stacked("set_first", "effect_first", bool),
            stacked("set_af", "af", float),
            np.ones(2 * n, np.int64),
            pairs["pair"].isin(AMBIGUOUS).to_numpy(),
            2,
        )
        sign = aligned.sign[:n] * aligned.sign[n:]
        weight = pairs["weight"].to_numpy(float) * sign
        af = np.where(sign < 0, 1 - pairs["af"].to_numpy(float), pairs["af"].to_numpy(float))
        compared = np.isfinite(af) & (sign != 0)
        apart = np.abs(af - pairs["set_af"].to_numpy(float)) > FAR_APART
        yield pd.DataFrame(
            {
                "part": pairs["part"],
                "row": pairs["row"],
                "weight": weight,
                # Two alleles less those that are alt.
                "constant": np.where(sign < 0, -2 * weight, 0.0),
                "unclear": sign == 0,
                "other_allele": sign < 0,
                "other_strand": (sign != 0)
                & (pairs["complemented"] != pairs["set_complemented"]).to_numpy(),
                "apart": compared & apart,
                "compared": compared,
            }
        )
