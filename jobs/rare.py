"""spark-submit jobs/rare.py --study study.yaml: test rare variants gene by gene, if the
study names a table of them.
"""

import sys
from typing import Any

from ecg_spark.genetics.gwas import associate_genes
from ecg_spark.genetics.testing.gene_table import read_genes
from ecg_spark.store import file_stamp
from ecg_spark.study import Rare, Study, given
from jobs.cohort import STEP as COHORT
from jobs.genotypes import STEP as GENOTYPES
from jobs.step import Context, Step, Summary, main


def settings(study: Study) -> Any:
    """Which variants count as rare ones of a gene."""
    return study.gwas.rare and study.gwas.rare.model_dump()


def files(study: Study) -> Any:
    """The table of genes and their variants."""
    return study.gwas.rare and file_stamp(study.locate(study.gwas.rare.genes))


def work(context: Context) -> Summary:
    """Publish burden tests and SKAT, none where the study names no genes."""
    study, inputs = context.study, context.inputs
    return associate_genes(
        context.spark,
        inputs["genotypes"].folder,
        inputs["cohort"].folder,
        given(study.genotypes),
        study.gwas.model_copy(update={"rare": _rare(study)}),
        context.run.folder,
    )


def uses_hail(study: Study) -> bool:
    """Hail tests genes, where the study names any."""
    return study.gwas.rare is not None


def check(study: Study) -> None:
    """Raise `DataError` where the table of genes cannot be used."""
    if rare := _rare(study):
        read_genes(rare.genes, given(study.genotypes).reference_genome, rare.consequences)


def _rare(study: Study) -> Rare | None:
    return study.gwas.rare and study.absolute(study.gwas.rare, "genes")


STEP = Step("rare", (GENOTYPES, COHORT), settings, work, files, check=check, uses_hail=uses_hail)

if __name__ == "__main__":
    sys.exit(main(STEP))
