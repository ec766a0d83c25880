"""spark-submit jobs/phewas.py --study study.yaml: test diseases against factors, traits, variants
and polygenic scores.
"""

import sys
from typing import Any

import pandas as pd

from ecg_spark.diseases.assembly import (
    Members,
    calls_of,
    ecg_days,
    genotyped_people,
    lead_variants,
    of_cohort,
    of_genotypes,
    of_phenotypes,
    panel_of_ecgs,
    panel_of_genotypes,
    scores_of,
)
from ecg_spark.diseases.diagnoses import Told, read_diagnoses, require_columns, write_occurrences
from ecg_spark.diseases.panels import ECG, GENOTYPES, SCORES, VARIANTS
from ecg_spark.diseases.phecode_map import read_maps
from ecg_spark.diseases.phewas import Settings, associate_diseases
from ecg_spark.genetics.null_model.cohort import Cohort, load_cohort
from ecg_spark.participants import read_last_days, read_participants, read_sex
from ecg_spark.store import file_stamp
from ecg_spark.study import Study, given
from ecg_spark.tables import BEATS, read_table
from jobs.average import STEP as AVERAGE
from jobs.cohort import STEP as COHORT
from jobs.cohort import phenotypes_of
from jobs.encode import STEP as ENCODE
from jobs.findings import STEP as FINDINGS
from jobs.genotypes import STEP as GENOTYPES_STEP
from jobs.scores import STEP as SCORES_STEP
from jobs.step import Context, Step, Summary, main


def settings(study: Study) -> Any:
    """The section phewas, and who the participants are, which no earlier step may have read."""
    own = [study.phenotypes.model_dump()] if study.phenotypes else []
    return [
        given(study.phewas).model_dump(),
        given(study.participants).model_dump(),
        study.beats.leave_out,
        study.seed,
        *own,
    ]


def files(study: Study) -> Any:
    """The stamps of the diagnoses, the code maps, the participant table and the study's own
    phenotypes.
    """
    own = given(study.phewas)
    paths = [own.path, *own.map, given(study.participants).path]
    paths += [study.phenotypes.path] if study.phenotypes else []
    return [file_stamp(study.locate(path)) for path in paths]


def work(context: Context) -> Summary:
    """Publish the tests of all diseases, what predicts them, and how they change the beat."""
    study, spark, inputs, folder = context.study, context.spark, context.inputs, context.run.folder
    own, people = given(study.phewas), given(study.participants)
    told = Told()
    diseases = read_maps([study.locate(path) for path in own.map])
    told.notes += diseases.notes
    table = study.locate(people.path)
    is_male = read_sex(people, table)
    until = read_last_days(people, table, own.until, told.notes) if own.until else None
    of_ecgs, of_genes = _members(context, told, is_male)
    everybody = of_ecgs.predictors.index
    if of_genes is not None:
        everybody = everybody.union(of_genes.predictors.index)
    dates = write_occurrences(
        read_diagnoses(spark, own, study.locate(own.path)),
        spark.createDataFrame(pd.DataFrame({"participant_id": everybody.astype(str)})),
        diseases,
        told,
        folder,
    )
    beats = None
    if study.ecg is not None:
        beats = read_table(spark, BEATS, inputs["average"].path("beats"))
    days = None if beats is None else ecg_days(beats, study.beats.leave_out)
    panel = panel_of_ecgs(of_ecgs, is_male, days, until, dates, told.notes)
    panels = {ECG: (of_ecgs.predictors.index, panel)}
    if of_genes is not None:
        panels[GENOTYPES] = (of_genes.predictors.index, panel_of_genotypes(of_genes, is_male))
    return associate_diseases(
        spark,
        panels,
        diseases,
        Settings(own.min_cases, own.codes_per_case, study.seed),
        None if beats is None else (beats, study.beats.leave_out),
        folder,
        told,
    )


def _members(
    context: Context, told: Told, is_male: pd.Series | None
) -> tuple[Members, Members | None]:
    """Those with an ECG or own phenotypes and, if there is a variant or score to test, those
    genotyped.
    """
    study, inputs = context.study, context.inputs
    people = given(study.participants)
    covariates = read_participants(people, study.locate(people.path), [])
    if study.genotypes is not None:
        cohort = load_cohort(inputs["cohort"].folder)
        return of_cohort(cohort), _genes(context, told, covariates, is_male, cohort)
    phenotypes, groups, terms = phenotypes_of(context, covariates, told.notes)
    return of_phenotypes(phenotypes, groups, terms, told.notes), None


def _genes(
    context: Context,
    told: Told,
    covariates: pd.DataFrame,
    is_male: pd.Series | None,
    cohort: Cohort,
) -> Members | None:
    """Those genotyped, with lead variants and scores; None where the study has neither."""
    study, spark, inputs = context.study, context.spark, context.inputs
    checked = inputs["genotypes"].folder
    leads = lead_variants(spark, inputs["findings"].folder)
    if leads.empty and not study.gwas.scores:
        return None
    settings = study.absolute(given(study.genotypes), "id_map")
    genotyped = genotyped_people(spark, checked, settings, covariates, is_male, cohort, told.notes)
    samples = genotyped.terms.index
    groups = {}
    if not leads.empty:
        groups[VARIANTS] = calls_of(checked, leads, samples)
    if study.gwas.scores:
        groups[SCORES] = scores_of(spark, inputs["scores"].folder, samples)
    return of_genotypes(genotyped, groups)


def check(study: Study) -> None:
    """Check the diagnoses, the code maps and the end of the records before the step runs.

    Raises:
        DataError: if one of them cannot be used.
    """
    own, people = given(study.phewas), given(study.participants)
    require_columns(own, study.locate(own.path))
    read_maps([study.locate(path) for path in own.map])
    if own.until:
        read_last_days(people, study.locate(people.path), own.until, [])


STEP = Step(
    "phewas",
    (AVERAGE, ENCODE, GENOTYPES_STEP, COHORT, FINDINGS, SCORES_STEP),
    settings,
    work,
    files,
    version=2,
    check=check,
)

if __name__ == "__main__":
    sys.exit(main(STEP))
