"""The stages of the association study in a row, as the steps run them."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from pyspark.sql import SparkSession

from ecg_spark.genetics import STAGES, gwas
from ecg_spark.genetics.genes import associate_genes
from ecg_spark.genetics.null_model.cohort import Brought
from ecg_spark.study import Genotypes, Gwas


def run_gwas(
    spark: SparkSession,
    genotypes: str,
    phenotypes: pd.DataFrame,
    groups: Mapping[str, Sequence[str]],
    covariates: pd.DataFrame,
    genotype_settings: Genotypes,
    settings: Gwas,
    folder: str,
    seed: int,
    is_male: pd.Series | None = None,
    told: Sequence[str] = (),
) -> dict[str, Any]:
    """Run every stage into a folder of its own below `folder`; all their summaries in one."""
    cohort, null_model, tests, rare, findings = (f"{folder}/{name}" for name in STAGES)
    brought = Brought(phenotypes, groups, covariates, is_male, covariates.get("age"), told)
    told_of = [
        gwas.prepare_cohort(spark, genotypes, brought, genotype_settings, settings, cohort, seed),
        gwas.prepare_null_model(
            spark, genotypes, cohort, genotype_settings, settings, null_model, seed
        ),
        gwas.associate_variants(
            spark, genotypes, cohort, null_model, genotype_settings, settings, tests
        ),
        associate_genes(spark, genotypes, cohort, null_model, genotype_settings, settings, rare),
        gwas.describe_findings(
            spark, genotypes, cohort, null_model, tests, genotype_settings, settings, findings
        ),
    ]
    notes = [note for one in told_of for note in one.get("notes", [])]
    return {key: value for one in told_of for key, value in one.items()} | {"notes": notes}
