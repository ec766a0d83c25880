"""Which recordings are used: one rule, the same in Spark and in Arrow; and their weighted mean."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyspark.sql import functions as F

from ecg_spark.ecg import FLAGS, weight
from ecg_spark.selection import (
    is_used,
    left_out_for,
    used_rows,
    weighted_direction,
    weighted_mean,
)

SOME_FLAGS = st.lists(st.sampled_from(FLAGS), unique=True, max_size=4)


@given(rows=st.lists(SOME_FLAGS, max_size=12), leave_out=SOME_FLAGS, cut=st.integers(0, 5))
def test_rows_without_a_left_out_flag_are_used(rows, leave_out, cut):
    flags = pa.array(rows, pa.list_(pa.string())).slice(cut)  # a slice keeps its parent's offsets
    expected = [not set(row) & set(leave_out) for row in rows[cut:]]
    assert is_used(flags, leave_out).tolist() == expected
    parts = pa.chunked_array([flags.slice(0, 2), flags.slice(2)])
    assert is_used(parts, leave_out).tolist() == expected


@settings(max_examples=6, deadline=None)
@given(rows=st.lists(SOME_FLAGS, min_size=1, max_size=12), leave_out=SOME_FLAGS)
def test_spark_and_arrow_use_the_same_rows_and_say_why_not(spark, rows, leave_out):
    frame = spark.createDataFrame(
        [(k, flags) for k, flags in enumerate(rows)], "k int, flags array<string>"
    )
    used = {row["k"] for row in used_rows(frame, leave_out).collect()}
    arrow = is_used(pa.array(rows, pa.list_(pa.string())), leave_out)
    assert used == set(np.flatnonzero(arrow).tolist())
    said = {
        row["k"]: row["why"]
        for row in frame.select("k", left_out_for(leave_out).alias("why")).collect()
    }
    first = [next((flag for flag in leave_out if flag in row), None) for row in rows]
    assert [said[k] for k in range(len(rows))] == first


def test_the_mean_over_a_persons_recordings_is_by_weight_and_skips_what_is_missing(spark):
    rng = np.random.default_rng(3)
    rows = pd.DataFrame(
        {
            "who": rng.integers(0, 5, 60).astype(str),
            "weight": rng.uniform(0.1, 1, 60),
            "value": np.where(rng.random(60) < 0.3, np.nan, rng.normal(size=60)),
        }
    )
    frame = spark.createDataFrame(
        rows.astype(object).where(rows.notna(), None), "who string, weight double, value double"
    )
    found = frame.groupBy("who").agg(weighted_mean(F.col("value")).alias("mean")).toPandas()
    for row in found.itertuples():
        known = rows[(rows["who"] == row.who) & rows["value"].notna()]
        assert row.mean == pytest.approx(np.average(known["value"], weights=known["weight"]))


@pytest.mark.parametrize(
    ("degrees", "mean"), [((170, -170), 180), ((-10, 30), 10), ((90, -170), 140), ((50,), 50)]
)
def test_the_mean_axis_is_a_direction(spark, degrees, mean):
    frame = spark.createDataFrame([(float(d), 1.0) for d in degrees], "axis double, weight double")
    (row,) = frame.agg(weighted_direction(F.col("axis")).alias("axis")).collect()
    assert abs(row["axis"]) % 360 == pytest.approx(mean) or row["axis"] == pytest.approx(mean)


@given(noise=st.lists(st.floats(0, 200), min_size=2, max_size=5, unique=True))
def test_a_noisier_recording_counts_less_and_a_clean_one_counts_one(noise):
    weights = [weight(uv) for uv in sorted(noise)]
    assert all(0 < w <= 1 for w in weights)
    assert weights == sorted(weights, reverse=True)
    assert weight(0.0) == 1
    assert weight(10.0) == pytest.approx(0.9)  # the limit of `noisy`: still nearly as good
