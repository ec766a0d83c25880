"""The variants that a study asks to be tested: lists of variants to keep or exclude, and regions.

Principal components and the whole-genome model use the whole set regardless: a single region would
say nothing about ancestry. Lists may hold millions of rows, so Spark reads and joins them; they
are never collected on the driver.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from ecg_spark.errors import DataError
from ecg_spark.genetics.genotypes.contigs import CHROMOSOMES, CONTIGS, chromosome_of, genome
from ecg_spark.genetics.genotypes.parts import GenotypeSet
from ecg_spark.genetics.genotypes.site_rows import named, site_rows
from ecg_spark.study import Genotypes
from ecg_spark.tables import VARIANT

ID_COLUMNS = (
    "id", "rsid", "rs_id", "snp", "snpid", "snp_id", "variant", "variant_id", "variantid", "marker",
    "markername", "marker_id", "name", "rs",
)  # fmt: skip
"""Names of a column that holds the ids of variants, in the header of a table."""

NOT_KEPT = "not in the list genotypes.keep_variants"
EXCLUDED = "in the list genotypes.exclude_variants"
ELSEWHERE = "outside genotypes.regions"

_REGION = re.compile(r"([^\s:]+)(?::([\d,_]+)(?:-([\d,_]+)?)?)?")
_ALLELES_APART = "[:_]"
_CODES = (*map(str, range(1, 27)), "XY", "PAR1", "PAR2", "M")
_BY_ID, _BY_PLACE = 0, 1


@dataclass(frozen=True)
class Interval:
    """A stretch of a contig in bp, counted from 1, with both ends included."""

    contig: str
    start: int
    end: int


def choose(
    spark: SparkSession, genotypes: GenotypeSet, settings: Genotypes
) -> tuple[GenotypeSet, dict[str, int], list[str]]:
    """Select the variants that the study asks to be tested.

    A list names variants by their id, or by contig, position and two alleles (1:1200000:A:G or
    chr1_1200000_A_G, the alleles in either order).

    Returns:
        The set of the selected variants, the number of the others by reason, and a note for each
        list on how many of its names were found.

    Raises:
        DataError: if a list cannot be read or names no variant of the set, if a region is invalid,
            or if no variant is left.
    """
    unwanted: list[tuple[NDArray[np.bool_], str]] = []
    notes: list[str] = []
    if settings.regions:  # checked first, so that a mistake shows before any list is read
        places = intervals(settings.regions, settings.reference_genome)
        rows = site_rows(spark, genotypes, ["contig", "position"])
        unwanted.append((~named(genotypes, _inside(rows, places)), ELSEWHERE))
    for key in ("keep_variants", "exclude_variants"):
        if path := getattr(settings, key):
            names = _read_names(spark, path, key)
            found = _found(site_rows(spark, genotypes, [*VARIANT, "rsid"]), names).persist()
            notes.append(_told(names, found, key))
            here = named(genotypes, found)
            unwanted.append((~here, NOT_KEPT) if key == "keep_variants" else (here, EXCLUDED))
            names.unpersist()
            found.unpersist()
    if not unwanted:
        return genotypes, {}, notes
    left, counts = np.ones(genotypes.variants, bool), {}
    for here, why in unwanted:  # a variant is counted under the first reason that applies
        if count := int((left & here).sum()):
            counts[why] = count
        left &= ~here
    if not left.any():
        told = ", ".join(f"{count} are {why}" for why, count in sorted(counts.items()))
        raise DataError(
            f"The study chooses no variant of the genotype set ({told}): correct "
            f"genotypes.keep_variants, exclude_variants or regions."
        )
    return genotypes.only(left), counts, notes


def intervals(regions: Sequence[str], reference_genome: str) -> list[Interval]:
    """Parse regions such as X, chr6, 6:25000000 or 6:25,000,000-34,000,000, both ends included.

    Raises:
        DataError: if a region cannot be parsed or lies outside its chromosome.

    Example:
        >>> intervals(["6:25,000,000-34,000,000"], "GRCh38")
        [Interval(contig='chr6', start=25000000, end=34000000)]
    """
    known, found = genome(reference_genome), []
    for region in regions:
        parts = _REGION.fullmatch(region.strip())
        name = parts[1].upper() if parts else ""
        chromosome = chromosome_of(name)
        if parts is None or chromosome is None or "PAR" in name or name in ("25", "XY", "CHRXY"):
            raise DataError(
                f"{region} under genotypes.regions is not a region: write a chromosome "
                f"({CHROMOSOMES[0]} to {CHROMOSOMES[-1]}), or chromosome:start-end in bp, as in "
                f"6:25000000-34000000."
            )
        end = known.lengths[chromosome]
        numbers = [re.sub("[,_]", "", part) for part in parts.groups()[1:] if part]
        start, stop = (1, end) if not numbers else (int(numbers[0]), int(numbers[-1]))
        if parts[2] and parts[0].rstrip().endswith("-"):
            stop = end
        start = max(start, 1)
        if not start <= stop or start > end:
            raise DataError(
                f"The region {region} of genotypes.regions is empty: its start must not be after "
                f"its end or beyond the end of the chromosome, which has {end:,} bp on "
                f"{reference_genome}."
            )
        found.append(Interval(known.contigs[chromosome], start, min(stop, end)))
    return found


def _inside(rows: DataFrame, places: Sequence[Interval]) -> DataFrame:
    """The rows whose contig and position lie in one of the intervals."""

    def inside(batches: Iterable[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        for sites in batches:
            here = np.zeros(len(sites), bool)
            for contig, own in sites.groupby("contig").indices.items():
                positions = sites["position"].to_numpy()[own]
                for place in places:
                    if place.contig == contig:
                        here[own] |= (place.start <= positions) & (positions <= place.end)
            yield sites[here]

    return rows.mapInPandas(inside, rows.schema)


def _read_names(spark: SparkSession, path: str, key: str) -> DataFrame:
    """The distinct variant ids of a list, as one column `name`."""
    what = f"list genotypes.{key}"
    try:
        if path.rstrip("/").endswith(".parquet"):
            table = spark.read.parquet(path)
            columns = _id_columns(table.columns) or [
                name for name, kind in table.dtypes if kind == "string"
            ]
            words = F.array(*[F.col(f"`{name}`").cast("string") for name in columns])
            lines = table.select(words.alias("words"))
        else:
            text = spark.read.text(path)
            # A byte-order mark, carriage returns and quotes are not part of a name.
            clean = F.trim(F.regexp_replace("value", "[\ufeff\r\"']", ""))
            text = text.select(clean.alias("line")).filter(~F.col("line").startswith("##"))
            text = text.filter(F.col("line") != "")
            words = F.split("line", r"[\s,;|]+")
            first = text.limit(1).select(words.alias("words")).collect()
            header = [word.lstrip("#") for word in first[0]["words"]] if first else []
            chosen = _id_columns(header)
            if path.endswith(".bim"):
                words = F.array(F.get(words, F.lit(1)))
            lines = text.select(words.alias("words"))
            if chosen:
                places = [header.index(name) for name in chosen]
                of_header = F.col("words") == F.array(*map(F.lit, first[0]["words"]))
                lines = lines.filter(~of_header).select(
                    F.array(*[F.get("words", F.lit(i)) for i in places]).alias("words")
                )
        names = lines.select(F.explode("words").alias("name")).filter("name != '' and name != '.'")
        names = names.distinct().cache()
        if names.isEmpty():
            raise DataError(f"The {what} is empty: fill it or take it out of the study file.")
    except DataError:
        raise
    except Exception as error:  # Spark's errors name the file
        raise DataError(
            f"The {what} cannot be read ({type(error).__name__}): name a text file with the id of "
            f"a variant on each line, or a table with a column ID."
        ) from None
    return names


def _id_columns(names: Sequence[str]) -> list[str]:
    """The column that holds the ids, recognised by its name; empty if no name is recognised."""
    known = [name for name in names if name.strip().lower() in ID_COLUMNS]
    return sorted(known, key=lambda name: ID_COLUMNS.index(name.strip().lower()))[:1]


def _found(rows: DataFrame, names: DataFrame) -> DataFrame:
    """The variants that a list names: `part`, `row`, and `name` as it is written in the list.

    A variant that the list names both by its id and by its position counts under its id.
    """
    parts = F.split("name", _ALLELES_APART)
    bare = F.regexp_replace(F.upper(parts[0]), "^(CHR)?0*", "")
    codes = {name: chromosome_of(name) for name in _CODES}
    place = _place(F.coalesce(looked_up(codes, bare), bare), parts[1], parts[2], parts[3])
    is_place = (F.size(parts) == 4) & parts[1].rlike(r"^\d+$")
    names = names.withColumn("place", F.when(is_place, place))
    by_place = names.filter("place is not null").groupBy("place").agg(F.min("name").alias("name"))
    listed = names.select(F.lit(_BY_ID).alias("by"), F.col("name").alias("key"), "name").union(
        by_place.select(F.lit(_BY_PLACE).alias("by"), F.col("place").alias("key"), "name")
    )
    own = _place(looked_up(CONTIGS, F.col("contig")), "position", "ref", "alt")
    keys = F.array(
        F.struct(F.lit(_BY_ID).alias("by"), F.col("rsid").alias("key")),
        F.struct(F.lit(_BY_PLACE).alias("by"), own.alias("key")),
    )
    sites = rows.select("part", "row", F.inline(keys))
    first = F.min(F.struct("by", "name")).alias("first")
    found = sites.join(listed, ["by", "key"]).groupBy("part", "row").agg(first)
    return found.select("part", "row", "first.name")


def _place(contig: Column, position: Column | str, a: Column | str, b: Column | str) -> Column:
    """Contig, position and two alleles as one string, the same whichever allele comes first."""
    return F.concat_ws(":", contig, position, F.sort_array(F.array(F.upper(a), F.upper(b))))


def looked_up(words: Mapping[str, Any], key: Column) -> Column:
    """Translate a column by a dictionary; null where the dictionary has no entry."""
    return F.create_map(*[F.lit(one) for pair in words.items() for one in pair])[key]


def _told(names: DataFrame, found: DataFrame, key: str) -> str:
    """A note on how many names of a list are in the set. Raises `DataError` if none is."""
    listed = names.count()
    here = found.select("name").distinct().count()
    if not here:
        raise DataError(
            f"None of the {listed} names in the list genotypes.{key} is a variant of the genotype "
            f"set: it must hold their ids, one a line or in a column ID, or contig, position and "
            f"alleles as in 1:1200000:A:G."
        )
    return f"{here} of the {listed} names in the list genotypes.{key} are variants of the set"
