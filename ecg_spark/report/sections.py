"""The sections on ECGs and the model: from tables to numbers and figures."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import fsspec
import numpy as np
import pandas as pd
import pyarrow.dataset as ds
from numpy.typing import NDArray

from ecg_spark.genetics import STAGES
from ecg_spark.report import evidence, figures, models, waveforms
from ecg_spark.report.comparison import METHODS
from ecg_spark.report.explain import STEPS, Explainer, Reconstruction, reconstruct
from ecg_spark.store import Publication
from ecg_spark.study import Study
from ecg_spark.tables import TRAIT_NAMES
from models.encoding.encoder import Encoder
from models.encoding.evaluation import TESTED, TESTED_PEER, archive_error
from models.registry.overview import registered
from models.registry.publishing import REGISTERED, load_encoder

Section = dict[str, Any]
"""Values for the template; those under `figures` are Matplotlib figures, or nothing."""

METRICS = {"mae_uv": "mean absolute error (µV)", "pearson_r": "correlation r, mean over leads"}


HELD_OUT_SHOWN = 600


@dataclass(frozen=True)
class ReportInputs:
    """Everything that the report is made from; what several sections need is read once.

    What concerns ECGs, or genotypes, exists only for a study that has them.

    Attributes:
        published: what each step of the study has published.
        replications: of the study's loci in other cohorts, as 'replicate' publishes them.
    """

    study: Study
    published: Mapping[str, Publication]
    replications: Sequence[Publication] = ()

    @cached_property
    def encoder(self) -> Encoder:
        """The trained model."""
        uri, study = self.summary("train")["model_uri"], self.study
        return load_encoder(uri, study.tracking_uri, registry_uri=study.registry_uri)

    def table(self, step: str, name: str) -> ds.Dataset:
        """A published Parquet table."""
        return evidence.dataset(self.published[step].path(name))

    def has_table(self, step: str, name: str) -> bool:
        """Whether a step has published a table of this name."""
        fs, folder = fsspec.core.url_to_fs(self.published[step].path(name))
        return bool(fs.exists(folder))

    def summary(self, step: str) -> dict[str, Any]:
        """The summary that a step has published."""
        return self.published[step].summary

    @cached_property
    def gwas(self) -> dict[str, Any]:
        """The summaries of all stages of the association study together."""
        told = [self.summary(step) for step in STAGES]
        notes = [note for one in told for note in one.get("notes", [])]
        return {key: value for one in told for key, value in one.items()} | {"notes": notes}

    @cached_property
    def replicated(self) -> list[Publication]:
        """The replications of the loci that the study has now."""
        run = self.published["findings"].run
        return [one for one in self.replications if one.provenance["inputs"]["findings"] == run]

    @property
    def methods(self) -> list[str]:
        """The methods by which the study looks for loci."""
        return [name for name in METHODS if name in self.gwas["thresholds"]]

    @property
    def leave_out(self) -> tuple[str, ...]:
        """The flags that leave a recording out."""
        return self.study.beats.leave_out

    @cached_property
    def traits(self) -> pd.DataFrame:
        """The traits of a sample of ECGs, indexed by ECG."""
        return evidence.trait_table(self.table("average", "traits"), leave_out=self.leave_out)

    @cached_property
    def traits_by_person(self) -> pd.DataFrame:
        """The mean traits of each person of `traits`."""
        return evidence.traits_by_person(self.traits)

    @cached_property
    def latents(self) -> pd.DataFrame:
        """The VAE's latents of a sample of participants, indexed by participant."""
        return evidence.latent_scores(self.table("encode", "latents"), "vae")

    @cached_property
    def explainer(self) -> Explainer:
        """The model's decoder, centred at the mean of the participants."""
        return Explainer(self.encoder.decode, self.latents.to_numpy())


def recordings(material: ReportInputs) -> Section:
    """What came in, in which formats, and which flags the beats have."""
    ingest, average = material.summary("ingest"), material.summary("average")
    return {
        "figures": {},
        "ingest": ingest,
        "average": average,
        "formats": evidence.counted(ingest["formats"]),
        "flags": [(_marked(name, material), n) for name, n in evidence.counted(average["flags"])],
    }


def _marked(flag: str, material: ReportInputs) -> str:
    """A flag in words, and whether its recordings are left out."""
    return f"{flag} (left out)" if flag.replace(" ", "_") in material.leave_out else flag


def beats(material: ReportInputs) -> Section:
    """The population's beat, beats by trait, and the distributions of the traits."""
    table = material.table("average", "beats")
    ids, signals = evidence.beat_sample(table, leave_out=material.leave_out)
    percentiles = evidence.beat_percentiles(signals)
    groups = evidence.beats_by_trait(ids, signals, material.traits)
    by_person = material.traits_by_person
    columns = {name: by_person[name].to_numpy(float) for name in TRAIT_NAMES}
    return {
        "beats_shown": len(signals),
        "trait_rows": [
            [row[key] for key in ("title", "n", "missing", "low", "median", "high")]
            for row in evidence.trait_summary(by_person)
        ],
        "figures": {
            "population": percentiles is not None and waveforms.population_beat(percentiles),
            "by_trait": groups and waveforms.beats_by_trait(groups),
            "traits": figures.histograms(columns, evidence.TRAIT_TITLES),
        },
    }


def model(material: ReportInputs) -> Section:
    """Training curves, held-out metrics beside PCA's, and reconstructed held-out beats.

    For a model of several archives, the metrics of each archive replace the reconstructed beats.
    """
    train = material.summary("train")
    with fsspec.open(material.published["train"].path("history.json"), "rt") as file:
        history = json.load(file)
    encode = material.summary("encode") if material.study.ecg else {}
    rebuilt = _rebuilt(material) if material.study.ecg else None
    return {
        "train": train,
        "metric_rows": _metric_rows(train["metrics"], "source" in train),
        "archive_rows": _archive_rows(train) if material.study.archives else [],
        "home": train.get("source"),
        "home_rows": _home_rows(train.get("source"), encode),
        "home_notes": [*train.get("notes", []), *encode.get("notes", [])],
        "reconstruction_caption": rebuilt
        and f"Mean of the beats of {rebuilt.n} held-out people, and of the tenth with the flattest "
        f"and the tallest T wave in V5, measured and reconstructed by the VAE and by PCA with as "
        f"many components. Bottom: mean absolute error at each instant.",
        "figures": {
            "training": history and figures.training_curves(history),
            "reconstruction": rebuilt
            and waveforms.reconstruction(rebuilt.groups, rebuilt.errors_uv),
        },
    }


def registry(material: ReportInputs) -> Section:
    """The models in the registry, if there are others than the study's own."""
    study, uri = material.study, material.summary("train")["model_uri"]
    name = str(uri).removeprefix(REGISTERED).rpartition("/")[0]
    versions = registered(name, study.tracking_uri, study.registry_uri)
    told = versions if len(versions) > 1 else []
    return {
        "model_name": name,
        "model_measures": list(models.MEASURES),
        "model_rows": models.rows(told, uri),
        "figures": {"models": models.compared(told, uri)},
    }


def _rebuilt(material: ReportInputs) -> Reconstruction | None:
    """Held-out beats, measured and reconstructed; None if there are too few."""
    encoder = material.encoder
    signals, hashes = _held_out_beats(material)
    return reconstruct(
        signals,
        {
            "VAE": lambda beats: encoder.decode(encoder.encode(beats, hashes).z, hashes),
            "PCA": lambda beats: encoder.decode_pca(encoder.encode_pca(beats, hashes).z, hashes),
        },
    )


def factors(material: ReportInputs) -> Section:
    """The effect of each latent on the beat, and its KL divergence, for a study that encodes
    nobody.
    """
    encoder = material.encoder
    names = [f"vae_{k:02d}" for k in range(encoder.n_active)]
    moved = [
        (name, encoder.traverse(k, np.array(STEPS)).astype(np.float64))
        for k, name in enumerate(names)
    ]
    return {
        "latent_headings": ["latent", "KL (nats)"],
        "latent_rows": list(zip(names, encoder.kl, strict=True)),
        "probe_rows": [],
        "figures": {
            "traversals": waveforms.traversals(moved),
            "correlations": None,
        },
    }


def latents(material: ReportInputs) -> Section:
    """The effect of each latent on the beat, and the conventional traits that it follows."""
    names = list(material.latents.columns)
    agreement = material.summary("encode")["icc"]["vae"] or [None] * len(names)
    columns = [names, material.encoder.kl, agreement]
    headings = ["latent", "KL (nats)", "agreement of two ECGs (ICC)"]
    if len(material.encoder.folds) > 1:
        columns.append(material.encoder.match)
        headings.append("agreement of the folds (mean |r|)")
    rows = {
        "latent_headings": headings,
        "latent_rows": list(zip(*columns, strict=True)),
        "probe_rows": _probe_rows(material.summary("cohort")["probes"])
        if material.study.genotypes
        else [],
    }
    if len(material.latents) < evidence.MIN_GROUP_SIZE:
        return {**rows, "figures": {"traversals": None, "correlations": None}}
    moved = [(name, material.explainer.traversal(k)) for k, name in enumerate(names)]
    by_person = material.traits_by_person
    table = evidence.correlations(material.latents, by_person)
    titles = [evidence.TRAIT_TITLES[name] for name in table.columns]
    return {
        **rows,
        "figures": {
            "traversals": waveforms.traversals(moved),
            "correlations": figures.heat_map(
                table.to_numpy().T, titles, names, "Spearman correlation", 1.0
            ),
        },
    }


def _probe_rows(probes: Mapping[str, float]) -> list[list[Any]]:
    """How well linear probes predict each trait and covariate from all latents, the best
    first.
    """
    rows = []
    for key, value in sorted(probes.items(), key=lambda item: -item[1]):
        name, _, measure = key.rpartition("_")
        title = evidence.TRAIT_TITLES.get(name, name)
        rows.append([title, {"r2": "R²", "auc": "area under the ROC curve"}[measure], value])
    return rows


def _held_out_beats(material: ReportInputs) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """A sample of the beats that the model was tested on, one per person, and the hashes of the
    people.

    The beats are [n, 12, 600] in mV, the hashes [n].
    """
    rows = evidence.used_rows(
        material.table("average", "beats"),
        ["signal", "participant_hash"],
        int(HELD_OUT_SHOWN / material.encoder.test_share),
        material.leave_out,
    )
    rows = rows.filter(material.encoder.held_out(rows["participant_hash"].to_numpy()))
    rows = evidence.one_a_person(rows)
    return evidence.signals_of(rows), rows["participant_hash"].to_numpy()


def _home_rows(home: Mapping[str, Any] | None, encode: Mapping[str, Any]) -> list[list[Any]]:
    """For each factor of a carried model, its statistics here and where it was trained."""
    if not home or not home["factors"]:
        return []
    here, there = encode["factors"], home["factors"]
    mine, theirs = encode["icc"]["vae"], home["icc"]
    return [
        [f"vae_{i:02d}"]
        + [side[key][i] for key in ("mean", "sd", "outside") for side in (here, there)]
        + [icc[i] if icc else None for icc in (mine, theirs)]
        for i in range(len(here["mean"]))
    ]


def _archive_rows(train: Mapping[str, Any]) -> list[list[Any]]:
    """For each archive its beats, and the errors of the VAE and of PCA on its held-out people."""
    return [
        [name, beats["beats_training"], beats["beats_tested"]]
        + [train["metrics"].get(archive_error(name, whose)) for whose in (TESTED, TESTED_PEER)]
        for name, beats in train["archives"].items()
    ]


def _metric_rows(metrics: Mapping[str, float], is_carried: bool) -> list[list[Any]]:
    """Held-out metrics of the VAE and of PCA and, for a carried model, those where it was
    trained.
    """
    columns = ["test", "test_pca", *["home_test"] * is_carried]
    rows: list[list[Any]] = [
        [title, *(metrics[f"{column}/{key}"] for column in columns)]
        for key, title in METRICS.items()
    ]
    independence = {
        "test/mean_abs_r": "mean |r| between two latents",
        "test/max_abs_r": "largest |r| between two latents",
        "test/max_abs_r_by_chance": "the same by chance in this many people, if all were zero",
    }
    for key, title in independence.items():
        if key in metrics:
            there = [metrics.get(f"home_{key}")] * is_carried
            rows.append([title, metrics[key], None, *there])
    return rows
