"""spark-submit jobs/populations.py --study study.yaml: run each population of the study by itself,
and combine their results.

A population is a study as any other, in a folder of its own within the output, which shares with
the whole study all that comes before people are chosen. Ancestry is that of `genotypes.ancestry`.
"""

import argparse
import logging
import sys
from collections.abc import Iterator

from pyspark.sql import SparkSession

from ecg_spark.errors import DataError
from ecg_spark.genetics.genotypes.quality import FEWEST_OF_ANCESTRY
from ecg_spark.steps import SHARED, steps_of
from ecg_spark.store import Store
from ecg_spark.study import COMBINED, Study, load_study
from jobs.cohort import STEP as COHORT
from jobs.cohort_step import run_cohorts
from jobs.meta import STEP as META
from jobs.publishing import Summary, told
from jobs.step import (
    guarded,
    parse,
    print_line,
    require_steps,
    run_steps,
    steps_named,
)

log = logging.getLogger(__name__)

NAME = "populations"

FEWEST = 200
"""People analysed, of fewer of whom a population is not run: there are 10 components and more to
take off, and of their variants few alleles."""


def run_populations(
    study: Study, *, force: bool = False, session: SparkSession | None = None
) -> Iterator[Summary]:
    """Run what the whole study has up to the choice of people, every later step of each population
    with `FEWEST` people analysed, and the meta-analysis of these into `meta_folder`.

    Yields the line of each step when it is done, with its `population`. What is up to date is
    skipped; `force` redoes what is of the populations. Raises `UsageError` where the study names no
    reference of ancestry or chooses a population already, `DataError` where fewer than two
    populations have people enough, and what the steps raise.
    """
    require_steps([COHORT.name], study)
    study.of_population("any")  # refused before hours are spent
    names = steps_of(study)
    until = names[: 1 + names.index(COHORT.name)]
    yield from run_steps(steps_named(until), study, session=session)
    counts: dict[str, int | None] = (
        Store(study.output_path).require(COHORT.name).summary["ancestry"]
    )
    enough = [name for name, count in counts.items() if (count or 0) >= FEWEST]
    few = f"fewer than {FEWEST_OF_ANCESTRY}"
    notes = [
        f"{name} was left out: {count or few} people analysed, {FEWEST} are needed"
        for name, count in counts.items()
        if name not in enough
    ]
    if len(enough) < 2:
        raise DataError(
            f"Populations with {FEWEST} people to analyse: {', '.join(enough) or 'none'}; two are "
            f"needed to combine ({'; '.join(notes) or 'nobody is of another'}). Run the study as a "
            f"whole, or one population with genotypes.ancestry.analyse."
        )
    own = [study.of_population(name) for name in enough]
    later = steps_named([name for name in names if name not in SHARED])
    for name in enough:
        log.info("population %s: %d people", name, counts[name])
    # Choosing people shows which population cannot be analysed, before any is tested for hours.
    for steps in (later[:1], later[1:]):
        for name, population in zip(enough, own, strict=True):
            for line in run_steps(steps, population, force=force, session=session):
                yield {"population": name, **line}
    published = run_cohorts(
        META, own, meta_folder(study), force=force, session=session, genomic_control=False,
        notes=notes,
    )  # fmt: skip
    yield told(META.name, *published)


def meta_folder(study: Study) -> str:
    """Where the populations' results are combined."""
    return f"{study.output_path}/{COMBINED}"


def main(arguments: list[str] | None = None) -> int:
    """The entry of `jobs/populations.py --study study.yaml`."""
    options = parse(NAME, arguments)
    return guarded(lambda: run(options))


def run(options: argparse.Namespace) -> None:
    """Do what the options say and print a line for each step."""
    for line in run_populations(load_study(options.study), force=options.force):
        print_line(line)


if __name__ == "__main__":
    sys.exit(main())
