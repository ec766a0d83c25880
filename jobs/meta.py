"""spark-submit jobs/meta.py STUDY STUDY ... --out DIR: combine the results of several cohorts."""

import argparse
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ecg_spark.genetics.cohorts.meta import WINDOW_BP, meta_analyse, require_number
from ecg_spark.locations import resolve
from ecg_spark.store import file_stamp
from jobs.cohort_step import HELP, CohortStep, Context, Given, run_cohorts
from jobs.publishing import Summary, told
from jobs.step import add_force, guarded, print_line

if TYPE_CHECKING:
    from ecg_spark.report.comparison import Planted


def files(given: Sequence[Given]) -> Any:
    """The stamps of the planted truths."""
    return [file_stamp(place) for place in _truths(given)]


def work(context: Context) -> Summary:
    """Combine the cohorts and write the report, with a copy in the output folder.

    Of the options, `notes` are shown in the report, and the others are those of `meta_analyse`.
    """
    # PyTorch and MLflow take seconds to import.
    from ecg_spark.report.cohorts import write_meta_page

    run, options = context.run, dict(context.options)
    notes = options.pop("notes", [])
    summary = meta_analyse(context.spark, context.cohorts, run.folder, **options)
    summary["notes"] = notes
    summary |= write_meta_page(run.folder, summary, WINDOW_BP, _planted(context.given))
    return summary | {"report": context.store.put_copy(run.path("report.html"), "report.html")}


def check(given: Sequence[Given]) -> None:
    """Check the number of cohorts and the planted truths before anything is read.

    Raises:
        UsageError: for too few or too many cohorts.
        DataError: if a planted truth cannot be used.
    """
    require_number(len(given))
    _planted(given)


def _truths(given: Sequence[Given]) -> list[str]:
    """The planted truths, if every cohort's study names one."""
    studies = [one.study for one in given]
    found = [study.locate(study.truth) for study in studies if study and study.truth]
    return found if len(found) == len(given) else []


def _planted(given: Sequence[Given]) -> "list[Planted]":
    from ecg_spark.report.comparison import planted_together, read_planted

    return planted_together([read_planted(place) for place in _truths(given)])


STEP = CohortStep("meta", work, version=3, files=files, check=check)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that the job and the command share."""
    parser.add_argument("cohorts", nargs="+", metavar="STUDY", help=HELP)
    parser.add_argument("--out", required=True, help="the folder to write, a path or URI")
    parser.add_argument(
        "--genomic-control", action="store_true",
        help="multiply standard errors by √lambda of each cohort and phenotype",
    )  # fmt: skip
    add_force(parser)


def main(arguments: list[str] | None = None) -> int:
    """The entry point of `jobs/meta.py`, with the options of `ecg-spark meta`."""
    parser = argparse.ArgumentParser(prog="jobs/meta.py", description=__doc__)
    add_options(parser)
    options = parser.parse_args(arguments)
    return guarded(lambda: run(options))


def run(options: argparse.Namespace) -> None:
    """Run the meta-analysis that the options ask for, and print its summary."""
    out = resolve(os.getcwd(), options.out)
    chosen = {"force": options.force, "genomic_control": options.genomic_control}
    print_line(told(STEP.name, *run_cohorts(STEP, options.cohorts, out, **chosen)))


if __name__ == "__main__":
    sys.exit(main())
