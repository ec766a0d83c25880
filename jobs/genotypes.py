"""spark-submit jobs/genotypes.py --study study.yaml: genotypes imported once and checked."""

import sys
from typing import Any

from ecg_spark.genetics.prepare import prepare_genotypes
from ecg_spark.session import start_hail
from ecg_spark.store import file_stamp
from ecg_spark.study import Study
from jobs.step import Context, Step, Summary, main

NOT_OURS = {"path", "pairing"}
"""Keys of the section genotypes that do not change what this step makes."""


def settings(study: Study) -> Any:
    """The genotype set, its filters, and the seed of the choice of variants."""
    genotypes = study.genotypes
    return [
        file_stamp(study.locate(genotypes.path)),
        genotypes.model_dump(exclude=NOT_OURS),
        study.seed,
    ]


def work(context: Context) -> Summary:
    """Publish genotypes.mt and the samples' scores."""
    genotypes = context.study.genotypes
    start_hail(context.spark, context.store.root)
    return prepare_genotypes(
        context.spark,
        genotypes,
        context.study.locate(genotypes.path),
        context.run.folder,
        context.study.seed,
    )


STEP = Step("genotypes", (), settings, work)

if __name__ == "__main__":
    sys.exit(main(STEP))
