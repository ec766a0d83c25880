"""The simulated exome: rare variants as sequencing shows them, and genes that act by them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ecg_spark.simulate.exome import (
    GENES_PER_CONTIG,
    LOF,
    MISSENSE,
    SYNONYMOUS,
    make_exome,
    plant_genes,
)
from ecg_spark.simulate.genome import AUTOSOMES_GRCH38, make_genome
from ecg_spark.simulate.genotypes import CHUNK, families, true_dosages
from ecg_spark.simulate.heart import PARAMETERS
from ecg_spark.simulate.people import people_of_chunk, plant

SEED = 11
CHUNKS = 40


@pytest.fixture(scope="module")
def genome():
    return make_genome(SEED, 2000)


@pytest.fixture(scope="module")
def genes(genome):
    return plant_genes(make_exome(genome))


@pytest.fixture(scope="module")
def population():
    return np.concatenate([families(SEED, chunk).participant_population for chunk in range(CHUNKS)])


def carried(exome, gene, chunks=CHUNKS):
    """True ALT counts of many people at a gene's variants, [m, people]."""
    return np.concatenate([true_dosages(exome, gene, chunk) for chunk in range(chunks)], axis=1)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(1, 2**31), variants=st.integers(200, 6000))
def test_variants_are_rare_private_to_a_population_and_none_of_the_genomes(seed, variants):
    genome = make_genome(seed, variants)
    exome = make_exome(genome)
    assert exome.n_blocks == len(exome.genes) == len(set(exome.genes)) == 22 * GENES_PER_CONTIG
    for gene in range(exome.n_blocks):
        span = exome.block(gene)
        contig, position = set(exome.contig[span]), exome.position[span]
        assert contig == {gene // GENES_PER_CONTIG}
        assert (np.diff(position) > 0).all()
        assert position[0] >= 1
        assert position[-1] <= AUTOSOMES_GRCH38[gene // GENES_PER_CONTIG]
        assert {LOF, MISSENSE, SYNONYMOUS} == set(exome.consequence[span])
    ends = exome.position[exome.block_start[1:] - 1]
    starts = exome.position[exome.block_start[:-1]]
    same = exome.contig[exome.block_start[1:-1]] == exome.contig[exome.block_start[:-2]]
    assert (starts[1:] > ends[:-1])[same].all()
    assert ((exome.frequency > 0).sum(axis=0) == 1).all()
    assert exome.frequency.max() <= 0.01
    assert (exome.ref != exome.alt).all()
    places = set(zip(genome.contig.tolist(), genome.position.tolist(), strict=True))
    assert not places & set(zip(exome.contig.tolist(), exome.position.tolist(), strict=True))


@pytest.mark.parametrize("chunks", [4, 32])
def test_most_variants_that_are_seen_are_singletons(genes, population, chunks):
    """As many as binomial draws from the density f^-1.5 give, for which the frequencies count."""
    exome = genes.exome
    haplotypes = 2 * np.bincount(population[: chunks * CHUNK], minlength=2)
    seen = once = expected_seen = expected_once = 0.0
    for gene in range(0, exome.n_blocks, 4):
        counts = carried(exome, gene, chunks).sum(axis=1)
        seen, once = seen + (counts > 0).sum(), once + (counts == 1).sum()
        f = exome.frequency[:, exome.block(gene)].sum(axis=0)
        n = haplotypes[(exome.frequency[1, exome.block(gene)] > 0).astype(int)]
        expected_seen += (1 - (1 - f) ** n).sum()
        expected_once += (n * f * (1 - f) ** (n - 1)).sum()
    assert seen == pytest.approx(expected_seen, abs=5 * np.sqrt(expected_seen))
    assert once / seen == pytest.approx(expected_once / expected_seen, abs=2.5 / np.sqrt(seen))
    assert once / seen > 0.45


@pytest.mark.parametrize("kind", [LOF, MISSENSE, SYNONYMOUS])
def test_frequencies_are_of_a_density_that_falls_as_f_to_the_minus_one_and_a_half(kind):
    """Against its distribution function, by Kolmogorov and Smirnov."""
    exomes = [make_exome(make_genome(seed, 200)) for seed in (1, 2, 3)]
    f = np.concatenate([e.frequency.sum(axis=0)[e.consequence == kind] for e in exomes])
    low, high = 2e-5, {LOF: 0.002, MISSENSE: 0.005, SYNONYMOUS: 0.01}[kind]
    assert low <= f.min() < f.max() <= high
    drawn = stats.kstest(f, lambda x: (low**-0.5 - x**-0.5) / (low**-0.5 - high**-0.5))
    assert drawn.pvalue > 1e-3


def test_people_carry_the_variants_of_their_population_as_often_as_planned(genes, population):
    exome = genes.exome
    for gene in range(0, exome.n_blocks, 7):
        dosages, expected = carried(exome, gene), exome.frequency[:, exome.block(gene)]
        for k in (0, 1):
            own = dosages[:, population == k]
            assert own[expected[k] == 0].sum() == 0
            mean = 2 * expected[k].sum() * own.shape[1]
            # Relatives share alleles, so that the error is a little larger than Poisson's.
            assert own.sum() == pytest.approx(mean, abs=5 * np.sqrt(mean))


def test_a_child_has_half_of_the_rare_alleles_of_a_parent(genes):
    exome, shared, alone = genes.exome, 0, 0
    for chunk in range(CHUNKS):
        pairs = families(SEED, chunk).parent_offspring
        for gene in range(exome.n_blocks) if len(pairs) else ():
            dosages = true_dosages(exome, gene, chunk)
            for parent, child in pairs:
                has = dosages[:, parent] == 1
                shared += (dosages[has, child] > 0).sum()
                alone += has.sum()
    assert alone > 40
    assert shared / alone == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(alone))


def test_effects_of_genes_are_recovered_by_least_squares(genome, genes):
    planted, exome = plant(genome), genes.exome
    people = [people_of_chunk(genome, planted, chunk, genes=genes) for chunk in range(CHUNKS)]
    scores = np.concatenate([one.scores for one in people])
    rare = np.concatenate([one.rare for one in people])
    assert scores.var(axis=0) == pytest.approx(np.ones(len(PARAMETERS)), abs=0.08)
    assert rare.mean(axis=0) == pytest.approx(np.zeros(len(PARAMETERS)), abs=0.02)
    assert sorted(one.parameter for one in genes.planted) == sorted(p.name for p in PARAMETERS)
    assert {one.one_way for one in genes.planted} == {True, False}
    for j, one in enumerate(genes.planted):
        z = scores[:, [p.name for p in PARAMETERS].index(one.parameter)]
        slope = np.cov(rare[:, j], z)[0, 1] / rare[:, j].var()
        error = 1 / np.sqrt(rare[:, j].var() * len(z))
        assert slope == pytest.approx(1, abs=4.5 * error)
        assert rare[:, j].var() == pytest.approx(one.variance_explained, rel=0.3)
        kinds, dosages = exome.consequence[exome.block(one.gene)], carried(exome, one.gene)
        counts = np.stack([dosages[kinds == kind].sum(axis=0) for kind in (LOF, MISSENSE)], axis=1)
        design = np.column_stack([np.ones(len(z)), counts])
        fitted = np.linalg.lstsq(design, z, rcond=None)[0][1:]
        error = np.sqrt(np.diag(np.linalg.inv(design.T @ design))[1:])
        if one.one_way:
            expected = [one.effects[LOF], one.effects[MISSENSE]]
            assert (np.abs(fitted - expected) < 4.5 * error).all()
        else:
            signs = np.sign(one.beta[kinds != SYNONYMOUS])
            assert set(signs) == {-1, 0, 1}
        assert not one.beta[kinds == SYNONYMOUS].any()


def test_genes_change_the_hearts_alone(genome, genes):
    planted = plant(genome)
    with_genes = people_of_chunk(genome, planted, 2, genes=genes)
    without = people_of_chunk(genome, planted, 2)
    for key in ("index", "age", "sex", "bmi", "population", "dosages", "fibrillation"):
        assert np.array_equal(getattr(with_genes, key), getattr(without, key))
    assert not np.array_equal(with_genes.scores, without.scores)


def test_other_people_have_the_same_genes_and_another_variance(genes):
    other = genes.in_people(SEED + 1, (0.35, 0.65))
    for here, there in zip(genes.planted, other.planted, strict=True):
        assert np.array_equal(here.beta, there.beta)
        assert here.variance_explained != there.variance_explained
    assert np.array_equal(genes.exome.position, other.exome.position)
    assert not np.array_equal(carried(genes.exome, 0), carried(other.exome, 0))
    rare = np.concatenate([other.of_chunk(chunk) for chunk in range(CHUNKS)])
    expected = [one.variance_explained for one in other.planted]
    assert rare.var(axis=0) == pytest.approx(expected, rel=0.35)
