"""Latents tested together over cohorts: the formulas written out, and calibration."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ecg_spark.genetics.cohorts.joint import Gathered, Joined
from ecg_spark.genetics.cohorts.together import (
    FEWEST_NULL,
    SAMPLE_BYTES,
    Together,
    groups_together,
    joint_test,
    sampled,
)
from ecg_spark.genetics.outputs.reading import Cohort


def correlation_of(rng, k):
    loadings = rng.normal(0, 1.5, (k, 3))
    covariance = loadings @ loadings.T + np.eye(k)
    scale = 1 / np.sqrt(np.diag(covariance))
    return covariance * scale[:, None] * scale


def joined_of(beta, se, n=5000.0, af=0.3):
    """Variants with these effects [m, k, cohorts]."""
    m = len(beta)
    full = np.ones(beta.shape)
    known = np.where(np.isfinite(beta), 1.0, np.nan)
    return Joined(
        np.ones(m, np.int64), np.arange(m), ["A"] * m, ["G"] * m, None, beta, se,
        n * full * known, af * full * known,
    )  # fmt: skip


def gathered_of(correlations, variants):
    """What a pass over cohorts with these correlations would have told."""
    c = len(correlations)
    whole = np.zeros((c, c), np.int64)
    return Gathered(
        {}, whole, whole, np.zeros(c), np.zeros((0, 3, c, c)), np.full((c, c), variants),
        np.array(correlations),
    )  # fmt: skip


def assert_tail(found, chi2, df):
    """-log10 p of chi-squared agrees with SciPy's, which is infinite where its tail underflows."""
    expected = -stats.chi2.logsf(chi2, df) / np.log(10)
    if np.isfinite(expected):
        assert found == pytest.approx(expected, rel=1e-6, abs=1e-8)
    else:
        assert 300 < found < np.inf


@given(seed=st.integers(0, 2**32 - 1), k=st.integers(2, 6), c=st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_the_joint_test_agrees_with_generalised_least_squares(seed, k, c):
    rng = np.random.default_rng(seed)
    correlations = np.array([correlation_of(rng, k) for _ in range(c)])
    beta, se = rng.normal(0, 0.1, (3, k, c)), rng.uniform(0.01, 0.2, (3, k, c))
    if c > 1:
        beta[0, rng.integers(k), 0] = np.nan  # that cohort then has no part in the first variant
    found = joint_test(
        joined_of(beta, se), se, Together(tuple(range(k)), np.linalg.inv(correlations))
    )
    for i in range(3):
        own = [j for j in range(c) if np.isfinite(beta[i, :, j]).all()]
        inverses = [
            np.linalg.inv(np.diag(se[i, :, j]) @ correlations[j] @ np.diag(se[i, :, j]))
            for j in own
        ]
        total = sum(inverses)
        joint = np.linalg.solve(
            total, sum(a @ beta[i, :, j] for a, j in zip(inverses, own, strict=True))
        )
        chi2 = joint @ total @ joint
        assert found.chi2[i] == pytest.approx(chi2, rel=1e-8)
        assert_tail(found.neg_log10_p[i], chi2, k)
        off = [beta[i, :, j] - joint for j in own]
        q = sum(d @ a @ d for d, a in zip(off, inverses, strict=True))
        assert found.cohorts[i] == len(own)
        assert found.n[i] == 5000 * len(own)
        if len(own) > 1:
            assert found.q[i] == pytest.approx(q, rel=1e-6, abs=1e-8)
            assert_tail(found.het_neg_log10_p[i], q, k * (len(own) - 1))
        else:
            assert np.isnan(found.q[i])


def test_the_joint_test_of_one_cohort_is_the_omnibus_test_of_a_study():
    rng = np.random.default_rng(1)
    correlation = correlation_of(rng, 4)
    z = rng.normal(0, 2, (5, 4, 1))
    se = rng.uniform(0.01, 0.2, (5, 4, 1))
    found = joint_test(
        joined_of(z * se, se), se, Together((0, 1, 2, 3), np.linalg.inv([correlation]))
    )
    expected = np.einsum("mi,ij,mj->m", z[..., 0], np.linalg.inv(correlation), z[..., 0])
    assert found.chi2 == pytest.approx(expected)


def test_null_variants_are_chi_squared_where_latents_correlate_otherwise_in_each_cohort():
    """By correlations from as many null variants as are asked for at least, in three cohorts."""
    rng = np.random.default_rng(3)
    k, sizes, m = 8, np.array([300.0, 2000.0, 900.0]), 20_000
    true = [correlation_of(rng, k) for _ in sizes]
    known = [np.corrcoef(rng.multivariate_normal(np.zeros(k), r, FEWEST_NULL * k).T) for r in true]
    names = [f"vae_{i:02d}" for i in range(k)]
    terms, apart = groups_together({"vae": names}, names, gathered_of(known, FEWEST_NULL * k))
    assert not apart
    z = np.stack([rng.multivariate_normal(np.zeros(k), r, m) for r in true], axis=2)
    z[:5000, :, 0] = np.nan  # variants that one cohort lacks
    se = np.broadcast_to(1 / np.sqrt(sizes), z.shape)
    found = joint_test(joined_of(z * se, se), se, terms["vae"])
    p = 10**-found.neg_log10_p
    for some in (slice(0, 5000), slice(5000, m)):
        assert found.chi2[some].mean() == pytest.approx(k, rel=0.06)
        assert stats.kstest(p[some], "uniform").statistic < 0.05
        assert np.mean(p[some] < 0.001) < 0.002
        assert stats.kstest(10 ** -found.het_neg_log10_p[some], "uniform").statistic < 0.05
    mixed = np.average(known, axis=0)  # as if the latents correlated alike everywhere
    wrong, _ = groups_together({"vae": names}, names, gathered_of([mixed] * 3, FEWEST_NULL * k))
    p = 10 ** -joint_test(joined_of(z * se, se), se, wrong["vae"]).neg_log10_p
    assert np.mean(p < 0.001) > 0.0025


def test_variants_of_few_rarer_alleles_or_unknown_frequency_are_not_tested():
    beta, se = np.ones((3, 2, 2)), np.ones((3, 2, 2))
    joined = joined_of(beta, se, n=100.0)
    joined.af[0] = 0.1  # 40 of 400 alleles
    joined.af[1, 0, 0] = np.nan
    found = joint_test(joined, se, Together((0, 1), np.array([np.eye(2)] * 2)))
    assert np.isfinite(found.chi2).tolist() == [False, False, True]
    assert found.chi2[2] == pytest.approx(4)
    assert found.af[2] == pytest.approx(0.3)


def test_groups_that_cannot_be_tested_jointly_are_reported_with_a_reason():
    names = ["pca_00", "pca_01", "vae_00", "vae_01", "vae_02"]
    groups = {"pca": names[:2], "vae": names[2:]}
    double = np.eye(5)
    double[0, 1] = double[1, 0] = 1.0
    terms, apart = groups_together(groups, names, gathered_of([np.eye(5), double], 1000))
    assert list(terms) == ["vae"]
    assert "follow from others" in apart["pca"]
    terms, apart = groups_together(groups, names, gathered_of([np.eye(5)] * 2, 2 * FEWEST_NULL))
    assert list(terms) == ["pca"]
    assert "from 200 variants (300 are needed" in apart["vae"]
    assert groups_together({"vae": names[2:3]}, names, gathered_of([np.eye(5)] * 2, 1)) == ({}, {})


def test_a_sample_has_the_same_places_in_all_cohorts(spark):
    rows = spark.range(20_000).selectExpr("1 as chromosome", "cast(id as int) as position")
    cohorts = [
        Cohort(f"cohort {k}", rows, "GRCh38", {}, None, k * 4 * SAMPLE_BYTES) for k in (1, 2)
    ]
    one, two = (set(x.rows.toPandas()["position"]) for x in sampled(cohorts))
    assert one == two
    assert len(one) == pytest.approx(5000, rel=0.1)
    assert [x.bytes for x in sampled(cohorts)] == [SAMPLE_BYTES, 2 * SAMPLE_BYTES]
    assert sampled([Cohort("small", rows, "GRCh38", {}, None, 100), *cohorts])[0].rows is rows
