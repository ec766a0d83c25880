"""The step encode: the registered model turns beats into latents, one row per person and model."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark import Broadcast, StorageLevel
from pyspark.sql import Column, DataFrame, SparkSession
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
from ecg_spark.pipeline.latent_quality import (
    Repeatability,
    factor_distribution,
    repeatability,
)
from ecg_spark.selection import left_out_for, used_rows, weighted_mean
from ecg_spark.session import broadcast
from ecg_spark.tables import FLOW, LATENT, LATENTS, PEER, read_table, write_rows, write_table
from models.encoding.encoder import Encoder

BEATS_PER_BATCH = 256

ALL_FLAGGED = "flagged in every recording"
NO_FACTORS = "no factors found"
"""The reason for beats whose search for factors did not end: see models/encoding/posterior.py."""

_ENCODED = StructType(
    [
        StructField("participant_id", StringType()),
        StructField("model", StringType()),
        StructField("fold", IntegerType()),
        StructField("z", ArrayType(DoubleType(), False)),  # null where none were found
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
    """Write the tables `latents` and `flow`: every participant's active latents, and the PCA's.

    If the model has one network per fold, a participant is encoded by the one that was not trained
    on them. A participant with several ECGs gets the mean of their latents, weighted by the beats'
    `weight`; `n_ecgs` is their number. `z_sd` is estimated from people with several ECGs: the SD of
    one ECG's latents about the person's mean, reduced by averaging over `n_ecgs`. It is null if
    fewer than 20 people have several.

    Args:
        spark: the session.
        beats: the table `beats`.
        encoder: the model; it is broadcast.
        target: returns the folder to write a table to, by the table's name.
        leave_out: recordings with one of these flags are not used.

    Returns:
        The summary: counts, the intraclass correlation of each latent between ECGs of a person, and
        the distribution of the factors, with which another study that uses the model compares its
        own.
    """
    spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", BEATS_PER_BATCH)
    shared = broadcast(spark, encoder)
    chosen = used_rows(beats, leave_out)
    columns = chosen.select("participant_id", "participant_hash", "signal", "weight")
    encoded = columns.mapInArrow(_encoder_of(shared), _ENCODED)
    n_latents = encoder.n_active
    every = range(n_latents)
    weight = F.when(F.col("z").isNotNull(), F.col("weight"))
    latents = encoded.groupBy("participant_id", "model", "fold").agg(
        F.array(*[weighted_mean(F.col("z")[i]) for i in every]).alias("z"),
        (F.sqrt(F.sum(weight * weight)) / F.sum(weight)).alias("share_of_sd"),
        F.count("z").cast("int").alias("n_ecgs"),
        F.count(F.lit(1)).alias("tried"),
        F.array(*[F.avg(F.col("z")[i]) for i in every]).alias("plain_mean"),
        F.array(*[F.avg(F.col("z")[i] * F.col("z")[i]) for i in every]).alias("squares"),
    )
    latents.persist(StorageLevel.DISK_ONLY)  # otherwise every beat would be encoded twice
    agreement = {
        model: repeatability(latents.where(F.col("model") == model), n_latents) for model in LATENT
    }
    found = latents.where(F.col("n_ecgs") > 0).withColumn("z_sd", _calibrated(agreement))
    write_table(found.select(LATENTS.schema.names), LATENTS, target("latents"))
    own = latents.where(F.col("model") == "vae")
    lost = own.agg(
        F.sum(F.col("tried") - F.col("n_ecgs")), F.count(F.when(F.col("n_ecgs") == 0, 1))
    ).collect()[0]
    latents.unpersist()
    written = read_table(spark, LATENTS, target("latents")).where(F.col("model") == "vae")
    several = written.where(F.col("n_ecgs") > 1)
    participants, ecgs = written.agg(F.count("n_ecgs"), F.sum("n_ecgs")).collect()[0]
    recordings = int(ecgs or 0)
    lost_ecgs, lost_people = (int(value or 0) for value in lost)
    flow = _flow(beats, leave_out, (participants, lost_people), (recordings, lost_ecgs))
    write_rows(flow, FLOW, target("flow"))
    return {
        "participants": participants,
        "recordings": recordings,
        "no_factors_found": lost_ecgs,
        "n_latents": n_latents,
        "folds": len(encoder.folds),
        "participants_with_several_ecgs_averaged": several.count(),
        "icc": {model: _rounded(known and known.icc) for model, known in agreement.items()},
        "sd": {model: _rounded(known and known.sd) for model, known in agreement.items()},
        "factors": factor_distribution(written, n_latents),
    }


def _rounded(values: Any) -> list[float] | None:
    return None if values is None else [round(float(value), 4) for value in values]


def _calibrated(agreement: dict[str, Repeatability | None]) -> Column:
    """Return the SD of a person's latents, by the agreement of ECGs; null if too few have two."""
    sd = F.lit(None).cast(LATENTS.schema["z_sd"].dataType)
    for model, known in agreement.items():
        if known is not None:
            each = F.array(*[F.col("share_of_sd") * float(value) for value in known.sd])
            sd = F.when(F.col("model") == model, each).otherwise(sd)
    return sd


def _flow(
    beats: DataFrame,
    leave_out: Sequence[str],
    participants: tuple[int, int],
    recordings: tuple[int, int],
) -> list[Row]:
    """Return the rows of `flow`: what became of beats and people, checked against the latents.

    Of recordings and of people, the arguments say how many have factors, and for how many none were
    found. A recording with several flags of `leave_out` counts under the first of them.
    """
    reason = left_out_for(leave_out)
    by_flag = [F.count(F.when(reason == flag, 1)).alias(flag) for flag in leave_out]
    persons = beats.groupBy("participant_id").agg(F.count(F.lit(1)).alias("all"), *by_flag)
    row = persons.agg(
        F.count("all").alias("people"), *[F.sum(n).alias(n) for n in ("all", *leave_out)]
    ).collect()[0]
    flagged = in_words({flag: int(row[flag]) for flag in leave_out})
    (encoded, lost), (people, lost_people) = recordings, participants
    out = {ALL_FLAGGED: row["people"] - people - lost_people, NO_FACTORS: lost_people}
    return [
        *flow_rows("encode", RECORDINGS, row["all"], flagged | {NO_FACTORS: lost}, encoded),
        *flow_rows("encode", PEOPLE, row["people"], out, people),
    ]


def _encoder_of(
    shared: "Broadcast[Encoder]",
) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """Return the Arrow function of a broadcast encoder; it builds the model once per task."""

    def run(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        encoder = shared.value
        schema = to_arrow_schema(_ENCODED)
        for batch in batches:
            values = batch.column("signal").flatten().to_numpy()
            signal = np.asarray(values, np.float32).reshape(-1, len(LEADS), BEAT_SAMPLES)
            people = batch.column("participant_id")
            hashes = batch.column("participant_hash").to_numpy()
            folds = pa.array(encoder.fold_of(hashes), pa.int32())
            z = encoder.encode(signal, hashes).z
            lost = ~np.isfinite(z).all(axis=1)
            for model, factors in (("vae", z), (PEER, encoder.encode_pca(signal, hashes).z)):
                yield pa.RecordBatch.from_arrays(
                    [
                        people,
                        pa.array([model] * len(people)),
                        folds,
                        pa.array(list(factors), schema.field("z").type, mask=lost),
                        batch.column("weight"),
                    ],
                    schema=schema,
                )

    return run
