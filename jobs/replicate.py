"""spark-submit jobs/replicate.py --study study.yaml --in OTHER: its loci in another cohort."""

import argparse
import sys
import time

import pandas as pd

from ecg_spark.genetics.cohorts.replication import replicate as seek
from ecg_spark.genetics.cohorts.tables import REPLICATION
from ecg_spark.genetics.outputs.tables import LOCI
from ecg_spark.reach import require_reachable
from ecg_spark.store import Store, fingerprint, write_whole
from ecg_spark.study import Study, load_study
from ecg_spark.tables import read_table
from jobs.given_cohorts import cohort_at
from jobs.step import Summary, guarded, print_line, session_of

STEP = "replicate"
VERSION = 1
"""Raise it when the same cohorts give another result."""


def replicate(study: Study, other: str) -> Summary:
    """Seek a study's loci in another cohort and publish what is found.

    `other`: see `given_cohorts.cohort_at`. The output folder keeps a replication for each cohort;
    what is published already is not made again. Raises `UsageError` where the study's findings are
    not published.
    """
    # PyTorch and MLflow take seconds to import.
    from ecg_spark.report.cohorts import replication_page

    started = time.monotonic()
    require_reachable([], study.output_path)
    store = Store(study.output_path)
    findings = store.require("findings")
    spark = session_of(study, None)
    here = cohort_at(spark, study.output_path, 1)
    there = cohort_at(spark, other, 2)
    step = f"{STEP}-{fingerprint(there.name)[:8]}"
    made_from = {
        "settings": fingerprint(STEP, VERSION),
        "inputs": {"findings": findings.run, there.name: fingerprint(there.stamp)},
    }
    current = store.published(step)
    if current is not None and current.made_from == made_from:
        return {"step": STEP, "skipped": "already published", **current.summary}
    loci = pd.DataFrame(read_table(spark, LOCI, findings.path(LOCI.name)).toPandas())
    with store.run(step, made_from) as run:
        thresholds = findings.summary["thresholds"]
        summary: Summary = {"in": there.name}
        summary |= seek(spark, here, loci, thresholds, there, run.folder)
        table = read_table(spark, REPLICATION, run.path(REPLICATION.name)).toPandas()
        text = pd.DataFrame(table).to_csv(sep="\t", index=False, na_rep="NA")
        write_whole(run.path(f"{REPLICATION.name}.tsv"), text.encode())
        page = replication_page(run.folder, summary, study.name)
        write_whole(run.path("report.html"), page.encode())
        summary["folder"] = run.folder
        summary["report"] = store.put_copy(run.path("report.html"), f"{step}.html")
        summary["seconds"] = round(time.monotonic() - started, 1)
        run.publish(summary)
    return {"step": STEP, **summary}


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that the job and the command share."""
    parser.add_argument(
        "--in", required=True, dest="other", metavar="OTHER",
        help="a study file, a study's output, or a folder of GWAS-SSF files",
    )  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    """The entry of `jobs/replicate.py --study study.yaml --in OTHER`."""
    parser = argparse.ArgumentParser(prog="jobs/replicate.py", description=__doc__)
    parser.add_argument("--study", required=True, help="the study file, a path or URI")
    add_options(parser)
    options = parser.parse_args(arguments)
    return guarded(lambda: run(options))


def run(options: argparse.Namespace) -> None:
    """Do what the options say and print the summary."""
    print_line(replicate(load_study(options.study), options.other))


if __name__ == "__main__":
    sys.exit(main())
