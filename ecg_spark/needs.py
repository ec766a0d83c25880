"""How much disk and memory a step needs: logged and checked before it starts.

A step estimates its needs from the numbers of people, phenotypes and variants. If there is less, it
does not start. What cannot be known (the space of an object store, the memory of executors that
Spark was given no limit for) is only logged.
"""

import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import fsspec
from pyspark.sql import SparkSession

from ecg_spark.errors import InfrastructureError
from ecg_spark.machine import memory

log = logging.getLogger(__name__)

PROCESS_BYTES = 250e6
"""The memory of a Python process with NumPy, pandas and Arrow imported."""


@dataclass(frozen=True)
class Needs:
    """What a step needs, in bytes.

    Attributes:
        disk: space in the output folder.
        driver: memory of the driver's Python process.
        task: memory of the Python process of each task.
    """

    disk: float = 0
    driver: float = 0
    task: float = 0


def require(spark: SparkSession, what: str, folder: str, needs: Needs) -> None:
    """Log what a step needs and check that it is there.

    Memory that other processes are using now is not subtracted.

    Args:
        spark: the session that will run the step.
        what: the step and its counts, for messages.
        folder: where the step writes; it need not exist yet.
        needs: the estimate.

    Raises:
        InfrastructureError: the disk has less space, or this machine or an executor has less
            memory.
    """
    tasks = tasks_at_once(spark)
    log.info(
        "%s: about %s of disk, %s of memory in the driver, %s in each of %d tasks at once",
        what, in_words(needs.disk), in_words(needs.driver), in_words(needs.task), tasks,
    )  # fmt: skip
    free = disk_left(folder)
    if free is not None and needs.disk > free:
        raise InfrastructureError(
            f"{what} needs about {in_words(needs.disk)} of disk and the output folder has "
            f"{in_words(free)} left: free some, or give the study another output."
        )
    is_cluster, there = not is_local(spark), memory()
    whole = needs.driver + (0 if is_cluster else tasks * needs.task)
    if whole > there:
        raise InfrastructureError(
            f"{what} needs about {in_words(whole)} of memory and "
            f"{'the driver' if is_cluster else f'this machine, with {tasks} tasks at once,'} has "
            f"{in_words(there)}: run it on a larger one"
            f"{'.' if is_cluster else ', or with fewer tasks at once (MASTER=local[n]).'}"
        )
    granted = executor_limit(spark)
    if granted is not None and tasks * needs.task > granted:
        raise InfrastructureError(
            f"{what} needs about {in_words(tasks * needs.task)} of memory for the {tasks} Python "
            f"tasks of an executor, which has {in_words(granted)} for them: raise "
            f"spark.executor.memoryOverhead, or lower spark.executor.cores."
        )


def is_local(spark: SparkSession) -> bool:
    """Return whether Spark is in local mode, in which tasks run on this machine."""
    return str(spark.sparkContext.master).split("[")[0] == "local"


def tasks_at_once(spark: SparkSession) -> int:
    """Return how many tasks share memory: all of a local session, or those of one executor."""
    if is_local(spark):
        return spark.sparkContext.defaultParallelism
    conf = spark.sparkContext.getConf()
    cores = int(conf.get("spark.executor.cores", "1"))
    return max(1, cores // int(conf.get("spark.task.cpus", "1")))


def executor_limit(spark: SparkSession) -> int | None:
    """Return the memory in bytes of an executor for all its Python processes.

    Returns:
        None if Spark has no limit for it, or runs in local mode.
    """
    if is_local(spark):
        return None
    conf, jvm = spark.sparkContext.getConf(), cast(Any, spark.sparkContext._jvm)
    for key in ("spark.executor.pyspark.memory", "spark.executor.memoryOverhead"):
        if conf.contains(key):
            sizes = jvm.org.apache.spark.network.util.JavaUtils
            return int(sizes.byteStringAsMb(conf.get(key))) << 20
    return None


def disk_left(folder: str) -> int | None:
    """Return the space left in bytes on a folder's disk; None on an object store.

    The folder need not exist yet.
    """
    files, base = fsspec.core.url_to_fs(folder)
    if "file" not in files.protocol:
        return None
    place = Path(base)
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free


def in_words(size: float) -> str:
    """Return a number of bytes in words.

    Example:
        >>> in_words(2.5e9), in_words(3e6)
        ('2.5 GB', '3 MB')
    """
    for unit, name in ((1e12, "TB"), (1e9, "GB")):
        if size >= unit:
            value = size / unit
            return f"{value:,.0f} {name}" if value >= 100 else f"{value:.3g} {name}"
    return f"{size / 1e6:.0f} MB"
