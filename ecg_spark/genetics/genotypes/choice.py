"""Which variants a study wants tested: lists of variants to keep or exclude, and regions.

Structure and the whole-genome model stand on the whole set: a region alone tells no ancestry.
Lists may hold millions of rows: they are read by Spark and joined, never collected.
"""

import re
from collections.abc import Sequence

import hail as hl
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from ecg_spark.errors import DataError
from ecg_spark.genetics.genotypes.contigs import CHROMOSOMES, CONTIGS, chromosome_of, genome
from ecg_spark.study import Genotypes

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


def choose(
    spark: SparkSession, genotypes: hl.MatrixTable, settings: Genotypes
) -> tuple[hl.MatrixTable, dict[str, int], list[str]]:
    """The variants that a study wants tested, how many it does not, by reason, and notes of how
    many of each list were found.

    A list names variants by their id, or as contig, position and two alleles (1:1200000:A:G or
    chr1_1200000_A_G, either allele first).

    Raises `DataError` for a list that cannot be read or of which nothing is in the set, for a
    region that is none, and where no variant is left.
    """
    rows = genotypes.rows().select("rsid")
    conditions: list[tuple[hl.BooleanExpression, str]] = []
    notes: list[str] = []
    if settings.regions:  # first: a wrong one costs nothing
        places = intervals(settings.regions, settings.reference_genome)
        inside = hl.any(lambda place: place.contains(rows.locus), hl.literal(places))
        conditions.append((~inside, ELSEWHERE))
    for key in ("keep_variants", "exclude_variants"):
        if path := getattr(settings, key):
            names = _read_names(spark, path, key)
            found = _found(rows, names).checkpoint(hl.utils.new_temp_file("listed", "ht"))
            notes.append(_told(names, found, key))
            here = hl.is_defined(found[rows.key])
            conditions.append((~here, NOT_KEPT) if key == "keep_variants" else (here, EXCLUDED))
    if not conditions:
        return genotypes, {}, notes
    reason = hl.missing(hl.tstr)
    for condition, why in reversed(conditions):
        reason = hl.if_else(condition, why, reason)
    rows = rows.select(reason=reason).checkpoint(hl.utils.new_temp_file("chosen", "ht"))
    counts = dict(rows.aggregate(hl.agg.counter(rows.reason)))
    if not counts.pop(None, 0):
        told = ", ".join(f"{count} are {why}" for why, count in counts.items())
        raise DataError(
            f"The study chooses no variant of the genotype set ({told}): correct "
            f"genotypes.keep_variants, exclude_variants or regions."
        )
    return genotypes.semi_join_rows(rows.filter(hl.is_missing(rows.reason))), counts, notes


def intervals(regions: Sequence[str], reference_genome: str) -> list[hl.utils.Interval]:
    """The intervals of regions such as X, chr6, 6:25000000 or 6:25,000,000-34,000,000, both ends
    included. Raises `DataError` where one is no region of the genome."""
    known, found = genome(reference_genome), []
    for region in regions:
        parts = _REGION.fullmatch(region.strip())
        name = parts[1].upper() if parts else ""
        chromosome = chromosome_of(name)
        if parts is None or chromosome is None or "PAR" in name or name in ("25", "XY", "CHRXY"):
            raise DataError(
                f"The region {region} of genotypes.regions is none: write a chromosome "
                f"({CHROMOSOMES[0]} to {CHROMOSOMES[-1]}), or chromosome:start-end in bp, as in "
                f"6:25000000-34000000."
            )
        end = known.lengths[chromosome]
        numbers = [re.sub("[,_]", "", part) for part in parts.groups()[1:] if part]
        start, stop = (1, end) if not numbers else (int(numbers[0]), int(numbers[-1]))
        if parts[2] and parts[0].rstrip().endswith("-"):
            stop = end
        if not 0 <= start <= stop or start > end:
            raise DataError(
                f"The region {region} of genotypes.regions holds nothing: its start must not be "
                f"behind its end or behind that of the chromosome, which has {end:,} bp on "
                f"{reference_genome}."
            )
        contig = known.contigs[chromosome]
        places = [hl.Locus(contig, at, reference_genome) for at in (max(start, 1), min(stop, end))]
        found.append(hl.Interval(*places, includes_start=True, includes_end=True))
    return found


def _read_names(spark: SparkSession, path: str, key: str) -> DataFrame:
    """The distinct ids of a list of variants, one column `name`."""
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
            # The byte-order mark, carriage returns and quotes are no part of a name.
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
    """The column that holds ids, by its name; none where no name is known."""
    known = [name for name in names if name.strip().lower() in ID_COLUMNS]
    return sorted(known, key=lambda name: ID_COLUMNS.index(name.strip().lower()))[:1]


def _found(rows: hl.Table, names: DataFrame) -> hl.Table:
    """The variants that a list names, keyed as `rows`, with the field `name`, as it is listed."""
    parts = F.split("name", _ALLELES_APART)
    bare = F.regexp_replace(F.upper(parts[0]), "^(CHR)?0*", "")
    codes = {name: chromosome_of(name) for name in (*map(str, range(1, 27)), "XY", "M")}
    named = F.create_map(*[F.lit(one) for pair in codes.items() for one in pair])
    alleles = F.sort_array(F.array(F.upper(parts[2]), F.upper(parts[3])))
    place = F.concat_ws(":", F.coalesce(named[bare], bare), parts[1], alleles)
    is_place = (F.size(parts) == 4) & parts[1].rlike(r"^\d+$")
    names = names.withColumn("place", F.when(is_place, place))
    by_id = hl.Table.from_spark(names.select("name")).key_by("name")
    by_id = by_id.annotate(listed=by_id.name)
    by_place = hl.Table.from_spark(names.filter("place is not null")).key_by("place").distinct()
    contig = hl.literal(CONTIGS).get(rows.locus.contig)
    both = hl.sorted(rows.alleles.map(lambda allele: allele.upper()))
    where = [contig, hl.str(rows.locus.position), both[0], both[1]]
    sites = rows.annotate(place=hl.delimit(where, ":"))
    sites = sites.annotate(name=hl.or_else(by_id[sites.rsid].listed, by_place[sites.place].name))
    return sites.filter(hl.is_defined(sites.name)).select("name")


def _told(names: DataFrame, found: hl.Table, key: str) -> str:
    """A note of how many of a list are in the set. Raises `DataError` where none is."""
    listed = names.count()
    here = found.key_by("name").select().distinct().count()
    if not here:
        raise DataError(
            f"None of the {listed} names in the list genotypes.{key} is a variant of the genotype "
            f"set: it must hold their ids, one a line or in a column ID, or contig, position and "
            f"alleles as in 1:1200000:A:G."
        )
    return f"{here} of the {listed} names in the list genotypes.{key} are variants of the set"
