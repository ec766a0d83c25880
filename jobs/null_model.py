"""spark-submit jobs/null_model.py --study study.yaml: fit the whole-genome regression, if
the study asks for it.
"""

import sys
from typing import Any

from ecg_spark.genetics.gwas import prepare_null_model
from ecg_spark.genetics.null_model.loco import prediction_files
from ecg_spark.store import file_stamp
from ecg_spark.study import Study, given
from jobs.cohort import STEP as COHORT
from jobs.genotypes import STEP as GENOTYPES
from jobs.step import Context, Step, Summary, main


def settings(study: Study) -> Any:
    """The null model, whether predictions are given, and the seed."""
    return [study.gwas.null_model, study.gwas.predictions, study.seed]


def files(study: Study) -> Any:
    """The stamps of the predictions of REGENIE's step 1, if the study names them."""
    if not study.gwas.predictions:
        return None
    listed = study.locate(study.gwas.predictions)
    return [file_stamp(place) for place in [listed, *prediction_files(listed).values()]]


def work(context: Context) -> Summary:
    """Publish the predictions without each chromosome; nothing if the null model is `none`."""
    study, inputs = context.study, context.inputs
    return prepare_null_model(
        context.spark,
        inputs["genotypes"].folder,
        inputs["cohort"].folder,
        given(study.genotypes),
        study.absolute(study.gwas, "predictions"),
        context.run.folder,
        study.seed,
    )


STEP = Step("null_model", (GENOTYPES, COHORT), settings, work, files)

if __name__ == "__main__":
    sys.exit(main(STEP))
