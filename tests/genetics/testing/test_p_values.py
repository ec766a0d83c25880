"""p-values in log space against mpmath."""

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecg_spark.genetics.testing.p_values import (
    neg_log10_p_of_chi2,
    neg_log10_p_of_f,
    neg_log10_p_of_t,
    neg_log10_p_of_z,
)
from tests.builders.exact import tail_of_f


@settings(max_examples=40)
@given(st.floats(1e-3, 300), st.integers(1, 40), st.sampled_from([3, 40, 900]))
def test_the_tail_of_f_agrees_with_mpmath_where_it_underflows_too(f, df1, df2):
    expected = tail_of_f(f, df1, df2)
    assert float(neg_log10_p_of_f(f, df1, df2)) == pytest.approx(expected, rel=1e-8, abs=1e-12)


@pytest.mark.parametrize(
    ("f", "df1", "df2"), [(200.0, 20, 1_500), (0.5, 20, 350), (1e-3, 3, 50), (1.2e3, 2, 31_000)]
)
def test_the_tail_of_f_of_many_people_does_not_underflow(f, df1, df2):
    expected = tail_of_f(f, df1, df2)
    assert float(neg_log10_p_of_f(f, df1, df2)) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("t", "df"), [(60.0, 1_500), (0.0, 100), (3.0, 8), (-38.0, 30_000)])
def test_the_tails_of_t_of_many_people_do_not_underflow(t, df):
    expected = tail_of_f(t * t, 1, df)
    assert float(neg_log10_p_of_t(t, df)) == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert expected > 400 or t != 60.0


@pytest.mark.parametrize("t", [0.0, 0.3, -2.0, 5.5, 37.0, 60.0, -150.0])
@pytest.mark.parametrize("df", [2, 25, 3_100])
def test_the_tails_of_t_agree_with_mpmath(t, df):
    expected = tail_of_f(t * t, 1, df)
    assert float(neg_log10_p_of_t(t, df)) == pytest.approx(expected, rel=1e-8, abs=1e-12)


def test_a_missing_statistic_has_no_p():
    assert np.isnan(neg_log10_p_of_t([np.nan, 1.0], 10)).tolist() == [True, False]


@pytest.mark.parametrize("z", [0.0, 1.0, -5.0, 60.0])
def test_the_tails_of_z_do_not_underflow(z):
    with mpmath.workdps(60):
        expected = float(-mpmath.log10(mpmath.erfc(abs(mpmath.mpf(z)) / mpmath.sqrt(2))))
    assert float(neg_log10_p_of_z(z)) == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(
    ("x", "df"), [(0.0, 1), (3.0, 1), (200.0, 2), (1_400.0, 3), (5_000.0, 49), (20_000.0, 1)]
)
def test_the_tail_of_chi_squared_does_not_underflow(x, df):
    with mpmath.workdps(60):
        tail = mpmath.gammainc(mpmath.mpf(df) / 2, mpmath.mpf(x) / 2, regularized=True)
        expected = float(-mpmath.log10(tail))
    assert float(neg_log10_p_of_chi2(x, df)) == pytest.approx(expected, rel=1e-9, abs=1e-12)
