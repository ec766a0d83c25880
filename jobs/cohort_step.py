"""Steps whose inputs are the results of cohorts instead of a study's own steps."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
from pyspark.sql import SparkSession

from ecg_spark.errors import UsageError
from ecg_spark.genetics.outputs.reading import Cohort, open_cohort
from ecg_spark.locations import resolve
from ecg_spark.reach import require_connectors, require_reachable
from ecg_spark.session import prepared, spark_session
from ecg_spark.store import Publication, Run, Store, fingerprint
from ecg_spark.study import Spark, Study, load_study
from jobs.publishing import Summary, publish
from jobs.step import present, require_steps, steps_named

Place = Study | str | Path
"""A cohort as it may be given: a study or its file, a study's output, or a folder of GWAS-SSF."""

HELP = "a study file, a study's output, or a folder of GWAS-SSF files"


@dataclass(frozen=True)
class Given:
    """A cohort as the user named it.

    Attributes:
        name: what messages call it.
        folder: where its results lie.
        study: its study, if that was given.
    """

    name: str
    folder: str
    study: Study | None = None


@dataclass(frozen=True)
class Context:
    """What a step on cohorts works with.

    Attributes:
        given: the cohorts as the user named them.
        cohorts: the same cohorts, opened.
        needs: what the first cohort's study has published of the steps in `CohortStep.needs`.
        options: the options of the step, which decide its result.
        store: the output folder.
        run: where the step writes.
    """

    given: Sequence[Given]
    cohorts: Sequence[Cohort]
    needs: Mapping[str, Publication]
    options: Mapping[str, Any]
    store: Store
    run: Run
    spark: SparkSession


@dataclass(frozen=True)
class CohortStep:
    """A step from the results of cohorts to one published result.

    Attributes:
        work: computes the result and returns its summary.
        needs: names of steps that the first cohort's study must have published.
        files: stamps of what the step reads besides the cohorts.
        check: raises an error before anything is read, if the request cannot work.
        published_as: the name of the result in the output folder; by default the step's own.
    """

    name: str
    work: Callable[[Context], Summary]
    version: int = 1  # to be raised when a change of the code gives another result
    needs: Sequence[str] = ()
    files: Callable[[Sequence[Given]], Any] = lambda given: None
    check: Callable[[Sequence[Given]], None] = lambda given: None  # before anything is read
    published_as: Callable[[str, Sequence[Given]], str] = lambda name, given: name


def run_cohorts(
    step: CohortStep,
    places: Sequence[Place],
    out: str,
    *,
    force: bool = False,
    session: SparkSession | None = None,
    **options: Any,
) -> tuple[bool, Publication]:
    """Run a step on cohorts and publish its result, unless that is up to date.

    Args:
        places: the cohorts.
        out: the output folder.
        force: run the step even if it is up to date.
        session: the session to work in; None for the active one or a new one.
        options: options of the step, which decide its result.

    Returns:
        Whether the step was skipped, and what is published now.

    Raises:
        UsageError: if a cohort's study file has mistakes, or its study has not published results
            for its present file.
        EcgSparkError: as `open_cohort` and the step do.
    """
    require_reachable(_keyed(map(_location, places)), out)
    given = [_given(place, number) for number, place in enumerate(places, 1)]
    needs = {name: _present(name, given[0]) for name in step.needs}
    step.check(given)
    spark = session_for(step.name, given, session)
    require_connectors(spark, [*_keyed(one.folder for one in given), ("output", out)])
    cohorts = [open_cohort(spark, one.folder, one.name) for one in given]
    provenance = {
        "settings": fingerprint(step.name, step.version, options),
        "files": fingerprint(step.files(given)),
        "inputs": {name: one.run for name, one in needs.items()}
        | {one.name: fingerprint(one.stamp) for one in cohorts},
    }
    store = Store(out)

    def work(run: Run, _: Publication | None) -> Summary:
        return step.work(Context(given, cohorts, needs, options, store, run, spark))

    return publish(store, step.published_as(step.name, given), provenance, work, force=force)


def session_for(name: str, given: Sequence[Given], session: SparkSession | None) -> SparkSession:
    """The session to work in: the one given, the active one, or a new one with the first
    study's settings.
    """
    if session is not None:
        return prepared(session)
    memory = (one.study.spark.driver_memory for one in given if one.study)
    return spark_session(f"ecg-spark {name}", next(memory, Spark().driver_memory))


def _location(place: Place) -> str:
    return place.output_path if isinstance(place, Study) else resolve(os.getcwd(), str(place))


def _keyed(locations: Iterable[str]) -> list[tuple[str, str]]:
    return [(f"cohort {number}", place) for number, place in enumerate(locations, 1)]


def _given(place: Place, number: int) -> Given:
    """A cohort with its number, from 1, and the name of its study or the last part of its path.

    Raises `UsageError` if its study file has mistakes, or its study has not published results for
    its present file.
    """
    study, folder = place if isinstance(place, Study) else None, _location(place).rstrip("/")
    if study is None:
        files, base = fsspec.core.url_to_fs(folder)
        study = load_study(folder) if files.isfile(base) else None
    if study is None:
        return Given(f"cohort {number} ({folder.rsplit('/', 1)[-1]})", folder)
    given = Given(f"cohort {number} ({study.name})", study.output_path, study)
    _present("associations", given)
    return given


def _present(name: str, given: Given) -> Publication:
    """What a cohort's study has published of a step, made from its present file."""
    if given.study is None:
        return Store(given.folder).require(name)
    try:
        require_steps([name], given.study)
        (step,) = steps_named([name])
        return present(step, given.study, Store(given.folder))
    except UsageError as error:
        raise UsageError(f"{given.name}: {error}") from None
