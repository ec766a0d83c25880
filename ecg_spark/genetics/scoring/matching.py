"""The variants of a scoring file, found in a genotype set whichever way it names their alleles.

The rules are those of `cohorts.alignment`: a variant is its position and its two alleles, on
either strand. For A/T and C/G the strand is decided by the allele frequency in the file and in the
set; they are left out if that is unknown or close to one half.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pyspark import StorageLevel
from pyspark.sql import Column, DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from ecg_spark.errors import DataError
from ecg_spark.genetics.cohorts.alignment import align
from ecg_spark.genetics.cohorts.joint import FAR_APART
from ecg_spark.genetics.cohorts.overlap import MOST_APART
from ecg_spark.genetics.genotypes.parts import GenotypeSet
from ecg_spark.genetics.genotypes.site_rows import site_rows
from ecg_spark.genetics.outputs.alleles import AMBIGUOUS, KEY, keyed
from ecg_spark.genetics.outputs.reading import chromosome_number

LEAST_USED = 0.75
"""The share of a file's variants that the set must have, as in the PGS Catalog's own calculator: a
sum over fewer would be a different score."""

FEWEST_COMPARED = 20
"""The least number of frequencies by which it is judged whether the alleles are swapped."""

_AUTOSOMES = 22
_FLAGS = (
    "used", "not_in_set", "several_in_set", "unclear_strand", "other_allele", "other_strand",
    "compared", "apart",
)  # fmt: skip
_FOUND = "part int, row int, weight double, constant double, share double, copies long, " + (
    ", ".join(f"{name} boolean" for name in _FLAGS)
)


@dataclass(frozen=True)
class Matched:
    """The variants of a file that are scored.

    Attributes:
        rows: `part`, `row` and `weight`, the weight of the set's allele alt.
        constant: what is added to everybody's sum, because some weights are of the other allele.
        told: counts for the table applied_files.
        kept: the frame that Spark has cached; call its `unpersist` when done.
    """

    rows: DataFrame
    constant: float
    told: dict[str, Any]
    kept: DataFrame


def places_of(spark: SparkSession, genotypes: GenotypeSet) -> DataFrame:
    """The autosomal variants of a set by `KEY`, with the frequency of alt, and in how many `places`
    each is."""
    rows = site_rows(spark, genotypes, ["contig", "position", "ref", "alt", "af"])
    rows = rows.withColumn("chromosome", chromosome_number(F.col("contig"))).drop("contig")
    names = {"complemented": "set_complemented", "effect_first": "set_first", "af": "set_af"}
    own = keyed(rows.filter(F.col("chromosome") <= _AUTOSOMES)).withColumnsRenamed(names)
    return own.withColumn("places", _alike())


def match_weights(places: DataFrame, weights: DataFrame, name: str) -> Matched:
    """Find the rows of a file (see `catalog_file.read_weights`) among the `places_of` a set on the
    same build.

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
    found = (
        own.withColumn("copies", _alike())
        .join(places, list(KEY), "left")
        .mapInPandas(_aligned, _FOUND)
        .persist(StorageLevel.MEMORY_AND_DISK)
    )
    # A variant of the file that is in the set several times has several rows; `share` makes these
    # count as one.
    sums = found.agg(
        *[F.sum(F.when(F.col(name), F.col("share")).otherwise(0.0)).alias(name) for name in _FLAGS],
        F.sum(F.when(F.col("copies") > 1, F.col("share") / F.col("copies"))).alias("repeated"),
        F.sum(F.abs("weight")).alias("weight"),
        F.sum("constant").alias("constant"),
    ).first()
    assert sums is not None
    if sums["repeated"]:
        raise DataError(
            f"{name.capitalize()} names {sums['repeated']:.0f} variants more than once, by place "
            f"and alleles: keep one row of each."
        )
    told = {key: counted[key] for key in ("variants", "no_weight", "not_autosomal")}
    told |= {key: round(sums[key] or 0) for key in _FLAGS}
    told["weight_used"] = (sums["weight"] or 0.0) / counted["weight"] if counted["weight"] else 0.0
    _refuse_few(told, name)
    apart, compared = told.pop("apart"), told.pop("compared")
    if compared >= FEWEST_COMPARED and apart > MOST_APART * compared:
        raise DataError(
            f"{name.capitalize()} has other frequencies than the genotypes at {apart} of "
            f"{compared} variants: its effect alleles are the other ones, or it is of another "
            f"population; correct it."
        )
    rows = found.filter("used").select("part", "row", "weight")
    return Matched(rows, float(sums["constant"]), told, found)


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


def _alike() -> Column:
    """How many rows are of the same variant."""
    return F.count(F.lit(1)).over(Window.partitionBy(*KEY))


def _aligned(batches: Iterable[pd.DataFrame]) -> Iterator[pd.DataFrame]:
    """The rows of a file, with weights for the set's allele alt where the set has the variant."""
    for rows in batches:
        there = rows["part"].notna().to_numpy()
        several = there & (rows["places"] > 1).to_numpy()
        sign = np.zeros(len(rows))
        sign[there] = _signs(rows[there])
        sign[several] = 0
        used = sign != 0
        weight = rows["weight"].to_numpy(float) * sign
        af = rows["af"].to_numpy(float)
        af = np.where(sign < 0, 1 - af, af)
        compared = used & np.isfinite(af)
        yield pd.DataFrame(
            {
                "part": rows["part"].fillna(-1).astype("int32"),
                "row": rows["row"].fillna(-1).astype("int32"),
                "weight": weight,
                # The number of ref alleles is 2 minus the number of alt alleles.
                "constant": np.where(sign < 0, -2 * weight, 0.0),
                "share": 1 / rows["places"].fillna(1).to_numpy(float),
                "copies": rows["copies"],
                "used": used,
                "not_in_set": ~there,
                "several_in_set": several,
                "unclear_strand": there & ~several & ~used,
                "other_allele": sign < 0,
                "other_strand": used & (rows["complemented"] != rows["set_complemented"]),
                "compared": compared,
                "apart": compared & (np.abs(af - rows["set_af"].to_numpy(float)) > FAR_APART),
            }
        )


def _signs(pairs: pd.DataFrame) -> NDArray[np.int64]:
    """For pairs of rows of file and set: 1 if both have the same effect allele, -1 if not, 0
    if uncertain.
    """
    n = len(pairs)

    def both(of_set: str, of_file: str, kind: type) -> Any:
        return np.concatenate([pairs[one].to_numpy(kind) for one in (of_set, of_file)])

    aligned = align(
        np.tile(np.arange(n), 2),
        np.repeat([0, 1], n),
        both("set_complemented", "complemented", bool),
        both("set_first", "effect_first", bool),
        both("set_af", "af", float),
        np.ones(2 * n, np.int64),
        pairs["pair"].isin(AMBIGUOUS).to_numpy(),
        np.arange(2),
    )
    return aligned.sign[:n] * aligned.sign[n:]
