"""Encoding: a row a participant, agreement between ECGs, what a line reads from latents."""

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from pyspark.sql import functions as F
from scipy.stats import f_oneway
from sklearn.metrics import roc_auc_score

from ecg_spark.errors import InfrastructureError
from ecg_spark.flow import WENT_ON
from ecg_spark.pipeline.encode import encode
from ecg_spark.pipeline.latent_quality import linear_probes, repeatability
from ecg_spark.pipeline.phenotypes import fold_indicators, participant_phenotypes
from ecg_spark.simulate.heart import beat_mv, sample_hearts
from ecg_spark.tables import TRAIT_NAMES
from models.encoding.fold_encoder import FoldEncoder
from tests.builders.encoders import untrained_encoder

PEOPLE, LATENTS = 24, 3


@pytest.fixture(scope="module")
def beats():
    """Two beats of each person, alike but for noise, and one of one more: float32 [n, 12, 600]."""
    rng = np.random.default_rng(4)
    clean = np.repeat(beat_mv(sample_hearts(rng, PEOPLE + 1)), 2, axis=0)[:-1]
    return (clean + rng.normal(0, 0.01, clean.shape)).astype(np.float32)


@pytest.fixture(scope="module")
def encoder(beats):
    """Two networks as they start, which is a PCA, of other beats each, and three latents."""
    return untrained_encoder(beats, LATENTS)


@pytest.fixture(scope="module")
def hashes():
    """Participants' hashes, of both folds."""
    return np.repeat(np.arange(PEOPLE + 1), 2)[:-1]


@pytest.fixture(scope="module")
def table_of(spark, hashes):
    """A function that makes the table of beats from signals [n, 12, 600]."""

    def make(beats):
        n = len(beats)
        schema = (
            "participant_id string, participant_hash long, signal array<float>, weight double, "
            "flags array<string>"
        )
        rows = pd.DataFrame(
            {
                "participant_id": [f"p{i // 2}" for i in range(n)],
                "participant_hash": hashes[:n],
                "signal": list(beats.reshape(n, -1)),
                "weight": 0.8,
                "flags": [["noisy"]] * n,
            }
        )
        return spark.createDataFrame(rows, schema).repartition(3)

    return make


@pytest.fixture(scope="module")
def encoded(spark, beats, encoder, table_of, tmp_path_factory):
    folder = tmp_path_factory.mktemp("encoded")
    summary = encode(spark, table_of(beats), encoder, lambda name: f"{folder}/{name}")
    return summary, pd.read_parquet(folder / "latents")


def test_encoder_uses_the_stated_device(encoder, beats):
    """On a worker, which gets it as bytes; 'auto' is the CPU or, but for rounding, the same."""
    weights, config = encoder.folds[0].weights, encoder.folds[0].config
    expected = encoder.folds[0].encode(beats)
    wherever = pickle.loads(pickle.dumps(FoldEncoder(weights, config, "auto")))
    np.testing.assert_allclose(wherever.encode(beats).z, expected.z, rtol=1e-3, atol=1e-3)
    assert wherever.device == "auto"
    if not torch.cuda.is_available():
        with pytest.raises(InfrastructureError, match="no usable NVIDIA GPU"):
            FoldEncoder(weights, config, "cuda").encode(beats)


def test_the_fold_stands_beside_the_latents_and_becomes_a_covariate(
    spark, encoded, encoder, hashes
):
    _, table = encoded
    expected = dict(zip((f"p{k}" for k in hashes), encoder.fold_of(hashes), strict=True))
    assert set(expected.values()) == {0, 1}
    for row in table.itertuples():
        assert row.fold == expected[row.participant_id]
    indicators = fold_indicators(spark.createDataFrame(table[["participant_id", "fold"]]))
    assert list(indicators.columns) == ["fold_1"]
    assert indicators["fold_1"].to_dict() == {person: float(k) for person, k in expected.items()}
    second = table.query("fold == 1")[["participant_id", "fold"]]
    alone = fold_indicators(spark.createDataFrame(second))
    assert alone.shape == (sum(expected.values()), 0)


def test_several_ecgs_of_a_person_are_averaged(encoded, encoder, beats, hashes):
    summary, table = encoded
    assert summary["participants"] == PEOPLE + 1
    assert summary["participants_with_several_ecgs_averaged"] == PEOPLE
    direct = encoder.encode(beats, hashes)
    rows = table[table["model"] == "vae"].set_index("participant_id")
    for person in (0, 7, PEOPLE):
        own = slice(2 * person, 2 * person + 2)
        row = rows.loc[f"p{person}"]
        n = len(direct.z[own])
        assert row["n_ecgs"] == n
        np.testing.assert_allclose(row["z"], direct.z[own].mean(axis=0), atol=1e-5)
        pairs = direct.z[: 2 * PEOPLE].reshape(PEOPLE, 2, LATENTS)
        one_ecg = np.sqrt(pairs.var(axis=1, ddof=1).mean(axis=0))
        np.testing.assert_allclose(row["z_sd"], one_ecg / np.sqrt(n), rtol=1e-3)


def test_a_beat_without_factors_is_counted_and_no_spread_is_given_for_too_few_people(
    spark, beats, encoder, table_of, tmp_path
):
    """Of ten people one has such a beat and a good one, another only such beats."""
    some = beats[:20].copy()
    some[[4, 6, 7]] = np.nan
    summary = encode(spark, table_of(some), encoder, lambda name: f"{tmp_path}/{name}")
    assert summary["no_factors_found"] == 3
    assert (summary["participants"], summary["recordings"]) == (9, 17)
    table = pd.read_parquet(tmp_path / "latents")
    assert "p3" not in set(table["participant_id"])
    assert set(table.query("participant_id == 'p2'")["n_ecgs"]) == {1}
    assert np.isfinite(np.stack(table["z"])).all()
    assert table["z_sd"].isna().all()
    flow = pd.read_parquet(tmp_path / "flow").set_index(["unit", "reason"])["n"]
    assert flow["recordings", "no factors found"] == 3
    assert flow["people", "no factors found"] == 1
    # What goes on is what the study of all phenotypes counts, though the traits are known of all.
    traits = pd.DataFrame({"participant_id": [f"p{i // 2}" for i in range(20)], "weight": 1.0})
    traits = spark.createDataFrame(traits.assign(**dict.fromkeys(TRAIT_NAMES, 60.0)))
    traits = traits.withColumn("flags", F.array().cast("array<string>"))
    phenotypes, _ = participant_phenotypes(spark.read.parquet(f"{tmp_path}/latents"), traits)
    assert len(phenotypes) == flow["people", WENT_ON] == 9
    assert phenotypes.notna().all().all()


def test_agreement_between_ecgs_is_that_of_the_analysis_of_variance(
    encoded, encoder, beats, hashes
):
    summary, _ = encoded
    for model, direct in (
        ("vae", encoder.encode(beats, hashes)),
        ("pca", encoder.encode_pca(beats, hashes)),
    ):
        pairs = direct.z[: 2 * PEOPLE].reshape(PEOPLE, 2, LATENTS)
        for latent in range(LATENTS):
            f = f_oneway(*pairs[:, :, latent]).statistic
            assert summary["icc"][model][latent] == pytest.approx((f - 1) / (f + 1), abs=2e-3)
        assert min(summary["icc"][model]) > 0.5


def test_agreement_with_unequal_numbers_of_ecgs(spark):
    """The share of the variance that is between people, however many ECGs each has."""
    rng = np.random.default_rng(6)
    people = []
    for number in range(3_000):
        n = 1 + number % 4
        z = np.sqrt(0.7) * rng.standard_normal() + np.sqrt(0.3) * rng.standard_normal(n)
        people.append((n, [float(z.mean())], [float((z**2).mean())]))
    table = spark.createDataFrame(
        people, "n_ecgs int, plain_mean array<double>, squares array<double>"
    ).repartition(3)
    known = repeatability(table, 1)
    assert known.icc[0] == pytest.approx(0.7, abs=0.03)
    assert known.sd[0] == pytest.approx(np.sqrt(0.3), rel=0.03)
    assert repeatability(table.where("n_ecgs = 1"), 1) is None


def test_probes_explain_related_traits_and_not_noise():
    rng = np.random.default_rng(7)
    z = rng.standard_normal((3_000, 5))
    noise = rng.standard_normal((3_000, 3))
    targets = pd.DataFrame(
        {
            "pr_ms": 160 + 10 * (0.8 * z[:, 0] + 0.6 * noise[:, 0]),
            "age": noise[:, 1],
            "sex": (z[:, 1] + noise[:, 2] > 0) + 1.0,
            "constant": 1.0,
            "hospital": "A",
        }
    )
    targets.loc[::3, "pr_ms"] = np.nan
    found = linear_probes(z, targets, seed=1)
    assert set(found) == {"pr_ms_r2", "age_r2", "sex_auc"}
    assert found["pr_ms_r2"] == pytest.approx(0.64, abs=0.04)
    assert found["age_r2"] < 0.01
    assert found["sex_auc"] == pytest.approx(roc_auc_score(targets["sex"] == 2, z[:, 1]), abs=0.01)
    assert linear_probes(z[:40], targets[:40], seed=1) == {}
