"""Simulated diagnoses: what was planted is there, and nothing else."""

from datetime import datetime

import numpy as np
import pytest

from ecg_spark.diseases.phecode_map import read_maps
from ecg_spark.simulate.diseases import (
    DISEASES,
    GENES,
    HEART,
    RECORDS_END,
    describe_diseases,
    diagnoses_of_chunk,
    map_rows,
    plant_diseases,
)
from ecg_spark.simulate.genome import make_genome
from ecg_spark.simulate.genotypes import CHUNK
from ecg_spark.simulate.people import participant_id, people_of_chunk, plant, planted_dosages

SEED, CHUNKS = 4, 24


@pytest.fixture(scope="module")
def population():
    """People, the variants of diseases, and who has which disease, by phecode."""
    genome = make_genome(SEED, 8000)
    planted = plant(genome)
    own = plant_diseases(genome, planted)
    code_of = {code: one.phecode for one in DISEASES for code in one.codes}
    people, dosages, rows = [], [], []
    for chunk in range(CHUNKS):
        group = people_of_chunk(genome, planted, chunk)
        people.append(group)
        dosages.append(planted_dosages(genome, own, chunk))
        rows += diagnoses_of_chunk(genome, own, group, [datetime(2014, 5, 1)] * CHUNK)[0]
    place = {participant_id(SEED, k): k for k in range(CHUNK * CHUNKS)}
    has = {one.phecode: np.zeros(CHUNK * CHUNKS, bool) for one in DISEASES}
    for row in rows:
        name, code, date = row.strip().split(",")
        assert not date or date <= RECORDS_END.isoformat()
        if code in code_of:
            has[code_of[code]][place[name]] = True
    return genome, planted, own, people, np.concatenate(dosages), has, rows


def test_diseases_of_the_heart_go_with_its_scores_and_others_do_not(population):
    _, _, _, people, _, has, _ = population
    scores = np.concatenate([group.scores for group in people])
    names = [one.name for one in people[0].parameters]
    for disease in DISEASES:
        ill = has[disease.phecode]
        gap = scores[ill].mean(axis=0) - scores[~ill].mean(axis=0)
        se = np.sqrt(1 / ill.sum() + 1 / (~ill).sum())
        for name, effect in disease.parameters.items():
            assert np.sign(effect) * gap[names.index(name)] > 5 * se
        if disease.cause != HEART and not disease.age and not disease.sex and not disease.only:
            assert np.abs(gap).max() < 4 * se


def test_genetic_diseases_are_caused_by_a_variant_that_does_not_act_on_the_heart(population):
    genome, planted, own, _, dosages, has, _ = population
    assert [one.parameter for one in own] == [one.phecode for one in DISEASES if one.by_genes]
    blocks = np.searchsorted(genome.block_start, [v.variant for v in [*planted, *own]], "right")
    assert len(set(blocks)) == len(blocks)
    for k, one in enumerate(own):
        ill = has[one.parameter]
        gap = dosages[ill, k].mean() - dosages[~ill, k].mean()
        assert gap > 4 * dosages[:, k].std() * np.sqrt(1 / ill.sum())


def test_prevalence_age_and_sex_are_as_said(population):
    _, _, _, people, _, has, rows = population
    sex = np.concatenate([group.sex for group in people])
    age = np.concatenate([group.age for group in people])
    for disease in DISEASES:
        ill = has[disease.phecode]
        share = ill.mean() * (2 if disease.only else 1)
        # What begins after the records end is not known.
        assert 0.6 * disease.prevalence < share < 1.4 * disease.prevalence
        if disease.only:
            assert 0 < (sex[ill] != (disease.only == "men")).sum() < 0.1 * ill.sum()
        if abs(disease.age) >= 0.3:
            assert np.sign(disease.age) * (age[ill].mean() - age[~ill].mean()) > 1
    assert sum(row.split(",")[1] in ("XX99", "0815") for row in rows) > 10
    assert any(row.endswith(",\n") for row in rows)


def test_the_map_is_read_as_phewas_is_and_knows_every_code(tmp_path):
    path = tmp_path / "phecodes.csv"
    path.write_text(map_rows())
    found = read_maps([str(path)])
    for disease in DISEASES:
        for code in disease.codes:
            assert found.of(code.replace(".", ""), "icd10")[0] == disease.phecode
        known = found.describe(disease.phecode)
        assert known.name == disease.name
        assert known.sex == (disease.only or "both")
    assert found.notes == []


def test_where_a_genome_has_no_variant_left_genes_cause_nothing(population):
    genome, _, own, *_ = population
    cases = {one.phecode: 1 for one in DISEASES}
    for variants in (own, []):
        told = describe_diseases(genome, variants, cases)
        assert sum(one["caused_by"] == GENES for one in told) == len(variants)
        assert sum(one["caused_by"] == HEART for one in told) == 6
