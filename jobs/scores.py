"""spark-submit jobs/scores.py --study study.yaml: fit polygenic scores and score everybody
genotyped.
"""

import sys
from typing import Any

from ecg_spark.genetics.scoring.study import score_study
from ecg_spark.study import Study, given
from jobs.cohort import STEP as COHORT
from jobs.genotypes import STEP as GENOTYPES
from jobs.step import Context, Step, Summary, main


def settings(study: Study) -> Any:
    """The scale of the phenotypes, and the seed of the folds."""
    return [study.gwas.scale, study.seed]


def work(context: Context) -> Summary:
    """Publish scores, weights and the accuracy of the scores."""
    study, inputs = context.study, context.inputs
    return score_study(
        context.spark,
        inputs["genotypes"].folder,
        inputs["cohort"].folder,
        study.absolute(given(study.genotypes), "id_map"),
        study.gwas.scale,
        context.run.folder,
        study.seed,
    )


STEP = Step("scores", (GENOTYPES, COHORT), settings, work)

if __name__ == "__main__":
    sys.exit(main(STEP))
