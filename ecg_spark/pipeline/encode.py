"""Encode: the registered model turns beats into latents, one row a participant and model."""

from collections.abc import Callable, Iterable, Iterator
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
from ecg_spark.pipeline.latent_quality import intraclass_correlation
from ecg_spark.tables import LATENTS, write_table
from models.encoder import Encoder

BEATS_PER_BATCH = 256

_ENCODED = StructType(
    [
        StructField("participant_id", StringType()),
        StructField("model", StringType()),
        StructField("fold", IntegerType()),
        StructField("z", ArrayType(DoubleType(), False)),
        StructField("z_sd", ArrayType(DoubleType(), False)),
    ]
)


def encode(
    spark: SparkSession, beats: DataFrame, encoder: Encoder, target: Callable[[str], str]
) -> dict[str, Any]:
    """Write the table `latents`: the active latents of every participant, and the PCA peer's.

    Where the model has a network a fold, a participant's is the one that was not trained on them.
    A participant with several ECGs gets the mean of their latents; `n_ecgs` says of how many, and
    the posterior standard deviation becomes that of the mean. The summary holds the intraclass
    correlation of each latent between several ECGs of a person.
    """
    spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", BEATS_PER_BATCH)
    shared = spark.sparkContext.broadcast(encoder)
    columns = beats.select("participant_id", "participant_hash", "signal")
    encoded = columns.mapInArrow(_encoder_of(shared), _ENCODED)
    n_latents = encoder.n_active
    mean = F.array(*[F.avg(F.col("z")[i]) for i in range(n_latents)])
    sd = F.array(
        *[
            F.sqrt(F.sum(F.col("z_sd")[i] * F.col("z_sd")[i])) / F.count(F.lit(1))
            for i in range(n_latents)
        ]
    )
    squares = F.array(*[F.avg(F.col("z")[i] * F.col("z")[i]) for i in range(n_latents)])
    latents = encoded.groupBy("participant_id", "model", "fold").agg(
        mean.alias("z"),
        sd.alias("z_sd"),
        F.count(F.lit(1)).cast("int").alias("n_ecgs"),
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
    return {
        "participants": written.count(),
        "n_latents": n_latents,
        "folds": len(encoder.folds),
        "participants_with_several_ecgs_averaged": several.count(),
        "icc": {
            model: None if values is None else [round(float(value), 4) for value in values]
            for model, values in agreement.items()
        },
    }


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
                    ],
                    schema=schema,
                )

    return run
