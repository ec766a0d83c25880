"""How every job runs: arguments, is there anything to do, one call, one JSON line."""

import argparse
import errno
import json
import logging
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pyspark.sql import SparkSession

from ecg_spark.errors import EcgSparkError, InfrastructureError, UsageError
from ecg_spark.session import spark_session
from ecg_spark.store import Publication, Run, Store, fingerprint
from ecg_spark.study import Study, load_study

log = logging.getLogger(__name__)

Summary = dict[str, Any]


@dataclass(frozen=True)
class Context:
    """What a step is given: the study, what earlier steps published, and where to write.

    `previous` is what the step itself published last with the same settings and inputs, None
    where there is none or everything is to be redone: only the files that it reads may differ.
    """

    study: Study
    store: Store
    run: Run
    inputs: dict[str, Publication]
    previous: Publication | None = None

    @property
    def spark(self) -> SparkSession:
        """The Spark session, made at the first call."""
        return spark_session(f"ecg-spark {self.study.name}", self.study.spark.driver_memory)


@dataclass(frozen=True)
class Step:
    """One arrow of the pipeline.

    `settings` gives the parts of the study that decide the result, `files` what tells whether the
    files that the step reads have changed. A step that is published already, made from the same
    settings, files and earlier steps, is skipped.
    """

    name: str
    needs: "tuple[Step, ...]"
    settings: Callable[[Study], Any]
    work: Callable[[Context], Summary]
    files: Callable[[Study], Any] = lambda study: None
    version: int = 1  # raise it when the same settings give another result
    check: Callable[[Study], None] = lambda study: None  # what must be there before hours are spent


def run_step(step: Step, study: Study, *, force: bool = False) -> Summary:
    """Run a step and publish its output, or skip it where that is published already.

    Raises `UsageError` where a step that it needs is not published, or was made from other
    settings than the study's.
    """
    started = time.monotonic()
    store = Store(study.output_path)
    inputs = {need.name: _present(need, study, store) for need in step.needs}
    made_from = {
        "settings": _settings(step, study),
        "files": fingerprint(step.files(study)),
        "inputs": {name: item.run for name, item in inputs.items()},
    }
    current = store.published(step.name)
    if current is not None and current.made_from == made_from and not force:
        return {"step": step.name, "skipped": "already published", **current.summary}
    same = {"settings", "inputs"}
    previous = current
    if current is not None and any(current.made_from[key] != made_from[key] for key in same):
        previous = None
    log.info("%s: started", step.name)
    with store.run(step.name, made_from) as run:
        summary = step.work(Context(study, store, run, inputs, None if force else previous))
        summary["seconds"] = round(time.monotonic() - started, 1)
        run.publish(summary)
    return {"step": step.name, **summary}


def _settings(step: Step, study: Study) -> str:
    return fingerprint(step.name, step.version, step.settings(study))


def _present(step: Step, study: Study, store: Store) -> Publication:
    """A needed step's output, made from the present study and the present output before it.

    Its files are not looked at again: they may have been archived since.
    """
    publication = store.require(step.name)
    if publication.made_from["settings"] != _settings(step, study):
        raise UsageError(
            f"The published output of '{step.name}' was made with other settings than those in "
            f"the study file: run 'ecg-spark {step.name}' first, or 'ecg-spark run' for all."
        )
    for need in step.needs:
        if publication.made_from["inputs"][need.name] != _present(need, study, store).run:
            raise UsageError(
                f"'{need.name}' has been run again since '{step.name}': "
                f"run 'ecg-spark {step.name}' first, or 'ecg-spark run' for all."
            )
    return publication


def main(step: Step, arguments: list[str] | None = None) -> int:
    """The entry of `jobs/<step>.py --study study.yaml [--force]`."""
    parser = argparse.ArgumentParser(
        prog=f"jobs/{step.name}.py", description=f"Run the step '{step.name}' of a study."
    )
    parser.add_argument("--study", required=True, help="the study file")
    parser.add_argument("--force", action="store_true", help="redo it though it is published")
    options = parser.parse_args(arguments)
    return guarded(
        lambda: print_line(run_step(step, load_study(options.study), force=options.force))
    )


def print_line(summary: Summary) -> None:
    """Print a summary as one line of JSON."""
    print(json.dumps(summary, default=str), flush=True)


def guarded(action: Callable[[], None]) -> int:
    """Run an action and turn its errors into one sentence and an exit code."""
    configure_logging()
    try:
        action()
    except EcgSparkError as error:
        print(f"ecg-spark: {error}", file=sys.stderr, flush=True)
        return error.exit_code
    except KeyboardInterrupt:
        print("ecg-spark: interrupted; what was published before stays.", file=sys.stderr)
        return 130
    except Exception as error:
        known = as_infrastructure_error(error)
        if known is None:
            raise
        print(f"ecg-spark: {known}", file=sys.stderr, flush=True)
        return known.exit_code
    return 0


def as_infrastructure_error(error: BaseException) -> InfrastructureError | None:
    """The full disk or lost permission behind an error, also one that Spark has wrapped."""
    text = str(error)
    full = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    if getattr(error, "errno", None) in full or "No space left on device" in text:
        return InfrastructureError(
            "The disk is full: free space in the output folder or in the temporary folder "
            "and run the same command again; what was published before stays."
        )
    if isinstance(error, PermissionError) or "Permission denied" in text:
        where = getattr(error, "filename", None) or "the output folder"
        return InfrastructureError(f"No permission to write or read {where}: change it and rerun.")
    return None


def configure_logging() -> None:
    """Progress lines on standard error; standard output carries only the JSON lines."""
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.WARNING,
        format="%(asctime)s %(message)s",
        datefmt="%H:%M:%S",
    )
    for name in ("ecg_spark", "models", "jobs"):
        logging.getLogger(name).setLevel(os.environ.get("ECG_SPARK_LOG", "INFO"))
