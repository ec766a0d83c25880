"""Run work and publish its result under a name, or skip it if that is up to date."""

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
    """Do a step's work and publish the result, unless it is published already from the same
    provenance.

    Args:
        provenance: what the result is made from; compared with that of the published result.
        work: takes where to write and what is published until now, and returns the summary.
        force: do the work in any case.

    Returns:
        Whether the work was skipped, and what is published now.
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
    """The summary to print for a step that was run or skipped."""
    return {"step": name, **({"skipped": SKIPPED} if skipped else {}), **published.summary}
