"""The phenome-wide study: every disease against every predictor, distributed over diseases.

A task has the predictors of everybody, which are sent once, and the people of one disease: who has
it, since when, and who has a disease of its exclusion range.
"""

import json
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from scipy.stats import false_discovery_control

from ecg_spark.diseases.beats import GROUPS, compare, mean_beats
from ecg_spark.diseases.diagnoses import Told
from ecg_spark.diseases.outcomes import Outcome, outcomes
from ecg_spark.diseases.panels import ECG, Panel
from ecg_spark.diseases.phecode_map import BOTH, Diseases
from ecg_spark.diseases.prediction import predictions
from ecg_spark.diseases.tables import (
    DISEASE_ASSOCIATIONS,
    DISEASE_BEATS,
    DISEASE_FACTORS,
    DISEASES,
    OCCURRENCES,
    PREDICTION,
)
from ecg_spark.diseases.testing import assess
from ecg_spark.needs import PROCESS_BYTES, Needs, require
from ecg_spark.session import broadcast
from ecg_spark.tables import Table, read_table, write_rows

log = logging.getLogger(__name__)

FDR = 0.05
BEATS_BELOW = 3.0
"""Cases are compared with matched controls if some -log10 p of the disease exceeds this."""

MOST_BEATS = 24
"""How many diseases get mean beats at most: those with the smallest p."""

TOO_FEW = "too few cases"
TOO_FEW_CONTROLS = "too few controls"


@dataclass(frozen=True)
class Settings:
    """Settings of the study that every task needs.

    Attributes:
        min_cases: the least number of cases, and of controls.
        codes_per_case: on how many days a case must have a diagnosis.
        seed: for the folds of the prediction.
    """

    min_cases: int
    codes_per_case: int
    seed: int


def associate_diseases(
    spark: SparkSession,
    panels: Mapping[str, tuple[pd.Index, Panel]],
    diseases: Diseases,
    settings: Settings,
    beats: tuple[DataFrame, Sequence[str]] | None,
    folder: str,
    told: Told,
) -> dict[str, Any]:
    """Test the diseases of the table `occurrences` in `folder`, and write the other tables beside
    it.

    Args:
        panels: by name, each with the participant ids of its people.
        beats: the table of average beats and the flags that leave a recording out; None without
            ECGs.
        told: counts and notes on the diagnoses, which the summary repeats.

    Returns:
        The summary of the step.
    """
    occurrences = read_table(spark, OCCURRENCES, f"{folder}/{OCCURRENCES.name}")
    counted = occurrences.groupBy("disease").agg(F.count(F.lit(1)).alias("n")).collect()
    counts = {row["disease"]: int(row["n"]) for row in counted}
    answers: list[dict[str, Any]] = []
    for name, (people, panel) in panels.items():
        _require(spark, panel, len(counts), folder)
        log.info("phewas: %d people of %s, %d predictors", *panel.filled.shape[:1], name,
                 len(panel.tested))  # fmt: skip
        answers += _test_panel(spark, occurrences, people, panel, diseases, counts, settings)
    tables, summary = published_tables(
        {name: panel for name, (_, panel) in panels.items()}, diseases, answers, told
    )
    drawn: list[dict[str, Any]] = []
    if beats is not None and ECG in panels:
        associations = {table.name: rows for table, rows in tables}[DISEASE_ASSOCIATIONS.name]
        drawn = _mean_beats(panels[ECG][0], *beats, answers, associations)
    for table, rows in (*tables, (DISEASE_BEATS, drawn)):
        write_rows(rows, table, f"{folder}/{table.name}")
    return summary


def published_tables(
    panels: Mapping[str, Panel],
    diseases: Diseases,
    answers: Sequence[Mapping[str, Any]],
    told: Told,
) -> tuple[list[tuple[Table, list[dict[str, Any]]]], dict[str, Any]]:
    """The published tables from the answers for all diseases, and the summary of the step.

    Args:
        answers: as `answer_of` returns them.
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


def _require(spark: SparkSession, panel: Panel, diseases: int, folder: str) -> None:
    n, k = panel.filled.shape
    c = panel.covariates.shape[1]
    sent = n * (9 * k + 8 * c + 40)
    task = PROCESS_BYTES + 2 * sent + 8 * n * (3 * k + 2 * c) + min(4 * n * c * c, 256 << 20)
    require(
        spark,
        f"Testing {diseases} diseases against {k} predictors of {n} people",
        folder,
        Needs(disk=diseases * k * 200 + sent, driver=3 * sent, task=task),
    )


def _test_panel(
    spark: SparkSession,
    occurrences: DataFrame,
    people: pd.Index,
    panel: Panel,
    diseases: Diseases,
    counts: Mapping[str, int],
    settings: Settings,
) -> list[dict[str, Any]]:
    """The answers for every disease that enough people of the study have."""
    enough = [disease for disease, n in sorted(counts.items()) if n >= settings.min_cases]
    rare = [one for one in sorted(counts) if one not in set(enough)]
    answers = [_untested(one, panel, counts[one]) for one in rare]
    if not enough:
        return answers
    roles = [(one, one, True) for one in enough]
    roles += [(other, one, False) for one in enough for other in diseases.excludes(one, counts)]
    sexes = {one: diseases.describe(one).sex for one in enough}
    places = pd.DataFrame({"participant_id": people, "place": np.arange(len(people))})
    table = spark.createDataFrame(roles, "source string, disease string, is_own boolean")
    rows = (
        occurrences.withColumnRenamed("disease", "source")
        .join(F.broadcast(spark.createDataFrame(places)), "participant_id")
        .join(F.broadcast(table), "source")
        .select("disease", "place", "first", "times", "is_own")
    )
    sent = broadcast(spark, panel)

    def work(key: tuple[str], group: pd.DataFrame) -> pd.DataFrame:
        answer = answer_of(str(key[0]), group, sent.value, sexes[str(key[0])], settings)
        return pd.DataFrame({"disease": [key[0]], "answer": [json.dumps(answer)]})

    parts = rows.repartition(len(enough), "disease").groupBy("disease")
    found = parts.applyInPandas(work, "disease string, answer string").collect()
    tested = {row["disease"]: json.loads(row["answer"]) for row in found}
    missing = [one for one in enough if one not in tested]
    answers += [_untested(one, panel, 0) for one in missing]
    return answers + [tested[one] for one in sorted(tested)]


def answer_of(
    disease: str, group: pd.DataFrame, panel: Panel, sex: str, settings: Settings
) -> dict[str, Any]:
    """Test one disease in the people of a panel.

    Args:
        group: place, first, times and is_own of the people who have it or (is_own false) a disease
            of its exclusion range.
        sex: whose disease it is, by the map.

    Returns:
        Rows of the published tables, by table.
    """
    own = group[group["is_own"]]
    places = own["place"].to_numpy(int)
    looked_at = outcomes(
        panel,
        places,
        own["first"].to_numpy(float),
        own["times"].to_numpy(int) >= settings.codes_per_case,
        group.loc[~group["is_own"], "place"].unique().astype(int),
        sex,
    )
    answer: dict[str, Any] = {
        "disease": disease, "diseases": [], "associations": [], "prediction": [], "compared": {},
        "other_sex": max(one.other_sex for one in looked_at), "no_effect": 0,
    }  # fmt: skip
    for outcome in looked_at:
        row = _row(disease, panel, outcome)
        answer["diseases"].append(row)
        if row["cases"] < settings.min_cases or row["controls"] < settings.min_cases:
            row["why_not"] = TOO_FEW if row["cases"] < settings.min_cases else TOO_FEW_CONTROLS
            continue
        tested = assess(panel, outcome)
        row["null_model"] = tested.null_model
        key = {"disease": disease, "kind": outcome.kind}
        answer["associations"] += [key | one for one in tested.rows]
        answer["no_effect"] += sum(one["beta"] is None for one in tested.rows)
        if panel.people != ECG:
            continue
        found = predictions(panel, outcome, disease, settings.seed)
        answer["prediction"] += [key | one for one in found]
        if max((one["neg_log10_p"] for one in tested.rows), default=0) > BEATS_BELOW:
            compared = compare(panel, outcome, tested.expected)
            if compared is not None:
                answer["compared"][outcome.kind] = vars(compared)
    return answer


def _row(disease: str, panel: Panel, outcome: Outcome) -> dict[str, Any]:
    controls = len(outcome.rows) - outcome.cases
    return {
        "disease": disease, "kind": outcome.kind, "people": panel.people, "sex": outcome.sex,
        "cases": outcome.cases, "controls": controls,
        "left_out": len(panel.filled) - len(outcome.rows), "null_model": None, "why_not": None,
    }  # fmt: skip


def _untested(disease: str, panel: Panel, cases: int) -> dict[str, Any]:
    row = {
        "disease": disease, "kind": "ever", "people": panel.people, "sex": BOTH, "cases": cases,
        "controls": 0, "left_out": 0, "null_model": None, "why_not": TOO_FEW,
    }  # fmt: skip
    nothing: dict[str, Any] = {"associations": [], "prediction": [], "compared": {}}
    return {"disease": disease, "diseases": [row], "other_sex": 0, "no_effect": 0, **nothing}


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


def _mean_beats(
    people: pd.Index,
    beats: DataFrame,
    leave_out: Sequence[str],
    answers: Sequence[Mapping[str, Any]],
    associations: Sequence[Mapping[str, Any]],
) -> list[dict[str, Any]]:
    """The mean beats of those diseases that are associated with the ECG, the most significant
    first.
    """
    compared = {
        (one["disease"], kind): found for one in answers for kind, found in one["compared"].items()
    }
    strength: dict[tuple[str, str], float] = {}
    for row in associations:
        key = (row["disease"], row["kind"])
        if key in compared and row["q"] < FDR:
            strength[key] = max(strength.get(key, 0.0), row["neg_log10_p"])
    chosen = sorted(strength, key=lambda key: (-strength[key], key))[:MOST_BEATS]
    groups = {
        json.dumps([*key, side]): list(compared[key][side]) for key in chosen for side in GROUPS
    }
    places = pd.DataFrame({"participant_id": people, "place": np.arange(len(people))})
    found = mean_beats(beats, leave_out, places, groups)
    rows = []
    for name, (n, mean, se) in found.items():
        disease, kind, side = json.loads(name)
        rows.append(
            {"disease": disease, "kind": kind, "group": side, "people": n,
             "mean": mean.tolist(), "se": se.tolist()}
        )  # fmt: skip
    return rows


def _summary(
    panels: Mapping[str, Panel],
    described: Sequence[Mapping[str, Any]],
    associations: Sequence[Mapping[str, Any]],
    answers: Sequence[Mapping[str, Any]],
    told: Told,
) -> dict[str, Any]:
    tested = [row for row in described if row["why_not"] is None]
    notes = list(told.notes)
    of_one_sex = len({one["disease"] for one in answers if one["other_sex"]})
    if others := sum(int(one["other_sex"]) for one in answers):
        notes.append(
            f"{others} diagnoses are of a disease of the other sex ({of_one_sex} diseases): these "
            f"people are neither cases nor controls"
        )
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
    few_diseases = {row["disease"] for row in described} - {row["disease"] for row in tested}
    if few_diseases:
        notes.append(f"{len(few_diseases)} diseases have {TOO_FEW} and are not tested")
    if not tested:
        notes.append("no disease has enough cases to be tested: lower phewas.min_cases")
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
