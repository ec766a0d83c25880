"""The interactive heart of the page: its decoder, and the mean factors of groups of people.

Factors are in standard deviations of the participants from their mean, as the sliders show them.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import fsspec
import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from ecg_spark.ecg import BEAT_RATE_HZ, BEAT_SAMPLES, LEADS, R_INDEX
from ecg_spark.ecg.recording import LIMB_LEADS
from ecg_spark.ids import normal_id
from ecg_spark.report import evidence, packed
from ecg_spark.report.evidence import MIN_GROUP_SIZE, TRAIT_TITLES
from ecg_spark.report.sections import ReportInputs, Section
from ecg_spark.study import given
from ecg_spark.tables import TRAIT_NAMES
from models.encoding.encoder import Encoder

TENTHS = 10
ROUNDED_TO = 2.0
"""Standard deviations, for the sum of a factor over a group."""

FOLLOWS = 0.3
"""A factor is said to follow a trait if their absolute correlation is at least this."""


def moved_heart(material: ReportInputs) -> Section:
    """The decoder for the page, and the groups of people to start from."""
    names = [f"vae_{k:02d}" for k in range(material.encoder.n_active)]
    if not material.study.ecg or len(material.latents) < MIN_GROUP_SIZE:
        mean, sd = np.zeros(len(names)), np.ones(len(names))
        return {"heart": _heart(material, names, mean, sd, None, []), "figures": {}}
    by_person = material.traits_by_person
    told = {TRAIT_TITLES[name]: by_person[name] for name in TRAIT_NAMES}
    told |= _of_people(material) if material.study.genotypes else {}
    follows = evidence.correlations(material.latents, by_person)
    explainer = material.explainer
    chosen = groups(material.latents, told)
    chosen += _diagnosed(material) if material.study.phewas else []
    moved = _heart(material, names, explainer.mean, explainer.sd, follows, chosen)
    return {"heart": moved, "figures": {}}


def _heart(
    material: ReportInputs,
    names: list[str],
    mean: NDArray[np.float64],
    sd: NDArray[np.float64],
    follows: pd.DataFrame | None,
    chosen: Sequence[Any],
) -> dict[str, Any]:
    return {
        "title": material.study.name,
        "decoder": decoder(material.encoder, mean, sd),
        "factors": named(names, follows),
        "groups": chosen,
    }


def _diagnosed(material: ReportInputs) -> list[Any]:
    """Those with an encoded ECG who have a disease, with as many codes as make a case."""
    phewas = given(material.study.phewas)
    known = material.table("phewas", "diseases").to_table(["disease", "name"]).to_pandas()
    names = dict(known.drop_duplicates("disease").itertuples(index=False, name=None))
    columns = ["participant_id", "disease", "times"]
    parts = evidence.batches(material.table("phewas", "occurrences"), columns)
    rows = (part.to_pandas().query(f"times >= {phewas.codes_per_case}") for part in parts)
    return diagnosed(material.latents.rename(index=normal_id), rows, names)


def _of_people(material: ReportInputs) -> dict[str, pd.Series]:
    """Sex, and each covariate of many values, of the people analysed, by participant."""
    with fsspec.open(material.published["cohort"].path("told.parquet"), "rb") as file:
        told = pd.read_parquet(file).set_index("participant_id")
    written = pd.Series(material.latents.index, map(normal_id, material.latents.index))
    told = told[told.index.isin(written.index)]
    told.index = written[told.index]
    sex = told.pop("is_male").map({0.0: "women", 1.0: "men"}) if "is_male" in told else None
    found = {
        name: told[name]
        for name in told
        if told[name].nunique() > TENTHS and not re.search(r"[\^:]", name)
    }
    return found if sex is None else found | {"sex": sex}


def decoder(encoder: Encoder, mean: NDArray[np.float64], sd: NDArray[np.float64]) -> dict[str, Any]:
    """The decoder as decoder.js reads it.

    Args:
        mean: of the factors over participants, [k].
        sd: standard deviations of the factors, [k].
    """
    formulas = [fold.formula() for fold in encoder.folds]
    return {
        "folds": [
            {
                "template": packed.rounded(formula.template),
                "amplitudes": packed.rounded(
                    formula.amplitudes.reshape(-1, formula.amplitudes.shape[-1])
                ),
                "bend_start": packed.exact(formula.bend_start),
                "bends": packed.exact(formula.bends),
                "knots": packed.exact(formula.knots),
            }
            for formula in formulas
        ],
        "furthest": formulas[0].furthest,
        "mean": mean.tolist(),
        "sd": sd.tolist(),
        "samples": BEAT_SAMPLES,
        "rate_hz": BEAT_RATE_HZ,
        "r_index": R_INDEX,
        "leads": list(LEADS),
        "limb_leads": list(LIMB_LEADS.values()),
    }


def named(names: list[str], follows: pd.DataFrame | None) -> list[dict[str, str]]:
    """The names of the factors, each with the trait that it follows most closely.

    Args:
        follows: correlations [factors, traits]; None if there are none.
    """
    told = []
    for name in names:
        best = "" if follows is None else _strongest(follows.loc[name])
        told.append({"name": name, "follows": best})
    return told


def _strongest(correlations: pd.Series) -> str:
    known = correlations.dropna()
    if known.empty or known.abs().max() < FOLLOWS:
        return ""
    trait = known.abs().idxmax()
    return f"{TRAIT_TITLES[trait]}, r {known[trait]:+.2f}".replace("-", "−")


def groups(
    latents: pd.DataFrame, told: Mapping[str, pd.Series]
) -> list[tuple[str, list[dict[str, Any]]]]:
    """The mean factors of groups of people.

    Values with more than `TENTHS` levels are divided into tenths; otherwise there is one group per
    level. No group has fewer than `MIN_GROUP_SIZE` people.

    Args:
        latents: one row per person.
        told: values by person, with their titles; NaN where missing.

    Returns:
        For each title its groups, with text, number of people, and mean factors in standard
        deviations (see `_mean`).
    """
    scaled = _scaled(latents)
    found = []
    for title, values in told.items():
        known = values.dropna()
        known = known[known.index.isin(latents.index)]
        parts = _tenths(known) if known.nunique() > TENTHS else _levels(known)
        members = [
            {"text": f"{title}: {label}", **_mean(scaled.loc[people].sum(), len(people))}
            for label, people in parts
            if len(people) >= MIN_GROUP_SIZE
        ]
        if len(members) > 1:
            found.append((title, members))
    return found


def diagnosed(
    latents: pd.DataFrame, rows: Iterable[pd.DataFrame], names: Mapping[str, str]
) -> list[tuple[str, list[dict[str, Any]]]]:
    """The mean factors of those who have a diagnosis, as `groups` gives them, one for each disease.

    `rows`: parts of a table of participant_id and disease, each pair once, of people of whom
    `latents` need not have all; `names` of the diseases.
    """
    scaled = _scaled(latents)
    values = scaled.to_numpy(float)
    places = {disease: place for place, disease in enumerate(names)}
    shape = (len(places), values.shape[1])
    sums, counts = np.zeros(shape), np.zeros(len(places), int)
    for part in rows:
        person = scaled.index.get_indexer(part["participant_id"])
        disease = part["disease"].map(places).fillna(-1).to_numpy(int)
        known = (person >= 0) & (disease >= 0)
        ill, own = disease[known], values[person[known]]
        counts += np.bincount(ill, minlength=len(places))
        for k in range(shape[1]):
            sums[:, k] += np.bincount(ill, own[:, k], len(places))
    members = [
        {"text": names[disease], **_mean(sums[k], int(counts[k]))}
        for disease, k in places.items()
        if counts[k] >= MIN_GROUP_SIZE
    ]
    return [("Diagnosed with", sorted(members, key=lambda one: one["text"]))] if members else []


def _scaled(latents: pd.DataFrame) -> pd.DataFrame:
    return (latents - latents.mean()) / latents.std(ddof=0)


def _mean(total: ArrayLike, n: int) -> dict[str, Any]:
    """How many people a group has, and their mean factors from the factors' sum [k].

    The sum is rounded to `ROUNDED_TO`: of two groups that differ by one person, as a disease and
    one of its kinds may, the difference tells next to nothing of that person. The mean is off by at
    most 1 / n, which is less than its standard error.
    """
    rounded = ROUNDED_TO * np.rint(np.asarray(total, float) / ROUNDED_TO)
    return {"n": n, "sds": [round(float(value), 4) for value in rounded / n]}


def _tenths(values: pd.Series) -> list[tuple[str, pd.Index]]:
    """Tenths of people from the lowest to the highest value; equal values stay together."""
    edges = np.unique(values.quantile(np.linspace(0, 1, TENTHS + 1)))
    cut = pd.cut(values, edges, include_lowest=True, labels=False)
    parts = []
    for number in range(len(edges) - 1):
        own = values[cut == number]
        parts.append((f"{number + 1} of {len(edges) - 1}: median {own.median():.4g}", own.index))
    return parts


def _levels(values: pd.Series) -> list[tuple[str, pd.Index]]:
    return [(str(level), values.index[values == level]) for level in sorted(values.unique())]
