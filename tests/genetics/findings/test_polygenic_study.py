"""The polygenic tables of a study against the pure functions on all its tests in one place."""

import numpy as np
import pandas as pd
import pytest

from ecg_spark.genetics.findings import polygenic
from ecg_spark.genetics.findings.ld_regression import heritability
from ecg_spark.genetics.findings.ld_score import ld_scores
from ecg_spark.genetics.genotypes.view import packed_view
from tests.builders.genetics_data import genetic_correlations, people
from tests.builders.genotype_parts import sites_of, write_set

N, M = 120, 700
NAMES = ["vae_00", "pr_ms", "pca_00"]
CORRELATED = ["pca_00", "vae_00", "pr_ms"]
"""In another order than the phenotypes."""
KEPT = {"pr_ms": 0.6}
"""What offsets have left of a phenotype, which then seems that much more heritable."""
COMMON = np.arange(M) < 600
"""Then come variants on X."""
RARE, UNSOUND = np.arange(M) % 50 == 7, np.arange(M) % 90 == 13


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A set in parts, and its tests: z that grow with what a variant tags, some of them rare, on X,
    or not tested in one of the phenotypes."""
    calls, population = people(N, M, seed=4, populations=2, fst=0.05)
    calls[1:600:3] = calls[:600:3]
    contigs = np.repeat(["1", "2", "10", "X"], [250, 250, 100, 100])
    positions = 1_000 + 9_000 * np.arange(M)
    sites = sites_of(contigs, positions).assign(alt=np.where(np.arange(M) % 2, "A", "C"))
    genotypes = write_set(tmp_path_factory.mktemp("set"), calls, range(N), sites, 90)
    rng = np.random.default_rng(6)
    tags = np.where(np.arange(M) % 3 == 2, 1.0, 2.0)
    z = np.sqrt(tags)[:, None] * (rng.normal(size=(M, 3)) + rng.normal(size=(M, 1)))
    z[UNSOUND, 1] = np.nan
    n = np.tile([120, 110, 90], (M, 1)) - (np.arange(M) % 4 == 0)[:, None]
    return genotypes, population, sites, z, n


def _wide(spark, study, order):
    *_, sites, z, n = study
    rows = []
    for i in order:
        results = [
            (name, float(z[i, k] / 2), 0.5, int(n[i, k]), 0.001 if RARE[i] else 0.3)
            for k, name in enumerate(NAMES)
        ]
        if UNSOUND[i]:  # not tested: by the engines null, and a standard error of 0
            results[1] = (NAMES[1], None, (None, 0.0)[i % 2], int(n[i, 1]), 0.3)
        site = sites.iloc[i]
        rows.append(
            (site["contig"], int(site["position"]), site["ref"], site["alt"], results[::-1])
        )
    return spark.createDataFrame(
        rows,
        "contig string, position int, ref string, alt string, results "
        "array<struct<phenotype string, beta double, se double, n int, af double>>",
    )


def _published(spark, study, wide, folder):
    genotypes, population, *_ = study
    covariates = pd.DataFrame({"population": population * 1.0}, genotypes.samples)
    view = packed_view(genotypes)
    told = polygenic.write_polygenic(
        spark, view, wide, covariates, NAMES, CORRELATED, KEPT, str(folder)
    )
    assert sorted(path.name for path in folder.iterdir()) == ["genetic_correlation", "heritability"]
    tables = [pd.read_parquet(folder / name) for name in ("heritability", "genetic_correlation")]
    return told, *tables


def test_the_tables_are_those_of_the_pure_functions_on_all_tests(spark, study, tmp_path):
    genotypes, population, _, z, n = study
    wide = _wide(spark, study, np.random.default_rng(0).permutation(M)).repartition(5)
    told, h2, rg = _published(spark, study, wide, tmp_path)
    used = np.flatnonzero(COMMON & ~RARE)
    scores = ld_scores(
        spark, packed_view(genotypes), used, np.arange(N), population[:, None].astype(float)
    )
    sound = ~UNSOUND[used]
    z, n, scores = z[used][sound], n[used][sound].mean(axis=0), scores[sound]
    as_many = n / [KEPT.get(name, 1) for name in NAMES]
    assert told["ld_score_variants"] == len(z) > 500
    assert told["mean_ld_score"] == round(scores.mean(), 2)
    assert h2["phenotype"].tolist() == NAMES
    assert h2["n"].tolist() == n.astype(int).tolist()
    for k, row in enumerate(h2.itertuples()):
        expected = heritability(z[:, k] ** 2, as_many[k], scores, len(scores))
        for name, value in vars(expected).items():
            assert getattr(row, name) == pytest.approx(value, rel=1e-9), name
        assert told["h2"][row.phenotype] == round(expected.h2, 4)
    order = [NAMES.index(name) for name in CORRELATED]
    pairs = genetic_correlations(z[:, order], as_many[order], scores)
    assert len(rg) == len(pairs) == 3
    for row, ((i, j), expected) in zip(rg.itertuples(), pairs.items(), strict=True):
        assert (row.phenotype_1, row.phenotype_2) == (CORRELATED[i], CORRELATED[j])
        for name, value in vars(expected).items():
            assert getattr(row, name) == pytest.approx(value, rel=1e-9, nan_ok=True), name


def test_of_a_large_set_the_same_share_is_used_whatever_the_partitions(
    spark, study, tmp_path, monkeypatch
):
    monkeypatch.setattr(polygenic, "MAX_VARIANTS", 500)
    monkeypatch.setattr(polygenic, "NAMED_BY_TASK", 64)
    found = []
    for number, (files, partitions) in enumerate([(1, 1), (4, 7)]):
        monkeypatch.setattr(polygenic, "FILES", files)
        wide = _wide(spark, study, np.random.default_rng(number).permutation(M))
        folder = tmp_path / str(number)
        folder.mkdir()
        found.append(_published(spark, study, wide.repartition(partitions), folder))
    assert found[0][0] == found[1][0]
    assert 300 < found[0][0]["ld_score_variants"] < 480
    for one, other in zip(found[0][1:], found[1][1:], strict=True):
        pd.testing.assert_frame_equal(one, other, check_exact=True)


def test_a_study_without_common_autosomal_variants_has_no_heritability(spark, study, tmp_path):
    wide = _wide(spark, study, range(600, M))
    told, h2, rg = _published(spark, study, wide, tmp_path)
    assert told == {"ld_score_variants": 0, "mean_ld_score": None, "h2": {}}
    assert len(h2) == len(rg) == 0


def test_tests_of_variants_that_the_genotypes_lack_are_refused(spark, study, tmp_path):
    genotypes, *rest = study
    fewer = genotypes.only(np.arange(M) != 300)
    with pytest.raises(ValueError, match="lack variants"):
        _published(spark, (fewer, *rest), _wide(spark, study, range(M)), tmp_path)
