"""The linear peer against a full singular value decomposition."""

import numpy as np
import pytest

from models.network.pca import fit_components


def test_components_are_those_of_a_full_svd(beats):
    components = fit_components(beats, 6)
    flat = beats.reshape(60, -1).astype(np.float64)
    _, singular, axes = np.linalg.svd(flat - flat.mean(axis=0), full_matrices=False)
    np.testing.assert_allclose(components.sd, singular[:6] / np.sqrt(60), rtol=1e-4)
    np.testing.assert_allclose(np.abs(components.axes @ axes[:6].T), np.eye(6), atol=1e-3)
    scores = components.scores(beats)
    np.testing.assert_allclose(scores.std(axis=0), 1, rtol=1e-3)
    left = flat - components.rebuild(scores)
    assert components.noise_sd == pytest.approx(np.sqrt((left**2).mean()), rel=1e-3)
