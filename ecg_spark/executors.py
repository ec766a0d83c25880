"""Whether the executors have what the tasks import, asked before work is sent to them.

Without, the first task fails after minutes, with a trace that names a module and no machine; with
other versions it may give other numbers.
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
"""The Spark applications whose executors have them."""


def ask_executors(session: SparkSession) -> None:
    """Ask each executor, once for a Spark application, whether it has `PACKAGES` as the driver has.

    Raises `InfrastructureError` where one lacks a package, has another version of it, or where its
    Python does not start or is not the driver's.
    """
    if session.sparkContext.applicationId in _asked:
        return
    here = {name: found for name in PACKAGES if (found := _version(name))}
    wanted = tuple(here)

    def found_there(_: Iterable[int]) -> Iterator[dict[str, str]]:
        # Of this module it may use nothing: the executor may lack that, too.
        from importlib.metadata import PackageNotFoundError, version

        answer = {}
        for name in wanted:
            try:
                answer[name] = version(name).split("+")[0]
            except PackageNotFoundError:
                answer[name] = ""
        yield answer

    context = session.sparkContext
    # As many tasks as fit at once: executors that are idle get one each, and more.
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
    """The installed version, without the build, as +cpu; None where it is not installed."""
    try:
        return version(package).split("+")[0]
    except PackageNotFoundError:
        return None
