"""Who is a case, who a control, who neither."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecg_spark.diseases.outcomes import EVER, INCIDENT, PREVALENT, outcomes
from ecg_spark.diseases.panels import Panel, Predictor


def panel_of(n, dated=True, is_male=None, **days):
    sex = np.full(n, np.nan) if is_male is None else np.asarray(is_male, float)
    by_day = {"first_day": np.full(n, 100.0), "last_day": np.full(n, 200.0),
              "until": np.full(n, 1000.0)} | days  # fmt: skip
    return Panel(
        "ecg", (Predictor("x", "vae"),), np.zeros((n, 1)), np.ones((n, 1), bool), np.zeros((n, 0)),
        sex, **(by_day if dated else {}),
    )  # fmt: skip


def look(panel, own, first, enough=None, excluded=(), sex="both"):
    enough = np.ones(len(own), bool) if enough is None else np.array(enough)
    found = outcomes(
        panel, np.array(own, int), np.array(first, float), enough, np.array(excluded, int), sex
    )
    return {one.kind: one for one in found}


def test_the_day_of_the_ecg_parts_prevalent_from_incident():
    # On the day of the first ECG, between two, after the last, after the records, without a date.
    found = look(panel_of(8), [0, 1, 2, 3, 4], [100, 150, 201, 1001, np.nan])
    assert found.keys() == {PREVALENT, INCIDENT}
    prevalent, incident = found[PREVALENT], found[INCIDENT]
    assert prevalent.rows[prevalent.is_case].tolist() == [0]
    assert prevalent.rows[~prevalent.is_case].tolist() == [5, 6, 7]
    assert incident.rows[incident.is_case].tolist() == [2]
    assert incident.rows.tolist() == [2, 3, 5, 6, 7]
    assert incident.time.tolist() == [1, 800, 800, 800, 800]


def test_without_dates_there_is_only_ever():
    for panel, first in ((panel_of(4, dated=False), [5, 5]), (panel_of(4), [np.nan, np.nan])):
        found = look(panel, [0, 3], first)
        assert list(found) == [EVER]
        assert found[EVER].rows[found[EVER].is_case].tolist() == [0, 3]


def test_too_few_codes_and_the_exclusion_range_make_nobody_a_control():
    found = look(panel_of(5, dated=False), [0, 1], [1, 1], enough=[True, False], excluded=[2])
    assert found[EVER].rows.tolist() == [0, 3, 4]
    both = look(panel_of(5, dated=False), [0], [1], excluded=[0])  # a case stays one
    assert both[EVER].cases == 1


def test_a_disease_of_one_sex_has_controls_of_that_sex_and_counts_the_others():
    male = [1, 1, 0, 0, np.nan, 1]
    found = look(panel_of(6, dated=False, is_male=male), [0, 2], [1, 1], sex="men")[EVER]
    assert found.rows.tolist() == [0, 1, 5]
    assert found.other_sex == 1


def test_cases_of_one_sex_only_are_told_to_be_of_a_disease_of_it():
    male = np.arange(60) % 2
    women = list(range(0, 50, 2))
    found = look(panel_of(60, dated=False, is_male=male), women, [1] * len(women))[EVER]
    assert found.sex == "women"
    assert not male[found.rows].any()
    few = look(panel_of(60, dated=False, is_male=male), women[:5], [1] * 5)[EVER]
    assert few.sex == "both"


@settings(max_examples=40)
@given(st.integers(0, 10_000))
def test_nobody_is_counted_twice_and_every_time_is_positive(seed):
    rng = np.random.default_rng(seed)
    n = 40
    first = rng.integers(0, 300, n).astype(float)
    first[rng.random(n) < 0.1] = np.nan
    panel = panel_of(
        n, is_male=rng.integers(0, 2, n), first_day=first, last_day=first + rng.integers(0, 50, n),
        until=rng.integers(0, 500, n).astype(float),
    )  # fmt: skip
    own = rng.permutation(n)[:15]
    days = rng.integers(0, 500, 15).astype(float)
    days[rng.random(15) < 0.2] = np.nan
    found = look(panel, own, days, rng.random(15) < 0.8, rng.permutation(n)[:5])
    for one in found.values():
        assert len(np.unique(one.rows)) == len(one.rows)
        assert set(one.rows[one.is_case]) <= set(own)
        assert not set(one.rows[~one.is_case]) & set(own[np.isfinite(days) & (days < 100)]) or (
            one.kind == INCIDENT
        )
    if INCIDENT in found:
        assert (found[INCIDENT].time > 0).all()


@pytest.mark.parametrize("kind", [PREVALENT, INCIDENT])
def test_who_has_no_dated_ecg_is_in_neither(kind):
    first = np.array([100.0, np.nan, 100.0])
    found = look(panel_of(3, first_day=first, last_day=first + 100), [0], [50.0])
    assert 1 not in found[kind].rows
