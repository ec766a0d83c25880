"""The two levels of whole-genome regression, distributed over Spark tasks (see `whole_genome`).

A task of level 0 fits one block of variants to all phenotypes and writes one file. A task of level
1 handles one phenotype and reads its share of every file.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import fsspec
import numpy as np
from numpy.typing import NDArray
from pyspark.sql import SparkSession

from ecg_spark.genetics.genotypes.packed import Calls
from ecg_spark.genetics.null_model.ridge import (
    SHRINKAGES,
    BlockPredictors,
    Floats,
    Parts,
    block_predictors,
    level_one,
    level_one_with_sums,
)
from ecg_spark.locations import make_folder
from ecg_spark.session import broadcast

Block = tuple[str, NDArray[np.int64]]
"""A contig, and the places in the packed set of some neighbouring variants on it."""


@dataclass(frozen=True)
class Predictors:
    """The level-0 predictors of all blocks, stored in one file per block.

    For each phenotype a file holds the predictors, part of the people after part, [penalties,
    people of the part] as float32; then the shares [folds, folds, penalties] and the spreads
    [penalties] as float64 (see `ridge.BlockPredictors`). Beside it lies a file of the weights
    [phenotypes, folds, penalties, variants of the block], in NumPy's .npy format.

    Attributes:
        folder: where the files lie.
        blocks: how many blocks there are.
        parts: how the people are divided into folds and parts.
    """

    folder: str
    blocks: int
    parts: Parts

    @property
    def folds(self) -> int:
        """The number of folds."""
        return int(self.parts.fold.max()) + 1

    def write(self, block: int, found: BlockPredictors) -> None:
        """Write the predictors of one block."""
        with fsspec.open(self._file(block), "wb") as file:
            for values, shares, spreads in zip(
                found.predictors, found.shares, found.spreads, strict=True
            ):
                for _, own in self.parts:
                    file.write(values[:, own].tobytes())
                file.write(shares.tobytes())
                file.write(spreads.tobytes())
        with fsspec.open(self._weights_file(block), "wb") as file:
            np.save(file, found.weights)

    def weights(self, block: int) -> Floats:
        """Read the weights of one block, [phenotypes, folds, penalties, variants]."""
        with fsspec.open(self._weights_file(block), "rb") as file:
            found: Floats = np.load(file)
        return found

    def of_part(self, phenotype: int, part: int) -> Floats:
        """Read the predictors of one phenotype for one part of the people, [q, people], block
        by block.
        """
        size = 4 * len(SHRINKAGES)
        start, stop = (int(self.parts.bounds[one]) for one in (part, part + 1))
        found = self._read(phenotype, size * start, size * stop)
        return np.frombuffer(found, np.float32).reshape(-1, stop - start)

    def shares(self, phenotype: int) -> NDArray[np.float64]:
        """Read the shares of one phenotype, [folds, folds, q], block by block."""
        values, shares, _ = self._sizes()
        found = np.frombuffer(self._read(phenotype, values, values + shares), np.float64)
        by_block = found.reshape(self.blocks, -1, len(SHRINKAGES))
        return by_block.transpose(1, 0, 2).reshape(self.folds, self.folds, -1)

    def spreads(self, phenotype: int) -> NDArray[np.float64]:
        """Read the standard deviations that the predictors had before scaling, [blocks,
        penalties].
        """
        values, shares, spreads = self._sizes()
        start = values + shares
        found = np.frombuffer(self._read(phenotype, start, start + spreads), np.float64)
        return found.reshape(self.blocks, -1)

    def _read(self, phenotype: int, start: int, stop: int) -> bytes:
        """The same range of bytes of a phenotype from every block's file, joined."""
        files, base = fsspec.core.url_to_fs(self.folder)
        first = phenotype * sum(self._sizes())
        paths = [self._file(block, base) for block in range(self.blocks)]
        n = len(paths)
        found = files.cat_ranges(paths, [first + start] * n, [first + stop] * n, on_error="raise")
        return b"".join(found)

    def _sizes(self) -> tuple[int, int, int]:
        """The number of bytes of a phenotype's predictors, shares and spreads."""
        k = len(SHRINKAGES)
        return 4 * k * int(self.parts.bounds[-1]), 8 * k * self.folds**2, 8 * k

    def _file(self, block: int, folder: str | None = None) -> str:
        return f"{folder or self.folder}/block-{block:05d}"

    def _weights_file(self, block: int) -> str:
        return f"{self.folder}/weights-{block:05d}.npy"


def fit_blocks(
    spark: SparkSession,
    calls: Calls,
    blocks: Sequence[Block],
    samples: NDArray[np.int64],
    basis: Floats,
    y: Floats,
    known: NDArray[np.bool_],
    parts: Parts,
    folder: str,
) -> Predictors:
    """Level 0: fit every block of variants to all phenotypes, one task per block (see
    `ridge.block_predictors`).

    Args:
        samples: the places of the people in the set, [n].
        basis: orthonormal columns of intercept and covariates, [n, c].
        y: residual phenotypes [n, p]; 0 where missing.
        known: where `y` is not missing, [n, p].
        parts: how the people are divided into folds and parts.
        folder: where the tasks write; every task must be able to reach it.
    """
    variants = sum(len(places) for _, places in blocks)
    penalties = np.array([variants * (1 - h2) / h2 for h2 in SHRINKAGES])
    made = Predictors(folder, len(blocks), parts)
    make_folder(folder)
    shared = broadcast(spark, (calls, samples, basis, y, known, blocks))

    def fit(number: int) -> None:
        calls, samples, basis, y, known, blocks = shared.value
        places = blocks[number][1]
        made.write(
            number, block_predictors(calls, places, samples, basis, y, known, parts, penalties)
        )

    spark.sparkContext.parallelize(range(len(blocks)), len(blocks)).foreach(fit)
    shared.unpersist()
    return made


def fit_predictors(made: Predictors, phenotype: int, y: Floats) -> tuple[Floats, float]:
    """Level 1: combine the predictors of one phenotype (see `ridge.level_one`).

    Args:
        y: the residual phenotype [n]; 0 where missing.

    Returns:
        The weights of the predictors [folds, q], and the share of the phenotype's variance that
        they predict out of fold.
    """
    grams, totals = _products(made, phenotype, y)
    q = grams.shape[1]
    penalties = np.array([q * (1 - h2) / h2 for h2 in SHRINKAGES])
    return level_one(grams, made.shares(phenotype), totals, penalties)


def fit_predictors_with_sums(made: Predictors, phenotype: int, y: Floats) -> tuple[Floats, float]:
    """Level 1 as in `fit_predictors`, but by `ridge.level_one_with_sums`."""
    grams, totals = _products(made, phenotype, y)
    shares, spreads = made.shares(phenotype), made.spreads(phenotype)
    return level_one_with_sums(grams, shares, totals, spreads)


def _products(made: Predictors, phenotype: int, y: Floats) -> tuple[Floats, NDArray[np.float64]]:
    """The cross-products of the predictors of a phenotype within each fold [folds, q, q], and
    the sum of squares of the phenotype in each fold [folds].
    """
    q, folds = made.blocks * len(SHRINKAGES), made.folds
    grams, totals = np.zeros((folds, q, q), np.float32), np.zeros(folds)
    for part, (fold, own) in enumerate(made.parts):
        x = made.of_part(phenotype, part)
        grams[fold] += x @ x.T
        totals[fold] += y[own] @ y[own]
    return grams, totals


def blocks_of(variants: NDArray[np.int64], contigs: NDArray[np.object_], size: int) -> list[Block]:
    """Divide variants into blocks of at most `size` neighbouring variants of one contig, of nearly
    equal size.

    Args:
        variants: places in the set, sorted.
        contigs: the contig of each.

    Example:
        >>> blocks = blocks_of(np.arange(5), np.array(["1", "1", "1", "2", "2"], object), 2)
        >>> [(contig, places.tolist()) for contig, places in blocks]
        [('1', [0, 1]), ('1', [2]), ('2', [3, 4])]
    """
    blocks = []
    for contig in dict.fromkeys(contigs):
        own = variants[contigs == contig]
        parts = np.array_split(own, -(-len(own) // size))
        blocks += [(str(contig), part) for part in parts]
    return blocks
