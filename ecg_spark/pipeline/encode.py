"""Encode: the registered model turns beats into latents, one row a participant and model."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark import Broadcast, StorageLevel
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import to_arrow_schema
from pyspark.sql.types import (
    ArrayType,
    DoubleType,
    IntegerType,
    StringType,
    StructField,
    StructType,
)

from ecg_spark.ecg import BEAT_SAMPLES, LEADS
from ecg_spark.flow import PEOPLE, RECORDINGS, Row, flow_rows
from ecg_spark.pipeline.counts import in_words
from ecg_spark.pipeline.latent_quality import intraclass_correlation
from ecg_spark.selection import left_out_for, used_rows, weighted_mean
from ecg_spark.tables import FLOW, LATENTS, write_rows, write_table
from models.encoding.encoder import Encoder

BEATS_PER_BATCH = 256

ALL_FLAGGED = "flagged in every recording"

_ENCODED = StructType(
    [
        StructField("participant_id", StringType()),
        StructField("model", StringType()),
        StructField("fold", IntegerType()),
        StructField("z", ArrayType(DoubleType(), False)),
        StructField("z_sd", ArrayType(DoubleType(), False)),
        StructField("weight", DoubleType()),
    ]
)


def encode(
    spark: SparkSession,
    beats: DataFrame,
    encoder: Encoder,
    target: Callable[[str], str],
    leave_out: Sequence[str] = (),
) -> dict[str, Any]:
    """Write the table `latents`: the active latents of every participant, and the PCA peer's.

    Recordings with a flag of `leave_out` are not used, and the table `flow` says how many those
    are. Where the model has a network a fold, a participant's is the one that was not trained on
    them. A participant with several ECGs gets the mean of their latents by the beats' `weight`;
    `n_ecgs` says of how many, and the posterior standard deviation becomes that of the mean. The
    summary holds the intraclass correlation of each latent between several ECGs of a person.
    """
    spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", BEATS_PER_BATCH)
    shared = spark.sparkContext.broadcast(encoder)
    chosen = used_rows(beats, leave_out)
    columns = chosen.select("participant_id", "participant_hash", "signal", "weight")
    encoded = columns.mapInArrow(_encoder_of(shared), _ENCODED)
    n_latents = encoder.n_active
    mean = F.array(*[weighted_mean(F.col("z")[i]) for i in range(n_latents)])
    total = F.sum("weight")
    sd = F.array(
        *[
            F.sqrt(F.sum(F.pow(F.col("weight") * F.col("z_sd")[i], 2))) / total
            for i in range(n_latents)
        ]
    )
    plain_mean = F.array(*[F.avg(F.col("z")[i]) for i in range(n_latents)])
    squares = F.array(*[F.avg(F.col("z")[i] * F.col("z")[i]) for i in range(n_latents)])
    latents = encoded.groupBy("participant_id", "model", "fold").agg(
        mean.alias("z"),
        sd.alias("z_sd"),
        F.count(F.lit(1)).cast("int").alias("n_ecgs"),
        plain_mean.alias("plain_mean"),
        squares.alias("squares"),
    )
    latents.persist(StorageLevel.DISK_ONLY)  # or every beat would be encoded twice
    write_table(latents.select(LATENTS.schema.names), LATENTS, target("latents"))
    agreement = {
        model: intraclass_correlation(latents.where(F.col("model") == model), n_latents)
        for model in ("vae", "pca")
    }
    latents.unpersist()
    written = spark.read.parquet(target("latents")).where(F.col("model") == "vae")
    several = written.where(F.col("n_ecgs") > 1)
    participants, ecgs = written.agg(F.count("n_ecgs"), F.sum("n_ecgs")).collect()[0]
    recordings = int(ecgs or 0)
    write_rows(_flow(beats, leave_out, participants, recordings), FLOW, target("flow"))
    return {
        "participants": participants,
        "recordings": recordings,
        "n_latents": n_latents,
        "folds": len(encoder.folds),
        "participants_with_several_ecgs_averaged": several.count(),
        "icc": {
            model: None if values is None else [round(float(value), 4) for value in values]
            for model, values in agreement.items()
        },
    }


def _flow(
    beats: DataFrame, leave_out: Sequence[str], participants: int, recordings: int
) -> list[Row]:
    """What became of the beats and of their people; held against what has been encoded.

    A recording with several flags that are left out counts for the first of them.
    """
    reason = left_out_for(leave_out)
    by_flag = [F.count(F.when(reason == flag, 1)).alias(flag) for flag in leave_out]
    persons = beats.groupBy("participant_id").agg(F.count(F.lit(1)).alias("all"), *by_flag)
    row = persons.agg(
        F.count("all").alias("people"), *[F.sum(n).alias(n) for n in ("all", *leave_out)]
    ).collect()[0]
    flagged = in_words({flag: int(row[flag]) for flag in leave_out})
    people = row["people"]
    return [
        *flow_rows("encode", RECORDINGS, row["all"], flagged, recordings),
        *flow_rows("encode", PEOPLE, people, {ALL_FLAGGED: people - participants}, participants),
    ]


def _encoder_of(
    shared: "Broadcast[Encoder]",
) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """The Arrow function of a broadcast encoder: the model is built once a task, not a batch."""

    def run(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        encoder = shared.value
        schema = to_arrow_schema(_ENCODED)
        for batch in batches:
            values = batch.column("signal").flatten().to_numpy()
            signal = np.asarray(values, np.float32).reshape(-1, len(LEADS), BEAT_SAMPLES)
            people = batch.column("participant_id")
            hashes = batch.column("participant_hash").to_numpy()
            folds = pa.array(encoder.fold_of(hashes), pa.int32())
            for model, encoding in (
                ("vae", encoder.encode(signal, hashes)),
                ("pca", encoder.encode_pca(signal, hashes)),
            ):
                yield pa.RecordBatch.from_arrays(
                    [
                        people,
                        pa.array([model] * len(people)),
                        folds,
                        pa.array(list(encoding.z), schema.field("z").type),
                        pa.array(list(encoding.z_sd), schema.field("z_sd").type),
                        batch.column("weight"),
                    ],
                    schema=schema,
                )

    return run
