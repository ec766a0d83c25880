"""spark-submit jobs/encode.py --study study.yaml: compute the latent factors of each
participant.
"""

import logging
import sys

from ecg_spark.genetics.outputs.sumstats import MODEL
from ecg_spark.pipeline.encode import encode
from ecg_spark.pipeline.latent_quality import trait_correlations
from ecg_spark.pipeline.travel import compare_with_home
from ecg_spark.tables import BEATS, LATENTS, TRAITS, read_table
from jobs.average import STEP as AVERAGE
from jobs.step import Context, Step, Summary, main
from jobs.train import STEP as TRAIN
from models.registry.publishing import load_encoder
from models.registry.tracking import log_downstream_metrics

log = logging.getLogger(__name__)


def work(context: Context) -> Summary:
    """Encode every beat with the registered model, and publish the table latents."""
    study, trained = context.study, context.inputs["train"].summary
    encoder = load_encoder(
        trained["model_uri"],
        study.tracking_uri,
        study.model.device,
        registry_uri=study.registry_uri,
    )
    beats = read_table(context.spark, BEATS, context.inputs["average"].path("beats"))
    leave_out = study.beats.leave_out
    traits = read_table(context.spark, TRAITS, context.inputs["average"].path("traits"))
    summary = encode(context.spark, beats, encoder, context.run.path, leave_out)
    latents = read_table(context.spark, LATENTS, context.run.path("latents"))
    summary["trait_r"] = trait_correlations(latents, traits, leave_out, summary["n_latents"])
    if home := trained.get("source"):
        summary["notes"] = compare_with_home(summary, home)
        for note in summary["notes"]:
            log.warning("encode: %s", note)
    metrics = {
        f"icc/{model}_{name}": value
        for model, values in summary["icc"].items()
        if values
        for name, value in {"mean": sum(values) / len(values), "lowest": min(values)}.items()
    }
    log_downstream_metrics(trained["run_id"], trained["model_id"], metrics, study.tracking_uri)
    return summary | {MODEL: encoder.digest}


STEP = Step("encode", (AVERAGE, TRAIN), lambda study: study.beats.leave_out, work, version=4)

if __name__ == "__main__":
    sys.exit(main(STEP))
