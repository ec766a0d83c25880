"""`ecg-spark model export STUDY --to DIR`: the study's model, for another study to take."""

from ecg_spark.errors import UsageError
from ecg_spark.store import Store
from ecg_spark.study import Study
from jobs.step import Summary
from models.registry.carried import held_out_means, write_carried
from models.registry.publishing import card_of, of_registry


def export_model(study: Study, target: str) -> Summary:
    """Write the published model of a study into a new folder or .zip, as `model.source` takes it.

    Raises `UsageError` where the study's model or latents are not published or are not of each
    other, where its model was itself carried here, and where the target exists.
    """
    store = Store(study.output_path)
    average, train, encode = (store.require(name) for name in ("average", "train", "encode"))
    if encode.made_from["inputs"] != {"average": average.run, "train": train.run}:
        raise UsageError(
            "The latents are not of the model and the beats that are published now: run "
            "'ecg-spark encode' first."
        )
    if source := train.summary.get("source"):
        raise UsageError(
            f"The study's model was itself carried here, from the study {source['study']}: pass on "
            f"the folder that it came in."
        )
    uri, where = train.summary["model_uri"], (study.tracking_uri, study.registry_uri)
    model = of_registry(uri, study.tracking_uri, registry_uri=study.registry_uri)
    means = held_out_means(average.path("beats"), model.encoder, study.beats.leave_out)
    home = {
        "study": study.name,
        "figures": model.home.figures,
        "factors": encode.summary["factors"],
        "icc": encode.summary["icc"]["vae"],
        "trait_r": encode.summary["trait_r"],
    }
    files = write_carried(model.encoder, home, card_of(uri, *where), means, target)
    return {
        "model": model.encoder.digest,
        "n_latents": model.encoder.n_active,
        "check_beats": 1 + len(means),
        "files": len(files),
    }
