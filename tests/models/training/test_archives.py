"""One network of several archives: as of one table of all their beats, with figures of each."""

import mlflow
import numpy as np
import pyarrow as pa
import pytest
import torch

from ecg_spark.study import Model
from models.data.loader import open_beats
from models.data.split import Split
from models.encoding.fold_encoder import independent_leads
from models.registry.publishing import load_encoder
from models.training.checkpoint import Checkpoints
from models.training.fitting import Trainer
from models.training.plan import Archive, Plan
from models.training.train import train
from tests.builders.archives import heart_table, write_table
from tests.builders.histories import read_history

SETTINGS = Model(latents=4, channels=4, epochs=4, batch_size=16, kl_weight=0.5, test_share=0.4)
SEED = 3


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """Beats in one table, and the same in two at random."""
    folder, whole = tmp_path_factory.mktemp("tables"), heart_table(7, 160)
    first = np.random.default_rng(1).random(len(whole)) < 0.5
    halves = {
        name: write_table(whole.filter(pa.array(chosen)), folder / name)
        for name, chosen in (("north", first), ("south", ~first))
    }
    return whole, write_table(whole, folder / "whole"), halves


def plan_for(beats, uri, folder, settings=SETTINGS):
    kept = f"{folder}/kept"
    return Plan(beats, settings, SEED, "v1", uri, "test", kept, leave_out=("paced",))


def archives(tables):
    return tuple(Archive(name, path, f"run of {name}") for name, path in tables[2].items())


@pytest.fixture(scope="module")
def pooled(tables, tmp_path_factory, mlflow_store):
    """A model of both archives: its result and its store."""
    folder = tmp_path_factory.mktemp("pooled")
    uri = mlflow_store(folder / "store")
    plan = plan_for(archives(tables), uri, folder)
    return train(plan, "ecg-vae", f"{folder}/run"), uri


def test_two_archives_train_to_the_losses_of_one_table(tables, pooled, tmp_path, mlflow_store):
    """The order of the beats is another, and so are the batches."""
    uri = mlflow_store(tmp_path / "store")
    alone = train(plan_for(tables[1], uri, tmp_path), "ecg-vae", f"{tmp_path}/run")
    histories = read_history(alone.run_id, uri), read_history(pooled[0].run_id, pooled[1])
    losses = [[entry["val/loss"] for entry in history] for history in histories]
    np.testing.assert_allclose(losses[1], losses[0], rtol=0.02)
    assert losses[0][-1] < losses[0][0]
    assert pooled[0].metrics["test/mae_uv"] == pytest.approx(alone.metrics["test/mae_uv"], rel=0.1)
    assert alone.archives == {}
    assert not any("archive" in name for name in alone.metrics)


def test_archives_that_are_streamed_train_to_the_losses_of_one_table(tables):
    split, cpu = Split(SEED, 0.15, test_share=0.4), torch.device("cpu")
    losses = []
    for path in (tables[1], tuple(tables[2].values())):
        training, held_out, _ = open_beats(path, split, cpu, room_bytes=0)
        fitting = Trainer(training, SETTINGS, SEED, cpu, None)
        losses.append([metrics["val/loss"] for metrics in fitting.epochs(held_out)])
    np.testing.assert_allclose(losses[1], losses[0], rtol=0.02)


def test_each_archive_has_figures_of_its_held_out_people(tables, pooled):
    result, uri = pooled
    encoder = load_encoder(result.model_uri, uri)
    for name, path in tables[2].items():
        beats = pa.parquet.read_table(path)
        used = np.array(["paced" not in flags for flags in beats["flags"].to_pylist()])
        tested = encoder.held_out(beats["participant_hash"].to_numpy()) & used
        signal = np.array(beats["signal"].to_pylist(), np.float32)[tested].reshape(-1, 12, 600)
        assert result.archives[name]["beats_tested"] == tested.sum() >= 20
        for whose, encoding, decode in (
            ("test", encoder.encode(signal), encoder.decode),
            ("test_pca", encoder.encode_pca(signal), encoder.decode_pca),
        ):
            off = independent_leads(decode(encoding.z)) - independent_leads(signal)
            figure = result.metrics[f"{whose}/mae_uv/archive_{name}"]
            assert figure == pytest.approx(1000 * np.abs(off).mean(), rel=1e-3)
    logged = mlflow.MlflowClient(uri).get_run(result.run_id)
    training = sum(beats["beats_training"] for beats in result.archives.values())
    assert training == int(logged.data.params["beats_training"])
    assert logged.data.metrics["test/mae_uv/archive_north"] > 0


def test_run_and_card_name_every_archive(pooled):
    result, uri = pooled
    client = mlflow.MlflowClient(uri)
    inputs = client.get_run(result.run_id).inputs.dataset_inputs
    found = {(one.dataset.name, one.dataset.digest) for one in inputs}
    assert found == {(f"beats of {name}", f"run of {name}") for name in ("north", "south")}
    card = client.get_model_version("ecg-vae", "1").description
    for name, beats in result.archives.items():
        error = result.metrics[f"test/mae_uv/archive_{name}"]
        row = f"| {name} | {beats['beats_training']} | {beats['beats_tested']} | {error:.1f} |"
        assert row in card


class Stopped(Exception):
    """As if the process had been killed."""


def test_interrupted_training_resumes_with_the_same_losses(
    tables, pooled, tmp_path, mlflow_store, monkeypatch
):
    uri, saved = mlflow_store(tmp_path / "store"), Checkpoints.save

    def save(self, state, *, now=False):
        saved(self, state, now=True)
        if state.epoch == 2:
            raise Stopped

    plan = plan_for(archives(tables), uri, tmp_path)
    monkeypatch.setattr(Checkpoints, "save", save)
    with pytest.raises(Stopped):
        train(plan, "ecg-vae", f"{tmp_path}/run")
    monkeypatch.setattr(Checkpoints, "save", saved)
    result = train(plan, "ecg-vae", f"{tmp_path}/run")
    history, whole = read_history(result.run_id, uri), read_history(pooled[0].run_id, pooled[1])
    for entry, expected in zip(history, whole, strict=True):
        assert entry == pytest.approx(expected, rel=1e-4)
    assert result.archives == pooled[0].archives


def test_an_archive_with_few_people_has_no_figure_of_its_own(tables, tmp_path, mlflow_store):
    small = Archive("small", write_table(heart_table(8, 10), tmp_path / "small"), "v")
    uri = mlflow_store(tmp_path / "store")
    settings = SETTINGS.model_copy(update={"folds": 2, "epochs": 1})
    plan = plan_for((archives(tables)[0], small), uri, tmp_path, settings)
    result = train(plan, "ecg-vae", f"{tmp_path}/run")
    assert result.archives["small"]["beats_tested"] == 0
    assert 0 < result.archives["small"]["beats_training"] < 10
    assert "test/mae_uv/archive_small" not in result.metrics
    assert result.metrics["test/mae_uv/archive_north"] > 0
