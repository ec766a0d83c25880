"""Genotypes of the simulated participants: linked haplotypes, two populations and relatives.

Participants come in chunks of 128. A chunk's haplotypes in a block depend on the seed, the chunk
and the block alone: any task makes any part of the matrix, and no part needs another.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ecg_spark.simulate.genome import (
    AUTOSOMES_GRCH38,
    POPULATION_SHARES,
    Sites,
    Stream,
    stream,
)

CHUNK = 128
"""Participants in a chunk; relatives are always within one."""

MISSING = -1

_PAIR_SHARE = 0.03  # of participants
_POOR_SAMPLE_SHARE = 0.005
_POOR_SAMPLE_MISSING = 0.10
_CROSSOVERS_PER_BP = 1e-8


@dataclass(frozen=True)
class Families:
    """Who descends from whom in one chunk, as founders 0 to F - 1.

    `population` [F] is 0 or 1; `own` [128] is the founder that a participant is, -1 for a child;
    `children` [C] are participants and `parents` [C, 2] their founders, who may be participants
    or not. `siblings` and `parent_offspring` are the related pairs of participants, [k, 2].
    """

    population: NDArray[np.int64]
    own: NDArray[np.int64]
    children: NDArray[np.int64]
    parents: NDArray[np.int64]
    siblings: NDArray[np.int64]
    parent_offspring: NDArray[np.int64]

    @property
    def participant_population(self) -> NDArray[np.int64]:
        """Population of each of the 128 participants; a child has that of its parents."""
        source = self.own.copy()
        source[self.children] = self.parents[:, 0]
        return self.population[source]


@lru_cache(maxsize=4096)
def families(
    seed: int, chunk: int, population_shares: tuple[float, float] = POPULATION_SHARES
) -> Families:
    """Draw the families of a chunk: 3 % of people are in a pair of siblings or parent and child."""
    rng = stream(seed, Stream.FAMILIES, chunk)
    first = np.arange(0, CHUNK, 2)
    drawn = rng.random(first.size)
    siblings = np.stack([first, first + 1], axis=1)[drawn < _PAIR_SHARE / 2]
    related = np.stack([first, first + 1], axis=1)[
        (drawn >= _PAIR_SHARE / 2) & (drawn < _PAIR_SHARE)
    ]
    children = np.concatenate([siblings.ravel(), related[:, 1]])
    own = np.full(CHUNK, -1)
    unrelated = np.setdiff1d(np.arange(CHUNK), children)
    own[unrelated] = np.arange(unrelated.size)
    n_founders = unrelated.size + 2 * len(siblings) + len(related)
    absent = np.arange(unrelated.size, n_founders)
    couples = absent[: 2 * len(siblings)].reshape(-1, 2)
    partners = absent[2 * len(siblings) :]
    parents = np.concatenate(
        [np.repeat(couples, 2, axis=0), np.stack([own[related[:, 0]], partners], axis=1)]
    )
    population = rng.choice(len(population_shares), n_founders, p=population_shares)
    population[parents[:, 1]] = population[parents[:, 0]]
    return Families(population, own, children, parents, siblings, related)


def true_dosages(sites: Sites, block: int, chunk: int) -> NDArray[np.int8]:
    """ALT counts of a chunk's participants in a block, without typing errors, [m, 128]."""
    family = families(sites.seed, chunk, sites.population_shares)
    rng = stream(sites.seed, sites.founders, block, chunk)
    span = sites.block(block)
    haplotypes = sites.haplotypes(rng, block, np.repeat(family.population, 2))
    haplotypes = haplotypes.reshape(len(haplotypes), -1, 2)
    out = haplotypes.sum(axis=2, dtype=np.int8)[:, family.own]
    if family.children.size:
        which = _transmitted(sites, chunk, int(sites.contig[span.start]), family.children.size)
        phase = which(sites.position[span])
        rows = np.arange(len(haplotypes))[:, None]
        out[:, family.children] = sum(
            haplotypes[rows, family.parents[:, parent], phase[:, :, parent]] for parent in (0, 1)
        )
    return out


def _transmitted(
    sites: Sites, chunk: int, contig: int, n_children: int
) -> Callable[[NDArray[np.int64]], NDArray[np.int64]]:
    """A function of positions [m]: which of a parent's two haplotypes each child has, [m, C, 2].

    Crossovers fall on a chromosome as a Poisson process of one a Morgan, without interference.
    """
    rng = stream(sites.seed, Stream.MEIOSIS, chunk, contig)
    length = AUTOSOMES_GRCH38[contig]
    first = rng.integers(0, 2, (n_children, 2))
    crossovers = [
        np.sort(rng.uniform(0, length, count))
        for count in rng.poisson(length * _CROSSOVERS_PER_BP, 2 * n_children)
    ]

    def phase(position: NDArray[np.int64]) -> NDArray[np.int64]:
        passed = np.stack([np.searchsorted(c, position) for c in crossovers], axis=-1)
        return (passed.reshape(position.size, n_children, 2) + first) % 2

    return phase


def called_dosages(sites: Sites, block: int, chunk: int) -> NDArray[np.int8]:
    """ALT counts as a laboratory calls them, [m, 128]: some missing (-1), few called wrong."""
    dosages = true_dosages(sites, block, chunk)
    span = sites.block(block)
    rng = stream(sites.seed, sites.typing, block, chunk)
    missing = sites.missing[span, None] + _POOR_SAMPLE_MISSING * poor_samples(sites.seed, chunk)
    lost = sites.lost_heterozygotes[span]
    for variant in np.flatnonzero(lost):
        fails = (dosages[variant] == 1) & (rng.random(CHUNK) < lost[variant])
        dosages[variant, fails] = 2 * rng.integers(0, 2, np.count_nonzero(fails), dtype=np.int8)
    dosages[rng.random(dosages.shape, dtype=np.float32) < missing] = MISSING
    return dosages


def poor_samples(seed: int, chunk: int) -> NDArray[np.bool_]:
    """Which participants of a chunk gave a poor sample that lacks a tenth of its calls, [128]."""
    rng = stream(seed, Stream.TYPING, chunk)
    return rng.random(CHUNK) < _POOR_SAMPLE_SHARE


def n_chunks(participants: int) -> int:
    """Number of chunks that hold so many participants."""
    return -(-participants // CHUNK)


def block_dosages(sites: Sites, block: int, participants: int) -> NDArray[np.int8]:
    """Called ALT counts of all participants in a block, [m, participants], -1 where missing."""
    parts = [called_dosages(sites, block, chunk) for chunk in range(n_chunks(participants))]
    return np.concatenate(parts, axis=1)[:, :participants]
