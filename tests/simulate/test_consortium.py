"""A simulated consortium: the same variants act in every cohort, and nobody is in two of them."""

import csv
import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from ecg_spark.simulate.cohort import BIOBANK
from ecg_spark.simulate.consortium import COHORTS, FIRST, HOSPITAL, SECOND
from ecg_spark.simulate.genome import make_genome
from ecg_spark.simulate.genotypes import block_dosages
from ecg_spark.simulate.people import participant_id, people_of_chunk, plant, planted_in
from ecg_spark.simulate.visits import recordings_of
from ecg_spark.study import load_study
from jobs.cli import main

SEED, PARTICIPANTS, VARIANTS = 4, 24, 300
CHUNKS = range(4)


@pytest.fixture(scope="module")
def consortium(spark, tmp_path_factory):
    out = tmp_path_factory.mktemp("consortium") / "three"
    assert simulate(out) == 0
    return out


def simulate(out, *more):
    size = ["--participants", str(PARTICIPANTS), "--variants", str(VARIANTS), "--seed", str(SEED)]
    return main(["simulate", "--consortium", *size, "--out", str(out), *more])


def truth(folder):
    return json.loads((folder / "truth.json").read_text(encoding="utf-8"))


def ids(folder):
    with (folder / "participants.csv").open(encoding="utf-8", newline="") as file:
        return [row["participant_id"] for row in csv.DictReader(file)]


def contents(out):
    return {path.relative_to(out): path.read_bytes() for path in out.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def people():
    """The people of each cohort by its name, and the variants as they are in them."""
    reference = make_genome(SEED, 2000)
    found = {}
    for cohort in COHORTS:
        genome = reference.in_people(cohort.people_seed(SEED), cohort.population_shares)
        planted = planted_in(genome, reference, plant(reference))
        parts = [people_of_chunk(genome, planted, chunk, cohort=cohort) for chunk in CHUNKS]
        found[cohort.name] = (genome, planted, parts)
    return found


def test_biobanks_have_the_same_variants_and_effects_at_other_frequencies(consortium):
    one, two = (consortium / name for name in ("first", "second"))
    assert (one / "genotypes.bim").read_bytes() == (two / "genotypes.bim").read_bytes()
    assert (one / "genotypes.bed").read_bytes() != (two / "genotypes.bed").read_bytes()
    both = truth(consortium)
    alike = zip(truth(one)["planted"], truth(two)["planted"], both["planted"], strict=True)
    differences = []
    for here, there, mean in alike:
        for key in ("rsid", "contig", "position", "ref", "alt", "parameter", "beta"):
            assert here[key] == there[key] == mean[key]
        for key in ("effect_allele_frequency", "variance_explained"):
            assert mean[key] == pytest.approx((here[key] + there[key]) / 2)
            assert mean["cohorts"]["second"][key] == there[key]
        differences.append(here["effect_allele_frequency"] - there["effect_allele_frequency"])
    assert np.std(differences) > 0.02
    genes = zip(truth(one)["planted_genes"], truth(two)["planted_genes"], both["planted_genes"],
                strict=True)  # fmt: skip
    for here, there, mean in genes:
        for key in ("gene", "contig", "start", "end", "parameter", "beta", "raising", "lowering"):
            assert here[key] == there[key] == mean[key]
        shares = [own["variance_explained"] for own in (here, there)]
        assert mean["variance_explained"] == pytest.approx(np.mean(shares))
        assert shares[0] != shares[1]
    assert truth(one)["populations"]["shares"] != truth(two)["populations"]["shares"]


def test_effects_are_the_same_in_the_people_of_every_cohort(people):
    for genome, planted, parts in people.values():
        scores = np.concatenate([part.scores for part in parts])
        dosages = np.concatenate([part.dosages for part in parts]).astype(float)
        population = np.concatenate([part.population for part in parts])
        age = np.concatenate([part.age for part in parts])
        names = [parameter.name for parameter in parts[0].parameters]
        design = np.column_stack([np.ones(len(scores)), population, age, dosages])
        fitted = np.linalg.lstsq(design, scores, rcond=None)[0][3:]
        errors = [fitted[j, names.index(one.parameter)] - one.beta for j, one in enumerate(planted)]
        assert np.sqrt(np.mean(np.square(errors))) < 0.1
        assert scores.var(axis=0).mean() == pytest.approx(1, abs=0.08)
        for j, one in enumerate(planted):
            expected = one.beta**2 * genome.dosage_variance(one.variant)
            assert one.variance_explained == pytest.approx(expected)
            frequency = genome.mean_frequency(one.variant)
            assert dosages[:, j].mean() / 2 == pytest.approx(frequency, abs=0.08)


def test_nobody_is_in_two_cohorts(consortium, people):
    groups = [set(ids(consortium / cohort.name)) for cohort in COHORTS]
    assert len(set.union(*groups)) == 3 * PARTICIPANTS
    seeds = [cohort.people_seed(SEED) for cohort in COHORTS]
    of_many = {participant_id(seed, index) for seed in seeds for index in range(0, 3_000_000, 50)}
    assert len(of_many) == 3 * 60_000
    calls = np.concatenate(
        [
            np.concatenate([block_dosages(genome, block, 128) for block in range(8)])
            for genome, _, _ in people.values()
        ],
        axis=1,
    )
    assert np.unique(calls, axis=1).shape == calls.shape == (calls.shape[0], 3 * 128)


def test_the_hospital_has_recordings_of_other_devices_and_no_genotypes(consortium):
    hospital = consortium / "hospital"
    assert not [*hospital.glob("genotypes.*"), *hospital.glob("exome.*")]
    assert set(truth(hospital)["counts"]["by_format"]) == {"muse", "wfdb"}
    for name in ("first", "second"):
        assert set(truth(consortium / name)["counts"]["by_format"]) == {"cardiosoft"}
    assert not any(b"CardiologyXML" in file.read_bytes() for file in (hospital / "ecg").iterdir())
    study = load_study(str(hospital / "study.yaml"))
    assert (study.genotypes, study.participants, study.model.source) == (None, None, None)


def test_the_biobanks_take_the_model_of_the_hospital(consortium):
    studies = [load_study(str(consortium / name / "study.yaml")) for name in ("first", "second")]
    for study in studies:
        assert study.model_source == str(consortium / "model")
        assert study.gwas.engine_used == "blocks"
        assert study.genotypes is not None
        assert study.gwas.rare is not None
    assert studies[0].name != studies[1].name


def test_patients_are_older_and_sicker(consortium, people):
    def mean(name, key):
        table = pq.read_table(consortium / name / "truth_parameters.parquet").to_pandas()
        return table[key].mean()

    for key in ("pr_interval", "qrs_duration", "qtc_interval"):
        assert mean("hospital", key) > mean("first", key)
    parts = {name: found[2] for name, found in people.items()}
    age = {name: np.concatenate([part.age for part in found]) for name, found in parts.items()}
    assert age["hospital"].mean() > age["first"].mean() + 8
    assert age["hospital"].std() > age["first"].std() + 2
    assert abs(age["first"].mean() - age["second"].mean()) < 1.5
    hearts = {
        name: {key: np.concatenate([p.hearts[key] for p in found]) for key in found[0].hearts}
        for name, found in parts.items()
    }
    for key, least in (("pr_interval", 10), ("qrs_duration", 5), ("qtc_interval", 12)):
        assert hearts["hospital"][key].mean() > hearts["first"][key].mean() + least
        assert hearts["first"][key].mean() == pytest.approx(hearts["second"][key].mean(), abs=8)
    ill = {
        name: np.mean([part.fibrillation.mean() for part in found]) for name, found in parts.items()
    }
    assert ill["hospital"] > 0.06 > 2 * ill["first"]


def test_recordings_of_patients_have_more_noise_and_ectopy(people):
    def recorded(cohort):
        found = people[cohort.name][2][0]
        seed = cohort.people_seed(SEED)
        return [one for row in range(60) for one in recordings_of(seed, found, row)]

    def noise_uv(one):
        steps = np.diff(one.samples[:2].astype(float) * one.format.microvolts_per_unit)
        return np.median(np.abs(steps))

    hospital, first = recorded(HOSPITAL), recorded(FIRST)
    assert np.median([*map(noise_uv, hospital)]) > 1.3 * np.median([*map(noise_uv, first)])

    def ectopic(recordings):
        sinus = [one.rhythm for one in recordings if not one.rhythm.fibrillation]
        return np.mean([rhythm.ventricular.any() for rhythm in sinus])

    assert ectopic(hospital) > 1.3 * ectopic(first)


def test_first_people_are_those_of_the_biobank_of_this_seed(people):
    assert FIRST.people_seed(SEED) == BIOBANK.people_seed(SEED) == SEED
    genome = make_genome(SEED, 2000)
    alone = people_of_chunk(genome, plant(genome), 0)
    assert np.array_equal(alone.scores, people["first"][2][0].scores)
    assert not np.array_equal(alone.scores, people[SECOND.name][2][0].scores)


def test_second_simulation_changes_nothing(consortium, tmp_path):
    before = contents(consortium)
    assert simulate(consortium) == 0
    assert contents(consortium) == before
    assert simulate(tmp_path / "again") == 0
    again = contents(tmp_path / "again")
    assert again == before


def test_a_consortium_takes_no_recordings_as_hearts(tmp_path):
    with pytest.raises(SystemExit, match="2"):
        simulate(tmp_path / "x", "--hearts", str(tmp_path))
