"""The genes of the simulated genome: their rare variants, as sequencing finds them, and what some
of the genes do to the heart.

A rare variant is young, so each is of one of the two populations. Its frequency f is drawn from a
density that falls as f^-1.5, more steeply than the 1 / f of a population of constant size: human
populations have grown (Keinan and Clark, Science 2012; 336:740). Of the variants seen in 500 people
seven in ten are then singletons, of those seen in 4,000 half. The more a variant does to the
protein, the rarer it stays.

Of a planted gene pLoF and missense alleles move one parameter of the heart: all in one direction,
pLoF four times as far as missense, or all as far, each variant up, down or not at all. Synonymous
variants do nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ecg_spark.simulate.genome import AUTOSOMES_GRCH38, CENTRAL_PART, Genome, Sites, Stream, stream
from ecg_spark.simulate.genotypes import true_dosages
from ecg_spark.simulate.heart import PARAMETERS, Parameter

LOF, MISSENSE, SYNONYMOUS = "pLoF", "missense", "synonymous"
"""What a variant does to the protein: truncates it, changes it, or neither."""

GENES_PER_CONTIG = 3

_KINDS = {LOF: (20, 0.002), MISSENSE: (40, 0.005), SYNONYMOUS: (20, 0.01)}
"""Of each kind, how many variants a gene has in each population, and the highest frequency."""

_LOWEST_FREQUENCY = 2e-5
_GENE_BP = 60_000
_MOST_MISSING = 0.01
_EFFECT = (1.2, 2.0)  # standard deviations of the score, of a pLoF allele
_MISSENSE_PART = 0.25
_BOTH_WAYS_EVERY = 3


@dataclass(frozen=True, kw_only=True)
class Exome(Sites):
    """Rare variants, in a block for each gene: `consequence` [M], and `genes` [B], their names."""

    founders: ClassVar[Stream] = Stream.EXOME_FOUNDERS
    typing: ClassVar[Stream] = Stream.EXOME_TYPING

    consequence: NDArray[np.str_]
    genes: tuple[str, ...]

    def name(self, variant: int) -> str:
        """The place and alleles."""
        return self.place(variant)

    def haplotypes(
        self, rng: np.random.Generator, block: int, population: NDArray[np.int64]
    ) -> NDArray[np.int8]:
        """Draw the ALT alleles of a gene on haplotypes of such populations [h], [m, h]."""
        frequency = self.frequency[:, self.block(block)][population].T
        return (rng.random(frequency.shape) < frequency).astype(np.int8)


@dataclass(frozen=True)
class PlantedGene:
    """A gene, by its number, whose rare variants act on a parameter.

    `beta` [m] is the change of the score by one ALT allele of each of its variants; `effects` that
    by consequence, without its sign if the gene does not act `one_way`. All together explain
    `variance_explained` of the score's variance, which is 1, in the people who carry them.
    """

    gene: int
    parameter: str
    one_way: bool
    effects: Mapping[str, float]
    beta: NDArray[np.float64]
    variance_explained: float


@dataclass(frozen=True)
class ActingGenes:
    """The genes that act, and the people who carry their variants."""

    exome: Exome
    planted: tuple[PlantedGene, ...]

    def in_people(self, seed: int, population_shares: tuple[float, float]) -> "ActingGenes":
        """The same genes and effects in other people, in whom they explain another variance."""
        exome = self.exome.in_people(seed, population_shares)
        planted = [
            replace(one, variance_explained=_variance(exome, one.gene, one.beta))
            for one in self.planted
        ]
        return ActingGenes(exome, tuple(planted))

    def of_chunk(self, chunk: int) -> NDArray[np.float64]:
        """What each gene adds to the score of a chunk's participants, mean 0, [128, planted]."""
        each = [
            one.beta @ true_dosages(self.exome, one.gene, chunk)
            - np.array(self.exome.population_shares) @ _means(self.exome, one.gene, one.beta)
            for one in self.planted
        ]
        return np.stack(each, axis=1)


def _means(exome: Exome, gene: int, beta: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean in each population of what a gene adds to a score, [2]."""
    return 2 * exome.frequency[:, exome.block(gene)] @ beta


def _variance(exome: Exome, gene: int, beta: NDArray[np.float64]) -> float:
    """Variance of what a gene adds to a score: within the populations plus between them."""
    p, shares = exome.frequency[:, exome.block(gene)], np.array(exome.population_shares)
    within = shares @ (2 * p * (1 - p)) @ beta**2
    means = _means(exome, gene, beta)
    return float(within + shares @ (means - shares @ means) ** 2)


def make_exome(genome: Genome) -> Exome:
    """Place the genes on chr1 to chr22, with variants where the genome has none."""
    rng = stream(genome.seed, Stream.EXOME)
    each = []
    for contig, length in enumerate(AUTOSOMES_GRCH38):
        taken = genome.position[genome.contig == contig]
        first, slot = length * (1 - CENTRAL_PART) / 2, length * CENTRAL_PART / GENES_PER_CONTIG
        for number in range(GENES_PER_CONTIG):
            start = int(first + slot * (number + rng.uniform(0.1, 0.9)))
            each.append(_variants(rng, start, taken))
    positions, consequences, frequencies = zip(*each, strict=True)
    sizes = [len(one) for one in positions]
    m = sum(sizes)
    bases = np.array(list("ACGT"))
    ref = rng.integers(0, 4, m)
    return Exome(
        seed=genome.seed,
        contig=np.repeat(np.arange(len(sizes)) // GENES_PER_CONTIG, sizes).astype(np.int16),
        position=np.concatenate(positions),
        ref=bases[ref],
        alt=bases[(ref + rng.integers(1, 4, m)) % 4],
        block_start=np.cumsum([0, *sizes]),
        frequency=np.concatenate(frequencies, axis=1),
        missing=_MOST_MISSING * rng.random(m) ** 2,
        lost_heterozygotes=np.zeros(m),
        population_shares=genome.population_shares,
        consequence=np.concatenate(consequences),
        genes=tuple(f"SIM{number + 1}" for number in range(len(sizes))),
    )


def _variants(
    rng: np.random.Generator, start: int, taken: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.str_], NDArray[np.float64]]:
    """The variants of a gene: position and consequence [m], frequency [2, m]; none at a position
    that is taken."""
    kinds = np.repeat([*_KINDS], [count for count, _ in _KINDS.values()])
    own = np.tile(kinds, 2)  # as many in each population
    highest = np.array([_KINDS[kind][1] for kind in own])
    frequency = np.zeros((2, own.size))
    frequency[np.repeat([0, 1], kinds.size), np.arange(own.size)] = _rare(rng, highest)
    position = start + rng.choice(_GENE_BP, own.size, replace=False)
    order = np.argsort(position)
    order = order[~np.isin(position[order], taken)]
    return position[order], own[order], frequency[:, order]


def _rare(rng: np.random.Generator, highest: NDArray[np.float64]) -> NDArray[np.float64]:
    """Frequencies from the lowest up to the highest of each, of density f^-1.5."""
    most, least = _LOWEST_FREQUENCY**-0.5, highest**-0.5
    return np.asarray((least + (most - least) * rng.random(highest.size)) ** -2.0)


def plant_genes(exome: Exome, parameters: tuple[Parameter, ...] = PARAMETERS) -> ActingGenes:
    """Choose the genes that act, one for each parameter; one in three acts in both directions."""
    rng = stream(exome.seed, Stream.PLANTED_GENES)
    chosen = rng.permutation(exome.n_blocks)[: len(parameters)].tolist()
    planted = []
    for number, (gene, parameter) in enumerate(zip(chosen, parameters, strict=True)):
        consequence = exome.consequence[exome.block(gene)]
        one_way = number % _BOTH_WAYS_EVERY > 0
        size = float(rng.uniform(*_EFFECT))
        if one_way:
            size *= int(rng.choice([-1, 1]))
            effects, signs = {LOF: size, MISSENSE: _MISSENSE_PART * size}, [1]
        else:
            effects, signs = {LOF: size, MISSENSE: size}, [-1, 0, 1]
        sign = rng.choice(signs, len(consequence))
        beta = sign * np.array([effects.get(kind, 0.0) for kind in consequence])
        share = _variance(exome, gene, beta)
        planted.append(PlantedGene(gene, parameter.name, one_way, effects, beta, share))
    return ActingGenes(exome, tuple(planted))


def annotation_rows(exome: Exome, variants: NDArray[np.int64], gene: int) -> str:
    """The rows of REGENIE's --anno-file for some variants of a gene."""
    return "".join(
        f"{exome.name(v)} {exome.genes[gene]} {exome.consequence[v]}\n" for v in variants
    )


def set_row(exome: Exome, variants: NDArray[np.int64], gene: int) -> str:
    """The row of REGENIE's --set-list for some variants of a gene, none where there are none."""
    if not len(variants):
        return ""
    first = variants[0]
    names = ",".join(exome.name(v) for v in variants)
    return f"{exome.genes[gene]} {exome.contig_name(first)} {exome.position[first]} {names}\n"


MASKS = f"{LOF} {LOF}\n{LOF}_{MISSENSE} {LOF},{MISSENSE}\n"
"""REGENIE's --mask-def: what truncates the protein, with and without what changes it."""
