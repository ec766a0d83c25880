"""`ecg-spark model export STUDY --to DIR`: write the study's model for use in another study."""

from typing import Any

from ecg_spark.errors import UsageError
from ecg_spark.store import Publication, Store
from ecg_spark.study import Study
from jobs.archives import averages_of, version_of
from jobs.step import Summary
from models.data.petastorm_compat import Table
from models.registry.carried import held_out_means, write_carried
from models.registry.publishing import card_of, of_registry


def export_model(study: Study, target: str) -> Summary:
    """Write the published model of a study into a new folder or .zip, for `model.source` of
    another study.

    A model trained on several archives goes without statistics of people's factors, since nobody
    is encoded.

    Args:
        target: the folder, or a file that ends in .zip; must not exist.

    Raises:
        UsageError: if the model, its latents or its archives' beats are not published or do not
            belong together, if the model itself came from another study, or if the target exists.
    """
    store = Store(study.output_path)
    train = store.require("train")
    if source := train.summary.get("source"):
        raise UsageError(
            f"The study's model was itself carried here, from the study {source['study']}: pass on "
            f"the folder that it came in."
        )
    uri, where = train.summary["model_uri"], (study.tracking_uri, study.registry_uri)
    model = of_registry(uri, study.tracking_uri, registry_uri=study.registry_uri)
    version = model.encoder.config["table_version"]
    beats, of_people = _of_archives(study, version) if study.archives else _of_encode(store, train)
    means = held_out_means(beats, model.encoder, study.beats.leave_out)
    home = {"study": study.name, "figures": model.home.figures, **of_people}
    files = write_carried(model.encoder, home, card_of(uri, *where), means, target)
    return {
        "model": model.encoder.digest,
        "n_latents": model.encoder.n_active,
        "check_beats": 1 + len(means),
        "files": len(files),
    }


def _of_encode(store: Store, train: Publication) -> tuple[Table, dict[str, Any]]:
    """The table of the beats that a study has encoded, and statistics of its people's factors."""
    average, encode = (store.require(name) for name in ("average", "encode"))
    if encode.provenance["inputs"] != {"average": average.run, "train": train.run}:
        raise UsageError(
            "The latents are not of the model and the beats that are published now: run "
            "'ecg-spark encode' first."
        )
    told = encode.summary
    return average.path("beats"), {
        "factors": told["factors"],
        "icc": told["icc"]["vae"],
        "trait_r": told["trait_r"],
    }


def _of_archives(study: Study, version: str) -> tuple[Table, dict[str, Any]]:
    """The tables of the archives' beats, if they are the ones that the model was trained on;
    no statistics, since nobody is encoded.
    """
    averages = averages_of(study)
    if version_of(averages) != version:
        raise UsageError(
            "The model is not of the beats that the archives publish now: run 'ecg-spark train' "
            "first."
        )
    return tuple(one.path("beats") for one in averages.values()), {}
