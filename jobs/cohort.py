"""spark-submit jobs/cohort.py --study study.yaml: choose who is analysed, with which
phenotypes and covariates.
"""

import sys
from typing import Any

import pandas as pd

from ecg_spark.errors import DataError
from ecg_spark.genetics.gwas import prepare_cohort
from ecg_spark.genetics.null_model.cohort import Brought
from ecg_spark.genetics.outputs.sumstats import MODEL
from ecg_spark.genetics.people.ancestry import read_populations
from ecg_spark.genetics.people.matching import read_id_map
from ecg_spark.participants import read_participants, read_phenotypes, read_sex
from ecg_spark.pipeline.latent_quality import linear_probes
from ecg_spark.pipeline.phenotypes import fold_indicators, participant_phenotypes, with_own
from ecg_spark.store import file_stamp
from ecg_spark.study import Study, given
from ecg_spark.tables import LATENTS, OWN, TRAITS, read_table
from jobs.average import STEP as AVERAGE
from jobs.encode import STEP as ENCODE
from jobs.genotypes import OF_THE_COHORT
from jobs.genotypes import STEP as GENOTYPES
from jobs.step import Context, Step, Summary, main


def settings(study: Study) -> Any:
    """The covariates and the study's own phenotypes, how samples are paired, and who is left
    out.
    """
    own = [study.phenotypes.model_dump()] if study.phenotypes else []
    return [
        given(study.participants).model_dump(),
        given(study.genotypes).model_dump(include=OF_THE_COHORT),
        study.gwas.null_model,
        study.gwas.scale,
        study.beats.leave_out,
        study.seed,
        *own,
    ]


def files(study: Study) -> Any:
    """The stamps of the participant table, the id map and the table of the study's own
    phenotypes.
    """
    paths = [given(study.participants).path, given(study.genotypes).id_map]
    paths += [study.phenotypes.path] if study.phenotypes else []
    return [file_stamp(study.locate(path)) for path in paths if path]


def work(context: Context) -> Summary:
    """Publish who is analysed, with their phenotypes and covariates."""
    study, spark, inputs = context.study, context.spark, context.inputs
    told: list[str] = []
    covariates, is_male = _people(study, told)
    phenotypes, groups, terms = phenotypes_of(context, covariates, told)
    summary = prepare_cohort(
        spark,
        inputs["genotypes"].folder,
        Brought(
            phenotypes, groups, terms, is_male, covariates.get(given(study.participants).age), told
        ),
        study.absolute(given(study.genotypes), "id_map"),
        study.gwas,
        context.run.folder,
        study.seed,
    )
    if study.ecg is None:
        return summary
    probes = linear_probes(
        phenotypes[groups["vae"]].to_numpy(),
        phenotypes[groups["traits"]].join(covariates, rsuffix="_covariate"),
        study.seed,
    )
    return summary | {
        "probes": {name: round(value, 4) for name, value in probes.items()},
        MODEL: inputs["encode"].summary[MODEL],
    }


def phenotypes_of(
    context: Context, covariates: pd.DataFrame, told: list[str]
) -> tuple[pd.DataFrame, dict[str, list[str]], pd.DataFrame]:
    """The phenotypes and covariates of a study, before anybody is left out.

    Args:
        covariates: from the participant table.
        told: notes on the study's own phenotypes are appended to it.

    Returns:
        The phenotypes; their names by group; and the covariates, to which indicators of the
        model's folds are added if the study has ECGs.
    """
    study, spark, inputs = context.study, context.spark, context.inputs
    own = _own_phenotypes(study, told)
    if study.ecg is None:
        return own, {OWN: list(own.columns)}, covariates
    latents = read_table(spark, LATENTS, inputs["encode"].path("latents"))
    traits = read_table(spark, TRAITS, inputs["average"].path("traits"))
    of_ecgs, groups = participant_phenotypes(latents, traits, study.beats.leave_out)
    terms = covariates.join(fold_indicators(latents), rsuffix="_of_the_model")
    return *with_own(of_ecgs, groups, own, told), terms


def check(study: Study) -> None:
    """Check the id map, the tables of participants and the ancestry before the step runs.

    Raises:
        DataError: if one cannot be used, or nobody of the reference is of the ancestry analysed.
    """
    _people(study, [])
    _own_phenotypes(study, [])
    ancestry = given(study.genotypes).ancestry
    if ancestry and ancestry.analyse:
        known = set(read_populations(study.locate(ancestry.populations)))
        if ancestry.analyse not in known:
            raise DataError(
                f"genotypes.ancestry.analyse is {ancestry.analyse}, and the table of the reference "
                f"knows {', '.join(sorted(known))}: name one of these."
            )
    if id_map := given(study.genotypes).id_map:
        read_id_map(study.locate(id_map))


def _people(study: Study, told: list[str]) -> tuple[pd.DataFrame, pd.Series | None]:
    """The covariates and the sex of the participants; notes are appended to `told`."""
    settings = given(study.participants)
    path = study.locate(settings.path)
    return read_participants(settings, path, told), read_sex(settings, path, told)


def _own_phenotypes(study: Study, told: list[str]) -> pd.DataFrame:
    """The study's own phenotypes; a table without columns if it has none."""
    own = study.phenotypes
    return read_phenotypes(own, study.locate(own.path), told) if own else pd.DataFrame()


STEP = Step("cohort", (AVERAGE, ENCODE, GENOTYPES), settings, work, files, version=4, check=check)

if __name__ == "__main__":
    sys.exit(main(STEP))
