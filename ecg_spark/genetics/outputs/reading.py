"""A cohort's results: what a study or a meta-analysis has published, or a folder of GWAS-SSF
files.

Only summary statistics are read. Of a study these are the tests of its variants, and the sidecars
of its summary statistics, which give the build and the model of the latents.
"""

import gzip
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import fsspec
import numpy as np
import yaml
from numpy.typing import NDArray
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StringType, StructField, StructType

from ecg_spark.errors import DataError
from ecg_spark.genetics.genotypes.choice import looked_up
from ecg_spark.genetics.genotypes.contigs import CHROMOSOMES, NUMBERS
from ecg_spark.genetics.outputs.associations import BY_VARIANT
from ecg_spark.genetics.outputs.sumstats import MISSING, MODEL, SUFFIXES
from ecg_spark.locations import spelled_like
from ecg_spark.store import Publication, Store, file_stamp
from ecg_spark.tables import is_latent

BUILDS = ("GRCh37", "GRCh38")

PUBLISHED = ("associations", "meta")
"""The steps whose output can serve as a cohort."""

_NEEDED = (
    "chromosome", "base_pair_location", "effect_allele", "other_allele", "beta", "standard_error",
)  # fmt: skip
_RESULT = "array<struct<phenotype:string,beta:double,se:double,n:int,af:double>>"
_ROWS = f"contig string, position int, ref string, alt string, rsid string, results {_RESULT}"
_SIDECAR = "-meta.yaml"

_SSF_NUMBERS = (
    {str(number): number for number in range(1, 1 + len(CHROMOSOMES))}
    | {one: 1 + CHROMOSOMES.index(one) for one in ("X", "Y", "MT")}
)  # fmt: skip


@dataclass(frozen=True)
class Cohort:
    """The results of a cohort.

    Attributes:
        name: what messages call it.
        rows: chromosome (its number, with X 23, Y 24 and MT 25), position, ref, alt (the effect
            allele), rsid and the results.
        build: GRCh37 or GRCh38.
        models: for each phenotype the digest of the model if it is a latent; None for other
            phenotypes, or if it is unknown.
        stamp: changes with the content.
        bytes: the size of the files.
        genotypes: the publication of the genotype set that was tested; None if it is unknown.
    """

    name: str
    rows: DataFrame
    build: str
    models: Mapping[str, str | None]
    stamp: Any
    bytes: int
    genotypes: str | None = None


def open_cohort(spark: SparkSession, place: str, name: str) -> Cohort:
    """Open the cohort in a folder: a study's output, a meta-analysis, or GWAS-SSF files.

    GWAS-SSF files are one per phenotype, `<phenotype>.tsv.gz` with its `-meta.yaml` beside it.

    Args:
        name: what messages call it.

    Raises:
        DataError: if the folder is none of these, a file lacks its sidecar or a column, or the
            files lie on several builds or an unknown one.
    """
    files, published = fsspec.core.url_to_fs(place)[0], _published(place)
    if published is not None:
        said = _sidecars(published.path("sumstats"), name)
        folder = published.path(BY_VARIANT)
        rows = spark.read.schema(_ROWS).parquet(folder)
        rows = rows.withColumn("chromosome", chromosome_number(F.col("contig"))).drop("contig")
        size = files.du(fsspec.core.url_to_fs(folder)[1])
        tested = published.provenance.get("inputs", {}).get("genotypes")
        return Cohort(name, rows, *_described(said, name), published.run, int(size), tested)
    said = _sidecars(place, name)
    rows = _ssf_rows(spark, place, said, name)
    stamp = file_stamp(place)
    # Text is compressed to about a quarter.
    return Cohort(name, rows, *_described(said, name), stamp, 4 * stamp[1])


def genotype_sets(cohorts: Sequence[Cohort]) -> NDArray[np.int64]:
    """The number of each cohort's genotype set, from 0; one that is not known is its own."""
    names = [one.genotypes or number for number, one in enumerate(cohorts)]
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return np.array([numbers[name] for name in names], np.int64)


def cohort_build(place: str, name: str) -> str:
    """The build of the cohort in a folder, from its sidecars only.

    Raises:
        DataError: as `open_cohort` does.
    """
    published = _published(place)
    folder = place if published is None else published.path("sumstats")
    return _described(_sidecars(folder, name), name)[0]


def _published(place: str) -> Publication | None:
    """What a study or a meta-analysis has published in a folder."""
    store = Store(place)
    return next((one for one in map(store.published, PUBLISHED) if one is not None), None)


def _sidecars(folder: str, name: str) -> dict[str, dict[str, Any]]:
    """The contents of the sidecars in a folder, by phenotype."""
    files, base = fsspec.core.url_to_fs(folder)
    found = sorted(files.glob(f"{base}/*{SUFFIXES['ssf']}"))
    if not found:
        raise DataError(
            f"{name} is neither the output of a study whose associations are published nor a "
            f"folder of GWAS-SSF files (*{SUFFIXES['ssf']}): correct its path."
        )
    said = {}
    for path in found:
        phenotype = path.rsplit("/", 1)[-1].removesuffix(SUFFIXES["ssf"])
        try:
            content = yaml.safe_load(files.cat_file(f"{path}{_SIDECAR}"))
        except FileNotFoundError:
            content = None
        except (yaml.YAMLError, UnicodeDecodeError):
            content = ()
        if not isinstance(content, dict):
            lack = "has no" if content is None else "has an unreadable"
            raise DataError(
                f"{phenotype}{SUFFIXES['ssf']} of {name} {lack} sidecar, named as the file with "
                f"{_SIDECAR} after it: write one that says genome_assembly."
            )
        said[phenotype] = content
    return said


def _described(
    said: Mapping[str, Mapping[str, Any]], name: str
) -> tuple[str, dict[str, str | None]]:
    """The build of a cohort, and the models of its phenotypes."""
    builds = {str(one.get("genome_assembly")) for one in said.values()}
    if len(builds) > 1:
        raise DataError(
            f"The files of {name} lie on several builds ({', '.join(sorted(builds))}): give those "
            f"of one build in a folder of their own."
        )
    build = builds.pop()
    if build not in BUILDS:
        raise DataError(
            f"{name} does not say on which build it lies (genome_assembly in its sidecars is "
            f"{build}): correct it to one of {', '.join(BUILDS)}."
        )
    return build, {
        phenotype: one.get(MODEL) if is_latent(phenotype) else None
        for phenotype, one in said.items()
    }


def _ssf_rows(
    spark: SparkSession, folder: str, said: Mapping[str, Mapping[str, Any]], name: str
) -> DataFrame:
    """The rows of GWAS-SSF files; files with the same columns are read together."""
    files, base = fsspec.core.url_to_fs(folder)
    sizes = {phenotype: _size(one) for phenotype, one in said.items()}
    alike: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for phenotype in said:
        path = f"{base}/{phenotype}{SUFFIXES['ssf']}"
        try:
            with files.open(path, "rb") as packed, gzip.open(packed, "rt") as text:
                columns = tuple(text.readline().rstrip("\r\n").split("\t"))
        except (OSError, EOFError, UnicodeDecodeError):
            columns = ()
        if missing := [column for column in _NEEDED if column not in columns]:
            raise DataError(
                f"{phenotype}{SUFFIXES['ssf']} of {name} has no column {', '.join(missing)}: it is "
                f"no file of GWAS-SSF with effects; write one, tab separated and gzipped."
            )
        if "n" not in columns and sizes[phenotype] is None:
            raise DataError(
                f"{phenotype}{SUFFIXES['ssf']} of {name} does not say how many people it has: "
                f"write samples, with their sample_size, into its sidecar."
            )
        alike[columns].append(path)
    frames = [
        _ssf_frame(spark, columns, spelled_like(folder, paths), sizes)
        for columns, paths in alike.items()
    ]
    rows = frames[0]
    for frame in frames[1:]:
        rows = rows.unionByName(frame)
    return rows


def _ssf_frame(
    spark: SparkSession,
    columns: Sequence[str],
    paths: Sequence[str],
    sizes: Mapping[str, int | None],
) -> DataFrame:
    schema = StructType([StructField(column, StringType()) for column in columns])
    text = spark.read.schema(schema).csv(
        list(paths), sep="\t", header=True, quote="", nullValue=MISSING["ssf"]
    )
    phenotype = F.regexp_replace(F.col("_metadata.file_name"), f"{re.escape(SUFFIXES['ssf'])}$", "")
    known = {key: size for key, size in sizes.items() if size is not None}
    size: Column = F.lit(None).cast("int")
    if known:
        size = looked_up(known, phenotype)

    def given(column: str, kind: str) -> Column:
        return (F.col(column) if column in columns else F.lit(None)).cast(kind)

    result = F.struct(
        phenotype.alias("phenotype"),
        given("beta", "double").alias("beta"),
        given("standard_error", "double").alias("se"),
        F.coalesce(given("n", "int"), size).alias("n"),
        given("effect_allele_frequency", "double").alias("af"),
    )
    return text.select(
        looked_up(_SSF_NUMBERS, F.col("chromosome")).alias("chromosome"),
        given("base_pair_location", "int").alias("position"),
        F.col("other_allele").alias("ref"),
        F.col("effect_allele").alias("alt"),
        given("rsid", "string").alias("rsid"),
        F.array(result).alias("results"),
    )


def chromosome_number(contig: Column) -> Column:
    """The number of a contig of either build (X 23, Y 24, MT 25); null for any other."""
    return looked_up(NUMBERS, contig)


def _size(said: Mapping[str, Any]) -> int | None:
    """How many people a sidecar reports."""
    samples = said.get("samples")
    found = [one.get("sample_size") for one in samples or [] if isinstance(one, dict)]
    sizes = [size for size in found if isinstance(size, int)]
    return sum(sizes) if found and len(sizes) == len(found) else None
