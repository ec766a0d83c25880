"""Epochs of training: repeatable, ended in time, compiled whole."""

import numpy as np
import pytest
import torch

from ecg_spark.study import Model
from models.data.loader import Resident
from models.encoding.evaluation import evaluate
from models.network.vae import VAE
from models.training.fitting import Trainer, compiled

CPU = torch.device("cpu")


def fitting(beats, **settings):
    """A fitting of 48 beats, and twelve to be held out."""
    training, held_out = (Resident(torch.from_numpy(part), 1) for part in np.split(beats, [48]))
    chosen = Model(**{"latents": 3, "channels": 4, "epochs": 3, "batch_size": 16} | settings)
    return Trainer(training, chosen, 1, CPU, None), held_out


def test_training_on_a_cpu_repeats_bit_for_bit(beats):
    histories, weights = [], []
    for _ in range(2):
        one, held_out = fitting(beats)
        histories.append(list(one.epochs(held_out)))
        weights.append(one.result().state_dict())
    assert histories[0] == histories[1]
    for name, value in weights[0].items():
        assert torch.equal(value, weights[1][name])


def test_training_stops_without_a_better_elbo_and_keeps_the_best_weights(beats):
    other = np.concatenate([beats[:48] * 0.01, beats[48:]])  # the noise learned is too small
    one, held_out = fitting(other, epochs=50, patience=2)
    losses = [metrics["val/loss"] for metrics in one.epochs(held_out)]
    assert len(losses) == np.argmin(losses) + 1 + 2 < 10
    kept = evaluate(one.result(), held_out, one.settings)
    assert kept["val/loss"] == pytest.approx(min(losses), rel=1e-7)
    patient, held_out = fitting(other, epochs=5, patience=None)
    assert len(list(patient.epochs(held_out))) == 5


def test_the_network_can_be_compiled_whole(beats):
    """No part of it leaves the graph that torch.compile captures."""
    torch.manual_seed(1)
    network, x = VAE(4, 4), torch.from_numpy(beats)
    network.start_from(beats)
    assert compiled(network.encode, CPU) == network.encode
    encode, decode = (
        torch.compile(part, backend="eager", fullgraph=True)
        for part in (network.encode, network.decode)
    )
    z = network.encode(x)[0]
    torch.testing.assert_close(encode(x)[0], z)
    torch.testing.assert_close(decode(z), network.decode(z))
