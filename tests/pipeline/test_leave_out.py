"""Flags decide: what a recording with a left-out flag changes downstream, which is nothing."""

import numpy as np
import pandas as pd
import pytest

from ecg_spark.ecg import FLAGS
from ecg_spark.pipeline.encode import ALL_FLAGGED, encode
from ecg_spark.pipeline.phenotypes import participant_phenotypes
from ecg_spark.simulate.heart import beat_mv, sample_hearts
from ecg_spark.tables import LATENTS, TRAIT_NAMES, read_table
from tests.builders.encoders import untrained_encoder

LATENT_NUMBER = 3
LEAVE_OUT = ("few_beats", "paced", "noisy")
SCHEMA = (
    "participant_id string, participant_hash long, signal array<float>, weight double, "
    "flags array<string>, " + ", ".join(f"{name} double" for name in TRAIT_NAMES)
)


@pytest.fixture(scope="module")
def recordings():
    """Beats and traits of 60 people with one to three recordings, flagged at random."""
    rng = np.random.default_rng(8)
    who = np.repeat(np.arange(60), rng.integers(1, 4, 60))
    signals = beat_mv(sample_hearts(rng, len(who))).astype(np.float32)
    rows = pd.DataFrame(
        {
            "participant_id": [f"p{k}" for k in who],
            "participant_hash": who * 7919,
            "signal": list(signals.reshape(len(who), -1)),
            "weight": rng.uniform(0.2, 1, len(who)),
            "flags": [
                list(rng.choice(FLAGS, rng.choice(4, p=[0.6, 0.2, 0.1, 0.1]), replace=False))
                for _ in who
            ],
        }
    )
    for name in TRAIT_NAMES:
        rows[name] = rng.uniform(-60, 200, len(who))
    return rows


@pytest.fixture(scope="module")
def encoder(recordings):
    return untrained_encoder(np.stack(recordings["signal"]).reshape(-1, 12, 600), LATENT_NUMBER)


@pytest.fixture(scope="module")
def chosen(recordings):
    """The recordings without a left-out flag, by the plain rule."""
    return recordings[[not set(flags) & set(LEAVE_OUT) for flags in recordings["flags"]]]


def run(spark, rows, encoder, folder, leave_out):
    """Latents by participant and model, phenotypes, and the flow by unit and reason."""
    table = spark.createDataFrame(rows, SCHEMA)
    encode(spark, table.repartition(2), encoder, lambda name: f"{folder}/{name}", leave_out)
    latents = read_table(spark, LATENTS, f"{folder}/latents")
    phenotypes, _ = participant_phenotypes(latents, table, leave_out)
    flow = pd.read_parquet(folder / "flow").set_index(["unit", "reason"])["n"]
    return latents.toPandas().set_index(["model", "participant_id"]).sort_index(), phenotypes, flow


@pytest.fixture(scope="module")
def everything(spark, recordings, encoder, tmp_path_factory):
    """What the whole table gives where three flags are left out."""
    return run(spark, recordings, encoder, tmp_path_factory.mktemp("all"), LEAVE_OUT)


def test_a_recording_with_a_left_out_flag_changes_nothing_downstream(
    spark, everything, chosen, encoder, tmp_path
):
    latents, phenotypes, _ = everything
    alone, phenotypes_alone, _ = run(spark, chosen, encoder, tmp_path, ())
    assert len(chosen)
    pd.testing.assert_index_equal(latents.index, alone.index)
    assert (latents["n_ecgs"] == alone["n_ecgs"]).all()
    for column in ("z", "z_sd"):
        found, expected = (np.stack(table[column]) for table in (latents, alone))
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    pd.testing.assert_frame_equal(phenotypes, phenotypes_alone, rtol=1e-5, atol=1e-6)
    assert set(phenotypes.index) == set(chosen["participant_id"])


def test_a_persons_latents_and_traits_are_means_by_weight(everything, chosen, encoder):
    latents, phenotypes, _ = everything
    signals = np.stack(chosen["signal"]).reshape(-1, 12, 600)
    direct = encoder.encode(signals, chosen["participant_hash"].to_numpy())
    persons = pd.DataFrame(direct.z).groupby(chosen["participant_id"].to_numpy())
    one_ecg = np.sqrt(
        persons.var().mul(persons.size() - 1, axis=0).sum() / (len(chosen) - len(persons))
    )
    for person, rows in chosen.reset_index(drop=True).groupby("participant_id"):
        weights = rows["weight"].to_numpy()
        z = np.average(direct.z[rows.index], weights=weights, axis=0)
        sd = one_ecg * np.sqrt((weights**2).sum())
        row = latents.loc["vae", person]
        np.testing.assert_allclose(row["z"], z, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(row["z_sd"], sd / weights.sum(), rtol=1e-3)
        pr = np.average(rows["pr_ms"], weights=weights)
        assert phenotypes.loc[person, "pr_ms"] == pytest.approx(pr)


def test_the_flow_counts_each_recording_once_and_every_person(everything, recordings, chosen):
    _, _, flow = everything
    assert flow["recordings", "came in"] == len(recordings)
    assert flow["recordings", "went on"] == len(chosen)
    first = [next((f for f in LEAVE_OUT if f in flags), None) for flags in recordings["flags"]]
    for flag in LEAVE_OUT:
        assert flow["recordings", flag.replace("_", " ")] == first.count(flag)
    people = recordings["participant_id"].nunique()
    assert flow["people", "came in"] == people
    assert flow["people", "went on"] == chosen["participant_id"].nunique() < people
    assert flow["people", ALL_FLAGGED] == people - chosen["participant_id"].nunique()
