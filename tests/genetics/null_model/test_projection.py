"""What covariates leave, against least squares."""

import numpy as np
import pytest

from ecg_spark.genetics.null_model.projection import residuals


def test_residuals_agree_with_least_squares():
    rng = np.random.default_rng(0)
    y, c = rng.normal(size=(40, 3)), rng.normal(size=(40, 2))
    design = np.column_stack([np.ones(40), c])
    expected = y - design @ np.linalg.lstsq(design, y, rcond=None)[0]
    assert residuals(y, c) == pytest.approx(expected, abs=1e-12)
