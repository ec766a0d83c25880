"""What an ingest takes over from the previous run, and which of it must be removed.

Signals are neither read nor written again: the table's files are linked or copied, decisions need
only narrow columns, and only files that lose a row are rewritten.
"""

import os
from collections.abc import Callable

import fsspec
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from ecg_spark.ecg.recording import Reason
from ecg_spark.pipeline.sources import INSIDE, Source
from ecg_spark.tables import QUARANTINE, RECORDING_GROUP_BYTES, RECORDINGS, SOURCES, read_table

KEPT = "kept-"
"""Marks the Parquet files that a run took over from the previous one."""


def stamps_to_keep(
    spark: SparkSession, found: list[Source], previous: Callable[[str], str]
) -> dict[str, str]:
    """Return the stamps, by path, of the sources that the previous run read and that may be kept.

    If any source is new, gone or changed, a recording that was left out as a copy may be needed
    now, or may belong to another participant too: copies are then read again.

    Args:
        spark: the session.
        found: the sources there are now.
        previous: returns the folders of the previous run.
    """
    rows = read_table(spark, SOURCES, previous("sources")).toLocalIterator()
    stamps = {row["path"]: row["stamp"] for row in rows}
    present = {source.path: source.stamp for source in found}
    if present != stamps:
        copies = read_table(spark, QUARANTINE, previous("quarantine")).where(
            F.col("reason").isin(Reason.DUPLICATE.value, Reason.SEVERAL_PARTICIPANTS.value)
        )
        for row in copies.select(source_of_row().alias("path")).distinct().toLocalIterator():
            stamps.pop(row["path"], None)
    return stamps


def source_of_row() -> Column:
    """Return a column: the source of a row, which is its path without the member of an archive."""
    return F.substring_index("path", INSIDE, 1)


def parquet_files(folder: str) -> list[str]:
    """Return the names of the data files in a table's folder."""
    fs, base = fsspec.core.url_to_fs(folder)
    names = (
        (path.rpartition("/")[2] for path in fs.ls(base, detail=False)) if fs.exists(base) else ()
    )
    return sorted(name for name in names if name.endswith(".parquet"))


def take_over(folder: str, to: str) -> None:
    """Bring the files of an earlier run's table into this one, by hard links where possible.

    Args:
        folder: the earlier run's folder of the table.
        to: this run's.
    """
    fs, base = fsspec.core.url_to_fs(folder)
    goal = fs._strip_protocol(to)
    for name in parquet_files(folder):
        new = f"{goal}/{KEPT}{name.removeprefix(KEPT)}"
        try:
            if "file" not in fs.protocol:
                raise OSError
            os.link(f"{base}/{name}", new)
        except OSError:
            fs.copy(f"{base}/{name}", new)


def kept_sources(spark: SparkSession, target: Callable[[str], str], has_new: bool) -> DataFrame:
    """Return the paths of the sources whose recordings were taken over, in a column `source`.

    Args:
        spark: the session.
        target: returns the folders of this run.
        has_new: whether this run has read anything itself.
    """
    paths = read_table(spark, SOURCES, target("sources")).select("path")
    if has_new:
        new = spark.read.schema("path string").parquet(target("_plan"))
        paths = paths.join(new, "path", "left_anti")
    return paths.select(F.col("path").alias("source"))


def drop_rows(spark: SparkSession, target: Callable[[str], str], kept: DataFrame) -> DataFrame:
    """Remove recordings that are gone, changed, copies or of several people; return the last two.

    Of identical recordings of one participant the one with the first path stays, whenever it came
    in. Of identical recordings of several participants none stays, because it is unknown whose it
    is. Only narrow columns are read, and only files that lose a row are rewritten.

    Args:
        spark: the session.
        target: returns the folders of this run.
        kept: the result of `kept_sources`.

    Returns:
        Rows of the table `quarantine`.
    """
    recordings, dropped = target("recordings"), target("_dropped")
    index = _with_file(spark, recordings).select(
        "ecg_id", "participant_id", "path", "file", source_of_row().alias("source")
    )
    index = index.join(kept.withColumn("is_kept", F.lit(True)), "source", "left")
    is_stale = F.col("file").startswith(KEPT) & F.col("is_kept").isNull()
    live = index.where(~is_stale)
    several = live.groupBy("ecg_id").agg(
        F.min("path").alias("first"),
        F.count("*").alias("n"),
        (F.min("participant_id") != F.max("participant_id")).alias("is_shared"),
    )
    reason = F.when(F.col("is_shared"), Reason.SEVERAL_PARTICIPANTS.value).otherwise(
        Reason.DUPLICATE.value
    )
    copies = (
        live.join(several.where("n > 1"), "ecg_id")
        .where(F.col("is_shared") | (F.col("path") != F.col("first")))
        .select("ecg_id", "path", "file", reason.alias("reason"))
    )
    gone = index.where(is_stale).select("ecg_id", "path", "file", F.lit(None).alias("reason"))
    gone.union(copies).coalesce(1).write.parquet(dropped)
    gone = spark.read.schema("ecg_id string, path string, file string, reason string").parquet(
        dropped
    )
    names = [row["file"] for row in gone.select("file").distinct().collect()]
    if names:
        rows = _with_file(spark, *(f"{recordings}/{name}" for name in names))
        rest = rows.join(F.broadcast(gone), ["path", "file"], "left_anti")
        rest.select(RECORDINGS.schema.names).write.mode("append").option(
            "parquet.block.size", RECORDING_GROUP_BYTES
        ).parquet(recordings)
        fs, base = fsspec.core.url_to_fs(recordings)
        for name in names:
            fs.rm_file(f"{base}/{name}")
    shared = F.col("reason") == Reason.SEVERAL_PARTICIPANTS.value
    detail = F.when(shared, "the same recording occurs under another participant").otherwise(
        "the same recording occurs under another name"
    )
    return gone.where(F.col("reason").isNotNull()).select(
        "ecg_id", "path", F.lit("ingest").alias("step"), "reason", detail.alias("detail")
    )


def _with_file(spark: SparkSession, *paths: str) -> DataFrame:
    rows = spark.read.schema(RECORDINGS.schema).parquet(*paths)
    return rows.withColumn("file", F.col("_metadata.file_name"))
