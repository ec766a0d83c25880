"""The step average: each recording becomes one beat and its conventional traits."""

import hashlib
import secrets
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import to_arrow_schema
from pyspark.sql.types import StringType, StructField, StructType

from ecg_spark.ecg import (
    LEADS,
    Limits,
    Reason,
    Recording,
    RecordingError,
    beat_of,
    measure_traits,
    weight,
)
from ecg_spark.ecg.vendor import Source
from ecg_spark.errors import DataError
from ecg_spark.flow import PEOPLE, RECORDINGS, flow_rows
from ecg_spark.pipeline.counts import check_counts, in_words, value_counts
from ecg_spark.store import remove_folder
from ecg_spark.study import Beats
from ecg_spark.tables import (
    BEATS,
    FLOW,
    LEAD_TRAIT_NAMES,
    OTHER_TRAIT_NAMES,
    QUARANTINE,
    TRAIT_NAMES,
    TRAITS,
    read_table,
    write_rows,
    write_table,
)

RECORDINGS_PER_BATCH = 128

ROW_GROUP_BYTES = 8 << 20
"""A few hundred beats per row group, the unit that the training loader shuffles and shards."""

NO_BEAT = "no average beat"

_INPUT = (
    "ecg_id",
    "participant_id",
    "path",
    "acquired_at",
    "source_format",
    "sampling_rate_hz",
    "microvolts_per_unit",
    "signal",
    "vendor",
    "vendor_median",
    "vendor_median_rate_hz",
)

_MEASURED = TRAIT_NAMES + OTHER_TRAIT_NAMES + LEAD_TRAIT_NAMES

_AVERAGED = StructType(
    [
        StructField(field.name, field.dataType, True)
        for field in [
            *BEATS.schema,
            *[TRAITS.schema[name] for name in (*_MEASURED, "vendor")],
            *[StructField(name, StringType()) for name in ("path", "reason", "detail")],
        ]
    ]
)


def average(
    spark: SparkSession,
    recordings: DataFrame,
    target: Callable[[str], str],
    settings: Beats | None = None,
    key: bytes | None = None,
) -> dict[str, Any]:
    """Write the tables `beats`, `traits`, `quarantine` and `flow` of a table of recordings.

    Args:
        spark: the session.
        recordings: the table `recordings`.
        target: returns the folder to write a table to, by the table's name.
        settings: whose beat is used and when a recording is flagged; None takes the defaults.
        key: the study's secret, which keys the column participant_hash; without one a random key is
            used and not kept.

    Returns:
        The counts of the summary; n_in = n_out + n_quarantined always holds.

    Raises:
        DataError: no recording can be averaged.
        AssertionError: the counts do not add up.
    """
    spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", RECORDINGS_PER_BATCH)
    staged = target("_staged")
    averaged = recordings.select(*_INPUT).mapInArrow(
        _averager(settings or Beats(), key or secrets.token_bytes(32)), _AVERAGED
    )
    averaged.write.option("parquet.block.size", ROW_GROUP_BYTES).parquet(staged)
    averaged = spark.read.schema(_AVERAGED).parquet(staged)
    good = averaged.where(F.col("reason").isNull())
    # Shuffled by hash, because training reads whole row groups: the beats of one should be of
    # different people. A global `sort` would read every beat once more.
    beats = good.select(BEATS.schema.names).repartition("participant_hash")
    beats = beats.sortWithinPartitions("participant_hash", "ecg_id")
    traits = good.select(TRAITS.schema.names)
    rejected = averaged.where(F.col("reason").isNotNull()).select(
        "ecg_id", "path", F.lit("average").alias("step"), "reason", "detail"
    )
    n_out = write_table(
        beats, BEATS, target("beats"), options={"parquet.block.size": str(ROW_GROUP_BYTES)}
    )
    write_table(traits, TRAITS, target("traits"))
    n_quarantined = write_table(rejected.coalesce(1), QUARANTINE, target("quarantine"))
    n_in, people, with_beat = _came_in(averaged)
    check_counts("average", n_in, n_out, n_quarantined)
    reasons = value_counts(read_table(spark, QUARANTINE, target("quarantine")), "reason")
    if n_out == 0:
        raise DataError(
            f"None of the {n_in} recordings gave an average beat "
            f"({', '.join(f'{name} {count}' for name, count in reasons.items())}): "
            f"ecg-spark needs resting ECGs of about ten seconds."
        )
    flow = flow_rows("average", RECORDINGS, n_in, in_words(reasons), n_out)
    flow += flow_rows("average", PEOPLE, people, {NO_BEAT: people - with_beat}, with_beat)
    write_rows(flow, FLOW, target("flow"))
    written = read_table(spark, BEATS, target("beats"))
    flags = value_counts(written.select(F.explode("flags").alias("flag")), "flag")
    remove_folder(staged)
    return {
        "n_in": n_in,
        "n_out": n_out,
        "n_quarantined": n_quarantined,
        "reasons": reasons,
        "flags": flags,
        "sources": value_counts(written, "source"),
        "median_beats": written.approxQuantile("n_beats", [0.5], 0.01)[0],
    }


def _came_in(averaged: DataFrame) -> tuple[int, int, int]:
    """Return how many recordings and people there are, and how many of the people have a beat."""
    has_beat = F.max(F.col("reason").isNull().cast("int")).alias("has_beat")
    persons = averaged.groupBy("participant_id").agg(F.count("*").alias("recordings"), has_beat)
    row = persons.agg(F.sum("recordings"), F.count("*"), F.sum("has_beat")).first()
    assert row is not None
    recordings, people, with_beat = (int(value or 0) for value in row)
    return recordings, people, with_beat


def _averager(
    settings: Beats,
    key: bytes,
) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    source, limits = settings.source, Limits(**settings.quality.model_dump())

    def average_batches(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        schema = to_arrow_schema(_AVERAGED)
        for batch in batches:
            rows = [_average_row(row, source, limits, key) for row in batch.to_pylist()]
            yield pa.RecordBatch.from_pylist(rows, schema=schema)

    return average_batches


def _average_row(row: dict[str, Any], source: Source, limits: Limits, key: bytes) -> dict[str, Any]:
    samples = np.frombuffer(row["signal"], "<i2").reshape(len(LEADS), -1)
    median = row["vendor_median"]
    kept = {name: row[name] for name in ("ecg_id", "participant_id", "path", "acquired_at")}
    recording = Recording(
        samples,
        row["microvolts_per_unit"],
        row["sampling_rate_hz"],
        row["source_format"],
        vendor_median=None
        if median is None
        else np.frombuffer(median, "<i2").reshape(len(LEADS), -1),
        vendor_median_rate_hz=row["vendor_median_rate_hz"],
    )
    try:
        beat = beat_of(recording, source, limits)
        traits = measure_traits(beat)
    except RecordingError as error:
        return kept | {"reason": error.reason.value, "detail": error.detail}
    except Exception as error:  # a defect costs one recording and not the job
        return kept | {
            "reason": Reason.MALFORMED.value,
            "detail": f"averaging failed with {type(error).__name__}",
        }
    return (
        kept
        | {
            "participant_hash": participant_hash(row["participant_id"], key),
            "signal": beat.signal_mv.ravel(),
            "n_beats": beat.n_beats,
            "n_detected": beat.n_detected,
            "noise_uv": beat.noise_uv,
            "source": beat.source,
            "quality": beat.quality,
            "weight": weight(beat.noise_uv),
            "flags": list(beat.flags),
            "vendor": row["vendor"],
        }
        | {name: traits[name] for name in _MEASURED}
    )


def participant_hash(participant_id: str, key: bytes) -> int:
    """Return 63 bits of the keyed hash (BLAKE2) of a participant id: one number per person.

    Ids have few digits: without a secret key, trying all of them would reveal whose hash it is.

    Args:
        participant_id: in normal form.
        key: the study's secret, at most 64 bytes.
    """
    digest = hashlib.blake2b(participant_id.encode(), digest_size=8, key=key).digest()
    return int.from_bytes(digest, "big") >> 1
