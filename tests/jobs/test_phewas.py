"""The step phewas on what the steps before it publish: scores of everybody genotyped, and dates."""

from datetime import date, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from ecg_spark.diseases.tables import DISEASE_ASSOCIATIONS, DISEASES
from ecg_spark.genetics.gwas import VARIANTS
from ecg_spark.genetics.null_model.cohort import save_cohort
from ecg_spark.genetics.outputs.tables import LOCI, RELATIVES, SCORES
from ecg_spark.simulate.diseases import (
    DISEASES as SIMULATED,
)
from ecg_spark.simulate.diseases import diagnoses_of_chunk, map_rows, plant_diseases
from ecg_spark.simulate.genome import make_genome
from ecg_spark.simulate.genotypes import block_dosages, n_chunks
from ecg_spark.simulate.people import participant_id, people_of_chunk, plant
from ecg_spark.store import Store
from ecg_spark.study import load_study
from ecg_spark.tables import BEATS, LATENTS, TRAIT_NAMES, TRAITS, write_rows
from jobs.average import STEP as AVERAGE
from jobs.cohort import STEP as COHORT
from jobs.encode import STEP as ENCODE
from jobs.findings import STEP as FINDINGS
from jobs.genotypes import STEP as GENOTYPES
from jobs.ingest import STEP as INGEST
from jobs.phewas import STEP as PHEWAS
from jobs.scores import STEP as SCORES_STEP
from jobs.step import needs_of, origin, run_step
from jobs.train import STEP as TRAIN
from tests.builders.genetics_data import cohort_of
from tests.builders.genotype_parts import sites_of, write_set
from tests.builders.study_file import write_study

SEED, GENOTYPED, WITH_ECG = 5, 3072, 1500
CAUSE, OTHER = "qrs_duration", "p_duration"


def put(store, study, step, write, summary=None):
    """Publish a step as if it had been run: `write` makes its tables in a run."""
    with store.run(step.name, origin(step, study, store)[1]) as run:
        write(run)
        run.publish(summary or {})


def put_before(store, study, step):
    """Publish, empty, what a step needs and the study does not have yet."""
    for need in needs_of(step, study):
        if store.published(need.name) is None:
            put_before(store, study, need)
            put(store, study, need, lambda run: None)


@pytest.fixture(scope="module")
def biobank(spark, tmp_path_factory):
    """A simulated biobank of whose genotyped people half have a measured heart: its store, after
    the steps scores and phewas, and the summary of the latter."""
    folder = tmp_path_factory.mktemp("scores")
    genome = make_genome(SEED, 1500)
    planted = plant(genome)
    of_diseases = plant_diseases(genome, planted)
    people = [people_of_chunk(genome, planted, k) for k in range(n_chunks(GENOTYPED))]
    names = [participant_id(SEED, int(index)) for one in people for index in one.index]
    rows = []
    for one in people:
        first = [datetime(2015, 1, 1) + timedelta(days=int(index) % 1500) for index in one.index]
        rows += diagnoses_of_chunk(genome, of_diseases, one, first)[0]
    (folder / "diagnoses.csv").write_text("participant_id,code,date\n" + "".join(rows))
    (folder / "map.csv").write_text(map_rows())
    told = pd.DataFrame({
        "participant_id": names, **{key: np.concatenate([getattr(one, key) for one in people])
                                    for key in ("age", "sex", "population")},
    })  # fmt: skip
    told.loc[3:4, "age"] = np.nan
    told.to_csv(folder / "people.csv", index=False)
    for name in ("hearts.csv", "set.bed", "set.bim", "set.fam"):
        (folder / name).touch()  # read by the steps that are not run here
    study = load_study(write_study(folder, {
        "name": "scored", "output": "out", "seed": 1,
        "participants": {"path": "people.csv", "covariates": ["age", "sex", "population"]},
        "phenotypes": {"path": "hearts.csv", "columns": [CAUSE, OTHER]},
        "genotypes": {"path": "set.bed", "components": 0},
        "gwas": {"scores": True},
        "phewas": {"path": "diagnoses.csv", "map": ["map.csv"], "min_cases": 50},
    }))  # fmt: skip
    store = Store(study.output_path)
    calls = np.concatenate([
        block_dosages(genome, k, GENOTYPED) for k in range(genome.n_blocks)
    ])  # fmt: skip
    known = np.ma.masked_equal(calls, 3)
    frequency = np.asarray(known.mean(axis=1)) / 2
    contigs = [genome.contig_name(k) for k in range(genome.n_variants)]
    sites = sites_of(contigs, genome.position).assign(
        af=frequency, is_common=np.minimum(frequency, 1 - frequency) > 0.01, is_candidate=True
    )
    unrelated = np.ones(GENOTYPED, bool)
    unrelated[5] = False

    def genotypes(run):
        write_set(run.path(VARIANTS), calls, names, sites, part_variants=500)
        # Someone without an ECG whose relative is analysed: the model knows the family.
        relatives = [{"s1": names[0], "s2": names[WITH_ECG + 1], "kinship": 0.25}]
        write_rows(relatives, RELATIVES, run.path("relatives"))
        write_rows([
            {"s": one, "call_rate": 1.0, "heterozygosity_sd": 9.0 if k == 6 else 0.0,
             "unrelated": bool(unrelated[k]), "ancestry": None, "pc": [], "pc_of_ancestry": None,
             "x_f": None, "sets": [0]}
            for k, one in enumerate(names)
        ], SCORES, run.path("scores"))  # fmt: skip

    def cohort(run):
        scores = np.concatenate([one.scores for one in people])[:WITH_ECG]
        own = pd.Index(names[:WITH_ECG])
        places = [[one.name for one in people[0].parameters].index(key) for key in (CAUSE, OTHER)]
        noise = np.random.default_rng(1).normal(0, 0.3, (WITH_ECG, 2))
        terms = told.set_index("participant_id").loc[own, ["age", "sex", "population"]]
        terms = terms.fillna(terms.mean())
        save_cohort(
            cohort_of(
                pd.Series(own, own),
                pd.DataFrame(scores[:, places] + noise, own, [CAUSE, OTHER]),
                (terms - terms.mean()) / terms.std(), pd.Series(unrelated[:WITH_ECG], own),
                {"own": [CAUSE, OTHER]},
            ),
            run.folder,
        )  # fmt: skip

    put(store, study, GENOTYPES, genotypes)
    put(store, study, COHORT, cohort)
    put_before(store, study, FINDINGS)
    put(store, study, FINDINGS, lambda run: write_rows([], LOCI, run.path(LOCI.name)))
    run_step(SCORES_STEP, study, session=spark)
    return store, run_step(PHEWAS, study, session=spark)


def table(store, one):
    return pd.read_parquet(store.require("phewas").path(one.name))


def test_the_score_of_a_factor_finds_the_disease_that_the_factor_causes(biobank):
    """Bundle branch block is caused by the QRS duration; the score knows it by genes alone."""
    store, summary = biobank
    found = table(store, DISEASE_ASSOCIATIONS)
    scores = found[found["group"] == "scores"]
    assert set(scores["people"]) == {"genotypes"}
    assert set(scores["kind"]) == {"ever"}
    hits = scores[scores["q"] < 0.05]
    caused = {(one.phecode, name) for one in SIMULATED for name in one.parameters}
    assert ("426.3", CAUSE) in set(zip(hits["disease"], hits["predictor"], strict=True)) <= caused
    assert (hits["beta"] > 0).all()
    assert summary["predictors"] == {"ecg": 2, "genotypes": 2}


def test_people_without_an_ecg_carry_the_scores_and_not_the_factors(biobank):
    store, summary = biobank
    found = table(store, DISEASE_ASSOCIATIONS).set_index(["disease", "people", "predictor"])
    own = found.loc[("760", "ecg", CAUSE)]
    score = found.loc[("760", "genotypes", CAUSE)]
    assert summary["people"] == {"ecg": WITH_ECG - 1, "genotypes": GENOTYPED - 4}
    assert own["n"].max() <= WITH_ECG
    # Those without age, the relative in the set and the odd sample are not in the panel, and the
    # relative of someone analysed has no score.
    assert score["n"].item() == GENOTYPED - 5
    assert any("2 of 3070 genotyped people lack a covariate" in one for one in summary["notes"])
    known = table(store, DISEASES).set_index(["disease", "people"])
    assert known.loc[("760", "genotypes"), "cases"] > 1.5 * known.loc[("760", "ecg"), "cases"]
    assert known.loc[("760", "genotypes"), ["cases", "controls", "left_out"]].sum() == GENOTYPED - 4


DAY = date(2015, 6, 1)


@pytest.fixture(scope="module")
def dated(spark, tmp_path_factory):
    """A folder with recorded people of whom every second one's records end before the disease, the
    content of a study file, and what steps before phewas publish."""
    folder, n = tmp_path_factory.mktemp("until"), 160
    rng = np.random.default_rng(3)
    names = [f"p{k:03d}" for k in range(n)]
    ends = [DAY + timedelta(days=200 if k % 2 else 900) for k in range(n)]
    rows = [f"{name},{50 + k % 20},{ends[k]}" for k, name in enumerate(names)]
    (folder / "ecg").mkdir()
    (folder / "ecg" / "one.xml").touch()  # read by steps that are not run here
    (folder / "people.csv").write_text("\n".join(["participant_id,age,left", *rows]))
    lines = [f"{name},I48,{DAY + timedelta(days=500)}" for name in names[:80]]
    (folder / "diagnoses.csv").write_text("\n".join(["participant_id,code,date", *lines]))
    content = {
        "name": "dated", "ecg": {"path": str(folder / "ecg")},
        "participants": {"path": "people.csv", "covariates": ["age"]},
    }  # fmt: skip
    shared = [
        {"ecg_id": f"{k:064x}", "participant_id": name, "weight": 0.9, "flags": []}
        for k, name in enumerate(names)
    ]

    def average(run):
        when = datetime(DAY.year, DAY.month, DAY.day, 9)
        write_rows([
            one | {"participant_hash": k, "acquired_at": when, "signal": [0.0], "n_beats": 9,
                   "n_detected": 9, "noise_uv": 1.0, "source": "computed", "quality": 1.0}
            for k, one in enumerate(shared)
        ], BEATS, run.path("beats"))  # fmt: skip
        nothing = {field.name: None for field in TRAITS.schema if field.nullable}
        traits = dict.fromkeys(TRAIT_NAMES)
        rows = [nothing | one | traits | {"pr_ms": float(rng.normal(160, 20)), "vendor": {}}
                for one in shared]  # fmt: skip
        write_rows(rows, TRAITS, run.path("traits"))

    def encode(run):
        write_rows([
            {"participant_id": name, "model": "vae", "fold": 0, "z": rng.normal(size=2).tolist(),
             "z_sd": None, "n_ecgs": 1} for name in names
        ], LATENTS, run.path("latents"))  # fmt: skip

    return folder, content, {AVERAGE: average, ENCODE: encode}


@pytest.mark.parametrize(
    ("until", "cases", "controls"),
    [
        ("left", 40, 120),  # after the end of their records others are free of it until then
        ((DAY + timedelta(days=499)).isoformat(), 0, 160),
        (None, 80, 80),
    ],
)
def test_records_end_for_each_by_a_column_of_the_participant_table(
    spark, dated, tmp_path, until, cases, controls
):
    folder, content, tables = dated
    own = {"path": str(folder / "diagnoses.csv"), "min_cases": 10, "until": until}
    people = content["participants"] | {"path": str(folder / "people.csv")}
    study = load_study(
        write_study(tmp_path, content | {"output": "out", "participants": people, "phewas": own})
    )
    store = Store(study.output_path)
    for step in (INGEST, AVERAGE, TRAIN, ENCODE):
        put(store, study, step, tables.get(step, lambda run: None))
    summary = run_step(PHEWAS, study, session=spark)
    row = table(store, DISEASES).set_index("kind").loc["incident"]
    assert (row["cases"], row["controls"]) == (cases, controls)
    assert (row["why_not"] is None) == (cases > 0)
    assert any("taken to end on" in note for note in summary["notes"]) == (until is None)
