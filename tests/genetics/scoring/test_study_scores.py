"""Polygenic scores of a study: what theory expects, who knows whom, and plink2's sums."""

import numpy as np
import pandas as pd
import pytest

from ecg_spark.genetics.gwas import VARIANTS
from ecg_spark.genetics.null_model.cohort import Cohort, save_cohort
from ecg_spark.genetics.outputs.tables import RELATIVES
from ecg_spark.genetics.scoring.accuracy import expected_r2
from ecg_spark.genetics.scoring.study import score_study
from ecg_spark.study import Genotypes
from ecg_spark.tables import write_rows
from tests.builders.genetics_data import people
from tests.builders.genotype_parts import sites_of, write_set

N, OUTSIDE, M, H2 = 1_000, 200, 1_200, 0.6
TRAITS = [f"trait_{k}" for k in range(4)]
NAMES = [*TRAITS, "noise"]


@pytest.fixture(scope="module")
def study(spark, tmp_path_factory):
    """Children of the first 100 people analysed, 50 of them analysed, and 200 others who are not.

    Every variant acts on every trait, beside an age that is a covariate. The scores as published.
    """
    folder = tmp_path_factory.mktemp("scores")
    calls, _ = people(N + OUTSIDE, M, seed=3)
    rng = np.random.default_rng(4)
    children = np.r_[N - 50 : N, N + OUTSIDE - 50 : N + OUTSIDE]
    for k, child in enumerate(children):
        first, second = rng.binomial(1, calls[:, [2 * k % 100, (2 * k + 1) % 100]] / 2).T
        calls[:, child] = first + second
    standard = calls - calls.mean(axis=1, keepdims=True)
    standard = standard / standard.std(axis=1, keepdims=True)
    genetic = standard.T @ rng.normal(0, np.sqrt(H2 / M), (M, len(TRAITS)))
    age = rng.normal(size=N + OUTSIDE)
    traits = genetic + rng.normal(0, np.sqrt(1 - H2), genetic.shape) + 0.5 * age[:, None]
    ids = [f"S{k:04d}" for k in range(N + OUTSIDE)]
    observed = calls.copy()
    observed[rng.random(calls.shape) < 0.01] = 3
    contigs = [f"chr{1 + 22 * j // M}" for j in range(M)]
    alleles = np.where(np.arange(M) % 10 == 0, "T", "G")
    known = np.ma.masked_equal(observed, 3)
    sites = sites_of(contigs, alleles=("A", "G")).assign(
        ref=alleles, af=known.mean(axis=1).data / 2, is_common=True
    )
    write_set(folder / "genotypes" / VARIANTS, observed, ids, sites, part_variants=130)
    tested = pd.DataFrame(traits[:N], ids[:N], TRAITS).assign(noise=rng.normal(size=N))
    tested.loc[ids[:50], "trait_1"] = np.nan
    terms = pd.DataFrame({"age": age[:N]}, ids[:N])
    pairs = [
        {"s1": ids[parent], "s2": ids[child], "kinship": 0.25}
        for k, child in enumerate(children)
        for parent in (2 * k % 100, (2 * k + 1) % 100)
    ]
    write_rows(pairs, RELATIVES, f"{folder}/genotypes/relatives")
    save_cohort(
        Cohort(
            pd.Series([f"P{one}" for one in ids[:N]], ids[:N]), tested, terms,
            pd.Series(np.arange(N) < N - 50, ids[:N]), pd.Series([[0]] * N, ids[:N]),
            {"traits": NAMES, "pca": ["noise"]},
        ),
        str(folder / "cohort"),
    )  # fmt: skip
    out = folder / "run"
    told = score_study(
        spark, f"{folder}/genotypes", f"{folder}/cohort", Genotypes(path="x", pairing="random"),
        str(out), "run-1", 1,
    )  # fmt: skip
    table = pd.read_parquet(out / "polygenic_scores").set_index("s").loc[ids]
    return folder, told, table, tested, (observed, ids, sites, pairs, age)


def test_what_is_told_is_what_theory_expects(study):
    folder, told, *_ = study
    table = pd.read_parquet(folder / "run/score_accuracy").set_index("phenotype")
    expected = expected_r2(H2, table["n_fitted"].mean(), told["effective_segments"])
    print(table, expected, told)
    assert told["effective_segments"] == pytest.approx(M, rel=0.1)
    assert table.loc[TRAITS, "r2"].mean() == pytest.approx(expected, abs=0.03)
