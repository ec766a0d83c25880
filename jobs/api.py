"""The functions that `import ecg_spark` offers: studies and cohorts, from Python and
notebooks.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import pandas as pd
from pyspark.sql import SparkSession

from ecg_spark.display import Progress
from ecg_spark.locations import resolve
from ecg_spark.results import Figures, Result, Results, Tables
from ecg_spark.steps import steps_of
from ecg_spark.store import Store
from ecg_spark.study import Study, load_study
from jobs import meta as meta_job
from jobs import replicate as replicate_job
from jobs.cohort_step import CohortStep, Place, run_cohorts, session_for
from jobs.populations import meta_folder, run_populations
from jobs.publishing import Summary, told
from jobs.score import score as score_by_files
from jobs.simulate import simulate
from jobs.step import NOT_ASKED_FOR, as_known, run_steps, session_of, steps_named


def simulate_study(folder: str | Path, participants: int, variants: int, seed: int = 1) -> Study:
    """Write a biobank with planted variants into a folder, as `ecg-spark simulate` does.

    A folder that already holds this very biobank stays as it is. Works in the active Spark session
    or a new one.

    Args:
        participants: how many people to simulate.
        variants: how many variants to simulate.

    Returns:
        The study of the biobank.

    Raises:
        UsageError: for too few participants or variants, or if the folder holds anything else.
    """
    return load_study(simulate(Path(folder), participants, variants, seed)["study"])


def run(
    study: Study,
    steps: Sequence[str] | None = None,
    *,
    spark: SparkSession | None = None,
    force: bool = False,
) -> Results:
    """Run steps of a study, as the commands do, and return what each has published.

    A step that is already published for the same inputs and settings is skipped, and so is one that
    the study does not ask for, which has no result. A notebook shows progress.

    Args:
        steps: names of steps, or `gwas` for the five of the association study; None for all steps
            of the study. They run in the order of the pipeline, whatever the order of the names.
        spark: the session to work in; None for the active one or a new local one.
        force: run steps even if they are up to date.

    Raises:
        UsageError: if the study or the request has a mistake.
        DataError: if data cannot be used.
        InfrastructureError: if a disk, a store or a server fails. Like the two above, the message
            is one sentence that says what to do.
        EcgSparkError: if ecg-spark has a defect; the message says where.

    Example:
        study = ecg_spark.load_study("study.yaml")
        loci = ecg_spark.run(study, ["gwas"])["findings"].tables["loci"].toPandas()
    """
    try:
        chosen = steps_named(steps_of(study) if steps is None else steps)
        store = Store(study.output_path)
        results: dict[str, Result] = {}
        with Progress(step.name for step in chosen) as progress:
            for summary in run_steps(chosen, study, force=force, session=spark):
                progress.done(summary)
                if summary.get("skipped") == NOT_ASKED_FOR:
                    continue
                folder = store.require(summary["step"]).folder
                found = _result(summary, folder, lambda: session_of(study, spark))
                results[found.step] = found
        return Results(results)
    except Exception as error:
        raise as_known(error) from None


def meta(
    cohorts: Sequence[Place],
    out: str | Path,
    *,
    genomic_control: bool = False,
    spark: SparkSession | None = None,
    force: bool = False,
) -> Result:
    """Combine the results of 2 to 50 cohorts, as `ecg-spark meta` does.

    The result has the tables `associations`, `loci` and, if latents are tested jointly, `omnibus`.
    It is not computed again if it is already published for the same cohorts.

    Args:
        cohorts: each a study or its file, a study's output folder, the output folder of a
            meta-analysis, or a folder of GWAS-SSF files.
        out: the folder to write.
        genomic_control: first multiply the standard errors of each cohort and phenotype by
            √lambda.
        spark: the session to work in; None for the active one or a new local one.
        force: run even if it is up to date.

    Raises:
        EcgSparkError: as `run` does.
    """
    folder = resolve(os.getcwd(), str(out))
    options = {"genomic_control": genomic_control}
    return _of_cohorts(meta_job.STEP, cohorts, folder, spark, force, options)


def replicate(
    study: Study, other: Place, *, spark: SparkSession | None = None, force: bool = False
) -> Result:
    """Look up a study's loci in another cohort, as `ecg-spark replicate` does.

    The result has the table `replication`. It is kept in the study's output folder, one result for
    each other cohort, and not computed again if it is up to date.

    Args:
        other: a cohort, given as in `meta`.
        spark: the session to work in; None for the active one or a new local one.
        force: run even if it is up to date.

    Raises:
        UsageError: if the study's findings are not published.
        EcgSparkError: otherwise as `run` does.
    """
    return _of_cohorts(replicate_job.STEP, [study, other], study.output_path, spark, force, {})


def populations(study: Study, *, spark: SparkSession | None = None, force: bool = False) -> Result:
    """Run each population of a study by itself and combine them, as `ecg-spark populations` does.

    The tables are those of `meta`, and each population's results lie in its own folder within the
    output, `populations/<name>`. What is published already is skipped, unless `force` redoes it.
    Raises what `run` raises.
    """
    try:
        with Progress([meta_job.STEP.name]) as progress:
            *_, summary = run_populations(study, force=force, session=spark)
            progress.done(summary)
        folder = Store(meta_folder(study)).require(str(summary["step"])).folder
        return _result(summary, folder, lambda: session_of(study, spark))
    except Exception as error:
        raise as_known(error) from None


def _of_cohorts(
    step: CohortStep,
    cohorts: Sequence[Place],
    out: str,
    spark: SparkSession | None,
    force: bool,
    options: dict[str, bool],
) -> Result:
    try:
        with Progress([step.name]) as progress:
            skipped, published = run_cohorts(
                step, cohorts, out, force=force, session=spark, **options
            )
            summary = told(step.name, skipped, published)
            progress.done(summary)
        return _result(summary, published.folder, lambda: session_for(step.name, [], spark))
    except Exception as error:
        raise as_known(error) from None


def _result(summary: Summary, folder: str, session: Callable[[], SparkSession]) -> Result:
    """The result of a step, from its summary and the folder that it published."""
    name, skipped = str(summary.pop("step")), summary.pop("skipped", None)
    tables, figures = Tables(folder, session), Figures(folder)
    return Result(name, summary, skipped is not None, folder, tables, figures)


def score(
    study: Study,
    weights: Sequence[str | Path],
    out: str | Path,
    *,
    spark: SparkSession | None = None,
    force: bool = False,
) -> Result:
    """Score everybody genotyped in a study by scoring files, as `ecg-spark score` does.

    The result has the tables `applied_scores` and `applied_files`. It is not computed again if it
    is already published for the same files and genotypes.

    Args:
        weights: scoring files in the PGS Catalog's format.
        out: the folder to write.
        spark: the session to work in; None for the active one or a new local one.
        force: run even if it is up to date.

    Raises:
        EcgSparkError: as `run` does.
    """
    try:
        skipped, published = score_by_files(
            study, list(map(str, weights)), str(out), force=force, session=spark
        )
        summary = told("score", skipped, published)
        return _result(summary, published.folder, lambda: session_of(study, spark))
    except Exception as error:
        raise as_known(error) from None


def sweep(study: Study) -> pd.DataFrame:
    """Train a grid of models, as `ecg-spark sweep` does. Nothing is published.

    Returns:
        One row per model, best first: the settings that the grid tries, the metrics on the
        validation people, and the MLflow run.

    Raises:
        EcgSparkError: as `run` does.
    """
    from jobs.sweep import COLUMNS, train_grid  # PyTorch and MLflow take seconds to import

    try:
        _, trials = train_grid(study)
    except Exception as error:
        raise as_known(error) from None
    rows = [
        trial["values"]
        | {key: trial["metrics"].get(key) for key in COLUMNS}
        | {"run_id": trial["run_id"]}
        for trial in map(asdict, trials)
    ]
    return pd.DataFrame(rows)
