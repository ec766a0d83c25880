"""The loss against torch.distributions."""

import numpy as np
import pytest
import torch
from torch.distributions import Normal
from torch.distributions import kl_divergence as torch_kl

from models.network.loss import draw, gaussian_nll, kl_divergence


def test_kl_and_likelihood_are_those_of_torch_distributions():
    torch.manual_seed(1)
    mean, log_variance = torch.randn(7, 5), torch.randn(7, 5)
    expected = torch_kl(Normal(mean, (log_variance / 2).exp()), Normal(0.0, 1.0))
    torch.testing.assert_close(kl_divergence(mean, log_variance), expected)
    x, y, log_sd = torch.randn(3, 8, 600), torch.randn(3, 8, 600), torch.tensor(-1.3)
    expected = -Normal(y, log_sd.exp()).log_prob(x).sum(dim=(1, 2))
    torch.testing.assert_close(gaussian_nll(x, y, log_sd), expected, rtol=1e-4, atol=1e-2)


def test_draws_have_the_posterior_s_mean_and_spread():
    torch.manual_seed(1)
    log_variance = torch.full((200_000,), np.log(0.09))
    drawn = draw(torch.full((200_000,), 2.0), log_variance, torch.randn(200_000))
    assert drawn.mean() == pytest.approx(2.0, abs=0.01)
    assert drawn.std() == pytest.approx(0.3, abs=0.01)
