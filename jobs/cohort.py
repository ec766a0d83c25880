"""spark-submit jobs/cohort.py --study study.yaml: who is analysed, phenotypes, covariates."""

import sys
from typing import Any

import pandas as pd

from ecg_spark.genetics.gwas import prepare_cohort
from ecg_spark.genetics.null_model.cohort import Brought
from ecg_spark.genetics.outputs.sumstats import MODEL
from ecg_spark.genetics.people.matching import read_id_map
from ecg_spark.participants import read_participants, read_sex
from ecg_spark.pipeline.latent_quality import linear_probes
from ecg_spark.pipeline.phenotypes import fold_indicators, participant_phenotypes
from ecg_spark.store import file_stamp
from ecg_spark.study import Study
from ecg_spark.tables import LATENTS, TRAITS, read_table
from jobs.average import STEP as AVERAGE
from jobs.encode import STEP as ENCODE
from jobs.genotypes import OF_THE_COHORT
from jobs.genotypes import STEP as GENOTYPES
from jobs.step import Context, Step, Summary, main


def settings(study: Study) -> Any:
    """The covariates, how people and samples are paired, who is left out."""
    return [
        study.participants.model_dump(),
        study.genotypes.model_dump(include=OF_THE_COHORT),
        study.gwas.null_model,
        study.beats.leave_out,
        study.seed,
    ]


def files(study: Study) -> Any:
    """The participant table and the map of ids."""
    paths = [study.participants.path, study.genotypes.id_map]
    return [file_stamp(study.locate(path)) for path in paths if path]


def work(context: Context) -> Summary:
    """Publish the people analysed, their phenotypes and their covariates."""
    study, spark, inputs = context.study, context.spark, context.inputs
    covariates, is_male, told = _people(study)
    latents = read_table(spark, LATENTS, inputs["encode"].path("latents"))
    traits = read_table(spark, TRAITS, inputs["average"].path("traits"))
    phenotypes, groups = participant_phenotypes(latents, traits, study.beats.leave_out)
    terms = covariates.join(fold_indicators(latents), rsuffix="_of_the_model")
    summary = prepare_cohort(
        spark,
        inputs["genotypes"].folder,
        Brought(phenotypes, groups, terms, is_male, told),
        study.absolute(study.genotypes, "id_map"),
        study.gwas,
        context.run.folder,
        study.seed,
    )
    probes = linear_probes(
        phenotypes[groups["vae"]].to_numpy(),
        phenotypes[groups["traits"]].join(covariates, rsuffix="_covariate"),
        study.seed,
    )
    return summary | {
        "probes": {name: round(value, 4) for name, value in probes.items()},
        MODEL: inputs["encode"].summary[MODEL],
    }


def check(study: Study) -> None:
    """Raise `DataError` where the participant table or the map of ids cannot be used."""
    _people(study)
    if study.genotypes.id_map:
        read_id_map(study.locate(study.genotypes.id_map))


def _people(study: Study) -> tuple[pd.DataFrame, pd.Series | None, list[str]]:
    """The covariates and the sex of the participants, and what is to be told of them."""
    told: list[str] = []
    path = study.locate(study.participants.path)
    covariates = read_participants(study.participants, path, told)
    return covariates, read_sex(study.participants, path, told), told


STEP = Step("cohort", (AVERAGE, ENCODE, GENOTYPES), settings, work, files, version=2, check=check)

if __name__ == "__main__":
    sys.exit(main(STEP))
