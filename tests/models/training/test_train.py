"""Training on a small table, from beats to a registered model that MLflow and Spark can load."""

import json
import pickle
import signal
import socket
import time
import warnings
from pathlib import Path

import mlflow
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.numpy import load

from ecg_spark.errors import DataError, InfrastructureError
from ecg_spark.simulate.heart import beat_mv, sample_hearts
from ecg_spark.study import Model
from models.data.split import fold_of
from models.encoding.encoder import read_encoder
from models.encoding.fold_encoder import independent_leads
from models.registry import tracking
from models.registry.publishing import load_encoder
from models.training.fitting import enough_memory, kl_weight
from models.training.plan import Plan
from models.training.train import train
from tests.builders.histories import read_history

N = 160
SETTINGS = Model(latents=6, channels=4, epochs=4, batch_size=16, kl_weight=0.5)
TINY = Model(latents=2, channels=4, epochs=1)


@pytest.fixture(scope="module")
def beats():
    """Beats of simulated hearts with noise, float32 [N, 12, 600] in mV."""
    rng = np.random.default_rng(7)
    return (beat_mv(sample_hearts(rng, N)) + rng.normal(0, 0.005, (N, 12, 600))).astype(np.float32)


@pytest.fixture(scope="module")
def table(beats, tmp_path_factory):
    folder = tmp_path_factory.mktemp("beats")
    hashes = np.random.default_rng(2).integers(-(2**63), 2**63 - 1, N)
    signal = pa.array(list(beats.reshape(N, -1)), pa.list_(pa.float32()))
    columns = pa.table({"participant_hash": hashes, "signal": signal})
    pq.write_table(columns, folder / "part.parquet", row_group_size=64)
    return str(folder)


def run(table, folder, tracking_uri, settings=SETTINGS):
    plan = Plan(table, settings, 3, "v1", tracking_uri, "test", f"{folder}.kept")
    return train(plan, "ecg-vae", str(folder))


@pytest.fixture(scope="module")
def trained(table, tmp_path_factory, mlflow_store):
    """A finished run: its result, its folder and its store; MLflow asks for no type hints."""
    folder = tmp_path_factory.mktemp("trained")
    uri = mlflow_store(folder / "store")
    with warnings.catch_warnings():
        warnings.filterwarnings("error", ".*type hints")
        return run(table, folder / "run", uri), folder / "run", uri


def test_training_reduces_the_loss(trained):
    result, folder, uri = trained
    history = json.loads((folder / "history.json").read_text())
    assert [entry["epoch"] for entry in history] == [1, 2, 3, 4]
    assert history[-1]["train/loss"] < history[0]["train/loss"]
    assert read_history(result.run_id, uri) == history


def test_the_run_says_what_it_was_made_from_and_how_good_it_is(trained):
    result, _, uri = trained
    client = mlflow.MlflowClient(uri)
    logged = client.get_run(result.run_id)
    assert logged.info.status == "FINISHED"
    assert logged.data.params["latents"] == "6"
    assert logged.data.params["table_version"] == "v1"
    dataset = logged.inputs.dataset_inputs[0].dataset
    assert (dataset.name, dataset.digest) == ("beats", "v1")
    curves = ("train/loss", "train/kl", "val/loss", "val/kl", "guess/mae_uv", "guess/pearson_r")
    for name in (*curves, "val/active_units"):
        assert len(client.get_metric_history(result.run_id, name)) >= SETTINGS.epochs
    assert [m.step for m in client.get_metric_history(result.run_id, "val/mae_uv")] == [4]
    assert 0 < result.metrics["pca/mae_uv"] < 60
    assert 0 < result.metrics["test_pca/mae_uv"] < 60
    assert logged.data.metrics["pca/pearson_r"] == result.metrics["pca/pearson_r"]
    pictures = client.list_artifacts(result.run_id, "traversals")
    assert len(pictures) == result.n_latents


def test_the_registered_model_is_the_encoder(trained, beats):
    result, _, uri = trained
    assert result.model_uri == "models:/ecg-vae/1"
    encoder = load_encoder("models:/ecg-vae@champion", uri)
    encoding = encoder.encode(beats)
    assert encoding.z.shape == encoding.z_sd.shape == (N, result.n_latents)
    np.testing.assert_allclose(encoding.z.std(axis=0), 1, atol=0.2)
    loaded = mlflow.pyfunc.load_model("models:/ecg-vae@candidate")
    np.testing.assert_allclose(loaded.predict(beats[:9]), encoding.z[:9], atol=1e-5)


def test_the_registered_model_has_a_card(trained):
    result, _, uri = trained
    version = mlflow.MlflowClient(uri).get_model_version("ecg-vae", str(result.version))
    assert f"gives {result.n_latents} latent factors" in version.description
    assert (
        f"| mean absolute error, µV | {result.metrics['test/mae_uv']:.1f} |" in version.description
    )
    assert "Not a medical device" in version.description


def test_pickled_encoder_gives_the_same_latents(trained, beats):
    threads = torch.get_num_threads()
    encoder = load_encoder(trained[0].model_uri, trained[2])
    sent = pickle.loads(pickle.dumps(encoder))
    torch.set_num_threads(threads)
    np.testing.assert_array_equal(sent.encode(beats[:20]).z, encoder.encode(beats[:20]).z)
    np.testing.assert_array_equal(sent.encode_pca(beats).z_sd, encoder.encode_pca(beats).z_sd)


def test_factors_have_the_stated_order_and_sign(trained):
    encoder = load_encoder(trained[0].model_uri, trained[2])
    assert sorted(encoder.kl, reverse=True) == encoder.kl
    for latent in range(encoder.n_active):
        down, up = independent_leads(encoder.traverse(latent, np.array([-0.5, 0.5]))).astype(float)
        assert ((up - down) ** 3).sum() > 0


def test_beats_come_back_from_their_latents(trained, beats):
    encoder = load_encoder(trained[0].model_uri, trained[2])
    for encoding, decode in (
        (encoder.encode(beats), encoder.decode),
        (encoder.encode_pca(beats), encoder.decode_pca),
    ):
        rebuilt = decode(encoding.z)
        assert rebuilt.shape == beats.shape
        assert np.abs(rebuilt - beats).mean() < 0.03
    assert encoder.encode_pca(beats).z.shape[1] == encoder.n_active


def test_no_participant_and_no_single_beat_is_in_mlflow(trained, table):
    hashes = pq.read_table(table)["participant_hash"].to_pylist()
    store = trained[1].parent / "store"
    for file in store.rglob("*"):
        if file.is_file() and file.suffix in {".json", ".db", ".yaml", ".txt"}:
            content = file.read_bytes()
            assert not any(str(value).encode() in content for value in hashes)


def test_a_damaged_model_is_refused(trained, tmp_path):
    encoder = load_encoder(trained[0].model_uri, trained[2])
    encoder.save(tmp_path)
    weights = tmp_path / "fold_0" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(DataError, match="damaged"):
        read_encoder(tmp_path)
    (tmp_path / "folds.json").write_text("{")
    with pytest.raises(DataError, match="damaged"):
        read_encoder(tmp_path)


def test_a_model_of_an_older_form_is_refused_in_one_sentence(trained, tmp_path):
    load_encoder(trained[0].model_uri, trained[2]).save(tmp_path)
    config = tmp_path / "fold_0" / "model.json"
    told = json.loads(config.read_text())
    del told["form"]
    config.write_text(json.dumps(told))
    with pytest.raises(DataError, match=r"have form 1.*train it again"):
        read_encoder(tmp_path)


def test_nothing_depends_on_the_people_of_the_test(folded, beats, table, tmp_path, mlflow_store):
    """Other beats of theirs: the same networks and factors, and other published figures."""
    result, _, uri = folded
    columns = pq.read_table(table)
    hashes = columns["participant_hash"].to_numpy()
    before = load_encoder(result.model_uri, uri)
    theirs = before.held_out(hashes)
    assert 0.02 < theirs.mean() < 0.25
    other = np.where(theirs[:, None, None], 2 * beats[:, :, ::-1], beats)
    signal = pa.array(list(other.reshape(N, -1)), pa.list_(pa.float32()))
    (tmp_path / "beats").mkdir()
    changed = pa.table({"participant_hash": hashes, "signal": signal})
    pq.write_table(changed, tmp_path / "beats" / "part.parquet", row_group_size=64)
    own = mlflow_store(tmp_path)
    again = run(str(tmp_path / "beats"), tmp_path / "run", own, FOLDED)
    after = load_encoder(again.model_uri, own)
    for one, two in zip(before.folds, after.folds, strict=True):
        first, second = load(one.weights), load(two.weights)
        for name, value in first.items():
            np.testing.assert_allclose(second[name], value, rtol=1e-4, atol=1e-5, err_msg=name)
    assert again.metrics["val/mae_uv"] == pytest.approx(result.metrics["val/mae_uv"], rel=1e-4)
    assert again.metrics["test/mae_uv"] > 1.5 * result.metrics["test/mae_uv"]


def test_a_second_model_is_the_candidate_and_the_seed_repeats_the_first(trained, table):
    result, folder, uri = trained
    second = run(table, folder.parent / "again", uri)
    assert second.version == 2
    assert second.metrics == pytest.approx(result.metrics, rel=1e-3)
    client = mlflow.MlflowClient(uri)
    assert client.get_model_version_by_alias("ecg-vae", "champion").version == 1
    assert client.get_model_version_by_alias("ecg-vae", "candidate").version == 2


def test_a_failed_run_is_marked_failed(table, tmp_path, mlflow_store):
    uri = mlflow_store(tmp_path)
    with pytest.raises(DataError, match="diverged"):
        run(table, tmp_path / "run", uri, Model(latents=2, channels=4, learning_rate=1e12))
    runs = mlflow.MlflowClient(uri).search_runs(["1"])
    assert [item.info.status for item in runs] == ["FAILED"]
    assert not (tmp_path / "run").exists()


def test_a_server_that_does_not_answer_is_reported_within_seconds(table, tmp_path, monkeypatch):
    monkeypatch.setattr(tracking, "PROBE_SECONDS", 1)
    with socket.socket() as listening:  # accepts, and never says a word
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        silent = f"http://user:secret@127.0.0.1:{listening.getsockname()[1]}"
        started = time.monotonic()
        with pytest.raises(InfrastructureError, match="does not answer") as caught:
            run(table, tmp_path, silent)
    assert time.monotonic() - started < 10
    assert "secret" not in str(caught.value)
    with pytest.raises(InfrastructureError, match="does not answer"):
        load_encoder("models:/ecg-vae/1", silent)  # now nobody listens there


def test_unknown_model_is_refused_by_name(trained):
    with pytest.raises(InfrastructureError, match="not found"):
        load_encoder("models:/no-such-model/1", trained[2])


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_missing_gpu_is_refused(table, tmp_path):
    with pytest.raises(InfrastructureError, match="GPU"):
        run(table, tmp_path, f"sqlite:///{tmp_path}/mlflow.db", Model(device="cuda"))


def test_the_kl_weight_rises_and_then_stays():
    weights = [kl_weight(SETTINGS, progress) for progress in (0, 0.15, 0.3, 1)]
    np.testing.assert_allclose(weights, [0, 0.25, 0.5, 0.5])


KILLED = """
import os, signal, sys
from models.training import checkpoint
from models.training.plan import Plan
from models.training.train import train
from ecg_spark.study import Model

checkpoint.SECONDS_APART = 0.0
saved = checkpoint.Checkpoints.save
def save(self, state, **how):
    saved(self, state, **how)
    if (state.fold, state.epoch) == (int(folds) - 1, 2):
        os.kill(os.getpid(), signal.SIGKILL)
checkpoint.Checkpoints.save = save
table, folder, uri, folds = sys.argv[1:]
settings = Model(latents=6, channels=4, epochs=4, batch_size=16, kl_weight=0.5, folds=folds)
train(Plan(table, settings, 3, "v1", uri, "test", f"{folder}.kept"), "ecg-vae", folder)
"""


def test_killed_training_resumes_in_the_same_run_with_the_same_losses(
    trained, table, tmp_path, other_python, mlflow_store
):
    """`kill -9` after the second epoch; the same losses, each once, as the run that was not."""
    uri, folder = mlflow_store(tmp_path), tmp_path / "run"
    killed = other_python("-c", KILLED, table, folder, uri, "1")
    assert killed.returncode == -signal.SIGKILL
    assert Path(f"{folder}.kept/fold_0.pt").is_file()
    client = mlflow.MlflowClient(uri)
    (before,) = client.search_runs(["1"])
    assert before.info.status == "RUNNING"
    result = run(table, folder, uri)
    assert result.run_id == before.info.run_id
    assert client.get_run(result.run_id).info.status == "FINISHED"
    whole = read_history(trained[0].run_id, trained[2])
    for entry, expected in zip(read_history(result.run_id, uri), whole, strict=True):
        assert entry == pytest.approx(expected, rel=1e-4)
    steps = [m.step for m in client.get_metric_history(result.run_id, "train/loss")]
    assert sorted(steps) == [1, 2, 3, 4]
    assert result.metrics == pytest.approx(trained[0].metrics, rel=1e-3)
    assert not Path(f"{folder}.kept").exists()


def test_training_with_other_settings_marks_the_killed_run(
    table, tmp_path, other_python, mlflow_store
):
    uri, folder = mlflow_store(tmp_path), tmp_path / "run"
    other_python("-c", KILLED, table, folder, uri, "1")
    run(table, folder, uri, TINY)
    runs = mlflow.MlflowClient(uri).search_runs(["1"], order_by=["attributes.start_time"])
    assert [item.info.status for item in runs] == ["KILLED", "FINISHED"]


FOLDED = SETTINGS.model_copy(update={"folds": 2})


@pytest.fixture(scope="module")
def folded(table, tmp_path_factory, other_python, mlflow_store):
    """A run with two folds that was killed in the second and went on: result, folder, store."""
    folder = tmp_path_factory.mktemp("folded")
    uri = mlflow_store(folder)
    killed = other_python("-c", KILLED, table, folder / "run", uri, "2")
    assert killed.returncode == -signal.SIGKILL
    return run(table, folder / "run", uri, FOLDED), folder / "run", uri


def test_folds_network_does_not_depend_on_its_held_out_participants(
    folded, beats, table, tmp_path, mlflow_store
):
    """Other beats of the second fold's people: its network is the same, the first one is not."""
    columns = pq.read_table(table)
    hashes = columns["participant_hash"].to_numpy()
    theirs = fold_of(hashes, 3, 2) == 1
    assert 0.3 < theirs.mean() < 0.7
    other = np.where(theirs[:, None, None], 2 * beats[:, :, ::-1], beats)
    signal = pa.array(list(other.reshape(N, -1)), pa.list_(pa.float32()))
    (tmp_path / "beats").mkdir()
    changed = pa.table({"participant_hash": hashes, "signal": signal})
    pq.write_table(changed, tmp_path / "beats" / "part.parquet", row_group_size=64)
    uri = mlflow_store(tmp_path)
    result = run(str(tmp_path / "beats"), tmp_path / "run", uri, FOLDED)
    before, after = (
        load_encoder(folded[0].model_uri, folded[2]),
        load_encoder(result.model_uri, uri),
    )
    first, second = ([load(item.folds[k].weights) for item in (before, after)] for k in (0, 1))
    for name in [name for name in second[0] if name.startswith("vae.")]:
        np.testing.assert_array_equal(second[0][name], second[1][name])
    assert any((first[0][name] != first[1][name]).any() for name in first[0])


def test_each_participant_is_encoded_by_the_network_of_their_fold(folded, beats, table):
    encoder = load_encoder(folded[0].model_uri, folded[2])
    hashes = pq.read_table(table)["participant_hash"].to_numpy()
    folds = encoder.fold_of(hashes)
    z, alone = encoder.encode(beats, hashes).z, [own.encode(beats) for own in encoder.folds]
    for k in (0, 1):
        np.testing.assert_allclose(z[folds == k], alone[k].z[folds == k], atol=1e-4)
        with_own = encoder.decode(z, hashes)[folds == k]
        np.testing.assert_allclose(with_own, encoder.folds[k].decode(z)[folds == k], atol=1e-5)
    # Of somebody new, the mean; also as MLflow loads the model.
    new = encoder.encode(beats)
    np.testing.assert_allclose(new.z, (alone[0].z + alone[1].z) / 2, atol=1e-6)
    np.testing.assert_allclose(new.z_sd, (alone[0].z_sd + alone[1].z_sd) / 2, atol=1e-6)
    mlflow.set_tracking_uri(folded[2])
    mlflow.set_registry_uri(folded[2])
    loaded = mlflow.pyfunc.load_model("models:/ecg-vae@champion")
    np.testing.assert_allclose(loaded.predict(beats[:9]), new.z[:9], atol=1e-5)


def test_the_champion_is_a_spark_udf(folded, beats, spark):
    """As MLflow makes it, without this project's steps: a column of arrays to latents."""
    result, _, uri = folded
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    udf = mlflow.pyfunc.spark_udf(
        spark, "models:/ecg-vae@champion", result_type="array<double>", env_manager="local"
    )
    rows = [(k, beat.ravel().tolist()) for k, beat in enumerate(beats[:20])]
    table = spark.createDataFrame(rows, "k int, signal array<float>").repartition(2)
    found = table.select("k", udf("signal").alias("z")).toPandas().sort_values("k")
    expected = load_encoder(result.model_uri, uri).encode(beats[:20]).z
    np.testing.assert_allclose(np.stack(found["z"]), expected, atol=1e-4)


def test_factors_of_the_folds_are_the_same(folded, beats, table):
    """On the people by whom they are turned: all but those of the test."""
    result, _, uri = folded
    encoder = load_encoder(result.model_uri, uri)
    beats = beats[~encoder.held_out(pq.read_table(table)["participant_hash"].to_numpy())]
    first, second = (own.encode(beats) for own in encoder.folds)
    r = np.corrcoef(first.z.T, second.z.T)[: encoder.n_active, encoder.n_active :]
    assert (np.diag(r) > 0.3).all()
    np.testing.assert_allclose(np.diag(r), encoder.match, atol=1e-3)
    assert result.metrics["folds/mean_abs_r"] == pytest.approx(np.diag(r).mean(), abs=1e-3)
    peer = np.corrcoef(*(own.encode_pca(beats).z.T for own in encoder.folds))
    assert (np.diag(peer[: encoder.n_active, encoder.n_active :]) > 0.8).all()
    for encode, decode in (("encode", "decode"), ("encode_pca", "decode_pca")):
        own = encoder.folds[1]
        rebuilt = getattr(own, decode)(getattr(own, encode)(beats).z)
        assert np.abs(rebuilt - beats).mean() < 0.03


def keys(found):
    """The metrics of a run; those of the machine come with every ten seconds that it lasts."""
    return {name for name in found.data.metrics if not name.startswith("system/")}


def test_runs_of_the_folds_are_nested_and_have_the_models_metrics(folded, trained, table):
    result, _, uri = folded
    client = mlflow.MlflowClient(uri)
    whole = client.get_run(result.run_id)
    children = client.search_runs(
        ["1"], f"tags.`mlflow.parentRunId` = '{result.run_id}'", order_by=["start_time"]
    )
    assert [child.info.run_name for child in children] == ["fold 0", "fold 1"]
    assert {child.info.status for child in (whole, *children)} == {"FINISHED"}
    alone = mlflow.MlflowClient(trained[2]).get_run(trained[0].run_id)
    for child in children:
        assert keys(child) == keys(whole) == keys(alone)
        steps = [m.step for m in client.get_metric_history(child.info.run_id, "train/loss")]
        assert sorted(steps) == [1, 2, 3, 4]
    hashes = pq.read_table(table)["participant_hash"].to_numpy()
    tested = load_encoder(result.model_uri, uri).held_out(hashes)
    sizes = [int(child.data.params["beats_tested"]) for child in children]
    assert sum(sizes) == int(whole.data.params["beats_tested"]) == tested.sum() > 0
    mean = np.average([child.data.metrics["test/mae_uv"] for child in children], weights=sizes)
    assert whole.data.metrics["test/mae_uv"] == pytest.approx(mean, rel=1e-4)
    version = client.get_model_version("ecg-vae", "1")
    assert "holds 2 networks" in version.description
    assert not Path(f"{folded[1]}.kept").exists()


def test_damaged_checkpoint_is_ignored(table, tmp_path, mlflow_store):
    kept = Path(f"{tmp_path}/run.kept/fold_0.pt")
    kept.parent.mkdir()
    kept.write_bytes(b"PK\x03\x04 not a checkpoint")
    result = run(table, tmp_path / "run", mlflow_store(tmp_path), TINY)
    assert result.version == 1


def test_metrics_are_sent_after_the_mlflow_server_returns(trained, monkeypatch, caplog):
    """A server that dies, and comes back."""
    monkeypatch.setattr(tracking, "PAUSE_SECONDS", 0.0)
    result, _, uri = trained
    with tracking.tracked(uri):
        history: list[dict[str, float]] = []
        curves = tracking.EpochMetricLogger(result.run_id, history)
        history.append({"epoch": 1, "late": 1.0})
        mlflow.set_tracking_uri("http://127.0.0.1:9")
        curves.send()
        assert "MLflow is away" in caplog.text
        history.append({"epoch": 2, "late": 2.0})
        mlflow.set_tracking_uri(uri)
        curves.send()
        late = mlflow.MlflowClient(uri).get_metric_history(result.run_id, "late")
    assert [(metric.step, metric.value) for metric in late] == [(1, 1.0), (2, 2.0)]


def test_end_of_training_waits_for_the_mlflow_server(trained, monkeypatch, caplog):
    result, _, uri = trained
    monkeypatch.setattr(tracking.time, "sleep", lambda seconds: mlflow.set_tracking_uri(uri))
    with tracking.tracked(uri):
        mlflow.set_tracking_uri("http://127.0.0.1:9")
        curves = tracking.EpochMetricLogger(result.run_id, history := [])
        history.append({"epoch": 3, "last": 3.0})
        curves.finish()
        assert "waiting for it" in caplog.text
        last = mlflow.MlflowClient(uri).get_metric_history(result.run_id, "last")
        assert [metric.value for metric in last] == [3.0]
        history.append({"epoch": 4, "a|name": 4.0})
        with pytest.raises(mlflow.MlflowException, match="Invalid"):
            curves.finish()


def test_too_little_memory_is_one_sentence():
    with pytest.raises(InfrastructureError, match=r"lower model\.batch_size"), enough_memory():
        torch.empty(2**60)
    with pytest.raises(RuntimeError, match="size"), enough_memory():
        torch.zeros(3) + torch.zeros(4)


def test_a_gpu_that_goes_away_is_one_sentence():
    with pytest.raises(InfrastructureError, match="nvidia-smi, then run the same"), enough_memory():
        raise torch.AcceleratorError("CUDA error: device lost\nCUDA kernel errors might be ...")
