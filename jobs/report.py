"""spark-submit jobs/report.py --study study.yaml: write all published results into one HTML
page.
"""

import sys
from typing import Any

from ecg_spark.report import write_report
from ecg_spark.report.comparison import read_planted
from ecg_spark.store import Publication, Store, file_stamp
from ecg_spark.study import Study
from jobs.average import STEP as AVERAGE
from jobs.encode import STEP as ENCODE
from jobs.genotypes import STEP as GENOTYPES
from jobs.gwas import STEPS as GWAS
from jobs.ingest import STEP as INGEST
from jobs.mr import STEP as MR
from jobs.phewas import STEP as PHEWAS
from jobs.replicate import STEP as REPLICATE
from jobs.scores import STEP as SCORES
from jobs.step import Context, Step, Summary, main
from jobs.train import STEP as TRAIN


def settings(study: Study) -> Any:
    """The study's name, and where the planted truth is, if there is one."""
    return [study.name, study.truth]


def files(study: Study) -> Any:
    """The stamp of the planted truth, and which replications there are."""
    truth = study.truth and file_stamp(study.locate(study.truth))
    return [truth, [(one.step, one.run) for one in _replications(study)]]


def _replications(study: Study) -> list[Publication]:
    """What 'replicate' has published of the study's loci, which is no step of the line."""
    return Store(study.output_path).published_as(f"{REPLICATE.name}-") if study.genotypes else []


def work(context: Context) -> Summary:
    """Write report.html and its figures, with a copy of the page in the output folder."""
    page = context.run.path("report.html")
    replications = _replications(context.study)
    summary = write_report(context.study, context.inputs, page, replications)
    return summary | {"report": context.store.put_copy(page, "report.html")}


def check(study: Study) -> None:
    """Check the planted truth before the step runs.

    Raises:
        DataError: if it does not exist or cannot be used.
    """
    if study.truth:
        read_planted(study.locate(study.truth))


STEP = Step(
    "report",
    (INGEST, AVERAGE, TRAIN, ENCODE, GENOTYPES, *GWAS, SCORES, MR, PHEWAS),
    settings,
    work,
    files,
    version=4,
    check=check,
)

if __name__ == "__main__":
    sys.exit(main(STEP))
