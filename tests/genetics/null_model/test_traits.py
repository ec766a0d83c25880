"""Conventional traits as they are tested."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.api
from hypothesis import given
from hypothesis import strategies as st

from ecg_spark.genetics.null_model.traits import (
    conventional,
    from_mean_direction,
    ranked_again,
    units_kept,
)

GROUPS = {"vae": ["vae_00"], "traits": ["axis_deg", "heart_rate_bpm", "qt_ms", "qtc_ms"]}


@given(st.lists(st.floats(-70, 70), min_size=1, max_size=30), st.floats(-180, 180), st.booleans())
def test_an_axis_is_a_distance_from_the_mean_direction_wherever_the_wrap_lies(away, turn, gap):
    angles = (np.array(away) + turn + 180) % 360 - 180
    if gap:
        angles = np.append(angles, np.nan)
    found = from_mean_direction(angles)
    known = found[: len(away)]
    assert (np.abs(known) <= 180).all()
    # Distances between people are those of the angles, however all are turned.
    assert np.diff(known) == pytest.approx(np.diff(away), abs=1e-6)
    assert np.sin(np.radians(known)).sum() == pytest.approx(0, abs=1e-6)
    assert np.isnan(found[len(away) :]).all()


def test_people_on_both_sides_of_the_wrap_are_neighbours():
    found = from_mean_direction(np.array([178.0, -178.0, 170.0, -170.0]))
    assert found == pytest.approx([-2, 2, -10, 10])


def test_qt_is_tested_as_its_residual_on_heart_rate():
    rng = np.random.default_rng(3)
    n = 500
    rate = rng.normal(65, 10, n)
    genotype = rng.binomial(2, 0.3, n)
    qt = 550 - 3 * rate + 0.01 * rate**2 + 5 * genotype + rng.normal(0, 12, n)
    table = pd.DataFrame(
        {"vae_00": rng.normal(size=n), "axis_deg": 30.0, "heart_rate_bpm": rate, "qt_ms": qt,
         "qtc_ms": qt / np.sqrt(60 / rate)}
    )  # fmt: skip
    table.loc[:4, "heart_rate_bpm"] = np.nan
    found, notes = conventional(table, GROUPS)
    assert notes == ["qt_ms and qtc_ms are tested as their residuals on heart rate and its square"]
    assert found["qt_ms"].isna().tolist() == table["heart_rate_bpm"].isna().tolist()
    known = found["qt_ms"].notna()
    left = statsmodels.api.OLS(
        qt[known], np.column_stack([np.ones(known.sum()), rate[known], rate[known] ** 2])
    ).fit()
    assert found.loc[known, "qt_ms"].to_numpy() == pytest.approx(
        left.resid + qt[known].mean(), abs=1e-6
    )
    for name in ("qt_ms", "qtc_ms"):
        assert abs(np.corrcoef(found.loc[known, name], rate[known])[0, 1]) < 1e-9
    assert found["heart_rate_bpm"].equals(table["heart_rate_bpm"])
    assert abs(table["qtc_ms"][known].corr(table["heart_rate_bpm"][known])) > 0.3
    own, notes = conventional(table[["qt_ms"]], {"own": ["qt_ms"]})
    assert own.equals(table[["qt_ms"]])
    assert notes == []


def test_units_are_kept_where_the_study_asks_for_them():
    assert units_kept(GROUPS, "ranks") == []
    assert units_kept(GROUPS | {"own": ["lv_mass"]}, "original") == [*GROUPS["traits"], "lv_mass"]
    table = pd.DataFrame({"vae_00": [3.0, 1.0, np.nan], "qt_ms": [400.0, 380.0, 410.0]})
    found = ranked_again(table, GROUPS, "original")
    assert found["qt_ms"].tolist() == [400.0, 380.0, 410.0]
    assert found["vae_00"].tolist() == pytest.approx([0.589, -0.589, np.nan], nan_ok=True, abs=1e-2)
