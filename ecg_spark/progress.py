"""Progress of long steps: a line from time to time, with an estimate of the time left."""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from pyspark import SparkContext

log = logging.getLogger(__name__)

SECONDS = 20.0
"""The time between two lines; shorter steps log none."""


@contextmanager
def progress(step: str) -> Iterator[None]:
    """Log, while the block runs, how many tasks of Spark's running stages are done.

    The time left is estimated from the speed so far. It covers the running stages only, not what
    the step does after them. Nothing is logged while Spark is idle.

    Args:
        step: what the lines call the work.
    """
    done = threading.Event()

    def watch() -> None:
        began: dict[int, float] = {}
        while not done.wait(SECONDS):
            context = SparkContext._active_spark_context
            if context is None or getattr(context, "_jsc", None) is None:  # not made yet, or over
                continue
            tracker = context.statusTracker()
            stages = {one: tracker.getStageInfo(one) for one in tracker.getActiveStageIds()}
            known = {one: info for one, info in stages.items() if info}
            began = {one: began.get(one, time.monotonic() - SECONDS) for one in known}
            finished = sum(info.numCompletedTasks for info in known.values())
            total = sum(info.numTasks for info in known.values())
            if total:
                since = min(began.values())
                left = time_left(finished, total, time.monotonic() - since)
                log.info("%s: %d of %d parts done%s", step, finished, total, left)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def time_left(finished: float, total: float, seconds: float) -> str:
    """Return the time left in words.

    Args:
        finished: how much of the work is done.
        total: all of the work, in the same unit.
        seconds: how long the finished part took.

    Returns:
        A phrase to append to a line; empty if nothing or everything is finished.

    Example:
        >>> time_left(25, 100, 60.0)
        ', about 3 min left'
    """
    if not 0 < finished < total:
        return ""
    left = seconds * (total - finished) / finished
    if left >= 5400:
        return f", about {left / 3600:.1f} h left"
    return f", about {left / 60:.0f} min left" if left >= 90 else f", about {left:.0f} s left"
