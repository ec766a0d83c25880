"""Progress of a long Spark job, a line now and then."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from pyspark.sql import SparkSession

SECONDS = 20.0
"""The time between two lines: a short job says nothing."""


@contextmanager
def progress(spark: SparkSession, log: logging.Logger, what: str) -> Iterator[None]:
    """Log how many tasks of the running stages are done while the block runs."""
    done = threading.Event()

    def watch() -> None:
        tracker = spark.sparkContext.statusTracker()
        while not done.wait(SECONDS):
            stages = [tracker.getStageInfo(stage) for stage in tracker.getActiveStageIds()]
            finished = sum(stage.numCompletedTasks for stage in stages if stage)
            total = sum(stage.numTasks for stage in stages if stage)
            if total:
                log.info("%s: %d of %d parts done", what, finished, total)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
