"""Oracles that hold where floating-point numbers underflow."""

import mpmath


def tail_of_f(f, df1, df2):
    """-log10 of the upper tail of the F distribution."""
    with mpmath.workdps(60):
        x = mpmath.mpf(df2) / (mpmath.mpf(df2) + mpmath.mpf(df1) * mpmath.mpf(f))
        tail = mpmath.betainc(mpmath.mpf(df2) / 2, mpmath.mpf(df1) / 2, 0, x, regularized=True)
        return float(-mpmath.log10(tail))
