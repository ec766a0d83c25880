"""What the rooms' tests share."""

import numpy as np
import pytest


@pytest.fixture
def beats():
    """Smooth random beats, [60, 8, 600] in mV."""
    rng = np.random.default_rng(3)
    basis = np.sin(np.outer(np.arange(1, 9), np.linspace(0, np.pi, 600)))
    return (rng.standard_normal((60, 8, 8)) @ basis * 0.2).astype(np.float32)
