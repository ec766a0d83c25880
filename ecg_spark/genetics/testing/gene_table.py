"""Which rare variants count for which gene: the user's table, and what of it is in the set."""

import numpy as np
import pandas as pd
from pyspark.sql import SparkSession

from ecg_spark.errors import DataError
from ecg_spark.genetics.genotypes.contigs import chromosome_of, contig_of
from ecg_spark.genetics.genotypes.parts import GenotypeSet
from ecg_spark.genetics.genotypes.site_rows import site_rows
from ecg_spark.tables import VARIANT
from ecg_spark.text_tables import read_text_table

_OTHER_STRAND = str.maketrans("ACGT", "TGCA")


def read_genes(
    path: str, reference_genome: str, consequences: tuple[str, ...] | None
) -> pd.DataFrame:
    """Which variants count for which gene: contig, position, ref, alt, gene, weight (or NaN).

    A table (CSV, TSV or Parquet) with these columns, of which weight may be absent, and
    consequence, by which rows are chosen where `consequences` are given. Contigs may be named with
    or without chr. A variant may be in several genes.

    Raises `DataError` where it cannot be read, lacks a column or nothing is chosen.
    """
    needed = [*VARIANT, "gene", *(["consequence"] if consequences else [])]
    table = _variants(path, reference_genome, needed)
    if consequences:
        table = table[table["consequence"].isin(consequences)]
        if table.empty:
            raise DataError(
                f"No row of the gene table {path} is a variant of the chosen consequences: correct "
                f"gwas.rare."
            )
    weight = table["weight"] if "weight" in table else pd.Series(np.nan, table.index)
    table = table.assign(weight=pd.to_numeric(weight, errors="coerce"))
    return table[[*VARIANT, "gene", "weight"]].drop_duplicates([*VARIANT, "gene"])


def _variants(path: str, reference_genome: str, needed: list[str]) -> pd.DataFrame:
    """The rows of a gene table that are variants, with their contigs named as in the genome."""
    table = read_text_table(path, "gene table")
    missing = [name for name in needed if name not in table.columns]
    if missing:
        raise DataError(f"The gene table {path} has no column {', '.join(missing)}: add it.")
    table = table.dropna(subset=[*VARIANT, "gene"])
    table = table.assign(
        position=pd.to_numeric(table["position"], errors="coerce"),
        contig=table["contig"].map(lambda name: _contig(reference_genome, name)),
    ).dropna(subset=["position"])
    if table.empty:
        raise DataError(f"No row of the gene table {path} is a variant: correct gwas.rare.")
    return table.astype({"position": int})


def _contig(build: str, name: str) -> str:
    """What a reference genome calls a contig; one that it does not have stays as it is."""
    chromosome = chromosome_of(name)
    return name if chromosome is None else contig_of(build, chromosome)


def matched_genes(
    spark: SparkSession, genotypes: GenotypeSet, genes: pd.DataFrame
) -> tuple[pd.DataFrame, str]:
    """The rows of a gene table that are variants of the set, by its alleles, and a note of them.

    A variant that is not there as written is looked for with its alleles the other way round, then
    on the other strand: the tests count the rarer allele, whichever is called the reference. A and
    T, or C and G, are each other on the other strand, so there the two are the same.

    Raises `DataError` where none is in the set.
    """
    places = spark.createDataFrame(genes[["contig", "position"]].drop_duplicates())
    sites = site_rows(spark, genotypes, VARIANT)
    near = sites.join(places, ["contig", "position"], "left_semi")
    known = pd.MultiIndex.from_frame(near.select(*VARIANT).toPandas())
    left = np.ones(len(genes), bool)
    found, counts = [], []
    for way, table in _ways(genes).items():
        here = left & pd.MultiIndex.from_frame(table[VARIANT]).isin(known)
        left &= ~here
        found.append(table.loc[here, genes.columns])
        if here.any():
            counts.append(f"{here.sum()} {way}")
    if left.all():
        raise DataError(
            f"Not one of the {len(genes)} variants of the gene table is among the genotypes: "
            f"compare their build and alleles, and correct gwas.rare."
        )
    note = (
        f"{len(genes) - left.sum()} of the {len(genes)} rows of the gene table are variants of the "
        f"genotype set: {', '.join(counts)}"
    )
    return pd.concat(found).drop_duplicates([*VARIANT, "gene"]), note


def _ways(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """A table of variants by each way in which another may name the same alleles."""
    other_strand = table.assign(**{key: table[key].map(_complement) for key in ("ref", "alt")})
    swapped = {"ref": "alt", "alt": "ref"}
    return {
        "as written": table,
        "with the alleles the other way round": table.rename(columns=swapped),
        "on the other strand": other_strand,
        "on the other strand and the other way round": other_strand.rename(columns=swapped),
    }


def read_consequences(path: str, reference_genome: str) -> pd.DataFrame | None:
    """What a gene table says that variants do: contig, position, ref, alt, gene, consequence.

    None where it has no column consequence; rows without one are left out. Raises `DataError` as
    `read_genes` does.
    """
    table = _variants(path, reference_genome, [*VARIANT, "gene"])
    if "consequence" not in table:
        return None
    return table.dropna(subset=["consequence"])[[*VARIANT, "gene", "consequence"]]


def consequences_of(sites: pd.DataFrame, table: pd.DataFrame) -> list[list[tuple[str, str]]]:
    """The genes and consequences of each of some variants, however the table names its alleles."""
    found: list[list[tuple[str, str]]] = [[] for _ in range(len(sites))]
    place = {tuple(one): k for k, one in enumerate(sites[VARIANT].to_numpy().tolist())}
    for way in _ways(table).values():
        for *variant, gene, consequence in (
            way[[*VARIANT, "gene", "consequence"]].to_numpy().tolist()
        ):
            own = place.get(tuple(variant))
            if own is not None and (gene, consequence) not in found[own]:
                found[own].append((gene, consequence))
    return found


def _complement(allele: str) -> str:
    """The allele on the other strand, which is read from the other end."""
    return allele.translate(_OTHER_STRAND)[::-1]
