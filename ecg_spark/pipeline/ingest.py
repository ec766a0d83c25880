"""The step ingest: raw ECG files become the table of recordings; unreadable ones are quarantined.

Signals are written once, by the same pass that reads the files.
"""

import contextlib
import functools
import logging
import operator
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import fsspec
import pandas as pd
import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from ecg_spark import flow
from ecg_spark.ecg.formats import FORMAT_NAMES, hdf5
from ecg_spark.ecg.formats.samples import NOTHING_SAID, Samples
from ecg_spark.ecg.recording import Reason
from ecg_spark.errors import DataError, UsageError
from ecg_spark.pipeline import sources as listing
from ecg_spark.pipeline.counts import check_counts, in_words, value_counts
from ecg_spark.pipeline.plan import write_plan
from ecg_spark.pipeline.reading import (
    NAMED,
    READ,
    names_reader,
    read_source,
    reader,
)
from ecg_spark.pipeline.sources import Source
from ecg_spark.pipeline.takeover import (
    drop_rows,
    kept_sources,
    parquet_files,
    source_of_row,
    stamps_to_keep,
    take_over,
)
from ecg_spark.store import fingerprint, remove_folder
from ecg_spark.tables import (
    FLOW,
    NOT_AN_ECG,
    QUARANTINE,
    RECORDING_GROUP_BYTES,
    RECORDINGS,
    SOURCES,
    check_table,
    make_empty,
    read_table,
    write_columns,
    write_rows,
    write_table,
)

log = logging.getLogger(__name__)

PART_BYTES = 128 << 20
"""Bytes that one task reads at most: few enough tasks for a million files, enough for all cores."""

OPEN_BYTES = 64 << 10
"""The cost of opening a file, in bytes, so that a task does not get thousands of tiny files."""

HEADERS_A_PART = 2000
"""WFDB headers that one task reads for the names of their files."""

PLAN = "plan.parquet"

BARE = (hdf5.SUFFIXES, (".csv", ".tsv", ".txt"), (".parquet",))
"""Endings of files of bare samples, by format."""

PEEKED = 5
"""How many files of each of these formats are checked, before any work, for a description."""


def listing_digest(path: str | None, manifest: pd.DataFrame | None = None, folder: str = "") -> str:
    """Return a digest of the names, sizes and times of the files that `ingest` would read.

    Args:
        path: as in `ingest`.
        manifest: as in `ingest`.
        folder: as in `ingest`.

    Raises:
        DataError: there is no file.
    """
    return fingerprint(listing.list_files(path, manifest, folder))


def ingest(
    spark: SparkSession,
    path: str | None,
    manifest: pd.DataFrame | None,
    id_pattern: str | None,
    target: Callable[[str], str],
    *,
    folder: str = "",
    previous: Callable[[str], str] | None = None,
    samples: Samples = NOTHING_SAID,
) -> dict[str, Any]:
    """Read every ECG file and write the tables `recordings`, `quarantine`, `sources` and `flow`.

    A recording's participant comes from the manifest if there is one, else from the pattern on the
    file name if there is one, else from the file itself. A recording that occurs under several
    participants is assigned to nobody.

    Args:
        spark: the session.
        path: a folder, a glob, a file or an archive; None reads the files that the manifest names.
        manifest: the table of `read_manifest`; None if the study has none.
        id_pattern: a regular expression whose first group is the participant id in a file's name.
        target: returns the folder to write a table to, by the table's name.
        folder: what paths in the manifest are relative to, without a `path`.
        previous: returns the folders of a run with the same settings; its recordings are kept if
            their files have not changed.
        samples: what the study says about files of bare samples.

    Returns:
        The counts of the summary; n_in = n_out + n_quarantined + n_not_ecg always holds: every
        source is accounted for.

    Raises:
        DataError: there is no file, or no recording can be used.
        UsageError: files of bare samples need a description in the study file.
        AssertionError: the counts do not add up.
    """
    files = listing.list_files(path, manifest, folder)
    read_names = functools.partial(_read_names, spark, f"{target('_headers')}/{PLAN}")
    found = listing.group(files, path, manifest, folder, read_names, samples)
    stamps = {} if previous is None else stamps_to_keep(spark, found, previous)
    new = [source for source in found if stamps.get(source.path) != source.stamp]
    _check_described(new, samples)
    recordings, staged = target("recordings"), target("_staged")
    # Written by the driver: a million short rows are too little work for executors.
    columns = {"path": [one.path for one in found], "stamp": [one.stamp for one in found]}
    write_columns(columns, SOURCES, target("sources"))
    make_empty(recordings)
    if new:
        pieces, parts = _parts(new, spark.sparkContext.defaultParallelism)
        log.info("ingest: %d of %d sources, in %d parts", len(new), len(found), len(parts))
        plan = f"{target('_plan')}/{PLAN}"
        write_plan(pieces, parts, plan)
        read = reader(plan, id_pattern, manifest is not None, samples)
        _read(spark, read, len(parts), staged)
        _move_files(f"{staged}/accepted=true", recordings)
    kept = kept_sources(spark, target, bool(new))
    rejected, others = _rejected(spark, staged)
    if previous is not None:
        take_over(previous("recordings"), recordings)
        is_kept = source_of_row() == kept["source"]
        for table in (QUARANTINE, NOT_AN_ECG):
            before = read_table(spark, table, previous(table.name)).join(kept, is_kept, "left_semi")
            if table is QUARANTINE:
                rejected = rejected.union(before)
            else:
                others = others.union(before)
    if parquet_files(recordings):
        rejected = rejected.union(drop_rows(spark, target, kept))
    n_quarantined = write_table(rejected.coalesce(1), QUARANTINE, target("quarantine"))
    n_not_ecg = write_table(others.coalesce(1), NOT_AN_ECG, target("not_an_ecg"))
    n_out = check_table(spark, RECORDINGS, recordings, without=("signal", "vendor"))
    n_in = _count_sources(spark, target, found, samples)
    check_counts("ingest", n_in, n_out, n_quarantined, n_not_ecg)
    reasons = value_counts(read_table(spark, QUARANTINE, target("quarantine")), "reason")
    if n_out == 0:
        why = {**reasons, "not an ECG": n_not_ecg} if n_not_ecg else reasons
        listed = ", ".join(f"{name} {count}" for name, count in why.items())
        raise DataError(
            f"None of the {n_in} files found can be used ({listed}): "
            f"ecg.path must hold files of one of {', '.join(FORMAT_NAMES)}."
        )
    left_out = {"not an ECG": n_not_ecg} | in_words(reasons)
    counted = flow.flow_rows("ingest", flow.RECORDINGS, n_in, left_out, n_out)
    write_rows(counted, FLOW, target("flow"))
    for scratch in ("_staged", "_plan", "_dropped", "_headers"):
        remove_folder(target(scratch))
    written = read_table(spark, RECORDINGS, recordings)
    return {
        "n_in": n_in,
        "n_out": n_out,
        "n_quarantined": n_quarantined,
        "n_not_ecg": n_not_ecg,
        "n_read": len(new),
        "reasons": reasons,
        "formats": value_counts(written, "source_format"),
        "participants": written.select("participant_id").distinct().count(),
    }


def _check_described(new: list[Source], samples: Samples) -> None:
    """Raise `UsageError` if the study does not say what numbers in files of bare samples mean."""
    for suffixes in BARE:
        kind = [
            source for source in new if source.path.lower().removesuffix(".gz").endswith(suffixes)
        ]
        for source in kind[:PEEKED]:
            with contextlib.closing(read_source(source.path, source.files, samples)) as rows:
                row = next(rows, None)
            if row is not None and row["source_format"] == Reason.NOT_DESCRIBED.value:
                raise UsageError(f"The study file does not describe its ECGs: {row['device']}.")


def _parts(new: list[Source], parallelism: int) -> tuple[list[Source], list[int]]:
    """Return the sources in slices, in the order of paths, and how many slices each task reads."""
    total = sum(source.size + OPEN_BYTES * len(source.files) for source in new)
    limit = min(PART_BYTES, max(total // (4 * parallelism), 1 << 20))
    pieces = [piece for source in new for piece in source.split(limit)]
    costs = [piece.size + OPEN_BYTES * len(piece.files) for piece in pieces]
    parts: list[int] = []
    filled = limit
    for cost in costs:
        if filled + cost > limit:
            parts.append(0)
            filled = 0
        parts[-1] += 1
        filled += cost
    return pieces, parts


def _read(
    spark: SparkSession,
    read: Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]],
    n_parts: int,
    staged: str,
) -> None:
    """Read the parts of a plan; write accepted and rejected rows to two folders."""
    # Rows go to two folders as they come; without this setting Spark would sort them first.
    spark.conf.set("spark.sql.maxConcurrentOutputFileWriters", 2)
    rows = spark.range(0, n_parts, 1, n_parts).mapInArrow(read, READ)
    rows.write.partitionBy("accepted").option("parquet.block.size", RECORDING_GROUP_BYTES).parquet(
        staged
    )


def _read_names(
    spark: SparkSession, plan: str, doubts: list[listing.Doubt]
) -> dict[str, list[str]]:
    """Have executors read headers; return the files named by those with unusual names."""
    parts = [min(HEADERS_A_PART, len(doubts) - at) for at in range(0, len(doubts), HEADERS_A_PART)]
    headers = [Source(doubt.header, doubt.customary, 0, "") for doubt in doubts]
    write_plan(headers, parts, plan)
    rows = spark.range(0, len(parts), 1, len(parts)).mapInArrow(names_reader(plan), NAMED)
    return {row["header"]: row["names"] for row in rows.collect()}


def _rejected(spark: SparkSession, staged: str) -> tuple[DataFrame, DataFrame]:
    """Return the rejected rows as rows of the quarantine, and the files that are not an ECG."""
    fs, base = fsspec.core.url_to_fs(f"{staged}/accepted=false")
    if not fs.exists(base):
        none = [spark.createDataFrame([], table.schema) for table in (QUARANTINE, NOT_AN_ECG)]
        return none[0], none[1]
    rows = spark.read.schema(RECORDINGS.schema).parquet(f"{staged}/accepted=false")
    is_other = F.col("source_format") == Reason.NOT_AN_ECG.value
    return rows.where(~is_other).select(
        "ecg_id",
        "path",
        F.lit("ingest").alias("step"),
        F.col("source_format").alias("reason"),
        F.col("device").alias("detail"),
    ), rows.where(is_other).select("path")


def _move_files(folder: str, to: str) -> None:
    fs, base = fsspec.core.url_to_fs(folder)
    goal = fs._strip_protocol(to)
    for name in parquet_files(folder):
        fs.mv(f"{base}/{name}", f"{goal}/{name}")


def _count_sources(
    spark: SparkSession, target: Callable[[str], str], found: list[Source], samples: Samples
) -> int:
    """Return how many recordings came in: one per source, or as many as a file of several holds.

    Every source must be accounted for: as a recording, in quarantine, or as not an ECG.
    """
    together = functools.reduce(
        DataFrame.union,
        [
            read_table(spark, table, target(table.name)).select(
                "path", source_of_row().alias("source")
            )
            for table in (RECORDINGS, QUARANTINE, NOT_AN_ECG)
        ],
    )
    sources = read_table(spark, SOURCES, target("sources")).select(F.col("path").alias("source"))
    is_several = functools.reduce(
        operator.or_,
        [F.lower("source").endswith(suffix) for suffix in listing.several_suffixes(samples)],
    )
    counts = (
        sources.withColumn("is_source", F.lit(True))
        .join(together, "source", "outer")
        .agg(
            F.count_if(F.col("path").isNull()).alias("lost"),
            F.count_if(F.col("is_source").isNull()).alias("strange"),
            F.count_if(is_several).alias("in_several"),
        )
        .first()
    )
    assert counts is not None
    if counts["lost"] or counts["strange"]:
        raise AssertionError(
            f"ingest lost count: {counts['lost']} sources left no row and {counts['strange']} rows "
            f"are of no source."
        )
    return sum(not source.holds_several for source in found) + int(counts["in_several"])
