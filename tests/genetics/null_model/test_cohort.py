"""Who is analysed: relatives, heterozygosity, by whom quality is judged."""

import numpy as np
import pandas as pd
import pytest

from ecg_spark.genetics.null_model.cohort import Brought, gather, load_cohort, save_cohort
from ecg_spark.study import Genotypes, Gwas

N = 60
SAMPLES = [f"S{i}" for i in range(N)]
SETTINGS = Genotypes(path="x.bed", max_heterozygosity_sd=5)


@pytest.fixture
def brought():
    """Phenotypes and covariates, which the first ten people lack."""
    rng = np.random.default_rng(1)
    phenotypes = pd.DataFrame(rng.normal(size=(N, 2)), SAMPLES, ["vae_00", "qt_ms"])
    covariates = pd.DataFrame({"age": rng.normal(size=N)}, SAMPLES)
    covariates.iloc[:10] = np.nan
    is_male = pd.Series(np.arange(N) % 2, SAMPLES, dtype=float)
    is_male.iloc[20:30] = np.nan
    return Brought(
        phenotypes, {"vae": ["vae_00"], "traits": ["qt_ms"]}, covariates, is_male, None, ()
    )


@pytest.fixture
def scores():
    rng = np.random.default_rng(2)
    table = pd.DataFrame({"call_rate": 1.0, "unrelated": True, "x_f": 0.0}, SAMPLES)
    table["x_f"] = np.where(np.arange(N) % 2, 0.95, 0.02)
    table["heterozygosity_sd"] = np.where(np.arange(N) == 59, -7.0, 1.0)
    table["ancestry"] = None
    table["pc"] = rng.normal(size=(N, 2)).tolist()
    table["sets"] = [[0]] * N
    return table


RELATIVES = pd.DataFrame(
    # Of the first ten, who lack a covariate, each has a sibling who does not; of 40 and 41 one
    # must go, and 59 is left out for another reason.
    [(f"S{i}", f"S{i + 10}", 0.25) for i in range(10)]
    + [("S40", "S41", 0.25), ("S58", "S59", 0.25)],
    columns=["s1", "s2", "kinship"],
)


def test_relatives_are_chosen_among_those_who_are_analysed(scores, brought):
    found = gather(scores, RELATIVES, brought, SETTINGS, Gwas(), 1)
    kept = set(found.cohort.terms.index)
    assert kept == set(SAMPLES[10:59]) - {"S41"}
    assert found.cohort.unrelated.all()
    rows = {(row["unit"], row["reason"]): row["n"] for row in found.flow.rows()}
    assert rows["people", "close relative of another"] == 1
    assert rows["samples", "heterozygosity beyond 5 standard deviations"] == 1
    assert rows["people", "a covariate is missing"] == 10


def test_with_a_whole_genome_model_all_stay_and_quality_is_judged_without_relatives(
    scores, brought, tmp_path
):
    found = gather(scores, RELATIVES, brought, SETTINGS, Gwas(null_model="whole_genome"), 1)
    cohort = found.cohort
    assert set(cohort.terms.index) == set(SAMPLES[10:59])
    assert cohort.unrelated.index[~cohort.unrelated].tolist() == ["S41"]
    assert cohort.judges["by"].equals(cohort.unrelated)
    # Women by the table, or by the X chromosome where it says nothing.
    women = [f"S{i}" for i in range(10, 59) if i % 2 == 0]
    assert cohort.judges.index[cohort.judges["on_x"]].tolist() == women
    save_cohort(cohort, str(tmp_path))
    assert load_cohort(str(tmp_path)).judges.equals(cohort.judges)


def test_of_one_population_others_are_left_out_and_its_own_components_are_terms(scores, brought):
    scores["ancestry"] = np.where(np.arange(N) < 45, "EUR", "AFR")
    scores["pc_of_ancestry"] = [[float(i), float(-(i**2))] for i in range(N)]
    ancestry = {"reference": "r.bed", "populations": "p.csv", "analyse": "EUR"}
    settings = Genotypes(path="x.bed", max_heterozygosity_sd=5, ancestry=ancestry)
    found = gather(scores, RELATIVES, brought, settings, Gwas(), 1)
    assert set(found.cohort.terms.index) == set(SAMPLES[10:45]) - {"S41"}
    assert found.ancestry == {"EUR": 34}
    order = np.array([int(name[1:]) for name in found.cohort.terms.index], float)
    assert abs(np.corrcoef(found.cohort.terms["pc_1"], order)[0, 1]) == pytest.approx(1)
    rows = {(row["unit"], row["reason"]): row["n"] for row in found.flow.rows()}
    assert rows["samples", "not of the population EUR"] == 15
    assert rows["people", "no genotypes, or left out there, or not of the population EUR"] == 15
    assert rows["people", "a covariate is missing"] == 10


def test_quality_is_judged_in_the_ancestry_of_most(scores, brought):
    scores["ancestry"] = np.where(np.arange(N) % 3 == 0, "AFR", "EUR")
    scores.loc[SAMPLES[30:33], "ancestry"] = None
    cohort = gather(scores, RELATIVES, brought, SETTINGS, Gwas(), 1).cohort
    assert (cohort.judges["by"] == (scores["ancestry"] == "EUR")[cohort.terms.index]).all()


def test_in_units_only_latents_become_ranks(scores, brought):
    cohort = gather(scores, RELATIVES, brought, SETTINGS, Gwas(scale="original"), 1).cohort
    raw = brought.phenotypes.loc[cohort.terms.index]
    assert cohort.tested["qt_ms"].equals(raw["qt_ms"])
    assert not np.allclose(cohort.tested["vae_00"], raw["vae_00"])
    assert cohort.tested["vae_00"].rank().equals(raw["vae_00"].rank())
