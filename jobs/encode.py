"""spark-submit jobs/encode.py --study study.yaml: beats become latents, a row a participant."""

import sys

from ecg_spark.genetics.outputs.sumstats import MODEL
from ecg_spark.pipeline.encode import encode
from ecg_spark.tables import BEATS, read_table
from jobs.average import STEP as AVERAGE
from jobs.step import Context, Step, Summary, main
from jobs.train import STEP as TRAIN
from models.registry.publishing import load_encoder
from models.registry.tracking import log_back


def work(context: Context) -> Summary:
    """Encode every beat with the registered model and publish the table latents."""
    trained, uri = context.inputs["train"].summary, context.study.tracking_uri
    encoder = load_encoder(trained["model_uri"], uri, context.study.model.device)
    beats = read_table(context.spark, BEATS, context.inputs["average"].path("beats"))
    leave_out = context.study.beats.leave_out
    summary = encode(context.spark, beats, encoder, context.run.path, leave_out)
    metrics = {
        f"icc/{model}_{name}": value
        for model, values in summary["icc"].items()
        if values
        for name, value in {"mean": sum(values) / len(values), "lowest": min(values)}.items()
    }
    log_back(trained["run_id"], trained["model_id"], metrics, uri)
    return summary | {MODEL: encoder.digest}


STEP = Step("encode", (AVERAGE, TRAIN), lambda study: study.beats.leave_out, work, version=4)

if __name__ == "__main__":
    sys.exit(main(STEP))
