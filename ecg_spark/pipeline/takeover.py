"""What an ingest takes over from the run before it, and what must not stay of it.

Signals are not read or written again for it: the files of the table are linked or copied, rows are
judged by narrow columns, and only files that lose a row are written anew.
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
"""Marks the Parquet files that a run took over from the run before it."""


def stamps_to_keep(
    spark: SparkSession, found: list[Source], previous: Callable[[str], str]
) -> dict[str, str]:
    """Return the stamps of the sources that the run before has read and that may be kept.

    Where a source is gone or has changed, a copy of what it held may be needed after all: copies
    are read again then.
    """
    rows = read_table(spark, SOURCES, previous("sources")).toLocalIterator()
    stamps = {row["path"]: row["stamp"] for row in rows}
    present = {source.path: source.stamp for source in found}
    if any(present.get(path) != stamp for path, stamp in stamps.items()):
        copies = read_table(spark, QUARANTINE, previous("quarantine")).where(
            F.col("reason") == Reason.DUPLICATE.value
        )
        for row in copies.select(source_of_row().alias("path")).distinct().toLocalIterator():
            stamps.pop(row["path"], None)
    return stamps


def source_of_row() -> Column:
    """The source of a row: its path, without a member's inside an archive."""
    return F.substring_index("path", INSIDE, 1)


def parquet_files(folder: str) -> list[str]:
    """The names of the data files in a table's folder."""
    fs, base = fsspec.core.url_to_fs(folder)
    names = (
        (path.rpartition("/")[2] for path in fs.ls(base, detail=False)) if fs.exists(base) else ()
    )
    return sorted(name for name in names if name.endswith(".parquet"))


def take_over(folder: str, to: str) -> None:
    """Bring the files of an earlier run's table into this one: by links where there are any."""
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
    """The paths of the sources whose recordings were taken over."""
    paths = read_table(spark, SOURCES, target("sources")).select("path")
    if has_new:
        paths = paths.join(spark.read.parquet(target("_plan")).select("path"), "path", "left_anti")
    return paths.select(F.col("path").alias("source"))


def drop_rows(spark: SparkSession, target: Callable[[str], str], kept: DataFrame) -> DataFrame:
    """Take out of the recordings what is gone, changed or a copy; return the copies.

    Of equal recordings the one with the first path stays, whenever it came in. Only narrow columns
    are read, and only files that lose a row are written again.
    """
    recordings, dropped = target("recordings"), target("_dropped")
    index = _with_file(spark, recordings).select(
        "ecg_id", "path", "file", source_of_row().alias("source")
    )
    index = index.join(kept.withColumn("is_kept", F.lit(True)), "source", "left")
    is_stale = F.col("file").startswith(KEPT) & F.col("is_kept").isNull()
    index = index.select("ecg_id", "path", "file", is_stale.alias("is_stale"))
    live = index.where(~F.col("is_stale"))
    several = live.groupBy("ecg_id").agg(F.min("path").alias("first"), F.count("*").alias("n"))
    copies = live.join(several.where("n > 1"), "ecg_id").where(F.col("path") != F.col("first"))
    columns = ("ecg_id", "path", "file", "is_stale")
    gone = index.where("is_stale").select(*columns)
    gone.union(copies.select(*columns)).coalesce(1).write.parquet(dropped)
    gone = spark.read.parquet(dropped)
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
    return gone.where(~F.col("is_stale")).select(
        "ecg_id",
        "path",
        F.lit("ingest").alias("step"),
        F.lit(Reason.DUPLICATE.value).alias("reason"),
        F.lit("the same recording is there under another name").alias("detail"),
    )


def _with_file(spark: SparkSession, *paths: str) -> DataFrame:
    rows = spark.read.schema(RECORDINGS.schema).parquet(*paths)
    return rows.withColumn("file", F.col("_metadata.file_name"))
