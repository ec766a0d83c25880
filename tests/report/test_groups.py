"""Groups of the report are people, and enough of them: nobody is seen alone, however many ECGs."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecg_spark.report import evidence, explain, figures
from ecg_spark.tables import TRAIT_NAMES


def _beats(tmp_path, people, ecgs_each):
    """A table of beats whose first sample is the number of their person."""
    who = np.repeat(np.arange(people), ecgs_each)
    signal = np.zeros((len(who), 7200), np.float32)
    signal[:, 0] = who
    columns = {
        "ecg_id": [f"e{k}" for k in range(len(who))],
        "participant_hash": who * 10**12,
        "signal": pa.array(list(signal), pa.list_(pa.float32())),
    }
    pq.write_table(pa.table(columns), tmp_path / "beats.parquet", row_group_size=7)
    return ds.dataset(tmp_path / "beats.parquet")


@pytest.mark.parametrize(("people", "shown"), [(19, False), (20, True)])
def test_five_ecgs_of_one_man_are_one_person(tmp_path, people, shown):
    ids, signals = evidence.beat_sample(_beats(tmp_path, people, 5))
    assert sorted(signals[:, 0, 0].tolist()) == list(range(people))
    assert ids == [f"e{5 * k}" for k in range(people)]
    assert (evidence.beat_percentiles(signals) is not None) == shown
    assert explain.reconstruct(signals, {"VAE": lambda s: s}) is None  # its groups are of two


def test_no_group_by_a_trait_has_fewer_than_twenty_people():
    rng = np.random.default_rng(1)
    for n in (150, 199, 200, 260):
        traits = pd.DataFrame(dict.fromkeys(TRAIT_NAMES, np.nan), index=range(n))
        traits["qt_ms"] = rng.normal(400, 20, n)
        signals = np.zeros((n, 12, 600), np.float32)
        signals[:, 0, 0] = 1
        groups = evidence.beats_by_trait(range(n), signals, traits)
        assert bool(groups) == (n >= 200)


def test_traits_are_counted_in_people():
    ecgs = [f"e{k}" for k in range(60)]
    traits = pd.DataFrame(dict.fromkeys(TRAIT_NAMES, np.nan), index=ecgs)
    traits["participant_id"] = np.repeat([f"P{k:02d}" for k in range(20)], 3)
    traits["weight"] = 0.5
    traits["qt_ms"] = np.arange(60.0)
    traits.loc[traits["participant_id"] != "P00", "pr_ms"] = 150.0
    by_person = evidence.traits_by_person(traits)
    assert by_person["qt_ms"].tolist() == [3 * k + 1 for k in range(20)]
    rows = {row["title"]: row for row in evidence.trait_summary(by_person)}
    assert (rows["QT (ms)"]["n"], rows["QT (ms)"]["median"]) == (20, 29.5)
    assert (rows["PR (ms)"]["n"], rows["PR (ms)"]["median"]) == (19, None)
    latents = pd.DataFrame({"vae_00": np.arange(20.0)}, index=by_person.index)
    table = evidence.correlations(latents, by_person)
    assert table.loc["vae_00", "qt_ms"] == pytest.approx(1)
    assert np.isnan(table.loc["vae_00", "pr_ms"])


@given(st.integers(0, 400), st.integers(0, 10**6), st.sampled_from(["normal", "steps", "clumps"]))
@settings(deadline=None, max_examples=6)
def test_no_bin_of_a_picture_holds_fewer_than_five_people(n, seed, kind):
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(n, 3))
    if kind == "steps":
        scores = scores.round(1)
    elif kind == "clumps":
        scores[: n // 2] = scores[:1]
    counts = [
        number
        for axes in figures.ancestry(scores).axes[:3]
        for drawn in axes.collections
        if drawn.get_array() is not None
        for number in drawn.get_array()
    ]
    assert min(counts, default=5) >= 5
    bars = figures.histograms({"qt_ms": scores[:, 0]}, {}).axes[0].patches
    heights = [bar.get_height() for bar in bars]
    assert all(height == 0 or height >= 5 for height in heights)
    assert n >= 20 or not any(heights)


def test_many_people_are_drawn_in_the_ancestry_figure():
    drawn = figures.ancestry(np.random.default_rng(0).normal(size=(2_000, 2))).axes[0]
    assert sum(drawn.collections[0].get_array()) > 1_600
