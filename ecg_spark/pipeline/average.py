"""Average: every recording becomes one beat and its conventional traits."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import to_arrow_schema
from pyspark.sql.types import StringType, StructField, StructType

from ecg_spark.ecg import LEADS, Reason, Recording, RecordingError, average_beat, measure_traits
from ecg_spark.errors import DataError
from ecg_spark.pipeline.counts import check_counts, value_counts
from ecg_spark.store import remove_folder
from ecg_spark.tables import BEATS, QUARANTINE, TRAIT_NAMES, TRAITS, write_table

RECORDINGS_PER_BATCH = 128

ROW_GROUP_BYTES = 8 << 20
"""A few hundred beats a row group: what the training loader shuffles and shards."""

_INPUT = (
    "ecg_id",
    "participant_id",
    "path",
    "acquired_at",
    "source_format",
    "sampling_rate_hz",
    "microvolts_per_unit",
    "signal",
)

_AVERAGED = StructType(
    [
        StructField(field.name, field.dataType, True)
        for field in [
            *BEATS.schema,
            *[TRAITS.schema[name] for name in TRAIT_NAMES],
            *[StructField(name, StringType()) for name in ("path", "reason", "detail")],
        ]
    ]
)


def average(
    spark: SparkSession, recordings: DataFrame, target: Callable[[str], str]
) -> dict[str, Any]:
    """Write the tables `beats`, `traits` and `quarantine` of a recordings table.

    `target(name)` is the folder to write a table to. Returns the counts; n_in = n_out +
    n_quarantined always holds. Raises `DataError` where not one recording can be averaged.
    """
    spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", RECORDINGS_PER_BATCH)
    staged = target("_staged")
    averaged = recordings.select(*_INPUT).mapInArrow(_average_batches, _AVERAGED)
    averaged.write.option("parquet.block.size", ROW_GROUP_BYTES).parquet(staged)
    averaged = spark.read.parquet(staged)
    good = averaged.where(F.col("reason").isNull())
    # In an order that has nothing to do with the files': neighbours in a row group are strangers.
    beats = good.select(BEATS.schema.names).sort("participant_hash", "ecg_id")
    traits = good.select(TRAITS.schema.names)
    rejected = averaged.where(F.col("reason").isNotNull()).select(
        "ecg_id", "path", F.lit("average").alias("step"), "reason", "detail"
    )
    n_out = write_table(
        beats, BEATS, target("beats"), options={"parquet.block.size": str(ROW_GROUP_BYTES)}
    )
    write_table(traits, TRAITS, target("traits"))
    n_quarantined = write_table(rejected.coalesce(1), QUARANTINE, target("quarantine"))
    n_in = averaged.count()
    check_counts("average", n_in, n_out, n_quarantined)
    reasons = value_counts(spark.read.parquet(target("quarantine")), "reason")
    if n_out == 0:
        raise DataError(
            f"None of the {n_in} recordings gave an average beat "
            f"({', '.join(f'{name} {count}' for name, count in reasons.items())}): "
            f"ecg-spark needs resting ECGs of some ten seconds."
        )
    written = spark.read.parquet(target("beats"))
    flags = value_counts(written.select(F.explode("flags").alias("flag")), "flag")
    remove_folder(staged)
    return {
        "n_in": n_in,
        "n_out": n_out,
        "n_quarantined": n_quarantined,
        "reasons": reasons,
        "flags": flags,
        "median_beats": written.approxQuantile("n_beats", [0.5], 0.01)[0],
    }


def _average_batches(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    schema = to_arrow_schema(_AVERAGED)
    for batch in batches:
        rows = [_average_row(row) for row in batch.to_pylist()]
        yield pa.RecordBatch.from_pylist(rows, schema=schema)


def _average_row(row: dict[str, Any]) -> dict[str, Any]:
    samples = np.frombuffer(row.pop("signal"), "<i2").reshape(len(LEADS), -1)
    kept = {name: row[name] for name in ("ecg_id", "participant_id", "path", "acquired_at")}
    recording = Recording(
        samples, row["microvolts_per_unit"], row["sampling_rate_hz"], row["source_format"]
    )
    try:
        beat = average_beat(recording)
        traits = measure_traits(beat)
    except RecordingError as error:
        return kept | {"reason": error.reason.value, "detail": error.detail}
    except Exception as error:  # a defect must cost one recording, not the job
        return kept | {
            "reason": Reason.MALFORMED.value,
            "detail": f"averaging failed with {type(error).__name__}",
        }
    return (
        kept
        | {
            "participant_hash": participant_hash(row["participant_id"]),
            "signal": beat.signal_mv.ravel(),
            "n_beats": beat.n_beats,
            "n_detected": beat.n_detected,
            "noise_uv": beat.noise_uv,
            "flags": list(beat.flags),
        }
        | {name: traits[name] for name in TRAIT_NAMES}
    )


def participant_hash(participant_id: str) -> int:
    """63 bits of the SHA-256 of a participant id: the same person, without saying who."""
    digest = hashlib.sha256(participant_id.encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
