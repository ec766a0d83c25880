"""spark-submit jobs/average.py --study study.yaml: average the beats of each recording
and measure the conventional traits.
"""

import sys
from typing import Any

from ecg_spark.ecg import BEAT_VERSION
from ecg_spark.pipeline.average import average
from ecg_spark.study import Study
from ecg_spark.tables import RECORDINGS, read_table
from jobs.ingest import STEP as INGEST
from jobs.step import Context, Step, Summary, main


def work(context: Context) -> Summary:
    """Average every recording, and publish the tables beats, traits and quarantine."""
    recordings = read_table(context.spark, RECORDINGS, context.inputs["ingest"].path("recordings"))
    beats, key = context.study.beats, context.store.secret()
    return average(context.spark, recordings, context.run.path, beats, key)


def settings(study: Study) -> Any:
    """Which beats are averaged, and the limits of the quality flags. What later steps leave
    out by these flags needs no new average.
    """
    return study.beats.model_dump(exclude={"leave_out"})


STEP = Step("average", (INGEST,), settings, work, version=BEAT_VERSION)

if __name__ == "__main__":
    sys.exit(main(STEP))
