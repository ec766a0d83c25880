"""The regression on calls and dosages against statsmodels and plain counting."""

from dataclasses import fields
from math import comb

import numpy as np
import pyarrow as pa
import pytest
import statsmodels.api
from hypothesis import given, settings
from hypothesis import strategies as st

from ecg_spark.genetics.genotypes.parts import Batch
from ecg_spark.genetics.genotypes.rows import SCALE, calls_of, encode, pack
from ecg_spark.genetics.genotypes.thresholds import (
    excess_of_heterozygotes,
    first_failed,
    of_calls,
    tallies,
    tally,
)
from ecg_spark.genetics.testing import kernel
from ecg_spark.genetics.testing.kernel import basis_of_pattern, pattern, regress_batch
from ecg_spark.study import Genotypes


def _expected(values, known, y, covariates):
    x = values[known]
    x = np.where(np.isnan(x), np.nanmean(x), x)
    design = np.column_stack([x, np.ones(len(x)), covariates[known]])
    fit = statsmodels.api.OLS(y[known], design).fit()
    return [fit.params[0], fit.bse[0], fit.tvalues[0], x.sum()]


def _batch(values, dosed):
    """A batch of dosages, NaN where missing, of which those that are not `dosed` are calls."""
    dosages = encode(values)
    return Batch(pa.table({}), pack(calls_of(dosages)), dosed, dosages[dosed])


@settings(max_examples=15)
@given(
    seed=st.integers(0, 10_000),
    people=st.integers(30, 90),
    missing=st.sampled_from([0.0, 0.02, 0.3]),
    patterns=st.integers(1, 4),
    batch=st.sampled_from([1_000, 40_000, 32 << 20]),
    dosed=st.sets(st.integers(0, 7)),
)
def test_every_test_agrees_with_statsmodels_with_missing_genotypes_and_patterns(
    seed, people, missing, patterns, batch, dosed
):
    rng = np.random.default_rng(seed)
    everybody = people + 17
    frequency = rng.choice([0.1, 0.5, 0.95], 8)
    values = rng.binomial(2, frequency[:, None], (8, everybody)).astype(float)
    dosed = np.array(sorted(dosed), np.int64)
    spread = rng.choice([0.02, 0.3, 1.0], (len(dosed), 1)) * rng.random((len(dosed), everybody))
    values[dosed] += spread * (1 - values[dosed])
    values = np.rint(values * SCALE) / SCALE
    values[rng.random(values.shape) < missing] = np.nan
    values[3] = values[3, 0]
    samples = rng.permutation(everybody)[:people]
    covariates = rng.normal(size=(people, 3))
    wanted = []
    for number in range(patterns):
        known = np.ones(people, bool) if number == 0 else rng.random(people) < 0.8
        y = rng.normal(size=(people, 2)) + covariates[:, :1]
        wanted.append((known, y))
    own = [
        pattern([0, 1], known, basis_of_pattern(known, covariates), y, known) for known, y in wanted
    ]
    before = kernel.BATCH_BYTES
    kernel.BATCH_BYTES = batch  # what is in memory at one time changes no result
    try:
        found = regress_batch(_batch(values, dosed), own, samples)
    finally:
        kernel.BATCH_BYTES = before
    for one, (known, y) in zip(found, wanted, strict=True):
        assert one.n == known.sum()
        for j, row in enumerate(values[:, samples]):
            seen = row[known & ~np.isnan(row)]
            assert one.tally.known[j] == len(seen)
            counts = (one.tally.hom_ref[j], one.tally.het[j], one.tally.hom_alt[j])
            assert counts == tuple((abs(seen - code) <= 0.1).sum() for code in (0, 1, 2))
            assert one.tally.varies[j] == (len(set(seen)) > 1)
            if len(set(seen)) < 2:
                assert np.isnan(one.beta[j]).all()
                assert np.isnan(one.t[j]).all()
                continue
            for k in range(2):
                numbers = [one.beta[j, k], one.se[j, k], one.t[j, k], one.sum_x[j]]
                expected = _expected(row, known, y[:, k], covariates)
                assert numbers == pytest.approx(expected, rel=1e-8, abs=1e-10)


def test_calls_are_counted_among_those_who_are_known():
    rng = np.random.default_rng(1)
    calls = rng.integers(0, 4, (9, 1_003)).astype(np.int8)
    known = rng.random(1_003) < 0.4
    found = tally(pack(calls), known)
    for code, counts in ((0, found.hom_ref), (1, found.het), (2, found.hom_alt)):
        assert counts.tolist() == (calls[:, known] == code).sum(axis=1).tolist()


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.sampled_from([0.0, 0.1, 1.0]))
def test_calls_count_the_same_as_calls_and_as_dosages(seed, missing):
    rng = np.random.default_rng(seed)
    values = rng.binomial(2, rng.choice([0, 0.3, 1], 6)[:, None], (6, 41)).astype(float)
    values[rng.random(values.shape) < missing] = np.nan
    known = rng.random(41) < 0.7
    dosages = encode(values)
    found, expected = tally(dosages, known), tally(pack(calls_of(dosages)), known)
    assert found.people == expected.people
    for field in fields(found)[1:]:
        name = field.name
        assert getattr(found, name).tolist() == getattr(expected, name).tolist(), name


@settings(max_examples=60)
@given(st.integers(0, 10_000), st.sampled_from([0.0, 0.1, 1.0]), st.sampled_from([0.0, 0.1, 0.7]))
def test_groups_that_share_people_are_counted_as_each_by_itself(seed, missing, lacking):
    rng = np.random.default_rng(seed)
    values = rng.binomial(2, rng.choice([0, 0.3, 1], 6)[:, None], (6, 41)).astype(float)
    values[4] = rng.uniform(0, 2, 41)
    values[5] = rng.uniform(0, 1.9)
    values[5, rng.integers(41)] += 1 / 16_384
    values[rng.random(values.shape) < missing] = np.nan
    groups = [rng.random(41) >= lacking for _ in range(3)] + [np.zeros(41, bool)]
    rows = encode(values)
    for found, known in zip(tallies(rows, groups), groups, strict=True):
        expected = tally(rows, known)
        assert found.people == expected.people
        for field in fields(found)[1:]:
            name = field.name
            assert getattr(found, name).tolist() == getattr(expected, name).tolist(), name


def test_a_variant_that_varies_only_as_a_covariate_does_has_no_result():
    rng = np.random.default_rng(2)
    x = rng.integers(0, 3, 60).astype(float)
    values = np.stack([x, np.where(x == 2, 1.5, x), rng.uniform(0, 2, 60)])
    covariates = np.column_stack([values[0] * 0.7 - 1, rng.normal(size=60), values[1]])
    known = np.ones(60, bool)
    y = rng.normal(size=(60, 1))
    own = pattern([0], known, basis_of_pattern(known, covariates), y, known)
    (found,) = regress_batch(_batch(values, np.array([1, 2])), [own], None)
    for numbers in (found.beta, found.se, found.t):
        assert np.isnan(numbers[:, 0]).tolist() == [True, True, False]


@settings(max_examples=40)
@given(st.integers(0, 40), st.integers(0, 60), st.integers(0, 40))
def test_the_excess_of_heterozygotes_is_that_of_the_exact_distribution(hom_ref, het, hom_alt):
    n = hom_ref + het + hom_alt
    found = excess_of_heterozygotes(
        of_calls(*(np.array([one]) for one in (hom_ref, het, hom_alt)), n)
    )[0]
    # Alleles dealt at random into pairs: pairs of unlike ones, by counting all ways.
    rare = min(2 * hom_alt + het, 2 * hom_ref + het)
    weights = {
        h: comb(n, (rare - h) // 2) * comb(n - (rare - h) // 2, h) * 2**h
        for h in range(rare % 2, rare + 1, 2)
    }
    total = sum(weights.values())
    expected = (weights[het] / 2 + sum(w for h, w in weights.items() if h > het)) / total
    assert 10**-found == pytest.approx(expected, rel=1e-9)


def test_no_excess_of_heterozygotes_is_too_large_for_a_number():
    counts = of_calls(*(np.array([one, 5]) for one in (10, 400_000, 10)), 400_020)
    found = excess_of_heterozygotes(counts)
    # All but 10 of 200,010: log10 of the probability by Stirling's formula.
    assert found[0] == pytest.approx(120_203, rel=1e-3)
    assert found[1] == pytest.approx(0.3, abs=0.3)


def test_quality_is_judged_by_those_who_are_chosen():
    rng = np.random.default_rng(5)
    people, judges = np.ones(200, bool), np.arange(200) < 100
    values = rng.binomial(2, 0.5, (3, 200)).astype(float)
    values[0, 100:] = 1  # relatives all heterozygous
    values[1, :100] = 1  # badly called in those who judge
    y = rng.normal(size=(200, 1))
    own = pattern([0], people, basis_of_pattern(people, y), y[:, :1], judges)
    (found,) = regress_batch(_batch(values, np.array([], np.int64)), [own], None)
    strict = Genotypes(path="x", min_hwe_p=1e-8)
    assert first_failed(found.tally, found.judged, strict).tolist() == [
        None, "Hardy-Weinberg p < 1e-08 (excess of heterozygotes)", None,
    ]  # fmt: skip
    assert first_failed(found.tally, found.tally, strict)[0] is not None
