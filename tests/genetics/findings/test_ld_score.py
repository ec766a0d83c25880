"""LD scores and LD-score regression against Hail's own and against planted heritabilities."""

import numpy as np
import pytest

from ecg_spark.genetics.findings.ld_regression import (
    are_polygenic,
    correlation,
    heritability,
    large,
    univariate,
)
from ecg_spark.genetics.findings.ld_score import ld_scores
from ecg_spark.genetics.genotypes.packed import read_packed
from tests.builders.genetics_data import genetic_correlations, people, write_plink


@pytest.fixture(scope="module")
def statistics():
    """z of three phenotypes whose true h² are 0.4, 0.2 and 0, the first two correlated by 0.7."""
    rng = np.random.default_rng(2)
    m, n = 20_000, np.array([3_000.0, 4_000.0, 2_500.0])
    scores = rng.gamma(2, 8, m) + 1
    h2, rg, shared = np.array([0.4, 0.2, 0.0]), 0.7, 0.3
    genetic = np.diag(h2)
    genetic[0, 1] = genetic[1, 0] = rg * np.sqrt(h2[0] * h2[1])
    noise = np.eye(3)
    noise[0, 1] = noise[1, 0] = shared
    covariance = noise + np.sqrt(np.outer(n, n)) * genetic * scores[:, None, None] / m
    z = np.einsum("mij,mj->mi", np.linalg.cholesky(covariance), rng.normal(size=(m, 3)))
    return z, n, scores


def test_planted_heritability_and_correlation_are_found(statistics):
    z, n, scores = statistics
    for i, true in enumerate((0.4, 0.2, 0.0)):
        found = heritability(z[:, i] ** 2, n[i], scores, len(z))
        assert found.h2 == pytest.approx(true, abs=4 * found.h2_se)
        assert found.intercept == pytest.approx(1, abs=4 * found.intercept_se)
        assert 0.001 < found.h2_se < 0.1
    pairs = genetic_correlations(z, n, scores)
    both = pairs[0, 1]
    assert both.rg == pytest.approx(0.7, abs=4 * both.rg_se)
    assert 0.005 < both.rg_se < 0.3
    assert both.intercept == pytest.approx(0.3, abs=0.1)
    assert abs(pairs[0, 2].covariance) < 4 * pairs[0, 2].covariance_se


def test_the_standard_errors_are_those_of_repeated_studies():
    rng = np.random.default_rng(0)
    scores = rng.gamma(2, 8, 4_000) + 1
    variance = 1 + 1_000 * 0.3 * scores / 4_000
    chi2 = variance * rng.chisquare(1, (60, 4_000))
    found = [heritability(one, 1_000.0, scores, 4_000) for one in chi2]
    spread = np.std([one.h2 for one in found])
    assert np.mean([one.h2_se for one in found]) == pytest.approx(spread, rel=0.35)


def test_heritability_is_that_of_hails_regression(statistics):
    z, n, scores = statistics
    found = heritability(z[:300, 0] ** 2, n[0], scores[:300], 300, blocks=10)
    # hl.experimental.ld_score_regression of Hail 0.2.139 on these statistics, n_blocks=10, which
    # takes it half a minute.
    assert found.mean_chi2 == pytest.approx(1.6309670852500102, rel=1e-9)
    assert found.h2 == pytest.approx(0.006641854759819889, rel=1e-6)
    assert found.h2_se == pytest.approx(0.0017936670525201595, rel=1e-6)
    assert found.intercept == pytest.approx(0.7066597903039565, rel=1e-6)
    assert found.intercept_se == pytest.approx(0.14782422269420764, rel=1e-6)


def test_ld_scores_are_those_of_hails_own_example(spark, hail, shared_data):
    stem = str(shared_data / "genotypes/hail/docs_ldsc")
    packed = read_packed(stem)
    ours = ld_scores(
        spark, packed, np.arange(len(packed.sites)), np.arange(len(packed.samples)),
        np.empty((len(packed.samples), 0)),
    )  # fmt: skip
    genotypes = hail.import_plink(f"{stem}.bed", f"{stem}.bim", f"{stem}.fam")
    theirs = hail.experimental.ld_score(
        genotypes.GT.n_alt_alleles(), genotypes.locus, radius=1_000_000
    ).to_pandas()
    assert ours == pytest.approx(theirs["univariate"].to_numpy(), abs=1e-3)


def test_ld_scores_are_not_inflated_by_ancestry(spark, tmp_path):
    calls, population = people(600, 300, populations=2, fst=0.1)
    ids = [f"S{i}" for i in range(600)]
    write_plink(tmp_path / "set", calls, ids)
    packed = read_packed(str(tmp_path / "set"))
    everybody, everything = np.arange(600), np.arange(300)
    plain = ld_scores(spark, packed, everything, everybody, np.empty((600, 0)))
    adjusted = ld_scores(spark, packed, everything, everybody, population[:, None].astype(float))
    assert plain.mean() > 1.5
    assert adjusted.mean() == pytest.approx(1, abs=0.1)
    far = ld_scores(spark, packed, everything, everybody, np.empty((600, 0)), window_bp=1)
    assert far == pytest.approx(1, abs=1e-4)


def linked(seed, m, n, h2, loci, rg=0.6, shared=0.3, size=100):
    """z [m, 2] of two phenotypes at variants linked within blocks of so many, their LD scores and
    places; so many `loci` of the first have a chi-squared of 400."""
    rng = np.random.default_rng(seed)
    blocks, i = m // size, np.arange(size)
    genetic, noise = (np.linalg.cholesky([[1, r], [r, 1]]) for r in (rg, shared))
    beta = (rng.normal(size=(m, 2)) @ genetic.T * np.sqrt(h2 / m)).reshape(blocks, size, 2)
    beta[rng.choice(blocks, loci, replace=False), size // 2, 0] += np.sqrt(400 / n)
    r = (0.99 * rng.beta(2, 0.7, (blocks, 1, 1))) ** np.abs(i[:, None] - i)
    chance = np.linalg.cholesky(r) @ (rng.normal(size=(blocks, size, 2)) @ noise.T)
    z = np.sqrt(n) * r @ beta + chance
    places = 500_000 * np.arange(blocks)[:, None] + 4_000 * i
    return z.reshape(m, 2), (r**2).sum(axis=2).ravel(), places.ravel()


@pytest.mark.parametrize("loci", [0, 5])
def test_a_few_large_loci_are_no_polygenic_background(loci):
    h2, rg = [], []
    for seed in range(4):
        n, m = 2_000, 10_000
        z, scores, places = linked(seed, m, n, 0.2, loci)
        used = [are_polygenic(z[:, k] ** 2, n, places) for k in (0, 1)]
        assert used[0].all() == (loci == 0)
        own = used[0]
        assert (z[own, 0] ** 2 <= large(n)).all()
        h2.append(heritability(z[own, 0] ** 2, n, scores[own], m))
        fits = tuple(univariate(z[:, k], n, scores, used[k]) for k in (0, 1))
        assert fits[0].beta[1] / n == pytest.approx(h2[-1].h2, abs=0.02)
        rg.append(correlation(tuple(z.T), fits, scores, tuple(used)))
    error = np.sqrt(np.mean([one.h2_se**2 for one in h2]) / len(h2))
    assert np.mean([one.h2 for one in h2]) == pytest.approx(0.2, abs=3 * error)
    assert np.mean([one.intercept for one in h2]) == pytest.approx(1, abs=0.06)
    assert np.mean([one.intercept for one in rg]) == pytest.approx(0.3, abs=0.06)
    error = np.sqrt(np.mean([one.covariance_se**2 for one in rg]) / len(rg))
    assert np.mean([one.covariance for one in rg]) == pytest.approx(0.12, abs=3 * error)


def test_variants_in_reach_of_a_large_locus_are_left_out():
    places = np.array([1, 900_000, 1_100_000, 3_000_000, 5_000_000_000, 5_000_900_000])
    chi2 = np.array([1.0, 2.0, 81.0, 3.0, 4.0, 500.0])
    assert are_polygenic(chi2, 80_000, places).tolist() == [True, False, False, True, False, False]
    assert are_polygenic(chi2, 450_000, places).tolist() == [True] * 4 + [False] * 2
    assert are_polygenic(chi2, 500_000, places).all()


def test_h2_of_nothing_is_as_often_below_zero_as_above(statistics):
    _, _, scores = statistics
    chi2 = np.random.default_rng(8).chisquare(1, (30, len(scores)))
    found = np.array([heritability(one, 3_000.0, scores, len(scores)).h2 for one in chi2])
    assert 8 <= (found < 0).sum() <= 22


def test_equal_ld_scores_give_no_heritability(statistics):
    z, n, _ = statistics
    assert np.isnan(heritability(z[:, 0] ** 2, n[0], np.ones(len(z)), len(z)).h2)
    assert genetic_correlations(z, n, np.ones(len(z))) == {}
