"""The phenome-wide study: every disease against every predictor, distributed over diseases.

A task has the predictors of everybody, which are sent once, and the people of one disease: who has
it, since when, and who has a disease of its exclusion range.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pyspark import StorageLevel
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from ecg_spark.diseases.beats import GROUPS, compare, mean_beats
from ecg_spark.diseases.diagnoses import Told
from ecg_spark.diseases.outcomes import Outcome, outcomes
from ecg_spark.diseases.panels import ECG, Panel
from ecg_spark.diseases.phecode_map import Diseases
from ecg_spark.diseases.prediction import predictions
from ecg_spark.diseases.results import FDR, TOO_FEW, TOO_FEW_CONTROLS, published_tables
from ecg_spark.diseases.tables import DISEASE_ASSOCIATIONS, DISEASE_BEATS, OCCURRENCES
from ecg_spark.diseases.testing import assess
from ecg_spark.needs import PROCESS_BYTES, Needs, require
from ecg_spark.session import broadcast
from ecg_spark.tables import read_table, write_rows

log = logging.getLogger(__name__)

BEATS_BELOW = 3.0
"""Cases are compared with matched controls if some -log10 p of the disease exceeds this."""

MOST_BEATS = 24
"""How many diseases get mean beats at most: those with the smallest p."""

ROW_BYTES = 3000
"""Memory of the driver for each association: it holds all of them to compute their q."""

_FOUND = "disease string, answer string, kind string, cases array<int>, controls array<int>"
"""The rows of a task about a disease: one with the answer, and for each kind that is compared one
with the places of cases and controls, which the driver collects only if their beats are drawn."""


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
    found = {
        name: _test_panel(spark, occurrences, people, panel, diseases, settings, folder)
        for name, (people, panel) in panels.items()
    }
    answers = [answer for one in found.values() for answer in _answers(one)]
    tables, summary = published_tables(
        {name: panel for name, (_, panel) in panels.items()}, diseases, answers, told
    )
    drawn: list[dict[str, Any]] = []
    if beats is not None:
        associations = {table.name: rows for table, rows in tables}[DISEASE_ASSOCIATIONS.name]
        chosen = _to_draw(answers, associations)
        drawn = _mean_beats(panels[ECG][0], *beats, _places_of(found[ECG], chosen))
    for one in found.values():
        one.unpersist()
    for table, rows in (*tables, (DISEASE_BEATS, drawn)):
        write_rows(rows, table, f"{folder}/{table.name}")
    return summary


def _require(spark: SparkSession, panel: Panel, diseases: int, folder: str) -> None:
    n, k = panel.filled.shape
    c = panel.covariates.shape[1]
    sent = n * (9 * k + 8 * c + 40)
    rows = diseases * k * (2 if panel.is_dated else 1)
    task = PROCESS_BYTES + 2 * sent + 8 * n * (3 * k + 2 * c) + min(4 * n * c * c, 256 << 20)
    require(
        spark,
        f"Testing {diseases} diseases against {k} predictors of {n} people",
        folder,
        Needs(disk=200 * rows + sent, driver=3 * sent + ROW_BYTES * rows, task=task),
    )


def _test_panel(
    spark: SparkSession,
    occurrences: DataFrame,
    people: pd.Index,
    panel: Panel,
    diseases: Diseases,
    settings: Settings,
    folder: str,
) -> DataFrame:
    """The answers for every disease that somebody of the panel has, as rows of `_FOUND`.

    They are persisted; the caller unpersists them.
    """
    own = occurrences.join(F.broadcast(spark.createDataFrame(_places(people))), "participant_id")
    is_enough = (F.col("times") >= settings.codes_per_case).cast("int")
    counted = own.groupBy("disease").agg(F.sum(is_enough).alias("n")).collect()
    counts = {row["disease"]: int(row["n"]) for row in counted}
    _require(spark, panel, len(counts), folder)
    log.info("phewas: %d diseases of %d people of %s, %d predictors", len(counts), len(people),
             panel.people, len(panel.tested))  # fmt: skip
    roles = [(one, one, True) for one in sorted(counts)]
    roles += [(other, one, False) for one in counts for other in diseases.excludes(one, counts)]
    sexes = {one: diseases.describe(one).sex for one in counts}
    table = spark.createDataFrame(roles, "source string, disease string, is_own boolean")
    rows = (
        own.withColumnRenamed("disease", "source")
        .join(F.broadcast(table), "source")
        .select("disease", "place", "first", "times", "is_own")
    )
    sent = broadcast(spark, panel)

    def work(key: tuple[str], group: pd.DataFrame) -> pd.DataFrame:
        disease = str(key[0])
        answer = answer_of(disease, group, sent.value, sexes[disease], settings)
        compared = [
            (disease, None, kind, one.pop("cases"), one.pop("controls"))
            for kind, one in answer["compared"].items()
        ]
        told = [(disease, json.dumps(answer), None, None, None)]
        return pd.DataFrame([*told, *compared], columns=["disease", "answer", "kind", *GROUPS])

    tested = max(1, sum(n >= settings.min_cases for n in counts.values()))
    parts = rows.repartition(tested, "disease").groupBy("disease")
    return parts.applyInPandas(work, _FOUND).persist(StorageLevel.MEMORY_AND_DISK)


def _answers(found: DataFrame) -> list[dict[str, Any]]:
    """The answers of all diseases, without places, in the order of the diseases."""
    rows = found.where("answer is not null").select("disease", "answer").collect()
    return [json.loads(row["answer"]) for row in sorted(rows, key=lambda row: row["disease"])]


def _places_of(
    found: DataFrame, chosen: Sequence[tuple[str, str]]
) -> dict[tuple[str, str, str], NDArray[np.int64]]:
    """The places in the panel of the cases and the controls of some diseases and kinds."""
    wanted = F.concat_ws(" ", "disease", "kind").isin([" ".join(key) for key in chosen])
    table: pd.DataFrame = found.where(wanted).select("disease", "kind", *GROUPS).toPandas()
    known = table.set_index(["disease", "kind"])
    return {(*key, side): np.asarray(known.loc[key, side]) for key in chosen for side in GROUPS}


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
        "disease": disease, "people": panel.people, "diseases": [], "associations": [],
        "prediction": [], "compared": {}, "no_effect": 0,
        "other_sex": max(one.other_sex for one in looked_at),
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
        answer["associations"] += [key | {"people": panel.people} | one for one in tested.rows]
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


def _to_draw(
    answers: Sequence[Mapping[str, Any]], associations: Sequence[Mapping[str, Any]]
) -> list[tuple[str, str]]:
    """The diseases and kinds that are compared and associated with the ECG, the most significant
    first.
    """
    compared = {(one["disease"], kind) for one in answers for kind in one["compared"]}
    strength: dict[tuple[str, str], float] = {}
    for row in associations:
        key = (row["disease"], row["kind"])
        if row["people"] == ECG and key in compared and row["q"] < FDR:
            strength[key] = max(strength.get(key, 0.0), row["neg_log10_p"])
    return sorted(strength, key=lambda key: (-strength[key], key))[:MOST_BEATS]


def _mean_beats(
    people: pd.Index,
    beats: DataFrame,
    leave_out: Sequence[str],
    groups: Mapping[tuple[str, str, str], NDArray[np.int64]],
) -> list[dict[str, Any]]:
    """The mean beats of cases and of controls, by disease, kind and side."""
    found = mean_beats(beats, leave_out, _places(people), groups)
    return [
        {"disease": disease, "kind": kind, "group": side, "people": n,
         "mean": mean.tolist(), "se": se.tolist()}
        for (disease, kind, side), (n, mean, se) in found.items()
    ]  # fmt: skip


def _places(people: pd.Index) -> pd.DataFrame:
    """The place in a panel of each of its people."""
    return pd.DataFrame({"participant_id": people, "place": np.arange(len(people))})
