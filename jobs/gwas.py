"""spark-submit jobs/gwas.py --study study.yaml: latents and traits against every variant."""

import re
import sys
from typing import Any

import pandas as pd

from ecg_spark.errors import DataError
from ecg_spark.genetics.gwas import run_gwas
from ecg_spark.genetics.null_model.loco import prediction_files
from ecg_spark.genetics.people.matching import read_id_map
from ecg_spark.participants import read_participants, read_sex
from ecg_spark.pipeline.latent_quality import linear_probes
from ecg_spark.pipeline.phenotypes import fold_indicators, participant_phenotypes
from ecg_spark.session import start_hail
from ecg_spark.store import file_stamp
from ecg_spark.study import Study
from ecg_spark.tables import LATENTS, TRAITS, read_table
from jobs.average import STEP as AVERAGE
from jobs.encode import STEP as ENCODE
from jobs.genotypes import OF_THE_TESTS
from jobs.genotypes import STEP as GENOTYPES
from jobs.step import Context, Step, Summary, main
from jobs.train import STEP as TRAIN
from models.registry.tracking import log_back

_NO_METRIC = re.compile(r"[^\w./ -]")
"""Signs that MLflow does not take in the name of a metric, as in age^2."""


def settings(study: Study) -> Any:
    """The thresholds, the covariates, how people and samples are paired, what is left out."""
    return [
        study.gwas.model_dump(),
        study.participants.model_dump(),
        study.genotypes.model_dump(include=OF_THE_TESTS),
        study.seed,
        study.beats.leave_out,
    ]


def files(study: Study) -> Any:
    """The participant table, the other tables and the predictions that the study names."""
    rare = study.gwas.rare
    tables = [
        study.participants.path,
        study.genotypes.id_map,
        study.genotypes.keep_variants,
        study.genotypes.exclude_variants,
        study.gwas.genes,
        study.gwas.published,
        rare and rare.genes,
    ]
    places = [study.locate(path) for path in tables if path]
    if study.gwas.predictions:
        listed = study.locate(study.gwas.predictions)
        places += [listed, *prediction_files(listed).values()]
    return [file_stamp(place) for place in places]


def work(context: Context) -> Summary:
    """Publish associations, loci and what else `run_gwas` writes."""
    study, spark, inputs = context.study, context.spark, context.inputs
    if study.gwas.rare or study.gwas.engine_used == "hail":
        start_hail(spark, context.store.root)
    covariates, is_male, told = _people(study)
    latents = read_table(spark, LATENTS, inputs["encode"].path("latents"))
    traits = read_table(spark, TRAITS, inputs["average"].path("traits"))
    phenotypes, groups = participant_phenotypes(latents, traits, study.beats.leave_out)
    tables = study.absolute(study.gwas, "genes", "published", "predictions")
    rare = study.gwas.rare and study.absolute(study.gwas.rare, "genes")
    summary = run_gwas(
        spark,
        inputs["genotypes"].folder,
        phenotypes,
        groups,
        covariates.join(fold_indicators(latents), rsuffix="_of_the_model"),
        study.absolute(study.genotypes, "id_map", "keep_variants", "exclude_variants"),
        tables.model_copy(update={"rare": rare}),
        context.run.folder,
        study.seed,
        is_male,
        told,
    )
    probes = linear_probes(
        phenotypes[groups["vae"]].to_numpy(),
        phenotypes[groups["traits"]].join(covariates, rsuffix="_covariate"),
        study.seed,
    )
    found = {f"probe/{_NO_METRIC.sub('_', name)}": value for name, value in probes.items()}
    for figure in ("mean_lambda", "mean_chi2", "loci"):
        for method, value in summary[figure].items():
            found[f"gwas/{figure}_{method.replace(' ', '_')}"] = float(value)
    trained = inputs["train"].summary
    log_back(trained["run_id"], trained["model_id"], found, study.tracking_uri)
    return summary | {"probes": {name: round(value, 4) for name, value in probes.items()}}


def check(study: Study) -> None:
    """Raise `DataError` where the participant table, the id map or a list cannot be used."""
    _people(study)
    if study.genotypes.id_map:
        read_id_map(study.locate(study.genotypes.id_map))
    for key in ("keep_variants", "exclude_variants"):
        path = getattr(study.genotypes, key)
        if path and file_stamp(study.locate(path))[1] is None:
            raise DataError(f"The list genotypes.{key} does not exist: correct it.")


def _people(study: Study) -> tuple[pd.DataFrame, pd.Series | None, list[str]]:
    """The covariates and the sex of the participants, and what is to be told of them."""
    told: list[str] = []
    path = study.locate(study.participants.path)
    covariates = read_participants(study.participants, path, told)
    return covariates, read_sex(study.participants, path, told), told


STEP = Step(
    "gwas", (AVERAGE, TRAIN, ENCODE, GENOTYPES), settings, work, files, version=8, check=check
)

if __name__ == "__main__":
    sys.exit(main(STEP))
