"""spark-submit jobs/report.py --study study.yaml: everything published becomes one page."""

import sys
from typing import Any

from ecg_spark.report import write_report
from ecg_spark.store import file_stamp
from ecg_spark.study import Study
from jobs.step import Context, Step, Summary, main


def settings(study: Study) -> Any:
    """The study itself, and the planted truth where there is one."""
    return [study.name, study.truth and file_stamp(study.locate(study.truth))]


def work(context: Context) -> Summary:
    """Write report.html into the run, and a copy of it into the output folder."""
    page = context.run.path("report.html")
    summary = write_report(context.study, context.store, page)
    return summary | {"report": context.store.put_copy(page, "report.html")}


STEP = Step(
    "report",
    ("ingest", "average", "train", "encode", "genotypes", "gwas"),
    settings,
    work,
)

if __name__ == "__main__":
    sys.exit(main(STEP))
