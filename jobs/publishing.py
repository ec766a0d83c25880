"""Work that is published under a name, or skipped where it is published already."""

import logging
import time
from collections.abc import Callable
from typing import Any

from ecg_spark.progress import progress
from ecg_spark.store import Publication, Run, Store

log = logging.getLogger(__name__)

SKIPPED = "already published"

Summary = dict[str, Any]


def publish(
    store: Store,
    name: str,
    provenance: dict[str, Any],
    work: Callable[[Run, Publication | None], Summary],
    *,
    force: bool = False,
) -> tuple[bool, Publication]:
    """Do a step's work and publish it, or skip it where it is published, made from the same.

    `work` is given where to write and what is published until now; it returns the summary.
    Returns whether the work was skipped, and what is published now.
    """
    current = store.published(name)
    if current is not None and current.provenance == provenance and not force:
        return True, current
    started = time.monotonic()
    log.info("%s: started", name)
    with store.run(name, provenance) as run, progress(name):
        summary = work(run, current)
        summary["seconds"] = round(time.monotonic() - started, 1)
        return False, run.publish(summary)


def told(name: str, skipped: bool, published: Publication) -> Summary:
    """What is said of a step that was done or skipped."""
    return {"step": name, **({"skipped": SKIPPED} if skipped else {}), **published.summary}
