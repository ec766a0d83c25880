"""How a disease changes the beat: cases compared with controls of the same sex and expected risk.

The expected risk is what the covariates predict, age among them. Controls are thus matched on all
covariates at once, as on a propensity score (Rosenbaum & Rubin 1983, Biometrika 70:41).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from ecg_spark.diseases.logistic import Reals
from ecg_spark.diseases.outcomes import Outcome
from ecg_spark.diseases.panels import Panel
from ecg_spark.ecg import BEAT_SAMPLES, LEADS
from ecg_spark.selection import used_rows
from ecg_spark.session import broadcast

FEWEST = 20
"""With fewer people there is no mean beat, since it could reveal a single person's."""

CONTROLS = 4
"""How many controls are sought for each case."""

CALIPER = 0.2
"""The caliper, in standard deviations of what is matched on (Austin 2011, Pharm Stat 10:150)."""

NEARLY_ALL = 0.95

SAMPLES = len(LEADS) * BEAT_SAMPLES
GROUPS = ("cases", "controls")


@dataclass(frozen=True)
class Compared:
    """A comparison of cases with matched controls.

    Attributes:
        cases: places of the cases in the panel.
        controls: places of their controls in the panel.
        factors: how the factors of the two differ, as rows of the table disease_factors.
    """

    cases: list[int]
    controls: list[int]
    factors: list[dict[str, Any]]


def compare(panel: Panel, outcome: Outcome, expected: Reals) -> Compared | None:
    """Match controls to the cases of an outcome, and compare their factors.

    Args:
        expected: the linear predictor of the outcome's people from covariates, [m].

    Returns:
        None if there are fewer than `FEWEST` cases or controls.
    """
    cases, controls = match(expected, outcome.is_case, panel.is_male[outcome.rows])
    if len(cases) < FEWEST or len(controls) < FEWEST:
        return None
    factors = panel.columns("vae")
    ill, well = (panel.filled[outcome.rows[side]][:, factors] for side in (cases, controls))
    difference = ill.mean(axis=0) - well.mean(axis=0)
    se = np.sqrt(ill.var(axis=0, ddof=1) / len(ill) + well.var(axis=0, ddof=1) / len(well))
    rows = [
        {"factor": panel.predictors[k].name, "difference": float(d), "se": float(s)}
        for k, d, s in zip(factors, difference, se, strict=True)
    ]
    return Compared(outcome.rows[cases].tolist(), outcome.rows[controls].tolist(), rows)


def match(
    expected: Reals, is_case: NDArray[np.bool_], is_male: Reals
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Match each case with the nearest free controls.

    Controls are of the same sex (people of unknown sex are matched with each other), and at most
    `CALIPER` standard deviations away. There are up to `CONTROLS` rounds, as long as nearly every
    case finds another control.

    Args:
        expected: what is matched on, [m].
        is_case: [m].
        is_male: 1, 0 or NaN, [m].

    Returns:
        The cases that have a control, and the controls.
    """
    held: list[NDArray[np.int64]] = []
    matched: list[NDArray[np.int64]] = []
    sexes = np.where(np.isfinite(is_male), is_male, -1.0)
    reach = CALIPER * float(expected.std())
    for sex in np.unique(sexes):
        cases = np.flatnonzero(is_case & (sexes == sex))
        pool = np.flatnonzero(~is_case & (sexes == sex))
        for number in range(CONTROLS):
            if not len(cases) or len(pool) < len(cases):
                break
            cases = cases[np.argsort(expected[cases], kind="stable")]
            taken = _nearest(expected[cases], expected[pool])
            near = np.abs(expected[cases] - expected[pool[taken]]) <= reach
            if number == 0:
                cases = cases[near]
                held.append(cases)
            elif near.mean() < NEARLY_ALL:
                break
            matched.append(pool[taken[near]])
            pool = np.delete(pool, taken[near])
    none = np.empty(0, int)
    return np.concatenate([none, *held]), np.concatenate([none, *matched])


def _nearest(wanted: Reals, pool: Reals) -> NDArray[np.int64]:
    """For each of `wanted`, in increasing order, the place of a near value in `pool`; each place
    is taken once.

    Each takes the nearest value that leaves one for each that follows.
    """
    order = np.argsort(pool, kind="stable")
    values, taken, free = pool[order], [], 0
    for k, value in enumerate(wanted):
        last = len(values) - (len(wanted) - k)
        place = int(np.clip(np.searchsorted(values, value), free, last))
        if place > free and abs(values[place - 1] - value) <= abs(values[place] - value):
            place -= 1
        taken.append(order[place])
        free = place + 1
    return np.array(taken, int)


def mean_beats(
    beats: DataFrame,
    leave_out: Sequence[str],
    places: pd.DataFrame,
    groups: Mapping[str, list[int]],
) -> dict[str, tuple[int, Reals, Reals]]:
    """The mean beat of each group of people.

    If a person has several ECGs, the best one counts. Groups of fewer than `FEWEST` people are
    left out.

    Args:
        beats: the table of average beats.
        leave_out: the flags that leave a recording out.
        places: participant_id and place of everybody in the panel.
        groups: places of the people of each group.

    Returns:
        For each group the number of people, and the mean beat and its standard error in mV, both
        flattened from [12, 600].
    """
    if not groups:
        return {}
    spark = beats.sparkSession
    member = np.zeros((len(places), len(groups)), bool)
    for k, own in enumerate(groups.values()):
        member[own, k] = True
    wanted = places[member.any(axis=1)]
    sent = broadcast(spark, member)
    usable = used_rows(beats, leave_out).select("participant_id", "ecg_id", "weight")
    best = (
        usable.join(F.broadcast(spark.createDataFrame(wanted)), "participant_id")
        .groupBy("place")
        .agg(F.max(F.struct("weight", "ecg_id"))["ecg_id"].alias("ecg_id"))
    )
    one_each = beats.join(F.broadcast(best), "ecg_id").select("place", "signal")

    def add(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        belongs = sent.value
        width = belongs.shape[1]
        count, total, squares = (
            np.zeros(width),
            np.zeros((width, SAMPLES)),
            np.zeros((width, SAMPLES)),
        )
        for batch in batches:
            at = batch.column("place").to_numpy()
            signal = batch.column("signal").flatten().to_numpy(zero_copy_only=False)
            rows = signal.reshape(-1, SAMPLES).astype(float)
            own = belongs[at].T.astype(float)
            count += own.sum(axis=1)
            total += own @ rows
            squares += own @ rows**2
        content = np.column_stack([count, total, squares]).tobytes()
        yield pa.record_batch([pa.array([content], pa.binary())], ["sums"])

    # Added up in the tasks, so that the driver receives one array, whatever the partitions.
    parts = one_each.mapInArrow(add, "sums binary").rdd.map(lambda row: np.frombuffer(row["sums"]))
    nothing = np.zeros(len(groups) * (1 + 2 * SAMPLES))
    sums = parts.treeAggregate(nothing, np.add, np.add).reshape(len(groups), -1)
    found = {}
    for name, part in zip(groups, sums, strict=True):
        if part[0] >= FEWEST:
            n, total, squares = part[0], part[1 : 1 + SAMPLES], part[1 + SAMPLES :]
            mean = total / n
            spread = np.maximum(squares / n - mean**2, 0) * n / (n - 1)
            found[name] = (int(n), mean, np.sqrt(spread / n))
    return found
