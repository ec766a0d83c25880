"""How every job runs: parse arguments, skip what is up to date, do the work, print one line of
JSON.
"""

import argparse
import ast
import errno
import json
import logging
import os
import pkgutil
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from typing import Any

from pyspark.sql import SparkSession

from ecg_spark.errors import EcgSparkError, InfrastructureError, UsageError
from ecg_spark.genetics import STAGES
from ecg_spark.reach import require_connectors, require_reachable, trouble
from ecg_spark.session import prepared, require_hail, spark_session, start_hail
from ecg_spark.steps import SHARED, STEPS, is_asked_for, lacking, steps_of
from ecg_spark.store import Publication, Run, Store, fingerprint
from ecg_spark.study import Study, load_study
from jobs.publishing import Summary as Summary
from jobs.publishing import publish, told

log = logging.getLogger(__name__)

GROUPS = {"gwas": STAGES}
"""Names for several steps together."""

NOT_ASKED_FOR = "the study does not ask for it"

_OF_THE_RESULT = ("settings", "inputs")
"""The parts of the provenance that must be unchanged for new files alone to be processed."""


@dataclass(frozen=True)
class Context:
    """What a step works with.

    Attributes:
        run: where the step writes.
        inputs: what the earlier steps published.
        previous: what the step last published with the same settings and inputs, so that only the
            files it reads may differ; None if there is none, or if everything is to be redone.
        session: the Spark session to work in; None for the active one or a new one.
    """

    study: Study
    store: Store
    run: Run
    inputs: dict[str, Publication]
    previous: Publication | None = None
    session: SparkSession | None = None

    @cached_property
    def spark(self) -> SparkSession:
        """The Spark session, prepared at the first use; refused if it cannot write to the
        output folder.
        """
        session = session_of(self.study, self.session)
        require_connectors(session, [("output", self.study.output_path)])
        return session


@dataclass(frozen=True)
class Step:
    """A step of the pipeline, skipped if it is published from the same settings, files and earlier
    steps.

    Attributes:
        needs: the earlier steps that it reads.
        settings: the parts of the study that decide the result.
        files: stamps that change with the files that the step reads.
        check: raises an error if something is missing, before hours are spent.
        uses_hail: whether Hail is started before the work.
    """

    name: str
    needs: "tuple[Step, ...]"
    settings: Callable[[Study], Any]
    work: Callable[[Context], Summary]
    files: Callable[[Study], Any] = lambda study: None
    version: int = 1  # to be raised when a change of the code gives another result
    check: Callable[[Study], None] = lambda study: None  # before hours are spent
    uses_hail: Callable[[Study], bool] = lambda study: False


def needs_of(step: Step, study: Study) -> list[Step]:
    """The steps that a step needs, of those that the study asks for."""
    return [need for need in step.needs if is_asked_for(need.name, study)]


def require_steps(names: Iterable[str], study: Study) -> None:
    """Raise `UsageError` where the study cannot have one of the steps."""
    for name in names:
        if section := lacking(name, study):
            raise UsageError(
                f"The study has no step '{name}', since its file has no section {section}: "
                f"add it, or run one of {', '.join(steps_of(study))}."
            )


def session_of(study: Study, given: SparkSession | None) -> SparkSession:
    """The session to work in: the one given, the active one, or a new one."""
    if given is not None:
        return prepared(given)
    return spark_session(f"ecg-spark {study.name}", study.spark.driver_memory)


def run_step(
    step: Step, study: Study, *, force: bool = False, session: SparkSession | None = None
) -> Summary:
    """Run a step and publish its output, unless that is up to date; returns the summary.

    A step that the study does not ask for is skipped, too.

    Raises:
        UsageError: if a step that it needs is not published, or with settings other than the
            study's.
        InfrastructureError: if the disk is full, a permission is missing or a store fails.
    """
    try:
        return _run(step, study, force, session)
    except Exception as error:
        known = as_infrastructure_error(error, study)
        if known is None or isinstance(error, EcgSparkError):
            raise
        raise known from None


def _run(step: Step, study: Study, force: bool, session: SparkSession | None) -> Summary:
    store = Store(study.output_path)
    require_steps([step.name], study)
    if not is_asked_for(step.name, study):
        return {"step": step.name, "skipped": NOT_ASKED_FOR}
    inputs, provenance = origin(step, study, store)

    def work(run: Run, current: Publication | None) -> Summary:
        previous = None if force else current
        if previous and any(previous.provenance[key] != provenance[key] for key in _OF_THE_RESULT):
            previous = None
        context = Context(study, store, run, inputs, previous, session)
        if step.uses_hail(study):
            start_hail(context.spark, store.root)
        return step.work(context)

    skipped, published = publish(store, step.name, provenance, work, force=force)
    return told(step.name, skipped, published)


def origin(step: Step, study: Study, store: Store) -> tuple[dict[str, Publication], dict[str, Any]]:
    """What a step would be made from now: the steps that it needs, and its provenance.

    Raises:
        UsageError: if the study does not have the step, or what it needs is not published.
    """
    require_steps([step.name], study)
    inputs = {need.name: present(need, study, store) for need in needs_of(step, study)}
    return inputs, settings_of(step, study) | {
        "inputs": {name: item.run for name, item in inputs.items()}
    }


def settings_of(step: Step, study: Study) -> dict[str, str]:
    """Digests of a step's settings and files as they are now."""
    return {"settings": _settings(step, study), "files": fingerprint(step.files(study))}


def _settings(step: Step, study: Study) -> str:
    return fingerprint(step.name, step.version, step.settings(study))


def present(step: Step, study: Study, store: Store) -> Publication:
    """What a step has published, if that is up to date with the study and with the steps before
    it.

    The files that the step read are not checked: they may have been archived since.

    Raises:
        UsageError: if it is not published, or not up to date.
    """
    if study.whole is not None and step.name in SHARED:
        return present(step, study.whole, Store(study.whole.output_path))
    publication = store.require(step.name)
    needs, used = needs_of(step, study), publication.provenance["inputs"]
    other = publication.provenance["settings"] != _settings(step, study)
    if other or used.keys() != {need.name for need in needs}:
        raise UsageError(
            f"The published output of '{step.name}' was made with other settings than those in "
            f"the study file: run 'ecg-spark {step.name}' first, or 'ecg-spark run' for all."
        )
    for need in needs:
        if used[need.name] != present(need, study, store).run:
            raise UsageError(
                f"'{need.name}' has been run again since '{step.name}': "
                f"run 'ecg-spark {step.name}' first, or 'ecg-spark run' for all."
            )
    return publication


def steps_named(names: Sequence[str]) -> list[Step]:
    """The steps with these names, or in groups of these names, in the order of the pipeline.

    Raises:
        UsageError: for an unknown name, or a string instead of a list.
    """
    if isinstance(names, str):
        raise UsageError(f"The steps are a list: write ['{names}'] in place of '{names}'.")
    known = (*STEPS, *GROUPS)
    if wrong := [name for name in names if name not in known]:
        raise UsageError(f"There is no step {', '.join(wrong)}: known are {', '.join(known)}.")
    wanted = {step for name in names for step in GROUPS.get(name, (name,))}
    return [import_module(f"jobs.{name}").STEP for name in STEPS if name in wanted]


def description_of(name: str) -> str:
    """What `jobs/<name>.py` does: the first paragraph of its docstring, after the command.

    The module is read, not imported, since importing PyTorch, MLflow and Hail takes seconds.
    """
    source = pkgutil.get_data("jobs", f"{name}.py")  # from a folder or, on a cluster, a zip file
    paragraph = (ast.get_docstring(ast.parse(source or b"")) or "").split("\n\n")[0]
    return " ".join(paragraph.partition(": ")[2].split()).removesuffix(".")


def run_steps(
    steps: Sequence[Step],
    study: Study,
    *,
    force: bool = False,
    session: SparkSession | None = None,
) -> Iterator[Summary]:
    """Run steps in their order, and yield the summary of each when it is done.

    Before the first step starts, all stores must answer, and every step that is not yet published
    is checked; published ones are not, since their files may have been archived. Hail is checked
    if there is a session already.

    Raises:
        UsageError: if the study cannot have a step.
        EcgSparkError: as the checks and the steps do.
    """
    require_steps((step.name for step in steps), study)
    require_reachable(study.inputs(), study.output_path)
    store = Store(study.output_path)
    asked = [step for step in steps if is_asked_for(step.name, study)]
    due = [step for step in asked if store.published(step.name) is None]
    for step in due:
        step.check(study)
    found = session or SparkSession.getActiveSession()
    if found is not None and any(step.uses_hail(study) for step in due):
        require_hail(prepared(found))
    for step in steps:
        yield run_step(step, study, force=force, session=session)


def print_steps(steps: Sequence[Step], study: Study, *, force: bool) -> None:
    """Run steps as `run_steps` does, and print a line for each."""
    for summary in run_steps(steps, study, force=force):
        print_line(summary)


def add_force(parser: argparse.ArgumentParser) -> None:
    """Add the option --force, which every step has."""
    parser.add_argument(
        "--force", action="store_true", help="run steps even if they are up to date"
    )


def parse(
    name: str,
    arguments: list[str] | None,
    add_options: Callable[[argparse.ArgumentParser], None] = add_force,
) -> argparse.Namespace:
    """Parse the options of `jobs/<name>.py`: the study, and what `add_options` adds."""
    parser = argparse.ArgumentParser(prog=f"jobs/{name}.py", description=description_of(name))
    parser.add_argument("--study", required=True, help="the study file, a path or URI")
    add_options(parser)
    return parser.parse_args(arguments)


def main(*steps: Step, name: str | None = None, arguments: list[str] | None = None) -> int:
    """The entry point of `jobs/<name>.py --study study.yaml [--force]`; `name` is that of the
    first step unless given.
    """
    options = parse(name or steps[0].name, arguments)
    return guarded(lambda: print_steps(steps, load_study(options.study), force=options.force))


def print_line(summary: Summary) -> None:
    """Print a summary as one line of JSON."""
    print(json.dumps(summary, default=str), flush=True)


def guarded(action: Callable[[], None]) -> int:
    """Run an action; on an error, print one sentence and return the exit code."""
    configure_logging()
    try:
        action()
    except KeyboardInterrupt:
        print("ecg-spark: interrupted; what was published before stays.", file=sys.stderr)
        return 130
    except Exception as error:
        known = as_known(error)
        print(f"ecg-spark: {known}", file=sys.stderr, flush=True)
        return known.exit_code
    return 0


def as_known(error: Exception) -> EcgSparkError:
    """The error that is shown to the user, with a message of one sentence; for a defect, with
    its place.
    """
    if isinstance(error, EcgSparkError):
        return error
    log.debug("all of it", exc_info=error)
    return as_infrastructure_error(error) or EcgSparkError(_defect(error))


def _defect(error: Exception) -> str:
    """A message that says where in ecg-spark an unexpected error arose, without the error's own
    text.

    The errors of Spark and Hail contain paths and rows of tables.
    """
    frames = traceback.extract_tb(error.__traceback__)
    own = [f"{part}:{frame.lineno}" for frame in frames if (part := _own(frame.filename))]
    return (
        f"{type(error).__name__} in {' < '.join(reversed(own[-3:])) or 'an unknown place'} is a "
        f"defect of ecg-spark: report it with this line; ECG_SPARK_LOG=DEBUG shows all of it, "
        f"which may name people and files."
    )


def _own(path: str) -> str | None:
    """The path of one of these packages' files, from its package on; None for other files."""
    found = re.search(r"(?:ecg_spark|models|jobs)/[\w/]+\.py$", path)
    return found and found[0]


def as_infrastructure_error(
    error: BaseException, study: Study | None = None
) -> InfrastructureError | None:
    """The infrastructure error behind an error, even if Spark has wrapped it; None if there is
    none.

    Recognised are a full disk, a missing permission, an unreadable ECG file and a failing store.
    The message names no file, only the key of the study file below which it lies, if that is
    known.
    """
    text = str(error)
    full = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    if getattr(error, "errno", None) in full or "No space left on device" in text:
        return InfrastructureError(
            "The disk is full: free space in the output folder or in the temporary folder "
            "and run the same command again; what was published before stays."
        )
    if isinstance(error, PermissionError) or "Permission denied" in text:
        where = _place(f"{getattr(error, 'filename', '')} {text}", study)
        return InfrastructureError(
            f"No permission to write or read {where}: change it and run the same command again."
        )
    if found := re.search(r"\[Errno \d+\] ([\w /]+) below ecg\.path", text):
        return InfrastructureError(
            f"A file below ecg.path could not be read ({found[1]}): see that the storage is there "
            f"and run the same command again; what was published before stays."
        )
    if clause := trouble(error):
        return InfrastructureError(f"A store that the study uses {clause}.")
    return None


def _place(text: str, study: Study | None) -> str:
    """The key of the study file whose path occurs in a text; the longest path if there are
    several.
    """
    places: dict[str, str] = {}
    if study is not None:
        named = [*study.inputs(), ("output", study.output_path)]
        places = {key: re.split(r"[*?\[]", path)[0] for key, path in named}
    found = [key for key, path in places.items() if path in text or key in text]
    if not found:
        return "a file that the study file names, or the output folder"
    return f"what {max(found, key=lambda key: len(places[key]))} names"


def configure_logging() -> None:
    """Send progress lines to standard error; standard output carries only the JSON lines."""
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.WARNING,
        format="%(asctime)s %(message)s",
        datefmt="%H:%M:%S",
    )
    for name in ("azure", "gcsfs"):  # they log a line for every way to credentials that they try
        logging.getLogger(name).setLevel(logging.ERROR)
    for name in ("ecg_spark", "models", "jobs"):
        logging.getLogger(name).setLevel(os.environ.get("ECG_SPARK_LOG", "INFO"))
