"""spark-submit jobs/replicate.py --study study.yaml --in OTHER: look up the study's loci in
another cohort.
"""

import argparse
import sys
from collections.abc import Sequence

import pandas as pd

from ecg_spark.genetics.cohorts.replication import replicate as seek
from ecg_spark.genetics.cohorts.tables import REPLICATION
from ecg_spark.genetics.outputs.tables import LOCI
from ecg_spark.store import atomic_write, fingerprint
from ecg_spark.study import load_study
from ecg_spark.tables import read_table
from jobs.cohort_step import HELP, CohortStep, Context, Given, run_cohorts
from jobs.publishing import Summary, told
from jobs.step import add_force, guarded, parse, print_line


def work(context: Context) -> Summary:
    """Look up the loci of the first cohort in the second, and publish a table and a report,
    with copies.
    """
    # PyTorch and MLflow take seconds to import.
    from ecg_spark.report.cohorts import write_replication_page

    spark, run, findings = context.spark, context.run, context.needs["findings"]
    (here, there), (ours, _) = context.cohorts, context.given
    loci = pd.DataFrame(read_table(spark, LOCI, findings.path(LOCI.name)).toPandas())
    summary: Summary = {"in": there.name}
    summary |= seek(spark, here, loci, findings.summary["thresholds"], there, run.folder)
    table = read_table(spark, REPLICATION, run.path(REPLICATION.name)).toPandas()
    text = pd.DataFrame(table).to_csv(sep="\t", index=False, na_rep="NA")
    atomic_write(run.path(f"{REPLICATION.name}.tsv"), text.encode())
    write_replication_page(run.folder, summary, ours.study.name if ours.study else here.name)
    page = f"{published_as(STEP.name, context.given)}.html"
    return summary | {"report": context.store.put_copy(run.path("report.html"), page)}


def published_as(name: str, given: Sequence[Given]) -> str:
    """The name of the result: a study's output folder keeps one replication for each other
    cohort.
    """
    return f"{name}-{fingerprint(given[1].folder)[:8]}"


STEP = CohortStep("replicate", work, version=2, needs=("findings",), published_as=published_as)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that the job and the command share."""
    parser.add_argument("--in", required=True, dest="other", metavar="OTHER", help=HELP)
    add_force(parser)


def main(arguments: list[str] | None = None) -> int:
    """The entry point of `jobs/replicate.py --study study.yaml --in OTHER`."""
    options = parse(STEP.name, arguments, add_options)
    return guarded(lambda: run(options))


def run(options: argparse.Namespace) -> None:
    """Run the replication that the options ask for, and print its summary."""
    study = load_study(options.study)
    cohorts = [study, options.other]
    skipped, published = run_cohorts(STEP, cohorts, study.output_path, force=options.force)
    print_line(told(STEP.name, skipped, published) | {"folder": published.folder})


if __name__ == "__main__":
    sys.exit(main())
