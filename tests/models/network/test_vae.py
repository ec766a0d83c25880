"""The network against independent computations."""

import numpy as np
import torch

from models.network.vae import VAE, resample

CPU = torch.device("cpu")


def test_an_untrained_network_is_a_pca(beats):
    torch.manual_seed(1)
    network = VAE(4, 4)
    network.start_from(beats)
    for last in (network.curved[-1], network.warp):
        torch.nn.init.zeros_(last.weight)
    with torch.inference_mode():
        mean, _ = network.encode(torch.from_numpy(beats))
        rebuilt = network.decode(mean).numpy()
    flat = (beats - beats.mean(axis=0)).reshape(len(beats), -1).astype(np.float64)
    left, singular, axes = np.linalg.svd(flat, full_matrices=False)
    np.testing.assert_allclose(
        np.abs(mean.numpy()), np.abs(left[:, :4]) * np.sqrt(len(beats)), atol=5e-3
    )
    expected = ((left[:, :4] * singular[:4]) @ axes[:4]).reshape(beats.shape) + beats.mean(axis=0)
    np.testing.assert_allclose(rebuilt, expected, atol=2e-3)


def test_a_warp_reads_the_beat_at_the_shifted_time():
    ramp = torch.arange(600.0).expand(2, 8, 600)
    shift = torch.stack([torch.full((600,), 2.5), torch.linspace(-3, 3, 600)])
    warped = resample(ramp, shift)
    inside = slice(5, 590)
    expected = (torch.arange(600.0) + shift)[:, None].expand(2, 8, 600)
    torch.testing.assert_close(warped[..., inside], expected[..., inside])
    torch.testing.assert_close(resample(ramp, torch.zeros(2, 600))[..., :-1], ramp[..., :-1])
    assert torch.isfinite(resample(ramp, torch.full((2, 600), 1e6))).all()


def test_mixed_precision_computes_millivolts_in_full_precision(beats):
    """As on a GPU, on a CPU: the scores and the decoder stay in float32, the rest is near."""
    torch.manual_seed(1)
    network, x = VAE(4, 4), torch.from_numpy(beats)
    network.start_from(beats)
    whole, _ = network.encode(x)
    with torch.autocast("cpu", torch.bfloat16):
        half, log_variance = network.encode(x)
    assert half.dtype == log_variance.dtype == torch.float32
    assert 0 < (half - whole).abs().max() < 0.02
    torch.nn.init.zeros_(network.curved[-1].weight)
    straight, _ = network.encode(x)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(network.encode(x)[0], straight, rtol=0, atol=0)
