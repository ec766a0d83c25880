"""spark-submit jobs/encode.py --study study.yaml: beats become latents, a row a participant."""

import sys

from ecg_spark.pipeline.encode import encode
from ecg_spark.tables import BEATS, read_table
from jobs.average import STEP as AVERAGE
from jobs.step import Context, Step, Summary, main
from jobs.train import STEP as TRAIN
from models.encoder import load_encoder


def work(context: Context) -> Summary:
    """Encode every beat with the registered model and publish the table latents."""
    encoder = load_encoder(context.inputs["train"].summary["model_uri"], context.study.tracking_uri)
    beats = read_table(context.spark, BEATS, context.inputs["average"].path("beats"))
    return encode(context.spark, beats, encoder, context.run.path)


STEP = Step("encode", (AVERAGE, TRAIN), lambda study: None, work)

if __name__ == "__main__":
    sys.exit(main(STEP))
