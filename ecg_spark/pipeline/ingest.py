"""Ingest: raw ECG files become the recordings table; what cannot be read is quarantined."""

import hashlib
import logging
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import PurePosixPath
from typing import Any

import fsspec
import pandas as pd
import pyarrow as pa
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import to_arrow_schema
from pyspark.sql.types import StringType, StructField, StructType

from ecg_spark.ecg import Reason, Recording, RecordingError, read_recording
from ecg_spark.errors import DataError
from ecg_spark.pipeline.counts import check_counts, value_counts
from ecg_spark.store import fingerprint, remove_folder
from ecg_spark.tables import QUARANTINE, RECORDINGS, write_table

log = logging.getLogger(__name__)

# A WFDB record is several files that share a stem; files of every other name stand alone.
COMPANION_SUFFIXES = ("hea", "dat", "mat")

FILES_PER_BATCH = 64
"""Files in one Arrow batch: a CardioSoft file is half a megabyte."""

_READ = StructType(
    [
        StructField(field.name, field.dataType, True)
        for field in [
            *RECORDINGS.schema,
            StructField("reason", StringType()),
            StructField("detail", StringType()),
        ]
    ]
)


def listing_digest(path: str) -> str:
    """A digest of the names, sizes and times of the files below a folder or matching a glob.

    Raises `DataError` where there is no file.
    """
    fs, base = fsspec.core.url_to_fs(path)
    if any(mark in base for mark in "*?["):
        found = fs.glob(base, detail=True)
    elif fs.exists(base):
        found = fs.find(base, detail=True)
    else:
        raise DataError(
            f"The ECG folder {path} does not exist: correct ecg.path in the study file."
        )
    files = sorted(
        (name, item.get("size"), str(item.get("mtime") or item.get("etag") or ""))
        for name, item in found.items()
        if item["type"] == "file"
    )
    if not files:
        raise DataError(f"The ECG folder {path} holds no file: correct ecg.path in the study file.")
    return fingerprint(files)


def ingest(
    spark: SparkSession,
    path: str,
    manifest: pd.DataFrame | None,
    id_pattern: str | None,
    target: Callable[[str], str],
) -> dict[str, Any]:
    """Read every ECG file below `path` and write the tables `recordings` and `quarantine`.

    A recording's participant is the manifest's, else that of the pattern on the file name, else
    the one that the file itself names. `target(name)` is the folder to write a table to. Returns
    the counts; n_in = n_out + n_quarantined always holds, files that share a stem being one
    recording. Raises `DataError` where not one recording can be used.
    """
    staged = target("_staged")
    _read_all(spark, path).write.parquet(staged)
    read = spark.read.parquet(staged)
    read = _with_participant(spark, read, path, manifest, id_pattern)

    good = read.where(F.col("reason").isNull())
    first = good.groupBy("ecg_id").agg(F.min("path").alias("first_path"))
    repeated = (
        good.select("ecg_id", "path")
        .join(first, "ecg_id")
        .where(F.col("path") != F.col("first_path"))
        .select("path", F.lit(True).alias("repeats"))
    )
    read = read.join(F.broadcast(repeated), "path", "left")
    reason = F.coalesce("reason", F.when(F.col("repeats"), F.lit(Reason.DUPLICATE.value)))
    detail = F.coalesce("detail", F.lit("the same recording is there under another name"))
    rejected = read.where(reason.isNotNull()).select(
        "ecg_id",
        "path",
        F.lit("ingest").alias("step"),
        reason.alias("reason"),
        detail.alias("detail"),
    )
    accepted = read.where(reason.isNull()).select(RECORDINGS.schema.names)

    n_quarantined = write_table(rejected.coalesce(1), QUARANTINE, target("quarantine"))
    n_out = write_table(accepted, RECORDINGS, target("recordings"))
    n_in = spark.read.parquet(staged).count()
    check_counts("ingest", n_in, n_out, n_quarantined)
    written = spark.read.parquet(target("recordings"))
    reasons = value_counts(spark.read.parquet(target("quarantine")), "reason")
    if n_out == 0:
        listed = ", ".join(f"{name} {count}" for name, count in reasons.items())
        raise DataError(
            f"None of the {n_in} ECG files in {path} can be used ({listed}): "
            f"ecg.path must hold GE CardioSoft XML, GE MUSE XML or WFDB files."
        )
    remove_folder(staged)
    return {
        "n_in": n_in,
        "n_out": n_out,
        "n_quarantined": n_quarantined,
        "reasons": reasons,
        "formats": value_counts(written, "source_format"),
        "participants": written.select("participant_id").distinct().count(),
    }


def _read_all(spark: SparkSession, path: str) -> DataFrame:
    """Every recording below the path, read, or with the reason why it cannot be."""
    spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", FILES_PER_BATCH)
    files = spark.read.format("binaryFile").option("recursiveFileLookup", "true").load(path)
    # A condition on the file's name prunes the listing, so that no content is read twice.
    suffix = F.lower(F.substring_index(F.col("_metadata.file_name"), ".", -1))
    shared = suffix.isin(*COMPANION_SUFFIXES)
    entry = F.struct("path", "content")
    alone = files.where(~shared).select(F.array(entry).alias("files"))
    stem = F.regexp_replace("path", r"\.[^./]*$", "")
    together = files.where(shared).groupBy(stem).agg(F.collect_list(entry).alias("files"))
    return alone.union(together.select("files")).mapInArrow(_read_batches, _READ)


def _read_batches(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    schema = to_arrow_schema(_READ)
    for batch in batches:
        rows = [_read_files(files) for files in batch.column("files").to_pylist()]
        yield pa.RecordBatch.from_pylist(rows, schema=schema)


def _read_files(files: list[dict[str, Any]]) -> dict[str, Any]:
    """One recording from the files that share a stem, as a row of the staged table."""
    files = sorted(files, key=lambda file: str(file["path"]))
    row: dict[str, Any] = dict.fromkeys(_READ.names)
    digest = hashlib.sha256()
    for file in files:
        digest.update(file["content"])
    row["ecg_id"] = digest.hexdigest()
    row["path"] = files[0]["path"]
    try:
        path, recording = _recognise(files)
    except RecordingError as error:
        row["reason"], row["detail"] = error.reason.value, error.detail
        return row
    except Exception as error:  # a reader's defect must cost one file, not the job
        row["reason"] = Reason.MALFORMED.value
        row["detail"] = f"the reader failed with {type(error).__name__}"
        return row
    signal = recording.samples.astype("<i2").tobytes()
    # The hash of what was recorded, not of the file: a copy under another name, or with another
    # header, is the same recording.
    scale = f"{recording.microvolts_per_unit:.9g} {recording.sampling_rate_hz:.9g}".encode()
    row |= {
        "ecg_id": hashlib.sha256(scale + signal).hexdigest(),
        "participant_id": recording.participant_id,
        "path": path,
        "acquired_at": recording.acquired_at,
        "source_format": recording.source_format,
        "device": recording.device,
        "sampling_rate_hz": recording.sampling_rate_hz,
        "microvolts_per_unit": recording.microvolts_per_unit,
        "signal": signal,
        "vendor": recording.vendor,
    }
    return row


def _recognise(files: list[dict[str, Any]]) -> tuple[str, Recording]:
    """The recording in a group of files, with the path of the one that describes it."""
    contents = {PurePosixPath(file["path"]).name: file["content"] for file in files}
    unknown = RecordingError(Reason.UNKNOWN_FORMAT, "no reader knows this file")
    for file in files:
        try:
            return file["path"], read_recording(file["content"], companions=contents)
        except RecordingError as error:
            if error.reason is not Reason.UNKNOWN_FORMAT:
                raise
            unknown = error
    raise unknown


def _with_participant(
    spark: SparkSession,
    read: DataFrame,
    root: str,
    manifest: pd.DataFrame | None,
    id_pattern: str | None,
) -> DataFrame:
    """The staged table with every participant id settled; without one there is a reason."""
    if manifest is not None:
        read = _from_manifest(spark, read, root, manifest)
    elif id_pattern is not None:
        name = F.substring_index("path", "/", -1)
        found = F.regexp_extract(name, id_pattern, 1)
        read = read.withColumn("participant_id", F.when(found != "", found))
    nobody = F.col("reason").isNull() & F.col("participant_id").isNull()
    return read.withColumn(
        "detail",
        F.when(
            nobody, F.lit("neither the file, its name nor the manifest says whose it is")
        ).otherwise(F.col("detail")),
    ).withColumn(
        "reason",
        F.when(nobody, F.lit(Reason.NO_PARTICIPANT.value)).otherwise(F.col("reason")),
    )


def _from_manifest(
    spark: SparkSession, read: DataFrame, root: str, manifest: pd.DataFrame
) -> DataFrame:
    """Participant ids from the manifest: by relative path, or by file name where none matches.

    Extensions do not count. Raises `DataError` where names are ambiguous or nothing matches.
    """
    folder = re.sub(r"^file:/+", "/", root).rstrip("/")
    full = F.regexp_replace(_plain(F.col("path")), r"\.[^./]*$", "")
    relative = F.expr(f"substring(`_full`, {len(folder) + 2})")
    keys = {
        "relative": (relative, manifest["uri"].str.replace(r"\.[^./]*$", "", regex=True)),
        "name": (
            F.substring_index("_full", "/", -1),
            manifest["uri"].str.replace(r"^.*/|\.[^./]*$", "", regex=True),
        ),
    }
    read = read.withColumn("_full", full)
    for how, (column, values) in keys.items():
        table = pd.DataFrame({"_key": values, "_participant": manifest["participant_id"]})
        ours = read.select(column.alias("_key"))
        named = F.broadcast(spark.createDataFrame(table.drop_duplicates("_key")))
        if ours.join(named, "_key", "left_semi").isEmpty():
            continue
        ambiguous = table["_key"].duplicated().any() or (
            how == "name" and ours.groupBy("_key").count().where("count > 1").limit(1).count()
        )
        if ambiguous:
            raise DataError(
                "The manifest cannot be matched to the ECG files: several files or rows have the "
                "same name; give paths relative to ecg.path in its uri column."
            )
        return (
            read.withColumn("_key", column)
            .join(named, "_key", "left")
            .withColumn("participant_id", F.col("_participant"))
            .drop("_key", "_participant", "_full")
        )
    raise DataError(
        "No file in ecg.path is named in the manifest: its uri column must hold paths relative "
        "to ecg.path, or file names."
    )


def _plain(path: Column) -> Column:
    return F.regexp_replace(path, r"^file:/+", "/")
