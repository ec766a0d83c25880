"""Checks that executors have the packages that tasks import, before work is sent to them.

Without a package, the first task would fail after minutes with a traceback that names a module and
no machine; with another version it might give other numbers.
"""

import logging
import sys
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, version

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from ecg_spark.errors import InfrastructureError

log = logging.getLogger(__name__)

PACKAGES = (
    "ecg-spark", "numpy", "pandas", "pyarrow", "scipy", "h5py", "pydicom", "wfdb", "pgenlib",
    "pysam", "torch", "safetensors", "pydantic", "pyyaml", "fsspec",
)  # fmt: skip
"""What the tasks import."""

_asked: set[str] = set()
"""The Spark applications whose executors have been checked."""


def ask_executors(session: SparkSession) -> None:
    """Check, once per Spark application, that executors have the driver's versions of `PACKAGES`.

    Raises:
        InfrastructureError: an executor lacks a package or has another version of it, or its Python
            does not start or has another version than the driver's.
    """
    if session.sparkContext.applicationId in _asked:
        return
    here = {name: found for name in PACKAGES if (found := _version(name))}
    wanted = tuple(here)

    def found_there(_: Iterable[int]) -> Iterator[dict[str, str]]:
        # It must not use this module's globals: the executor may lack the module, too.
        from importlib.metadata import PackageNotFoundError, version

        answer = {}
        for name in wanted:
            try:
                answer[name] = version(name).split("+")[0]
            except PackageNotFoundError:
                answer[name] = ""
        yield answer

    context = session.sparkContext
    # As many tasks as run at once, so that each idle executor gets at least one.
    tasks = 1 if (context.master or "").startswith("local[") else context.defaultParallelism
    needed = f"Python {sys.version_info[0]}.{sys.version_info[1]}"
    try:
        answers = context.parallelize(range(tasks), tasks).mapPartitions(found_there).collect()
    except (Py4JError, PySparkException) as error:
        log.debug("all of it", exc_info=error)
        another = "PYTHON_VERSION_MISMATCH" in str(error)
        why = "is of another version" if another else "does not start"
        raise InfrastructureError(
            f"The Python of Spark's executors {why}: set spark.pyspark.python (or PYSPARK_PYTHON) "
            f"to a {needed} that has the packages of ecg-spark on every node, and restart the "
            f"kernel or cluster."
        ) from None
    wrong = []
    for name in wanted:
        there = sorted({answer[name] for answer in answers} - {here[name]})
        wrong += [f"{name} is {one or 'missing'} there and {here[name]} here" for one in there]
    if wrong:
        raise InfrastructureError(
            f"Spark's executors have other packages than the driver ({', '.join(wrong)}): install "
            f"the same versions into their {needed}, or set spark.pyspark.python (or "
            f"PYSPARK_PYTHON) to one that has them, and restart the kernel or cluster."
        )
    _asked.add(context.applicationId)


def _version(package: str) -> str | None:
    """The installed version without its build (such as +cpu); None if it is not installed."""
    try:
        return version(package).split("+")[0]
    except PackageNotFoundError:
        return None
