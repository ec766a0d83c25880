"""spark-submit jobs/associations.py --study study.yaml: test every variant against every
phenotype, singly and together.
"""

import sys
from typing import Any

from ecg_spark.errors import DataError
from ecg_spark.genetics.gwas import associate_variants
from ecg_spark.genetics.outputs.sumstats import MODEL
from ecg_spark.reach import require_connectors
from ecg_spark.store import file_stamp
from ecg_spark.study import Study, given
from jobs.cohort import STEP as COHORT
from jobs.genotypes import OF_THE_TESTS
from jobs.genotypes import STEP as GENOTYPES
from jobs.null_model import STEP as NULL_MODEL
from jobs.step import Context, Step, Summary, main

LISTS = ("keep_variants", "exclude_variants")


def settings(study: Study) -> Any:
    """Which variants are tested, and by which engine."""
    return [study.gwas.engine_used, given(study.genotypes).model_dump(include=OF_THE_TESTS)]


def files(study: Study) -> Any:
    """The stamps of the lists of variants."""
    paths = [getattr(given(study.genotypes), key) for key in LISTS]
    return [file_stamp(study.locate(path)) for path in paths if path]


def work(context: Context) -> Summary:
    """Test the variants, and publish the tests and the summary statistics for exchange."""
    study, inputs = context.study, context.inputs
    lists = [f"genotypes.{key}" for key in LISTS]
    require_connectors(context.spark, [one for one in study.inputs() if one[0] in lists])
    return associate_variants(
        context.spark,
        inputs["genotypes"].folder,
        inputs["cohort"].folder,
        inputs["null_model"].folder,
        study.absolute(given(study.genotypes), *LISTS),
        study.gwas,
        context.run.folder,
        inputs["cohort"].summary.get(MODEL),  # none where the study has no ECGs
    )


def uses_hail(study: Study) -> bool:
    """Whether Hail computes the tests."""
    return study.gwas.engine_used == "hail"


def check(study: Study) -> None:
    """Check the lists of variants before the step runs.

    Raises:
        DataError: if one does not exist.
    """
    for key in LISTS:
        path = getattr(given(study.genotypes), key)
        if path and file_stamp(study.locate(path))[1] is None:
            raise DataError(f"The list genotypes.{key} does not exist: correct it.")


STEP = Step(
    "associations",
    (GENOTYPES, COHORT, NULL_MODEL),
    settings,
    work,
    files,
    check=check,
    uses_hail=uses_hail,
)

if __name__ == "__main__":
    sys.exit(main(STEP))
