"""Scoring files of the PGS Catalog, format 2.0, read and written.

Lambert et al. 2021, Nat Genet 53:420; https://www.pgscatalog.org/downloads/#dl_scoring_files.
Header lines begin with # and name the score and the build; then comes a tab-separated table with
one row per variant. Files that the Catalog has lifted over to another build ("harmonised") also
have positions in columns that begin with hm_.
"""

import gzip
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version

import fsspec
import pandas as pd
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from ecg_spark.errors import DataError
from ecg_spark.genetics.genotypes.choice import looked_up
from ecg_spark.genetics.genotypes.contigs import CHROMOSOMES, CONTIGS, NUMBERS
from ecg_spark.genetics.outputs.tables import described
from ecg_spark.store import atomic_file

FIRST_LINE = (
    "###PGS CATALOG SCORING FILE - see https://www.pgscatalog.org/downloads/#dl_ftp_scoring for "
    "additional information"
)
COLUMNS = (
    "rsID", "chr_name", "chr_position", "effect_allele", "other_allele", "effect_weight",
    "allelefrequency_effect",
)  # fmt: skip
SUFFIX = ".txt.gz"
RUN = "ecg_spark_run"
"""The line of a header that names the run of ecg-spark that fitted the weights."""

_BUILDS = {
    "grch37": "GRCh37", "hg19": "GRCh37", "b37": "GRCh37", "grch38": "GRCh38", "hg38": "GRCh38",
}  # fmt: skip
_NOT_ADDITIVE = ("is_interaction", "is_dominant", "is_recessive", "is_haplotype", "is_diplotype")
_MOST_HEADER = 1_000
"""The names of the columns must appear within this many lines."""


@dataclass(frozen=True)
class ScoringFile:
    """A scoring file.

    Attributes:
        path: where it lies.
        name: what messages call it.
        header: the keys and values of its header lines.
        columns: the names of its columns.
    """

    path: str
    name: str
    header: Mapping[str, str]
    columns: Sequence[str]

    @property
    def score(self) -> str:
        """The name of its score."""
        named = (self.header.get(key, "").strip() for key in ("pgs_id", "pgs_name"))
        return next((one for one in named if one and one != "NR"), "score")


def write_scoring_file(
    folder: str, phenotype: str, in_units: bool, table: pd.DataFrame, build: str, run: str
) -> None:
    """Write `folder`/<phenotype>.txt.gz from rows of `POLYGENIC_WEIGHTS` of one phenotype, which
    was fitted in its units or as normal scores."""
    chromosome = table["contig"].map(CONTIGS)
    place = [table["contig"].map(NUMBERS), table["position"]]
    order = pd.DataFrame(dict(enumerate(place))).sort_values([0, 1], kind="stable").index
    rsid = table["rsid"].where(table["rsid"].str.fullmatch(r"rs\d+").fillna(False).astype(bool), "")
    columns = [
        rsid, chromosome, table["position"], table["alt"], table["ref"], table["weight"],
        table["af"],
    ]  # fmt: skip
    rows = pd.DataFrame(dict(zip(COLUMNS, columns, strict=True))).loc[order]
    header = [
        FIRST_LINE,
        "#format_version=2.0",
        "##POLYGENIC SCORE (PGS) INFORMATION",
        f"#pgs_id={phenotype}",
        f"#pgs_name={phenotype}",
        f"#trait_reported={described(phenotype, in_units)}",
        "#trait_mapped=NR",
        "#trait_efo=NR",
        f"#genome_build={build}",
        f"#variants_number={len(rows)}",
        "#weight_type=beta",
        "##SOURCE INFORMATION",
        "#pgp_id=NR",
        f"#citation=ecg-spark {version('ecg-spark')}, two-level ridge regression",
        f"#{RUN}={run}",
    ]
    text = "\n".join(header) + "\n" + rows.to_csv(sep="\t", index=False)
    with atomic_file(f"{folder}/{phenotype}{SUFFIX}") as file:
        file.write(gzip.compress(text.encode(), mtime=0))


def open_scoring_file(path: str, number: int) -> ScoringFile:
    """Read the header of a scoring file.

    Args:
        number: its place among the files given, from 1, by which messages name it.

    Raises:
        DataError: if it cannot be read, has no header or lacks a column.
    """
    name = f"file {number} of the weights"
    found: dict[str, str] = {}
    columns: list[str] = []
    try:
        with fsspec.open(path, "rt", compression="infer", encoding="utf-8") as file:
            for _, line in zip(range(_MOST_HEADER), file, strict=False):
                if not line.startswith("#"):
                    columns = line.rstrip("\r\n").split("\t")
                    break
                key, _, value = line.lstrip("#").strip().partition("=")
                found[key.strip()] = value.strip()
    except (FileNotFoundError, IsADirectoryError):
        raise DataError(f"{_capital(name)} does not exist: correct its path.") from None
    except (OSError, EOFError, UnicodeDecodeError):
        raise DataError(
            f"{_capital(name)} cannot be read as text or .gz: give a scoring file of the PGS "
            f"Catalog."
        ) from None
    if "genome_build" not in found and "HmPOS_build" not in found:
        raise DataError(
            f"{_capital(name)} has no header that says on which build it lies: a scoring file of "
            f"the PGS Catalog begins with lines such as #genome_build=GRCh38; write them, or take "
            f"the Catalog's own file."
        )
    if missing := [one for one in ("effect_allele", "effect_weight") if one not in columns]:
        raise DataError(
            f"{_capital(name)} has no column {', '.join(missing)}: give a scoring file with one "
            f"additive weight for each variant, tab separated."
        )
    return ScoringFile(path, name, found, columns)


def read_weights(spark: SparkSession, file: ScoringFile, build: str) -> DataFrame:
    """The rows of a scoring file, for a set on `build`.

    Returns:
        chromosome (its number, with X 23, Y 24 and MT 25; null for others), position, alt (the
        effect allele), ref, af and weight; null where there is none.

    Raises:
        DataError: if the file lies on another build, has no positions or other alleles, or is not
            additive.
    """
    chromosome, position = _places(file, build)
    what = _capital(file.name)
    other = next(
        (one for one in ("other_allele", "hm_inferOtherAllele") if one in file.columns), None
    )
    if other is None:
        raise DataError(
            f"{what} has no column other_allele, without which no strand can be told: take the "
            f"Catalog's file harmonised to {build}."
        )
    text = spark.read.csv(file.path, sep="\t", header=True, comment="#", quote="", escape="")
    flags = [name for name in _NOT_ADDITIVE if name in file.columns]
    if flags:
        is_set = F.greatest(F.lit(False), *[F.lower(F.col(name)) == "true" for name in flags])
        if found := text.filter(is_set).count():
            raise DataError(
                f"{what} has {found} rows that are not additive weights of single variants "
                f"({', '.join(flags)}): such a score cannot be added up."
            )
    names = {one: number for number, one in enumerate(CHROMOSOMES, 1)}
    bare = F.regexp_replace(F.upper(F.trim(F.col(chromosome))), "^CHR", "")
    frequency = (
        F.col("allelefrequency_effect") if "allelefrequency_effect" in file.columns else F.lit(None)
    )
    weight = F.col("effect_weight").cast("double")
    return text.select(
        looked_up(names, bare).alias("chromosome"),
        F.col(position).cast("int").alias("position"),
        F.upper(F.trim(other)).alias("ref"),
        F.upper(F.trim("effect_allele")).alias("alt"),
        frequency.cast("double").alias("af"),
        F.when(~F.isnan(weight) & (F.abs(weight) < float("inf")), weight).alias("weight"),
    )


def _places(file: ScoringFile, build: str) -> tuple[str, str]:
    """The columns that hold the positions on a build."""
    own, harmonised = (_build(file.header.get(key)) for key in ("genome_build", "HmPOS_build"))
    if harmonised == build:
        wanted = ("hm_chr", "hm_pos")
    elif own == build:
        wanted = ("chr_name", "chr_position")
    else:
        raise DataError(
            f"{_capital(file.name)} lies on {harmonised or own or 'a build that it does not name'} "
            f"and the genotypes on {build}: take the Catalog's file harmonised to {build}, or lift "
            f"its places over."
        )
    if missing := [one for one in wanted if one not in file.columns]:
        raise DataError(
            f"{_capital(file.name)} has no column {', '.join(missing)}, and ids alone tell no "
            f"place: take the Catalog's file harmonised to {build}."
        )
    return wanted


def _build(said: str | None) -> str | None:
    return _BUILDS.get(re.sub(r"\.p\d+$", "", (said or "").strip().lower()))


def _capital(name: str) -> str:
    return name[0].upper() + name[1:]
