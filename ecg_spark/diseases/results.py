"""What is published of all diseases: the answers for each as tables, and the step's summary."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import false_discovery_control

from ecg_spark.diseases.diagnoses import Told
from ecg_spark.diseases.panels import ECG, GENOTYPES, Panel
from ecg_spark.diseases.phecode_map import BOTH, Diseases
from ecg_spark.diseases.tables import (
    DISEASE_ASSOCIATIONS,
    DISEASE_FACTORS,
    DISEASES,
    PREDICTION,
)
from ecg_spark.tables import Table

FDR = 0.05

TOO_FEW = "too few cases"
TOO_FEW_CONTROLS = "too few controls"

WHOSE = {ECG: "with an ECG or own phenotypes", GENOTYPES: "genotyped"}
"""The people of each panel in words."""


def published_tables(
    panels: Mapping[str, Panel],
    diseases: Diseases,
    answers: Sequence[Mapping[str, Any]],
    told: Told,
) -> tuple[list[tuple[Table, list[dict[str, Any]]]], dict[str, Any]]:
    """The published tables from the answers for all diseases, and the summary of the step.

    Args:
        answers: as `phewas.answer_of` returns them.
    """
    described = [_described(row, diseases) for one in answers for row in one["diseases"]]
    associations = _with_q([row for one in answers for row in one["associations"]])
    factors = [
        {"disease": one["disease"], "kind": kind, **row}
        for one in answers
        for kind, found in one["compared"].items()
        for row in found["factors"]
    ]
    tables = [
        (DISEASES, described),
        (DISEASE_ASSOCIATIONS, associations),
        (PREDICTION, [row for one in answers for row in one["prediction"]]),
        (DISEASE_FACTORS, factors),
    ]
    return tables, _summary(panels, described, associations, answers, told)


def _described(row: dict[str, Any], diseases: Diseases) -> dict[str, Any]:
    known = diseases.describe(row["disease"])
    return row | {"name": known.name or known.code, "category": known.category}


def _with_q(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    q = false_discovery_rate(np.array([row["neg_log10_p"] for row in rows], float))
    return [row | {"q": float(value)} for row, value in zip(rows, q, strict=True)]


def false_discovery_rate(neg_log10_p: NDArray[np.float64]) -> NDArray[np.float64]:
    """The q-value of each test [m] (Benjamini & Hochberg 1995, J R Stat Soc B 57:289).

    Example:
        >>> false_discovery_rate(-np.log10([0.01, 0.04, 0.03])).round(3).tolist()
        [0.03, 0.04, 0.04]
    """
    return np.asarray(false_discovery_control(10.0**-neg_log10_p))


def _summary(
    panels: Mapping[str, Panel],
    described: Sequence[Mapping[str, Any]],
    associations: Sequence[Mapping[str, Any]],
    answers: Sequence[Mapping[str, Any]],
    told: Told,
) -> dict[str, Any]:
    tested = [row for row in described if row["why_not"] is None]
    notes = list(told.notes)
    for people in panels:
        notes += _left_out(people, [one for one in answers if one["people"] == people])
    if firths := sum(row["null_model"] == "firth" for row in tested):
        notes.append(
            f"in {firths} of {len(tested)} outcomes a covariate separates cases from controls: "
            f"their null model is Firth's regression"
        )
    if lost := sum(int(one["no_effect"]) for one in answers):
        notes.append(
            f"{lost} effects have no estimate, because nobody or everybody with the predictor "
            f"falls ill: their tests are score tests"
        )
    few = Counter(row["why_not"] for row in described if row["why_not"])
    if not tested:
        notes.append(
            "no disease has enough cases and controls to be tested: lower phewas.min_cases"
        )
    tests = len(associations)
    threshold = float(-np.log10(0.05 / max(tests, 1)))
    return {
        "people": {name: len(panel.filled) for name, panel in panels.items()},
        "predictors": {name: len(panel.tested) for name, panel in panels.items()},
        **told.counts,
        "diseases": len({row["disease"] for row in tested}),
        "too_few": dict(few),
        "outcomes": dict(Counter(row["kind"] for row in tested)),
        "one_sex": len({row["disease"] for row in tested if row["sex"] != BOTH}),
        "tests": tests,
        "tests_by": dict(Counter(row["test"] for row in associations)),
        "significant_fdr": sum(row["q"] < FDR for row in associations),
        "significant_bonferroni": sum(row["neg_log10_p"] > threshold for row in associations),
        "bonferroni_neg_log10_p": round(threshold, 3),
        "notes": notes,
    }


def _left_out(people: str, answers: Sequence[Mapping[str, Any]]) -> list[str]:
    """Notes on the answers for one panel: people of the other sex, and diseases of which no kind is
    tested, with the reason.
    """
    notes = []
    if of_other_sex := [one["other_sex"] for one in answers if one["other_sex"]]:
        notes.append(
            f"{sum(of_other_sex)} diagnoses of people {WHOSE[people]} are of a disease of the "
            f"other sex ({len(of_other_sex)} diseases): these people are neither cases nor controls"
        )
    lacking = [{row["why_not"] for row in one["diseases"]} for one in answers]
    counts = Counter(
        TOO_FEW if TOO_FEW in why else TOO_FEW_CONTROLS for why in lacking if None not in why
    )
    return notes + [
        f"not tested among the people {WHOSE[people]}, for {why}: {n} of {len(answers)} diseases"
        for why, n in sorted(counts.items())
    ]
