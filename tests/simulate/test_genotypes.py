"""Simulated genotypes: structure, linkage, relatives, and the files that carry them."""

from itertools import pairwise

import numpy as np
import pytest

from ecg_spark.simulate.genome import AUTOSOMES_GRCH38, make_genome
from ecg_spark.simulate.genotype_files import bed_rows
from ecg_spark.simulate.genotypes import (
    CHUNK,
    MISSING,
    block_dosages,
    called_dosages,
    families,
    poor_samples,
    true_dosages,
)
from ecg_spark.simulate.heart import PARAMETERS
from ecg_spark.simulate.people import participant_id, people_of_chunk, plant, planted_dosages

SEED = 11
CHUNKS = 12


@pytest.fixture(scope="module")
def genome():
    return make_genome(SEED, 4000)


@pytest.fixture(scope="module")
def dosages(genome):
    """True ALT counts of 12 chunks, [variants, people]."""
    return np.concatenate(
        [
            np.concatenate([true_dosages(genome, block, chunk) for chunk in range(CHUNKS)], axis=1)
            for block in range(genome.n_blocks)
        ]
    )


@pytest.fixture(scope="module")
def population():
    return np.concatenate([families(SEED, chunk).participant_population for chunk in range(CHUNKS)])


def test_variants_are_in_order_inside_their_chromosomes(genome):
    assert genome.n_variants == 4000
    assert set(genome.contig) == set(range(22))
    for contig, length in enumerate(AUTOSOMES_GRCH38):
        position = genome.position[genome.contig == contig]
        assert (np.diff(position) > 0).all()
        assert position[0] >= 1
        assert position[-1] <= length
    assert (genome.ref != genome.alt).all()


@pytest.mark.parametrize("variants", [200, 1000, 20_000])
def test_planted_variants_are_far_apart_and_well_typed(variants):
    genome = make_genome(SEED, variants)
    planted = plant(genome)
    main = [one for one in planted if one.variance_explained >= 0.05]
    assert sorted(one.parameter for one in main) == sorted(p.name for p in PARAMETERS)
    places = sorted(
        (int(genome.contig[p.variant]), int(genome.position[p.variant])) for p in planted
    )
    assert all(a[0] != b[0] or b[1] - a[1] > 5_000_000 for a, b in pairwise(places))
    for one in planted:
        frequency = genome.frequency[:, one.variant]
        assert np.minimum(frequency, 1 - frequency).min() >= 0.1
        assert genome.missing[one.variant] <= 0.01
        assert genome.lost_heterozygotes[one.variant] == 0


def test_frequencies_are_those_planned_and_some_are_rare(genome, dosages, population):
    for k in (0, 1):
        people = population == k
        observed = dosages[:, people].mean(axis=1) / 2
        expected = genome.frequency[k]
        error = np.sqrt(expected * (1 - expected) / (2 * people.sum()))
        # Relatives share alleles, so that the error is a little larger than that of a binomial.
        assert np.mean(np.abs(observed - expected) < 2.6 * error + 1e-3) > 0.97
    minor = np.minimum(genome.frequency[0], 1 - genome.frequency[0])
    assert 0.04 < np.mean(minor < 0.01) < 0.2
    assert np.mean(minor > 0.05) > 0.6


def test_linkage_decays_inside_a_block_and_ends_with_it(genome, dosages, population):
    one = dosages[:, population == 0].astype(float)
    common = np.minimum(genome.frequency[0], 1 - genome.frequency[0]) > 0.05
    near, far, across = [], [], []
    for block in range(0, genome.n_blocks - 1):
        index = np.arange(*genome.block(block).indices(genome.n_variants))
        index = index[common[index]]
        other = np.arange(*genome.block(block + 1).indices(genome.n_variants))
        r2 = np.corrcoef(one[index]) ** 2
        near += np.diag(r2, 1).tolist()
        far += np.diag(r2, 25).tolist()
        across += (
            (np.corrcoef(one[index[-1]], one[other[common[other]][0]])[0, 1] ** 2).ravel().tolist()
        )
    assert np.mean(near) > 0.2
    assert np.mean(far) < 0.3 * np.mean(near)
    assert np.mean(across) < 0.005


def test_hardy_weinberg_holds_within_a_population(dosages, population, genome):
    one = dosages[:, population == 0]
    p = one.mean(axis=1) / 2
    common = np.minimum(p, 1 - p) > 0.1
    ratio = (one == 1).mean(axis=1)[common] / (2 * p * (1 - p))[common]
    assert ratio.mean() == pytest.approx(1, abs=0.01)


def test_populations_differ_by_their_fst(dosages, population):
    a, b = (dosages[:, population == k].mean(axis=1) / 2 for k in (0, 1))
    n_a, n_b = (2 * np.count_nonzero(population == k) for k in (0, 1))
    # Hudson's estimator (Bhatia et al., Genome Res 2013; 23:1514).
    within = a * (1 - a) / (n_a - 1) + b * (1 - b) / (n_b - 1)
    fst = ((a - b) ** 2 - within).sum() / (a * (1 - b) + b * (1 - a)).sum()
    assert 0.02 < fst < 0.1


def test_relatives_have_the_kinship_of_their_degree(dosages, population):
    """KING's robust estimator (Manichaikul et al., Bioinformatics 2010; 26:2867)."""

    def king(i, j):
        g, h = dosages[:, i], dosages[:, j]
        both = np.count_nonzero((g == 1) & (h == 1))
        opposite = np.count_nonzero(np.abs(g - h) == 2)
        fewer = min(np.count_nonzero(g == 1), np.count_nonzero(h == 1))
        return (
            (both - 2 * opposite) / (2 * fewer)
            + 0.5
            - 0.25 * (np.count_nonzero(g == 1) + np.count_nonzero(h == 1)) / fewer
        )

    siblings, offspring, strangers = [], [], []
    for chunk in range(CHUNKS):
        family = families(SEED, chunk)
        siblings += (family.siblings + chunk * CHUNK).tolist()
        offspring += (family.parent_offspring + chunk * CHUNK).tolist()
        first = np.array([0, CHUNK // 2])
        if population[chunk * CHUNK + first[0]] == population[chunk * CHUNK + first[1]]:
            strangers.append((first + chunk * CHUNK).tolist())
    assert len(siblings) >= 4
    assert len(offspring) >= 4
    assert np.mean([king(*pair) for pair in siblings]) == pytest.approx(0.25, abs=0.04)
    assert np.mean([king(*pair) for pair in offspring]) == pytest.approx(0.25, abs=0.03)
    assert np.mean([king(*pair) for pair in strangers]) == pytest.approx(0, abs=0.03)
    for i, j in offspring:
        assert not np.any(np.abs(dosages[:, i] - dosages[:, j]) == 2), "a parent gives an allele"


def test_genotyping_fails_where_it_should(genome, dosages):
    called = np.concatenate(
        [
            np.concatenate([called_dosages(genome, b, c) for c in range(CHUNKS)], axis=1)
            for b in range(genome.n_blocks)
        ]
    )
    missing = (called == MISSING).mean(axis=1)
    bad = genome.missing >= 0.1
    assert 5 < np.count_nonzero(bad) < 100
    assert missing[bad].min() > 0.05
    assert missing[~bad].max() < 0.05
    poor = np.concatenate([poor_samples(SEED, chunk) for chunk in range(CHUNKS)])
    assert ((called == MISSING).mean(axis=0) > 0.05).tolist() == poor.tolist()
    lost = genome.lost_heterozygotes > 0
    typed = called != MISSING
    assert np.array_equal(called[~lost][typed[~lost]], dosages[~lost][typed[~lost]])
    common = lost & (np.minimum(genome.frequency, 1 - genome.frequency).min(axis=0) > 0.2)
    kept = (called[common] == 1).sum() / (dosages[common] == 1).sum()
    assert 0.4 < kept < 0.6


def test_effects_are_recovered_by_least_squares(genome):
    planted = plant(genome)
    people = [people_of_chunk(genome, planted, chunk) for chunk in range(60)]
    scores = np.concatenate([one.scores for one in people])
    counts = np.concatenate([one.dosages for one in people]).astype(float)
    population = np.concatenate([one.population for one in people])
    assert scores.mean(axis=0) == pytest.approx(np.zeros(len(PARAMETERS)), abs=0.06)
    assert scores.var(axis=0) == pytest.approx(np.ones(len(PARAMETERS)), abs=0.07)
    design = np.column_stack([np.ones(len(scores)), population, counts])
    for k, parameter in enumerate(PARAMETERS):
        fitted = np.linalg.lstsq(design, scores[:, k], rcond=None)[0][2:]
        true = np.array([one.beta if one.parameter == parameter.name else 0 for one in planted])
        assert fitted == pytest.approx(true, abs=0.1)
        main = [
            j
            for j, one in enumerate(planted)
            if one.parameter == parameter.name and one.variance_explained > 0.05
        ]
        explained = np.corrcoef(counts[:, main[0]], scores[:, k])[0, 1] ** 2
        assert explained == pytest.approx(planted[main[0]].variance_explained, abs=0.025)


def test_people_do_not_depend_on_how_many_there_are(genome):
    planted = plant(genome)
    dosages = planted_dosages(genome, planted, 1)
    again = block_dosages(genome, 3, CHUNK + 5)
    assert np.array_equal(again, block_dosages(genome, 3, 3 * CHUNK)[:, : CHUNK + 5])
    assert np.array_equal(dosages, people_of_chunk(genome, planted, 1).dosages)


def test_ids_never_repeat():
    ids = {participant_id(SEED, index) for index in range(50_000)}
    assert len(ids) == 50_000
    assert all(len(name) == 7 for name in ids)


@pytest.mark.parametrize("n", [1, 4, 7])
def test_bed_codes(n):
    """Against the definition: 00 homozygous A1, 01 missing, 10 heterozygous, 11 homozygous A2."""
    dosages = np.random.default_rng(n).integers(-1, 3, (9, n)).astype(np.int8)
    packed = np.frombuffer(bed_rows(dosages), np.uint8).reshape(9, -1)
    bits = np.unpackbits(packed, axis=1, bitorder="little").reshape(9, -1, 2)[:, :n]
    codes = bits[..., 0] + 2 * bits[..., 1]
    meaning = {0: 2, 1: -1, 2: 1, 3: 0}
    assert np.array_equal(np.vectorize(meaning.get)(codes), dosages)
