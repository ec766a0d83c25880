"""Compares the factors of an imported model in this study with those where it was trained."""

from collections.abc import Mapping
from typing import Any

MAX_DRIFT_SD = 0.5
"""The largest accepted difference of a factor's means, in SD of the training data."""
MAX_SPREAD_RATIO = 1.5
"""The largest accepted ratio of a factor's SDs, of the larger to the smaller."""
MAX_OUTSIDE = 0.02
"""The largest accepted share of people beyond three SD; in a normal distribution it is 0.003."""
MAX_ICC_LOSS = 0.2
"""The largest accepted loss of a factor's agreement between two ECGs of a person (ICC)."""
MAX_TRAIT_R_CHANGE = 0.3
"""The largest accepted difference of a factor's correlations with a trait."""


def compare_with_home(here: Mapping[str, Any], home: Mapping[str, Any]) -> list[str]:
    """Return notes on an imported model's factors where they exceed the limits of this module.

    What is missing on either side is not compared.

    Args:
        here: the summary of the step encode, with `factors`, `icc` and `trait_r`.
        home: `factors`, `icc` and `trait_r` of `models.registry.carried.Home`, from the study in
            which the model was trained.
    """
    notes = []
    if home.get("factors"):
        own, at_home = here["factors"], home["factors"]
        for i, (mean, sd) in enumerate(zip(own["mean"], own["sd"], strict=True)):
            name = f"factor {i:02d}"
            if abs(mean - at_home["mean"][i]) > MAX_DRIFT_SD:
                notes.append(
                    f"{name} has mean {mean:.2f} here and {at_home['mean'][i]:.2f} where the model "
                    f"was trained"
                )
            low, high = sorted((sd, at_home["sd"][i]))
            if high > MAX_SPREAD_RATIO * low:
                notes.append(
                    f"{name} has SD {sd:.2f} here and {at_home['sd'][i]:.2f} where the model was "
                    f"trained"
                )
            outside = own["outside"][i]
            if outside > max(MAX_OUTSIDE, 2 * at_home["outside"][i]):
                notes.append(
                    f"{outside:.1%} of the people are beyond three SD of the training on {name}, "
                    f"and {at_home['outside'][i]:.1%} where the model was trained"
                )
    own_icc, home_icc = here["icc"]["vae"], home.get("icc")
    if own_icc and home_icc:
        for i, (value, other) in enumerate(zip(own_icc, home_icc, strict=True)):
            if value < other - MAX_ICC_LOSS:
                notes.append(
                    f"two ECGs of a person agree less on factor {i:02d} (ICC {value:.2f}) than "
                    f"where the model was trained ({other:.2f})"
                )
    for trait, values in (home.get("trait_r") or {}).items():
        for i, (value, other) in enumerate(zip(here["trait_r"][trait], values, strict=True)):
            if None not in (value, other) and abs(value - other) > MAX_TRAIT_R_CHANGE:
                notes.append(
                    f"factor {i:02d} and {trait} have correlation {value:.2f} here and "
                    f"{other:.2f} where the model was trained"
                )
    return notes
