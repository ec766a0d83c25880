"""spark-submit jobs/mr.py --study study.yaml: estimate the effects of factors and traits on
diseases (Mendelian randomisation).
"""

import sys
from typing import Any

from ecg_spark.errors import DataError
from ecg_spark.genetics.mendelian.study import randomise
from ecg_spark.genetics.outputs.reading import cohort_build, open_cohort
from ecg_spark.store import file_stamp
from ecg_spark.study import Study, given
from jobs.associations import STEP as ASSOCIATIONS
from jobs.cohort import STEP as COHORT
from jobs.genotypes import STEP as GENOTYPES
from jobs.step import Context, Step, Summary, main

OUTCOMES = "gwas.mr.outcomes"
OF_THE_LEADS = {"p_threshold", "clump_window_bp", "clump_r2"}


def settings(study: Study) -> Any:
    """The thresholds of the loci."""
    return study.gwas.model_dump(include=OF_THE_LEADS)


def files(study: Study) -> Any:
    """The summary statistics of the diseases."""
    return file_stamp(_outcomes(study))


def work(context: Context) -> Summary:
    """Publish the estimates."""
    study, inputs = context.study, context.inputs
    spark = context.spark
    return randomise(
        spark,
        inputs["genotypes"].folder,
        inputs["cohort"].folder,
        inputs["associations"].folder,
        study.gwas,
        open_cohort(spark, study.output_path, "the study"),
        open_cohort(spark, _outcomes(study), OUTCOMES),
        context.run.folder,
    )


def check(study: Study) -> None:
    """Check the outcomes before the step runs.

    Raises:
        DataError: if they cannot be read or lie on another build.
    """
    build = cohort_build(_outcomes(study), OUTCOMES)
    own = given(study.genotypes).reference_genome
    if build != own:
        raise DataError(
            f"{OUTCOMES} lies on {build} and the study on {own}: lift its files over to {own}."
        )


def _outcomes(study: Study) -> str:
    return study.locate(given(study.gwas.mr).outcomes)


STEP = Step("mr", (GENOTYPES, COHORT, ASSOCIATIONS), settings, work, files, check=check)

if __name__ == "__main__":
    sys.exit(main(STEP))
