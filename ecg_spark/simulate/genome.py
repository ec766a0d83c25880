"""The common variants of the simulated genome: where, how frequent, how linked, how well typed.

Everything here follows from the seed and the number of variants alone, so that each task can
make it again instead of receiving it.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

AUTOSOMES_GRCH38 = (
    248956422, 242193529, 198295559, 190214555, 181538259, 170805979, 159345973, 145138636,
    138394717, 133797422, 135086622, 133275309, 114364328, 107043718, 101991189, 90338345,
    83257441, 80373285, 58617616, 64444167, 46709983, 50818468,
)  # fmt: skip
"""Lengths of chr1 to chr22 in bp."""

POPULATION_SHARES = (0.85, 0.15)
FST = 0.07
CENTRAL_PART = 0.9
"""Of a chromosome: nothing is placed at the telomeres."""

_BLOCK_VARIANTS = 50
_MIN_BLOCKS = 64
_SPACING_BP = 3_000
_LINKAGE_BP = 120_000  # distance over which the correlation of haplotypes falls by a factor e


class Stream(IntEnum):
    """What a random stream is for: streams of different purpose or index are independent."""

    GENOME = 1
    PLANTED = 2
    FOUNDERS = 3
    FAMILIES = 4
    MEIOSIS = 5
    TYPING = 6
    PEOPLE = 7
    VISIT = 8
    DEFECTS = 9
    NOISE = 10
    HEARTS = 11
    DISEASES = 12
    EXOME = 13
    PLANTED_GENES = 14
    EXOME_FOUNDERS = 15
    EXOME_TYPING = 16


def stream(seed: int, purpose: Stream, *index: int) -> np.random.Generator:
    """The random numbers of one purpose and place: the same in whatever order tasks run."""
    return np.random.default_rng([seed, int(purpose), *index])


@dataclass(frozen=True, kw_only=True)
class Sites(ABC):
    """M variants in B blocks, in order of position, and the people who carry them.

    `contig` is 0 to 21, `position` in bp from 1; `ref` and `alt` are bases; `block_start` [B + 1]
    bounds the blocks; `frequency` [2, M] of ALT in each population. `missing` and
    `lost_heterozygotes` [M] are the shares of calls that are missing, and of heterozygotes that
    are called homozygous. From `seed` follow the people who carry the variants, of whom
    `population_shares` are the parts that are of each population. `founders` and `typing` are the
    streams of what people carry and of how it is called.
    """

    founders: ClassVar[Stream]
    typing: ClassVar[Stream]

    seed: int
    contig: NDArray[np.int16]
    position: NDArray[np.int64]
    ref: NDArray[np.str_]
    alt: NDArray[np.str_]
    block_start: NDArray[np.int64]
    frequency: NDArray[np.float64]
    missing: NDArray[np.float64]
    lost_heterozygotes: NDArray[np.float64]
    population_shares: tuple[float, float] = POPULATION_SHARES

    @abstractmethod
    def name(self, variant: int) -> str:
        """What a .bim calls a variant."""

    @abstractmethod
    def haplotypes(
        self, rng: np.random.Generator, block: int, population: NDArray[np.int64]
    ) -> NDArray[np.int8]:
        """Draw the ALT alleles of a block on haplotypes of such populations [h], [m, h]."""

    def in_people(self, seed: int, population_shares: tuple[float, float]) -> Self:
        """The same variants in other people, and in other parts of the two populations."""
        return replace(self, seed=seed, population_shares=population_shares)

    @property
    def n_variants(self) -> int:
        """Number of variants."""
        return self.position.size

    @property
    def n_blocks(self) -> int:
        """Number of blocks."""
        return self.block_start.size - 1

    def contig_name(self, variant: int) -> str:
        """The contig as GRCh38 names it, such as `chr1`."""
        return f"chr{self.contig[variant] + 1}"

    def place(self, variant: int) -> str:
        """A variant by its place and alleles, such as `chr1:1200000:A:G`."""
        where = f"{self.contig_name(variant)}:{self.position[variant]}"
        return f"{where}:{self.ref[variant]}:{self.alt[variant]}"

    def mean_frequency(self, variant: int) -> float:
        """ALT frequency over both populations."""
        return float(np.dot(self.population_shares, self.frequency[:, variant]))

    def block(self, index: int) -> slice:
        """The variants of one block."""
        return slice(int(self.block_start[index]), int(self.block_start[index + 1]))


@dataclass(frozen=True, kw_only=True)
class Genome(Sites):
    """Variants in blocks of linkage.

    `linkage` [M] is the correlation of the latent Gaussian with the variant before, 0 at the start
    of a block.
    """

    founders: ClassVar[Stream] = Stream.FOUNDERS
    typing: ClassVar[Stream] = Stream.TYPING

    linkage: NDArray[np.float64]

    def name(self, variant: int) -> str:
        """A name in the form of dbSNP's, above every number that dbSNP has given out."""
        return f"rs{99_000_000_001 + variant}"

    def dosage_variance(self, variant: int) -> float:
        """Variance of the ALT count over both populations: within them plus between them."""
        p, share = self.frequency[:, variant], np.array(self.population_shares)
        within = share @ (2 * p * (1 - p))
        return float(within + share @ (2 * p - 2 * self.mean_frequency(variant)) ** 2)

    def haplotypes(
        self, rng: np.random.Generator, block: int, population: NDArray[np.int64]
    ) -> NDArray[np.int8]:
        """Draw the ALT alleles of a block on haplotypes of such populations [h], [m, h]."""
        factor = self.block_factor(block)
        latent = factor @ rng.standard_normal((len(factor), len(population)), dtype=np.float32)
        threshold = self.block_thresholds(block)[population].T
        return (latent < threshold).astype(np.int8)

    def block_factor(self, index: int) -> NDArray[np.float32]:
        """Cholesky factor [m, m] of a block's latent correlations, those of an AR(1) process."""
        rho = self.linkage[self.block(index)]
        log_rho = np.concatenate([[0.0], np.cumsum(np.log(rho[1:]))])
        innovation = np.sqrt(np.concatenate([[1.0], 1 - rho[1:] ** 2]))
        return np.tril(np.exp(log_rho[:, None] - log_rho) * innovation).astype(np.float32)

    def block_thresholds(self, index: int) -> NDArray[np.float32]:
        """Latent value below which a haplotype carries ALT, [2, m] by population."""
        return ndtri(self.frequency[:, self.block(index)]).astype(np.float32)


def make_genome(seed: int, variants: int) -> Genome:
    """Place `variants` (at least 2 x 64) on chr1 to chr22, in blocks spread evenly over them.

    Frequencies in the two populations scatter about an ancestral one by Balding and Nichols
    (Genetica 1995; 96:3) with Fst 0.07. About one variant in twelve is rarer than 1 %. About 1 %
    lack 10 % of their calls, the others up to 1 %; 0.5 % lose heterozygotes.
    """
    rng = stream(seed, Stream.GENOME, variants)
    n_blocks = max(_MIN_BLOCKS, variants // _BLOCK_VARIANTS)
    sizes = np.full(n_blocks, variants // n_blocks)
    sizes[: variants % n_blocks] += 1
    contig, start, room = _place_blocks(rng, n_blocks)
    starts = np.concatenate([[0], np.cumsum(sizes)])
    block = np.repeat(np.arange(n_blocks), sizes)
    gap = np.minimum(_SPACING_BP, room / sizes)[block]
    step = 1 + (gap * rng.exponential(1, variants)).astype(np.int64)
    walked = np.cumsum(step)
    position = start[block] + walked - walked[starts[:-1]][block]
    linkage = np.exp(-step / _LINKAGE_BP)
    linkage[starts[:-1]] = 0
    bases = np.array(list("ACGT"))
    ref = rng.integers(0, 4, variants)
    alt = (ref + rng.integers(1, 4, variants)) % 4
    missing = np.where(rng.random(variants) < 0.01, 0.10, 0.01 * rng.random(variants) ** 2)
    lost = np.where(rng.random(variants) < 0.005, 0.5, 0.0)
    return Genome(
        seed=seed,
        contig=contig[block].astype(np.int16),
        position=position,
        ref=bases[ref],
        alt=bases[alt],
        block_start=starts,
        frequency=_frequencies(rng, variants),
        missing=missing,
        lost_heterozygotes=lost,
        linkage=linkage,
    )


def _place_blocks(
    rng: np.random.Generator, n_blocks: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Contig, first position and available length in bp of each block, evenly spread."""
    length = np.array(AUTOSOMES_GRCH38, dtype=np.float64)
    edge = np.concatenate([[0], np.cumsum(length)]) / length.sum()
    bounds = np.rint(edge * n_blocks).astype(int)
    contigs, starts, rooms = [], [], []
    for k, count in enumerate(np.diff(bounds)):
        slot = length[k] * CENTRAL_PART / max(count, 1)
        first = length[k] * (1 - CENTRAL_PART) / 2 + slot * np.arange(count)
        contigs.append(np.full(count, k))
        starts.append((first + slot * rng.uniform(0, 0.15, count)).astype(np.int64))
        rooms.append(np.full(count, slot * 0.4))
    return np.concatenate(contigs), np.concatenate(starts), np.concatenate(rooms)


def _frequencies(rng: np.random.Generator, variants: int) -> NDArray[np.float64]:
    minor = np.where(
        rng.random(variants) < 0.08,
        np.exp(rng.uniform(np.log(0.001), np.log(0.01), variants)),
        0.01 + 0.49 * rng.random(variants) ** 1.3,
    )
    ancestral = np.where(rng.random(variants) < 0.3, 1 - minor, minor)
    strength = (1 - FST) / FST
    drifted = rng.beta(ancestral * strength, (1 - ancestral) * strength, (2, variants))
    # The larger population is close to the ancestral one, the smaller one has drifted away.
    near = ancestral + 0.25 * (drifted[0] - ancestral)
    return np.clip(np.stack([near, drifted[1]]), 0.0005, 0.9995)
