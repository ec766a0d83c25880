"""Whole-genome regression against its formulas, REGENIE's published output and planted effects."""

import tracemalloc
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from ecg_spark.genetics.genotypes.packed import MISSING, centred, read_packed
from ecg_spark.genetics.genotypes.reading import import_genotypes
from ecg_spark.genetics.null_model.loco import take_loco
from ecg_spark.genetics.null_model.projection import basis_of, residuals
from ecg_spark.genetics.null_model.ridge import (
    SHRINKAGES,
    block_predictors,
    level_one,
    parts_of,
    residual_phenotypes,
)
from ecg_spark.genetics.null_model.whole_genome import LIST, Offsets, predict_by_genome
from ecg_spark.genetics.testing.blocks import associate
from tests.builders.genetics_data import people, write_plink

N, M = 400, 600


@pytest.fixture(scope="module")
def families(tmp_path_factory):
    """Two populations, the last 100 people children of the first 200, on three chromosomes."""
    calls, population = people(N, M, seed=4, populations=2, fst=0.05)
    rng = np.random.default_rng(5)
    halves = rng.binomial(1, calls[:, :200] / 2)
    calls[:, 300:] = halves[:, 0::2] + halves[:, 1::2]
    scaled = calls - calls.mean(axis=1, keepdims=True)
    scaled = scaled / np.maximum(scaled.std(axis=1, keepdims=True), 0.1)
    genetic = scaled.T @ rng.normal(size=(M, 2))
    y = genetic / genetic.std(axis=0) * np.sqrt(0.8) + rng.normal(size=(N, 2)) * np.sqrt(0.2)
    observed = calls.copy()
    observed[rng.random(calls.shape) < 0.02] = MISSING
    ids = [f"S{i:03d}" for i in range(N)]
    stem = str(tmp_path_factory.mktemp("families") / "set")
    write_plink(stem, observed, ids, [str(1 + j // 200) for j in range(M)])
    phenotypes = pd.DataFrame(
        {"a": 3 * y[:, 0] + 7, "b": y[:, 1], "noise": rng.normal(size=N)}, ids
    )
    phenotypes.loc[ids[::10], "b"] = np.nan
    covariates = pd.DataFrame({"age": rng.normal(size=N), "pop": population * 1.0}, ids)
    order = rng.permutation(N)
    return read_packed(stem), phenotypes.iloc[order], covariates.iloc[order], observed


def test_calls_are_read_back_by_variant_and_sample(families):
    packed, *_, observed = families
    variants, samples = np.array([3, 4, 5, 90, 599]), np.array([7, 0, 399])
    assert np.array_equal(packed.calls.read(variants), observed[variants])
    assert np.array_equal(packed.calls.read(variants, samples), observed[variants][:, samples])
    chosen = packed.named(np.array([599, 3]))
    assert packed.rows(chosen).tolist() == [3, 599]


@pytest.mark.parametrize("size", [33, 1_000])
def test_a_block_predicts_each_fold_by_the_ridge_of_the_others(families, size):
    packed, phenotypes, covariates, _ = families
    design = np.column_stack([np.ones(N), covariates])
    basis = np.linalg.qr(design)[0]
    y = phenotypes[["a", "noise"]].to_numpy()
    y = y - basis @ (basis.T @ y)
    samples, variants = packed.places(list(phenotypes.index)), np.arange(40, 100)
    bounds, penalties = np.array([0, 80, 160, 240, 320, 400]), np.array([30.0, 1_000.0])
    found = block_predictors(
        packed.calls, variants, samples, basis.astype(np.float32), y.astype(np.float32),
        np.ones(y.shape, bool), parts_of(N, size=size), penalties,
    )  # fmt: skip
    x = centred(packed.calls.read(variants, samples)).T.astype(float)
    x -= basis @ (basis.T @ x)
    x /= x.std(axis=0) * np.sqrt(N / (N - 3))
    for j, penalty in enumerate(penalties):
        expected = np.empty_like(y)
        for a, b in pairwise(bounds):
            rest = np.r_[0:a, b:N]
            gram = x[rest].T @ x[rest] + penalty * np.eye(len(variants))
            expected[a:b] = x[a:b] @ np.linalg.solve(gram, x[rest].T @ y[rest])
        expected = (expected - expected.mean(axis=0)) / expected.std(axis=0)
        assert np.abs(found.predictors[:, j].T - expected).max() < 2e-3
    # The shares of a product are together the product.
    together = found.shares.sum(axis=2)
    for fold, (a, b) in enumerate(pairwise(bounds)):
        product = np.einsum("pln,np->pl", found.predictors[..., a:b], y[a:b])
        assert np.abs(together[:, fold] - product).max() < 0.02
    assert not found.shares[:, np.arange(5), np.arange(5)].any()


@pytest.mark.parametrize(("people", "size"), [(5, 8), (1_003, 64), (500_000, 8_192)])
def test_parts_are_small_and_each_of_one_fold(people, size):
    parts = parts_of(people, size=size)
    assert (parts.bounds[0], parts.bounds[-1]) == (0, people)
    lengths = np.diff(parts.bounds)
    assert lengths.min() >= 1
    assert lengths.max() <= size
    by_fold = np.bincount(parts.fold, lengths)
    assert len(by_fold) == 5
    assert by_fold.max() - by_fold.min() <= 1


def test_the_memory_of_a_block_does_not_grow_with_variants_times_people(tmp_path):
    n, m = 100_000, 80
    calls = np.random.default_rng(0).integers(0, 3, (m, n), np.int8)
    write_plink(tmp_path / "many", calls, range(n))
    packed = read_packed(str(tmp_path / "many"))
    y = np.random.default_rng(1).normal(size=(n, 1)).astype(np.float32)
    basis = np.full((n, 1), n**-0.5, np.float32)
    del calls
    tracemalloc.start()
    found = block_predictors(
        packed.calls, np.arange(m), np.arange(n), basis, y, np.ones(y.shape, bool), parts_of(n),
        np.array([10.0]),
    )  # fmt: skip
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak - found.predictors.nbytes < 4 * m * n / 2  # half of the genotypes as single floats
    assert np.isfinite(found.predictors).all()


def test_the_share_that_level_one_tells_is_that_of_predicting_each_fold():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(5, 30, 8)), rng.normal(size=(5, 30))
    penalties = np.array([0.5, 20.0])
    grams, crosses = np.einsum("fni,fnj->fij", x, x), np.einsum("fni,fn->fi", x, y)
    shares = evenly(crosses)
    weights, r2 = level_one(grams.astype(np.float32), shares, (y**2).sum(axis=1), penalties)
    missed = [y[k] - x[k] @ weights[k] for k in range(5)]
    assert 1 - r2 == pytest.approx(np.sum(np.square(missed)) / np.sum(y**2), rel=1e-4)
    # Each fold's ridge is one of the others, with a shrinkage that predicts these best.
    for k in range(5):
        rest = [i for i in range(5) if i != k]
        ridges = [
            np.linalg.solve(grams[rest].sum(axis=0) + c * np.eye(8), crosses[rest].sum(axis=0))
            for c in penalties
        ]
        assert min(np.abs(weights[k] - own).max() for own in ridges) < 1e-4


def evenly(crosses):
    """Shares that tell no fold from another, so that nothing can be left out: REGENIE's level 1."""
    others = (1 - np.eye(len(crosses))) / (len(crosses) - 1)
    return others[..., None] * crosses[:, None]


def test_nothing_is_predicted_of_a_phenotype_on_which_nothing_acts(tmp_path):
    """Nor does its own phenotype reach the prediction of anybody, but for the common scale."""
    n, m, p = 400, 300, 20
    calls, _ = people(n, m, seed=3)
    write_plink(tmp_path / "set", calls, range(n))
    packed = read_packed(str(tmp_path / "set"))
    y = np.random.default_rng(4).normal(size=(n, p))
    told, ordinary = [], []
    model, _ = _fit(packed, y, np.zeros((n, 0)), 50)
    for k in range(p):
        grams, shares, totals, penalties = model[k]
        told.append(level_one(grams, shares, totals, penalties)[1])
        ordinary.append(level_one(grams, evenly(shares.sum(axis=1)), totals, penalties)[1])
    assert np.mean(told) < 0
    assert np.mean(told) < np.mean(ordinary) - 0.005


def _fit(packed, phenotypes, covariates, size):
    """What level 1 gets of each phenotype [n, p] from blocks of so many variants; predictors."""
    n, m = len(phenotypes), len(packed.sites)
    basis = basis_of(covariates).astype(np.float32)
    y, known, _ = residual_phenotypes(phenotypes, basis)
    parts = parts_of(n)
    penalties = np.array([m * (1 - h2) / h2 for h2 in SHRINKAGES])
    blocks = [
        block_predictors(packed.calls, places, np.arange(n), basis, y, known, parts, penalties)
        for places in np.array_split(np.arange(m), m // size)
    ]
    q = len(blocks) * len(SHRINKAGES)
    found, predictors = [], []
    for k in range(y.shape[1]):
        x = np.concatenate([one.predictors[k] for one in blocks])
        shares = np.concatenate([one.shares[k] for one in blocks], axis=-1)
        grams = np.stack([x[:, own] @ x[:, own].T for _, own in parts])
        totals = np.array([y[own, k] @ y[own, k] for _, own in parts])
        found.append((grams, shares, totals, penalties / m * q))
        predictors.append(x)
    return found, predictors


def test_the_genome_without_a_chromosome_predicts_relatives_and_background(
    spark, families, tmp_path
):
    packed, phenotypes, covariates, _ = families
    model = predict_by_genome(
        spark, packed, np.arange(M), phenotypes, covariates, str(tmp_path), 1, 100
    )
    assert model.contigs == ("1", "2", "3")
    assert min(model.r2["a"], model.r2["b"]) > 0.05
    assert model.r2["noise"] < 0.02
    whole, without = model.without("X"), {c: model.without(c) for c in model.contigs}
    # What is told is what is left.
    left = residuals(phenotypes[["a"]].to_numpy(), covariates.to_numpy())[:, 0]
    share = 1 - ((left - whole["a"]) ** 2).sum() / (left**2).sum()
    assert model.r2["a"] == pytest.approx(share, abs=1e-4)
    # Each chromosome's part is left out once: the three sum to twice the whole.
    assert sum(without.values()).to_numpy() == pytest.approx(2 * whole.to_numpy(), abs=1e-4)
    for name in ("a", "b"):
        known = phenotypes[name].notna()
        for one in (whole, *without.values()):
            r = np.corrcoef(one.loc[known, name], phenotypes.loc[known, name])[0, 1]
            assert r > 0.2
    taken = take_loco(str(tmp_path / LIST), phenotypes, covariates)
    for contig, own in {"X": whole, **without}.items():
        assert taken.without(contig).to_numpy() == pytest.approx(own.to_numpy())
    spread = (whole["a"].std() / phenotypes["a"].std()) ** 2
    assert 0.03 < spread < 0.8


def _regenie(shared_data):
    folder = shared_data / "genotypes/regenie-published"
    phenotypes = pd.read_csv(folder / "phenotype.txt", sep=" ", dtype={"IID": str})
    covariates = pd.read_csv(folder / "covariates.txt", sep=" ", dtype={"IID": str})
    tables = (frame.set_index("IID").drop(columns="FID") for frame in (phenotypes, covariates))
    return folder, *tables


def test_predictions_agree_with_regenies_published_ones(shared_data):
    """With level 1 as it is there, where it knows through level 0 those whom it predicts."""
    folder, phenotypes, covariates = _regenie(shared_data)
    packed = read_packed(str(shared_data / "genotypes/regenie-example/example/example"))
    order = list(packed.samples)  # its folds are runs of people in the order of the file
    model, x = _fit(packed, phenotypes.loc[order].to_numpy(), covariates.loc[order], 100)
    for number, (grams, shares, totals, penalties) in enumerate(model):
        chosen = penalties[[1, 0][number]]  # by its log, from the errors in all folds together
        published = pd.read_csv(folder / f"fit_lin_out_{number + 1}.loco", sep=" ", index_col=0)
        theirs = published.loc[2].dropna()
        theirs.index = [pair.split("_")[1] for pair in theirs.index]
        weights, _ = level_one(grams, evenly(shares.sum(axis=1)), totals, [chosen])
        ours = np.concatenate(
            [w @ x[number][:, own] for w, (_, own) in zip(weights, parts_of(500), strict=True)]
        )
        assert np.corrcoef(ours, theirs[order].astype(float))[0, 1] > 0.95


def test_what_regenie_predicts_only_by_chance_is_not_subtracted(spark, shared_data, tmp_path):
    _, phenotypes, covariates = _regenie(shared_data)
    packed = read_packed(str(shared_data / "genotypes/regenie-example/example/example"))
    order = list(packed.samples)
    model = predict_by_genome(
        spark, packed, np.arange(1_000), phenotypes.loc[order], covariates.loc[order],
        str(tmp_path), 1, 100,
    )  # fmt: skip
    assert model.without("1").abs().max(axis=None) < 1e-12  # there is no other chromosome
    assert max(model.r2.values()) < 0  # by its own account REGENIE predicts 1.7 and 1.3 %
    assert not model.without("2").any(axis=None)
    assert Offsets(model, None).notes == [
        "the genome does not predict 2 of 2 phenotypes, which are tested without an offset: Y1, Y2"
    ]


def test_tests_after_whole_genome_regression_agree_with_regenies_published_ones(
    spark, shared_data, tmp_path
):
    folder, phenotypes, covariates = _regenie(shared_data)
    packed = read_packed(str(shared_data / "genotypes/regenie-example/example/example"))
    order = list(packed.samples)
    phenotypes, covariates = phenotypes.loc[order], covariates.loc[order]
    model = predict_by_genome(
        spark, packed, np.arange(1_000), phenotypes, covariates, f"{tmp_path}/model", 1, 100
    )
    path = str(folder / "example.bgen")
    genotypes = import_genotypes(spark, path, "GRCh37", str(tmp_path), 2).genotypes
    genotypes = replace(genotypes, samples=genotypes.samples.str.split("_").str[0])
    rows = associate(spark, genotypes, phenotypes, covariates, {}, model).collect()
    for number, name in enumerate(phenotypes.columns):
        ours = pd.DataFrame(
            [(r.position, r.results[number].beta, r.results[number].neg_log10_p) for r in rows],
            columns=["GENPOS", "beta", "p"],
        )
        theirs = pd.read_csv(folder / f"test_lin_out_{name}.regenie", sep=" ")
        both = ours.merge(theirs, on="GENPOS")
        assert len(both) == 1_000
        assert np.corrcoef(both["p"], both["LOG10P"])[0, 1] > 0.99
        assert np.polyfit(both["LOG10P"], both["p"], 1)[0] == pytest.approx(1, abs=0.03)
        assert abs(np.corrcoef(both["beta"], both["BETA"])[0, 1]) > 0.999
