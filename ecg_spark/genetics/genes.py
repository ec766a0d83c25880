"""The stage of the association study that tests each gene by its rare variants."""

import logging
from typing import Any

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from ecg_spark.genetics.genotypes.parts import open_set
from ecg_spark.genetics.gwas import VARIANTS, offsets_of, people_of_set
from ecg_spark.genetics.methods import study_wide
from ecg_spark.genetics.null_model.cohort import load_cohort, together
from ecg_spark.genetics.outputs.tables import GENE_SETS, GENES
from ecg_spark.genetics.testing.gene_table import copy_gene_files, matched_genes
from ecg_spark.genetics.testing.rare import associate_sets
from ecg_spark.store import remove_folder
from ecg_spark.study import Genotypes, Gwas
from ecg_spark.tables import read_table, write_rows, write_table

log = logging.getLogger(__name__)


def associate_genes(
    spark: SparkSession,
    genotypes: str,
    cohort_folder: str,
    null_model: str,
    genotype_settings: Genotypes,
    settings: Gwas,
    folder: str,
) -> dict[str, Any]:
    """Test the rare variants of each gene together, if the study names a table of gene sets.

    The people, the offsets of the null model and the relatives are the same as for the
    single-variant tests. Where the study has several genotype sets, only the first is tested.
    Writes the tables `genes` and `gene_sets`; both are empty if the study names no gene sets.

    Args:
        genotypes: the folder that `prepare_genotypes` wrote.
        cohort_folder: the folder that `prepare_cohort` wrote.
        null_model: the folder that `prepare_null_model` wrote.
        folder: where the tables are written.

    Returns:
        The summary of the stage. `gene_threshold` is -log10 of 0.05 divided by the number of genes
        and by the effective number of tests of each gene (see `multiplicity`).

    Raises:
        DataError: if none of the variants in the gene sets is in the genotype set.
    """
    if settings.rare is None:
        for table in (GENES, GENE_SETS):
            write_rows([], table, f"{folder}/{table.name}")
        return {"genes": 0, "notes": []}
    genome, copied = genotype_settings.reference_genome, f"{folder}/gene_files"
    rows = copy_gene_files(settings.rare, genome, copied)
    whole_set, cohort = open_set(f"{genotypes}/{VARIANTS}"), load_cohort(cohort_folder)
    whole_set = whole_set.only(whole_set.sites(["set"])["set"].to_numpy() == 0)
    members, notes = matched_genes(spark, whole_set, settings.rare, copied, rows)
    offsets = offsets_of(spark, genotypes, cohort, null_model, settings)
    joint = together(cohort.tested, cohort.groups, settings.scale)
    found = associate_sets(
        spark, whole_set, members, settings.rare.max_maf,
        *people_of_set(cohort, settings, 0), joint, offsets.loco, offsets.relatives,
    )  # fmt: skip
    found.write.parquet(f"{folder}/by_gene")
    found = spark.read.parquet(f"{folder}/by_gene")
    write_table(found.select(*GENES.schema.names), GENES, f"{folder}/{GENES.name}")
    sets = found.select("contig", "gene", "phenotype", F.explode("sets").alias("one"))
    sets = sets.select("contig", "gene", "phenotype", "one.*")
    write_table(sets.select(*GENE_SETS.schema.names), GENE_SETS, f"{folder}/{GENE_SETS.name}")
    for scratch in ("by_gene", "gene_files"):
        remove_folder(f"{folder}/{scratch}")
    genes = read_table(spark, GENES, f"{folder}/{GENES.name}")
    n_genes = genes.select("contig", "gene").distinct().count()
    _, effective, threshold = study_wide(cohort, settings, 0.05 / max(n_genes, 1))
    log.info("rare: %d genes", n_genes)
    return {
        "genes": n_genes,
        "gene_threshold": round(threshold, 4),
        "tests_of_a_gene": round(effective, 2),
        "significant_genes": genes.where(F.col("neg_log10_p") > threshold)
        .select("contig", "gene").distinct().count(),
        "notes": notes,
    }  # fmt: skip
