"""The regression on packed calls against statsmodels, SciPy's exact test and plain counting."""

from math import comb

import numpy as np
import pytest
import statsmodels.api
from hypothesis import given, settings
from hypothesis import strategies as st

from ecg_spark.genetics.genotypes.packed import Calls
from ecg_spark.genetics.genotypes.thresholds import Tally, excess_of_heterozygotes
from ecg_spark.genetics.testing import kernel
from ecg_spark.genetics.testing.kernel import basis_of_pattern, pattern, regress, repacked, tally
from tests.builders.genetics_data import write_plink


def _packed(folder, calls):
    samples = [f"S{i}" for i in range(calls.shape[1])]
    path = write_plink(folder / "set", calls, samples)
    return Calls(path, calls.shape[1]).packed(np.arange(len(calls)))


def _expected(calls, known, y, covariates):
    x = np.where(calls == 3, np.nan, calls.astype(float))[known]
    x = np.where(np.isnan(x), np.nanmean(x), x)
    design = np.column_stack([x, np.ones(len(x)), covariates[known]])
    fit = statsmodels.api.OLS(y[known], design).fit()
    return [fit.params[0], fit.bse[0], fit.tvalues[0], x.sum()]


@settings(max_examples=15)
@given(
    seed=st.integers(0, 10_000),
    people=st.integers(30, 90),
    missing=st.sampled_from([0.0, 0.02, 0.3]),
    patterns=st.integers(1, 4),
    batch=st.sampled_from([1_000, 40_000, 32 << 20]),
)
def test_every_test_agrees_with_statsmodels_with_missing_calls_and_patterns(
    tmp_path_factory, seed, people, missing, patterns, batch
):
    rng = np.random.default_rng(seed)
    everybody = people + 17
    frequency = rng.choice([0.1, 0.5, 0.95], 8)
    calls = rng.binomial(2, frequency[:, None], (8, everybody)).astype(np.int8)
    calls[rng.random(calls.shape) < missing] = 3
    calls[3] = 1
    rows = _packed(tmp_path_factory.mktemp("set"), calls)
    samples = rng.permutation(everybody)[:people]
    covariates = rng.normal(size=(people, 3))
    wanted = []
    for number in range(patterns):
        known = np.ones(people, bool) if number == 0 else rng.random(people) < 0.8
        y = rng.normal(size=(people, 2)) + covariates[:, :1]
        wanted.append((known, y))
    own = [pattern([0, 1], known, basis_of_pattern(known, covariates), y) for known, y in wanted]
    before = kernel.BATCH_BYTES
    kernel.BATCH_BYTES = batch  # what is in memory at one time changes no result
    try:
        found = regress(repacked(rows, samples), own)
    finally:
        kernel.BATCH_BYTES = before
    for one, (known, y) in zip(found, wanted, strict=True):
        assert one.n == known.sum()
        for j, row in enumerate(calls[:, samples]):
            seen = row[known & (row != 3)]
            counts = (one.tally.hom_ref[j], one.tally.het[j], one.tally.hom_alt[j])
            assert counts == tuple((seen == code).sum() for code in (0, 1, 2))
            if len(set(seen)) < 2:
                assert np.isnan(one.beta[j]).all()
                assert np.isnan(one.t[j]).all()
                continue
            for k in range(2):
                numbers = [one.beta[j, k], one.se[j, k], one.t[j, k], one.sum_x[j]]
                expected = _expected(row, known, y[:, k], covariates)
                assert numbers == pytest.approx(expected, rel=1e-8, abs=1e-10)


def test_calls_are_counted_among_those_who_are_known(tmp_path):
    rng = np.random.default_rng(1)
    calls = rng.integers(0, 4, (9, 1_003)).astype(np.int8)
    known = rng.random(1_003) < 0.4
    found = tally(_packed(tmp_path, calls), known)
    for code, counts in ((0, found.hom_ref), (1, found.het), (2, found.hom_alt)):
        assert counts.tolist() == (calls[:, known] == code).sum(axis=1).tolist()


@settings(max_examples=40)
@given(st.integers(0, 40), st.integers(0, 60), st.integers(0, 40))
def test_the_excess_of_heterozygotes_is_that_of_the_exact_distribution(hom_ref, het, hom_alt):
    n = hom_ref + het + hom_alt
    found = excess_of_heterozygotes(
        Tally(*(np.array([one]) for one in (hom_ref, het, hom_alt)), n)
    )[0]
    # Alleles dealt at random into pairs: pairs of unlike ones, by counting all ways.
    rare = min(2 * hom_alt + het, 2 * hom_ref + het)
    weights = {
        h: comb(n, (rare - h) // 2) * comb(n - (rare - h) // 2, h) * 2**h
        for h in range(rare % 2, rare + 1, 2)
    }
    total = sum(weights.values())
    expected = (weights[het] / 2 + sum(w for h, w in weights.items() if h > het)) / total
    assert found == pytest.approx(expected, rel=1e-9)
