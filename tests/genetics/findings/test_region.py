"""The products of a region: the tests of least squares, alone and beside each other."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecg_spark.genetics.findings import region, susie
from ecg_spark.genetics.findings.finemapping import rows_of_signals, signals_of
from ecg_spark.genetics.findings.region import products_of
from ecg_spark.genetics.genotypes.excerpt import excerpt_of
from ecg_spark.genetics.genotypes.rows import decode, encode, pack
from ecg_spark.genetics.testing.results import question, terms_on
from ecg_spark.study import Genotypes
from tests.builders.genetics_data import least_squares

ANY = Genotypes(path="x.bed", min_maf=0, min_info=0, min_hwe_p=0, min_variant_call_rate=0)


def _excerpt(rng, people, calls, dosages):
    """Calls and dosages, some missing: an excerpt, and the dosages that it holds."""
    shared = rng.normal(size=people)
    p = 1 / (1 + np.exp(-shared - rng.normal(size=(calls + dosages, 1))))
    true = rng.binomial(2, p).astype(float)
    called = np.where(rng.random((calls, people)) < 0.1, 3, true[:calls]).astype(np.int8)
    dosed = encode(np.clip(true[calls:] + rng.normal(0, 0.2, (dosages, people)), 0, 2))
    held = np.concatenate([np.where(called == 3, np.nan, called), decode(dosed)])
    sites = pd.DataFrame({"position": np.arange(len(held)), "ref": "A", "alt": "C"})
    order = rng.permutation(len(held))
    pieces = [(order[:calls], pack(called)), (order[calls:], dosed)]
    return excerpt_of(sites, tuple(one for one in pieces if len(one[0]))), held[np.argsort(order)]


def _asked(rng, held, relatives=None):
    """Phenotypes [people, 3] of which the last is missing of some, and the terms of the tests."""
    people = held.shape[1]
    covariates = rng.normal(size=(people, 2))
    y = rng.normal(size=(people, 3)) + covariates[:, :1]
    y[rng.random(people) < 0.2, 2] = np.nan
    table = pd.DataFrame(y, columns=["vae_00", "vae_01", "qt_ms"])
    together = {"vae": ["vae_00", "vae_01"]}
    asked = question(table, pd.DataFrame(covariates), together, None, relatives, None, None)
    return y, covariates, terms_on(asked, "1")


@settings(max_examples=10)
@given(st.integers(0, 10_000), st.integers(1, 4), st.integers(1, 4), st.sampled_from([64, 1 << 26]))
def test_products_give_the_tests_of_least_squares(seed, calls, dosages, chunk):
    rng = np.random.default_rng(seed)
    excerpt, held = _excerpt(rng, 150, calls, dosages)
    y, covariates, terms = _asked(rng, held)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(region, "CHUNK_BYTES", chunk)
        found = list(products_of(excerpt, terms.patterns, terms.factors, ANY))
    assert [one.people for one in found] == [150, int(np.isfinite(y[:, 2]).sum())]
    for pattern, one in zip(terms.patterns, found, strict=True):
        beta, se, t = one.alone()
        chosen = list(range(min(2, len(one.variants))))
        joint_beta, joint_se, _, df = one.together(chosen)
        for k, number in enumerate(pattern.places):
            known = np.isfinite(y[:, number])
            own = held[one.variants][:, known]
            own = np.where(np.isnan(own), np.nanmean(own, axis=1)[:, None], own)
            for j, x in enumerate(own):
                expected = least_squares(y[known, number], x, covariates[known])
                told = (beta[j, k], se[j, k], t[j, k], one.df)
                assert told == pytest.approx(expected, rel=1e-6, abs=1e-9)
            for j in chosen:
                rest = [own[i] for i in chosen if i != j]
                expected = least_squares(
                    y[known, number], own[j], np.column_stack([covariates[known], *rest])
                )
                told = (joint_beta[j, k], joint_se[j, k], df)
                expected = (expected[0], expected[1], expected[3])
                assert told == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_variants_that_fail_the_thresholds_or_do_not_vary_are_no_candidates():
    calls = np.zeros((3, 200), np.int8)
    calls[0, :50], calls[1, :1] = 1, 1
    sites = pd.DataFrame({"position": [1, 2, 3], "ref": "A", "alt": "C"})
    excerpt = excerpt_of(sites, ((np.arange(3), pack(calls)),))
    rng = np.random.default_rng(1)
    _, _, terms = _asked(rng, calls)
    strict = Genotypes(path="x.bed", min_hwe_p=0)
    for settings_, expected in ((strict, [0]), (ANY, [0, 1])):
        first, _ = products_of(excerpt, terms.patterns, terms.factors, settings_)
        assert first.variants.tolist() == expected


def test_variants_that_follow_from_each_other_have_no_joint_effects():
    calls = np.random.default_rng(1).binomial(2, 0.3, (2, 200)).astype(np.int8)
    calls[1] = calls[0]
    sites = pd.DataFrame({"position": [1, 2], "ref": "A", "alt": "C"})
    excerpt = excerpt_of(sites, ((np.arange(2), pack(calls)),))
    _, _, terms = _asked(np.random.default_rng(2), calls)
    first, _ = products_of(excerpt, terms.patterns, terms.factors, ANY)
    assert np.isnan(first.together([0, 1])[0]).all()


def test_a_masked_signal_is_found_though_no_test_of_it_alone_passes():
    """Two variants of which each hides the other's effect, wholly that of the weaker one."""
    found = 0
    for seed in range(10):
        rng = np.random.default_rng(seed)
        people = 3_000
        first = rng.binomial(1, 0.4, (2, people))
        second = np.where(rng.random((2, people)) < 0.6, first, rng.binomial(1, 0.4, (2, people)))
        calls = np.stack(
            [first.sum(axis=0), second.sum(axis=0), *rng.binomial(2, 0.3, (20, people))]
        )
        sites = pd.DataFrame({"position": np.arange(22), "ref": "A", "alt": "C"})
        excerpt = excerpt_of(sites, ((np.arange(22), pack(calls.astype(np.int8))),))
        y = 0.4 * calls[0] - 0.24 * calls[1] + rng.normal(size=people)
        asked = question(
            pd.DataFrame({"qt_ms": y}),
            pd.DataFrame(index=range(people)),
            {},
            None,
            None,
            None,
            None,
        )
        terms = terms_on(asked, "1")
        (products,) = products_of(excerpt, terms.patterns, terms.factors, ANY)
        alone = products.alone()[2][:, 0]
        assert abs(alone[1]) < 4
        signals = list(signals_of(products, ["qt_ms"], ["qt_ms"], {}))
        found += sorted(one.likeliest for one in signals) == [0, 1]
        for one in signals:
            if one.likeliest == 1:
                joint = least_squares(y, calls[1].astype(float), calls[:1].T.astype(float))
                assert (one.beta, one.se) == pytest.approx(joint[:2], rel=1e-4)
    assert found >= 9


def test_a_fit_that_does_not_converge_is_told(monkeypatch):
    rng = np.random.default_rng(3)
    calls = rng.binomial(2, 0.3, (12, 900)).astype(np.int8)
    y = 0.3 * calls[2] - 0.3 * calls[8] + rng.normal(size=900)
    sites = pd.DataFrame({"contig": "1", "position": np.arange(12), "ref": "A", "alt": "C"})
    excerpt = excerpt_of(sites, [(np.arange(12), pack(calls))])
    table, terms = pd.DataFrame({"qt_ms": y}), pd.DataFrame(index=range(900))
    on = terms_on(question(table, terms, {}, None, None, None, None), "1")
    (products,) = products_of(excerpt, on.patterns, on.factors, ANY)
    told = []
    for rounds in (500, 2):
        monkeypatch.setattr(susie, "_ROUNDS", rounds)
        signals = list(signals_of(products, ["qt_ms"], ["qt_ms"], {}))
        rows = rows_of_signals(signals, sites, [([], [])] * 12, (1, 12))
        assert {row["position"] for row in rows} == {2, 8}
        told.append({row["has_converged"] for row in rows})
    assert told == [{True}, {False}]


def test_relatives_who_are_alike_make_a_signal_less_certain():
    rng = np.random.default_rng(1)
    n = 2_000
    calls = rng.binomial(2, 0.3, (2, n)).astype(np.int8)
    y = 0.12 * calls[0] + np.tile(rng.normal(size=n // 2), 2) + 0.3 * rng.normal(size=n)
    twins = pd.DataFrame({"s1": np.arange(n // 2), "s2": np.arange(n // 2, n), "kinship": 0.5})
    sites = pd.DataFrame({"position": [1, 2], "ref": "A", "alt": "C"})
    excerpt = excerpt_of(sites, ((np.arange(2), pack(calls)),))
    told = []
    for relatives in (None, twins):
        asked = question(
            pd.DataFrame({"qt_ms": y}),
            pd.DataFrame(index=range(n)),
            {},
            None,
            relatives,
            None,
            None,
        )
        terms = terms_on(asked, "1")
        (products,) = products_of(excerpt, terms.patterns, terms.factors, ANY)
        (signal,) = signals_of(products, ["qt_ms"], ["qt_ms"], {})
        told.append((signal.beta, signal.se, signal.found.log_bf_of_set, products.factors[0]))
    (beta, se, log_bf, _), (among, wider, less, factor) = told
    assert among == beta
    assert wider / se == pytest.approx(factor)
    assert factor > 1.3
    assert less < log_bf
