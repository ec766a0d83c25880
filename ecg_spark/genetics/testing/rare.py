"""Rare variants, gene by gene: burden and SKAT.

A single rare variant has too few carriers to be tested. The burden test regresses the phenotype on
the number of rare alleles in a gene, which finds variants that act in one direction; SKAT (Wu et
al. 2011, Am J Hum Genet 89:82) asks whether they act at all, in whatever directions.
"""

import math
from typing import Any

import hail as hl
import pandas as pd
from pyspark.sql import SparkSession

from ecg_spark.genetics.genotypes.matrix import as_matrix
from ecg_spark.genetics.genotypes.parts import GenotypeSet
from ecg_spark.genetics.genotypes.site_rows import named, site_rows
from ecg_spark.genetics.null_model.phenotypes import by_missingness
from ecg_spark.genetics.testing.hail import design_table
from ecg_spark.genetics.testing.p_values import neg_log10_p_of_t
from ecg_spark.tables import VARIANT

ACCURACY = 1e-9
"""SKAT's p-values are exact to this; smaller ones are given as this."""

_ITERATIONS = 100_000
_MAX_VARIANTS = 10_000


def gene_tests(
    spark: SparkSession,
    genotypes: GenotypeSet,
    reference_genome: str,
    genes: pd.DataFrame,
    max_maf: float,
    phenotypes: pd.DataFrame,
    covariates: pd.DataFrame,
) -> list[dict[str, Any]]:
    """Burden and SKAT of every gene and phenotype, a record each (see `outputs.GENES`).

    `genes` as from `gene_table.matched_genes`. Counted are the minor alleles of variants with a
    minor allele frequency of at most `max_maf` among the samples analysed. SKAT weighs variants by
    the given weight, else by the squared Beta(1, 25) density of the minor allele frequency, the
    default of the R package; the burden is the plain count. Missing dosages are at the variant's
    mean. Phenotypes (NaN where missing) and covariates are indexed by sample id.
    """
    of_genes = spark.createDataFrame(genes)
    chosen = site_rows(spark, genotypes, VARIANT).join(of_genes, VARIANT, "left_semi")
    used = as_matrix(spark, genotypes.only(named(genotypes, chosen)), reference_genome)
    rows = hl.Table.from_spark(of_genes)
    rows = rows.select(
        "gene",
        weight=hl.or_missing(hl.is_finite(rows.weight), rows.weight),
        locus=hl.locus(rows.contig, hl.int32(rows.position), reference_genome=reference_genome),
        alleles=[rows.ref, rows.alt],
    )
    rows = rows.key_by("locus", "alleles").collect_by_key("genes")
    used = used.annotate_rows(genes=rows[used.row_key].genes)
    records = []
    for names in by_missingness(phenotypes):
        known = phenotypes[names[0]].notna()
        y = phenotypes.loc[known, names].to_numpy(float)
        design = design_table(spark, y, covariates[known])
        part = used.semi_join_cols(design)
        part = part.annotate_cols(**design[part.s])
        part = part.annotate_rows(af=hl.agg.mean(part.n_alt) / 2)
        part = part.annotate_rows(maf=hl.min(part.af, 1 - part.af))
        part = part.filter_rows((part.maf > 0) & (part.maf <= max_maf))
        filled = hl.or_else(part.n_alt, 2 * part.af)
        part = part.select_entries(x=hl.if_else(part.af > 0.5, 2 - filled, filled))
        part = part.explode_rows("genes")
        part = part.annotate_rows(
            gene=part.genes.gene,
            weight=hl.or_else(part.genes.weight, hl.dbeta(part.maf, 1, 25) ** 2),
        )
        part = part.checkpoint(hl.utils.new_temp_file("genes", "mt"))
        records += _tests(part, names, covariates.shape[1], int(known.sum()))
    return records


def _tests(
    part: hl.MatrixTable, names: list[str], n_covariates: int, n: int
) -> list[dict[str, Any]]:
    """The records of phenotypes that the same people have."""
    terms = [1.0, *(part.c[i] for i in range(n_covariates))]
    counts = part.group_rows_by(part.gene).aggregate(burden=hl.agg.sum(part.x))
    sizes = part.rows().group_by("gene").aggregate(n_variants=hl.agg.count())
    size = {row.gene: row.n_variants for row in sizes.collect()}
    tested = hl.linear_regression_rows(
        y=[counts.y[i] for i in range(len(names))],
        x=counts.burden,
        covariates=[1.0, *(counts.c[i] for i in range(n_covariates))],
    )
    df = n - n_covariates - 2
    burden = {row.gene: row for row in tested.collect()}
    records = []
    for i, name in enumerate(names):
        found = hl.skat(
            key_expr=part.gene,
            weight_expr=part.weight,
            y=part.y[i],
            x=part.x + 0,  # hl.skat loses an entry that is a field as it stands
            covariates=terms,
            max_size=_MAX_VARIANTS,
            accuracy=ACCURACY,
            iterations=_ITERATIONS,
        )
        for row in found.collect():
            own = burden[row.id]
            t = own.t_stat[i] if own.t_stat[i] is not None else math.nan
            sound = math.isfinite(t)
            p_of_burden = float(neg_log10_p_of_t(t, df))
            p = row.p_value
            records.append(
                {
                    "gene": row.id,
                    "phenotype": name,
                    "n_variants": size[row.id],
                    "alleles": own.sum_x,
                    "n": n,
                    "burden_beta": own.beta[i] if sound else None,
                    "burden_se": own.standard_error[i] if sound else None,
                    "burden_neg_log10_p": p_of_burden if sound else None,
                    "skat_q": row.q_stat,
                    "skat_neg_log10_p": None
                    if p is None or math.isnan(p) or row.fault
                    else -math.log10(max(p, ACCURACY)),
                }
            )
    return records
