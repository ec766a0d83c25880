"""The two levels of whole-genome regression, spread over tasks: see `whole_genome`.

A task of level 0 fits one block of variants to all phenotypes and writes a file; level 1 reads of
every file what is of one phenotype.
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
    """The predictors of all blocks, a file a block: of each phenotype those of one part after the
    other [penalties, people of the part], float32, then the shares [folds, folds, penalties] and
    the spreads [penalties], float64 (see `ridge.BlockPredictors`). Beside each lies a file of the
    weights [p, folds, penalties, variants of the block], as NumPy's .npy."""

    folder: str
    blocks: int
    parts: Parts

    @property
    def folds(self) -> int:
        """How many folds the people are in."""
        return int(self.parts.fold.max()) + 1

    def write(self, block: int, found: BlockPredictors) -> None:
        """Write those of one block."""
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
        """The weights [p, folds, penalties, variants] of one block."""
        with fsspec.open(self._weights_file(block), "rb") as file:
            found: Floats = np.load(file)
        return found

    def of_part(self, phenotype: int, part: int) -> Floats:
        """The predictors [q, people] of one part, block by block."""
        size = 4 * len(SHRINKAGES)
        start, stop = (int(self.parts.bounds[one]) for one in (part, part + 1))
        found = self._read(phenotype, size * start, size * stop)
        return np.frombuffer(found, np.float32).reshape(-1, stop - start)

    def shares(self, phenotype: int) -> NDArray[np.float64]:
        """The shares [folds, folds, q], block by block."""
        values, shares, _ = self._sizes()
        found = np.frombuffer(self._read(phenotype, values, values + shares), np.float64)
        by_block = found.reshape(self.blocks, -1, len(SHRINKAGES))
        return by_block.transpose(1, 0, 2).reshape(self.folds, self.folds, -1)

    def spreads(self, phenotype: int) -> NDArray[np.float64]:
        """The spreads [blocks, penalties] that the predictors had."""
        values, shares, spreads = self._sizes()
        start = values + shares
        found = np.frombuffer(self._read(phenotype, start, start + spreads), np.float64)
        return found.reshape(self.blocks, -1)

    def _read(self, phenotype: int, start: int, stop: int) -> bytes:
        """The same bytes of a phenotype in every file."""
        files, base = fsspec.core.url_to_fs(self.folder)
        first = phenotype * sum(self._sizes())
        paths = [self._file(block, base) for block in range(self.blocks)]
        n = len(paths)
        found = files.cat_ranges(paths, [first + start] * n, [first + stop] * n, on_error="raise")
        return b"".join(found)

    def _sizes(self) -> tuple[int, int, int]:
        """How many bytes the predictors of a phenotype have, and their shares and spreads."""
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
    """Level 0: fit every block (see `ridge.block_predictors`), a task each, which writes into
    `folder`."""
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
    """Level 1: the weights [folds, q] of the predictors of a phenotype, and the share of it that
    they predict (see `ridge.level_one`).

    `y` [n]: the residual phenotype, 0 where missing.
    """
    grams, totals = _products(made, phenotype, y)
    q = grams.shape[1]
    penalties = np.array([q * (1 - h2) / h2 for h2 in SHRINKAGES])
    return level_one(grams, made.shares(phenotype), totals, penalties)


def fit_predictors_with_sums(made: Predictors, phenotype: int, y: Floats) -> tuple[Floats, float]:
    """As `fit_predictors`, by `ridge.level_one_with_sums`."""
    grams, totals = _products(made, phenotype, y)
    shares, spreads = made.shares(phenotype), made.spreads(phenotype)
    return level_one_with_sums(grams, shares, totals, spreads)


def _products(made: Predictors, phenotype: int, y: Floats) -> tuple[Floats, NDArray[np.float64]]:
    """The products of the predictors of a phenotype within each fold [folds, q, q], and those
    of the phenotype with itself [folds]."""
    q, folds = made.blocks * len(SHRINKAGES), made.folds
    grams, totals = np.zeros((folds, q, q), np.float32), np.zeros(folds)
    for part, (fold, own) in enumerate(made.parts):
        x = made.of_part(phenotype, part)
        grams[fold] += x @ x.T
        totals[fold] += y[own] @ y[own]
    return grams, totals


def blocks_of(variants: NDArray[np.int64], contigs: NDArray[np.object_], size: int) -> list[Block]:
    """Runs of at most `size` neighbouring variants of one contig, as even as can be."""
    blocks = []
    for contig in dict.fromkeys(contigs):
        own = variants[contigs == contig]
        parts = np.array_split(own, -(-len(own) // size))
        blocks += [(str(contig), part) for part in parts]
    return blocks
