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
    table = read_text_table(path, "gene table")
    needed = [*VARIANT, "gene", *(["consequence"] if consequences else [])]
    missing = [name for name in needed if name not in table.columns]
    if missing:
        raise DataError(f"The gene table {path} has no column {', '.join(missing)}: add it.")
    if consequences:
        table = table[table["consequence"].isin(consequences)]
    table = table.dropna(subset=[*VARIANT, "gene"])
    numbers = {"position": pd.to_numeric(table["position"], errors="coerce")}
    numbers["weight"] = (
        pd.to_numeric(table["weight"], errors="coerce")
        if "weight" in table
        else pd.Series(np.nan, table.index)
    )
    table = table.assign(
        **numbers, contig=table["contig"].map(lambda name: _contig(reference_genome, name))
    ).dropna(subset=["position"])
    if table.empty:
        raise DataError(
            f"No row of the gene table {path} is a variant"
            f"{' of the chosen consequences' if consequences else ''}: correct gwas.rare."
        )
    table["position"] = table["position"].astype(int)
    return table[[*VARIANT, "gene", "weight"]].drop_duplicates([*VARIANT, "gene"])


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
    other_strand = genes.assign(**{key: genes[key].map(_complement) for key in ("ref", "alt")})
    swapped = {"ref": "alt", "alt": "ref"}
    ways = {
        "as written": genes,
        "with the alleles the other way round": genes.rename(columns=swapped),
        "on the other strand": other_strand,
        "on the other strand and the other way round": other_strand.rename(columns=swapped),
    }
    left = np.ones(len(genes), bool)
    found, counts = [], []
    for way, table in ways.items():
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


def _complement(allele: str) -> str:
    """The allele on the other strand, which is read from the other end."""
    return allele.translate(_OTHER_STRAND)[::-1]
