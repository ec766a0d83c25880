"""What a step will need, told before it starts and refused where it is not to be had.

A step reckons its needs from the counts that it knows: of people, phenotypes and variants. What
cannot be known (the space behind an object store, the memory of executors to which Spark was told
no limit) is told and not refused.
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
"""A Python process with NumPy, pandas and Arrow."""


@dataclass(frozen=True)
class Needs:
    """Bytes: of `disk` in the output folder, and of memory in the `driver`'s Python process and in
    the Python process of each `task`."""

    disk: float = 0
    driver: float = 0
    task: float = 0


def require(spark: SparkSession, what: str, folder: str, needs: Needs) -> None:
    """Say what a step needs, `what` naming it and the counts; `folder` is where it writes.

    Raises `InfrastructureError` where that disk has not so much space left, or this machine, or an
    executor, has not so much memory. What others use of it at the moment is not taken off.
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
    """Whether the tasks run in this machine's process."""
    return str(spark.sparkContext.master).split("[")[0] == "local"


def tasks_at_once(spark: SparkSession) -> int:
    """How many tasks share the memory of a machine: all of a local session, or an executor's."""
    if is_local(spark):
        return spark.sparkContext.defaultParallelism
    conf = spark.sparkContext.getConf()
    cores = int(conf.get("spark.executor.cores", "1"))
    return max(1, cores // int(conf.get("spark.task.cpus", "1")))


def executor_limit(spark: SparkSession) -> int | None:
    """The memory of an executor for all its Python processes, None where Spark was told none."""
    if is_local(spark):
        return None
    conf, jvm = spark.sparkContext.getConf(), cast(Any, spark.sparkContext._jvm)
    for key in ("spark.executor.pyspark.memory", "spark.executor.memoryOverhead"):
        if conf.contains(key):
            sizes = jvm.org.apache.spark.network.util.JavaUtils
            return int(sizes.byteStringAsMb(conf.get(key))) << 20
    return None


def disk_left(folder: str) -> int | None:
    """The space left on the disk of a folder that need not exist yet, None on an object store."""
    files, base = fsspec.core.url_to_fs(folder)
    if "file" not in files.protocol:
        return None
    place = Path(base)
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free


def in_words(size: float) -> str:
    """A number of bytes for a reader."""
    for unit, name in ((1e12, "TB"), (1e9, "GB")):
        if size >= unit:
            value = size / unit
            return f"{value:,.0f} {name}" if value >= 100 else f"{value:.3g} {name}"
    return f"{size / 1e6:.0f} MB"
