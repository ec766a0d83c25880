"""spark-submit jobs/rare.py --study study.yaml: test rare variants gene by gene, if the study
names a gene table.
"""

import sys
from typing import Any

from ecg_spark.genetics.genes import associate_genes
from ecg_spark.genetics.testing.gene_table import check_gene_files
from ecg_spark.store import file_stamp
from ecg_spark.study import Rare, Study, given
from jobs.cohort import STEP as COHORT
from jobs.genotypes import STEP as GENOTYPES
from jobs.null_model import STEP as NULL_MODEL
from jobs.step import Context, Step, Summary, main


def settings(study: Study) -> Any:
    """Which variants belong to a gene, and which count as rare."""
    return study.gwas.rare and study.gwas.rare.model_dump()


def files(study: Study) -> Any:
    """The stamps of the gene table, and of REGENIE's files of sets and masks."""
    rare = _rare(study)
    named = rare and [rare.genes, rare.sets, rare.masks]
    return named and [file_stamp(one) for one in named if isinstance(one, str)]


def work(context: Context) -> Summary:
    """Publish the tests of genes; nothing if the study names no gene table."""
    study, inputs = context.study, context.inputs
    return associate_genes(
        context.spark,
        inputs["genotypes"].folder,
        inputs["cohort"].folder,
        inputs["null_model"].folder,
        given(study.genotypes),
        study.gwas.model_copy(update={"rare": _rare(study)}),
        context.run.folder,
    )


def check(study: Study) -> None:
    """Check the gene table before the step runs.

    Raises:
        DataError: if it cannot be used.
    """
    if rare := _rare(study):
        check_gene_files(rare, given(study.genotypes).reference_genome)


def _rare(study: Study) -> Rare | None:
    rare = study.gwas.rare
    keys = ["genes", "sets", *(["masks"] if rare and isinstance(rare.masks, str) else [])]
    return rare and study.absolute(rare, *keys)


STEP = Step("rare", (GENOTYPES, COHORT, NULL_MODEL), settings, work, files, check=check)

if __name__ == "__main__":
    sys.exit(main(STEP))
