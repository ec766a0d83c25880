"""The interactive heart of the page: its decoder, and the mean factors of groups of people.

Factors are in standard deviations of the participants from their mean, as the sliders show them.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ecg_spark.ecg import BEAT_RATE_HZ, BEAT_SAMPLES, LEADS, R_INDEX
from ecg_spark.ecg.recording import LIMB_LEADS
from ecg_spark.report import packed
from ecg_spark.report.evidence import MIN_GROUP_SIZE, TRAIT_TITLES
from models.encoding.encoder import Encoder

TENTHS = 10
FOLLOWS = 0.3
"""A factor is said to follow a trait if their absolute correlation is at least this."""


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
        For each title its groups, with label, number of people, and mean factors in standard
        deviations.
    """
    scaled = (latents - latents.mean()) / latents.std(ddof=0)
    found = []
    for title, values in told.items():
        known = values.dropna()
        known = known[known.index.isin(latents.index)]
        parts = _tenths(known) if known.nunique() > TENTHS else _levels(known)
        members = [
            {
                "label": label,
                "n": len(people),
                "sds": [round(float(x), 3) for x in scaled.loc[people].mean()],
            }
            for label, people in parts
            if len(people) >= MIN_GROUP_SIZE
        ]
        if len(members) > 1:
            found.append((title, members))
    return found


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
