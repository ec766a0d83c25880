"""spark-submit jobs/meta.py STUDY STUDY ... --out DIR: the results of several cohorts combined."""

import argparse
import os
import sys
import time
from collections.abc import Sequence

from ecg_spark.genetics.cohorts.meta import WINDOW_BP, meta_analyse
from ecg_spark.locations import resolve
from ecg_spark.reach import require_connectors, require_reachable
from ecg_spark.session import spark_session
from ecg_spark.store import Store, fingerprint, write_whole
from jobs.given_cohorts import cohort_at
from jobs.step import Summary, guarded, print_line

STEP = "meta"
VERSION = 1
"""Raise it when the same cohorts give another result."""


def meta(places: Sequence[str], out: str, genomic_control: bool) -> Summary:
    """Combine cohorts (see `given_cohorts.cohort_at`) and publish the result in a folder.

    What is published there already of the same cohorts is not made again.
    """
    from ecg_spark.report.cohorts import meta_page  # PyTorch and MLflow take seconds to import

    started = time.monotonic()
    folder = resolve(os.getcwd(), out)
    require_reachable([], folder)
    spark = spark_session("ecg-spark meta")
    require_connectors(spark, [("--out", folder)])
    cohorts = [cohort_at(spark, place, number) for number, place in enumerate(places, 1)]
    store = Store(folder)
    made_from = {
        "settings": fingerprint(STEP, VERSION, genomic_control),
        "inputs": {one.name: fingerprint(one.stamp) for one in cohorts},
    }
    current = store.published(STEP)
    if current is not None and current.made_from == made_from:
        return {"step": STEP, "skipped": "already published", **current.summary}
    with store.run(STEP, made_from) as run:
        summary = meta_analyse(spark, cohorts, run.folder, genomic_control=genomic_control)
        page = meta_page(run.folder, summary, WINDOW_BP)
        write_whole(run.path("report.html"), page.encode())
        summary["report"] = store.put_copy(run.path("report.html"), "report.html")
        summary["seconds"] = round(time.monotonic() - started, 1)
        run.publish(summary)
    return {"step": STEP, **summary}


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that the job and the command share."""
    parser.add_argument(
        "cohorts", nargs="+", metavar="STUDY",
        help="a study file, a study's output, or a folder of GWAS-SSF files",
    )  # fmt: skip
    parser.add_argument("--out", required=True, help="the folder to write, a path or URI")
    parser.add_argument(
        "--genomic-control", action="store_true",
        help="multiply standard errors by √lambda of each cohort and phenotype",
    )  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    """The entry of `jobs/meta.py`, with the options of `ecg-spark meta`."""
    parser = argparse.ArgumentParser(prog="jobs/meta.py", description=__doc__)
    add_options(parser)
    options = parser.parse_args(arguments)
    return guarded(lambda: run(options))


def run(options: argparse.Namespace) -> None:
    """Do what the options say and print the summary."""
    print_line(meta(options.cohorts, options.out, options.genomic_control))


if __name__ == "__main__":
    sys.exit(main())
