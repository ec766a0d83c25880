"""What `import ecg_spark` offers of the jobs: studies and cohorts, from Python and notebooks."""

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
from jobs.publishing import Summary, told
from jobs.score import score as score_by_files
from jobs.simulate import simulate
from jobs.step import NOT_ASKED_FOR, as_known, run_steps, session_of, steps_named


def simulate_study(folder: str | Path, participants: int, variants: int, seed: int = 1) -> Study:
    """Write a biobank with planted truth into a folder, as `ecg-spark simulate` does; its study.

    A folder that holds this very biobank already stays as it is. Works in the active Spark session
    or a new one. Raises `UsageError` for too few participants or variants and for a folder that
    holds anything else.
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

    `steps` are names of steps, or `gwas` for the five of the association study, by default all that
    the study asks for; they are run in the order of the line, whatever the order of the names. One
    that is published already for the same inputs and settings is skipped, unless `force` redoes it;
    one that the study does not ask for is skipped in any case and has no result.
    `spark` is the session to work in, by default the active one or a new one of this machine. A
    notebook shows how far it is.

    Raises `UsageError`, `DataError` or `InfrastructureError` with one sentence that says what to
    do, `EcgSparkError` with the place where ecg-spark has a defect.
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
    """Combine the results of 2 to 50 cohorts, as `ecg-spark meta` does, into the folder `out`.

    A cohort is a study or its file, a study's output folder, the `out` of a meta-analysis, or a
    folder of GWAS-SSF files. With `genomic_control` standard errors are multiplied by √lambda of
    each cohort and phenotype first. The tables are `associations`, `loci` and, where latents are
    tested together, `omnibus`. What is published already of the same cohorts is skipped, unless
    `force` redoes it. Raises what `run` raises.
    """
    folder = resolve(os.getcwd(), str(out))
    options = {"genomic_control": genomic_control}
    return _of_cohorts(meta_job.STEP, cohorts, folder, spark, force, options)


def replicate(
    study: Study, other: Place, *, spark: SparkSession | None = None, force: bool = False
) -> Result:
    """Seek a study's loci in another cohort, as `ecg-spark replicate` does.

    `other` is a cohort as `meta` takes it. The table is `replication`; it is kept in the study's
    output folder, one for each other cohort. What is published already is skipped, unless `force`
    redoes it. Raises what `run` raises, `UsageError` where the study's findings are not published.
    """
    return _of_cohorts(replicate_job.STEP, [study, other], study.output_path, spark, force, {})


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
    """What a step has published in a folder, of its line."""
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
    """Score everybody genotyped of a study by scoring files, as `ecg-spark score` does.

    `weights` are files of the PGS Catalog's format, `out` the folder to write. The tables are
    `applied_scores` and `applied_files`. What is published already of the same files and genotypes
    is skipped, unless `force` redoes it. Raises what `run` raises.
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
    """Train a grid of models, as `ecg-spark sweep` does, and return a row for each, best first.

    The columns are the settings that the grid tries, the figures of validation people, and the run
    of MLflow. Nothing is published. Raises what `run` raises.
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
