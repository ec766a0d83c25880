"""The leads that follow from others, against the electrodes by which leads are defined."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from ecg_spark.ecg import INDEPENDENT_ROWS, LEADS, derive_leads
from ecg_spark.ecg.recording import LIMB_LEADS, limb_weights


def by_definition(right, left, foot, chest):
    """The twelve leads of potentials at the right arm, left arm, left leg and six on the chest."""
    wilson = (right + left + foot) / 3
    limb = {
        "I": left - right,
        "II": foot - right,
        "III": foot - left,
        "aVR": right - (left + foot) / 2,
        "aVL": left - (right + foot) / 2,
        "aVF": foot - (right + left) / 2,
    }
    return limb | {f"V{k + 1}": potential - wilson for k, potential in enumerate(chest)}


POTENTIALS = arrays.arrays(np.float64, (9, 5), elements=st.floats(-5, 5))


@given(POTENTIALS)
def test_derived_leads_are_those_of_the_electrodes(electrodes):
    right, left, foot, *chest = electrodes
    leads = by_definition(right, left, foot, chest)
    expected = np.stack([leads[name] for name in LEADS])
    np.testing.assert_allclose(derive_leads(expected[INDEPENDENT_ROWS]), expected, atol=1e-12)


@given(POTENTIALS, st.sampled_from(sorted(permutations(LIMB_LEADS, 3))))
def test_any_limb_lead_follows_from_any_two_others(electrodes, names):
    right, left, foot, *chest = electrodes
    leads = by_definition(right, left, foot, chest)
    lead, first, second = names
    one, two = limb_weights(lead, first, second)
    np.testing.assert_allclose(one * leads[first] + two * leads[second], leads[lead], atol=1e-12)


@pytest.mark.parametrize("dtype", [np.int16, np.float32, np.float64])
def test_derived_leads_keep_halves_shape_and_type(dtype):
    independent = np.arange(2 * 3 * 8 * 4).reshape(2, 3, 8, 4).astype(dtype)
    twelve = derive_leads(independent)
    assert twelve.shape == (2, 3, 12, 4)
    assert twelve.dtype == np.result_type(dtype, np.float32)
    np.testing.assert_array_equal(twelve[..., INDEPENDENT_ROWS, :], independent)
    one, two = independent[..., 0, :].astype(float), independent[..., 1, :].astype(float)
    np.testing.assert_array_equal(twelve[..., LEADS.index("aVL"), :], one - two / 2)


def test_a_missing_sample_of_one_lead_is_missing_only_where_it_is_needed():
    independent = np.ones((8, 3))
    independent[0, 1] = independent[5, 2] = np.nan
    missing = np.isnan(derive_leads(independent))
    assert [LEADS[k] for k in np.flatnonzero(missing[:, 1])] == ["I", "III", "aVR", "aVL", "aVF"]
    assert [LEADS[k] for k in np.flatnonzero(missing[:, 2])] == ["V4"]
