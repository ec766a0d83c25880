"""Whole-genome regression: what the rest of the genome says about each phenotype.

The two-level ridge regression of REGENIE (Mbatchou et al. 2021, Nat Genet 53:1097). Level 0: each
block of neighbouring variants predicts each phenotype, once for each of five shrinkages. Level 1:
a ridge over these predictors, whose shrinkage is chosen by cross-validation. Both levels predict
the people of a fold from the others. The prediction without a chromosome (leave one chromosome
out, LOCO) is the offset of the tests on that chromosome: it holds relatives, structure and the
polygenic background.

Level 0 runs in Spark over blocks, level 1 over phenotypes and parts of the people, in NumPy. With
500,000 people, 500 blocks and 20 phenotypes a task of level 0 holds 125 MB of packed calls, as much
again of one part's genotypes and 200 MB of predictors; one of level 1 holds the predictors of a
phenotype for one part (80 MB), and where the shrinkage is chosen their products (25 MB a fold).
"""

import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import DataFrame, SparkSession

from ecg_spark.genetics.genotypes.packed import Packed
from ecg_spark.genetics.null_model.projection import basis_of
from ecg_spark.genetics.null_model.ridge import (
    SHRINKAGES,
    Floats,
    Parts,
    block_predictors,
    parts_of,
    residual_phenotypes,
    ridge_by_fold,
)
from ecg_spark.store import remove_folder

log = logging.getLogger(__name__)

BLOCK_VARIANTS = 1_000
MAX_VARIANTS = 500_000

_PREDICTORS = "phenotype int, part int, block int, contig string, values binary"
_MOMENTS = "phenotype int, fold int, gram binary, cross binary, total double"
_LOCO = "phenotype int, part int, contig string, values binary"


@dataclass(frozen=True)
class Loco:
    """Predictions of every phenotype without each chromosome, over the samples of the model.

    `r2` is the cross-validated share of each phenotype's variance that the whole genome predicts.
    """

    folder: str
    samples: pd.Index
    phenotypes: tuple[str, ...]
    contigs: tuple[str, ...]
    r2: dict[str, float]

    def without(self, contig: str) -> pd.DataFrame:
        """The predictions for tests on `contig` [samples, phenotypes], in the phenotypes' units.

        A contig that is not in the model gets the prediction from all that are.
        """
        wanted = contig if contig in self.contigs else ""
        rows = pd.read_parquet(self.folder, filters=[("contig", "=", wanted)])
        rows = rows.sort_values(["phenotype", "part"])
        parts = [np.frombuffer(part, np.float32) for part in rows["values"]]
        values = np.concatenate(parts).reshape(len(self.phenotypes), -1).T.astype(float)
        return pd.DataFrame(values, self.samples, list(self.phenotypes))


@dataclass(frozen=True)
class Offsets:
    """What is known of the people analysed beside their covariates, each None where it is not used.

    `loco`: what the other chromosomes predict; `relatives`: pairs (s1, s2, kinship).
    """

    loco: Loco | None
    relatives: pd.DataFrame | None


def predict_by_genome(
    spark: SparkSession,
    packed: Packed,
    variants: NDArray[np.int64],
    phenotypes: pd.DataFrame,
    covariates: pd.DataFrame,
    folder: str,
    seed: int,
    block_variants: int = BLOCK_VARIANTS,
) -> Loco:
    """Fit the model to all phenotypes at once and predict each without each chromosome.

    `variants`: the places in `packed` of those in the model, of which at most `MAX_VARIANTS` are
    used, chosen with `seed`. `phenotypes` [samples, p] (NaN where missing; such people count with
    the mean) and `covariates` (complete, without the intercept) are indexed by sample id. A fold is
    a run of people in this order: relatives in a row should be shuffled apart. Writes into
    `folder`, which every task must reach.
    """
    if len(variants) > MAX_VARIANTS:
        rng = np.random.default_rng(seed)
        variants = np.sort(rng.choice(variants, MAX_VARIANTS, replace=False))
    basis = basis_of(covariates.to_numpy(float)).astype(np.float32)
    y, known, scale = residual_phenotypes(phenotypes.to_numpy(float), basis)
    samples = packed.places(list(phenotypes.index))
    parts = parts_of(len(phenotypes))
    contigs = packed.sites["contig"].to_numpy()[variants]
    blocks = _blocks(variants, contigs, block_variants)
    penalties = [len(variants) * (1 - h2) / h2 for h2 in SHRINKAGES]
    shared = spark.sparkContext.broadcast(
        (packed.calls, samples, basis, y, known, parts, blocks, penalties)
    )

    def level_0(batches: Iterable[pa.RecordBatch]) -> Iterable[pa.RecordBatch]:
        calls, samples, basis, y, known, parts, blocks, penalties = shared.value
        for number in (i for batch in batches for i in batch.column(0).to_pylist()):
            contig, places = blocks[number]
            found = block_predictors(
                calls, places, samples, basis, y, known, parts, np.array(penalties)
            )
            for phenotype in range(y.shape[1]):
                yield _predictor_rows(found[phenotype], phenotype, number, contig, parts)

    numbers = spark.range(0, len(blocks), 1, len(blocks))
    scratch = f"{folder}/level-0"
    clock = [time.monotonic()]
    numbers.mapInArrow(level_0, _PREDICTORS).write.parquet(scratch)
    clock.append(time.monotonic())
    predictors = spark.read.schema(_PREDICTORS).parquet(scratch)
    weights, chosen = _level_1(spark, predictors, y, parts, len(blocks))
    clock.append(time.monotonic())
    _predict(spark, predictors, weights, parts, scale, f"{folder}/loco")
    clock.append(time.monotonic())
    took = np.diff(clock)
    log.info("whole genome: level 0 %.1f s, level 1 %.1f s, predictions %.1f s", *took)
    shared.unpersist()
    remove_folder(scratch)
    names = [str(name) for name in phenotypes.columns]
    return Loco(
        f"{folder}/loco",
        phenotypes.index,
        tuple(names),
        tuple(dict.fromkeys(contig for contig, _ in blocks)),
        dict(zip(names, chosen, strict=True)),
    )


def _level_1(
    spark: SparkSession, predictors: DataFrame, y: Floats, parts: Parts, n_blocks: int
) -> tuple[dict[int, Any], list[float]]:
    """Weights of every phenotype's predictors [folds, predictors], and its cross-validated R²."""
    shared = spark.sparkContext.broadcast((y, parts))
    penalties = np.array([n_blocks * len(SHRINKAGES) * (1 - h2) / h2 for h2 in SHRINKAGES])

    def moments(rows: pd.DataFrame) -> pd.DataFrame:
        y, parts = shared.value
        phenotype, part = int(rows["phenotype"].iloc[0]), int(rows["part"].iloc[0])
        fold = int(parts.fold[part])
        x, own = _matrix(rows), y[parts.bounds[part] : parts.bounds[part + 1], phenotype]
        gram, cross = x.T @ x, x.T @ own
        total = float(own @ own)
        return pd.DataFrame(
            [[phenotype, fold, gram.tobytes(), cross.tobytes(), total]],
            columns=["phenotype", "fold", "gram", "cross", "total"],
        )

    def arrays(row: Any) -> tuple[tuple[int, int], tuple[Any, Any, float]]:
        gram, cross = (np.frombuffer(row[key], np.float32) for key in ("gram", "cross"))
        return (row["phenotype"], row["fold"]), (gram, cross, row["total"])

    def add(one: tuple[Any, Any, float], other: tuple[Any, Any, float]) -> tuple[Any, Any, float]:
        return one[0] + other[0], one[1] + other[1], one[2] + other[2]

    def choose(item: tuple[int, Iterable[tuple[int, Any]]]) -> tuple[int, float, Floats]:
        phenotype, folds = item
        ordered = [sums for _, sums in sorted(folds, key=lambda one: one[0])]
        crosses = np.stack([cross for _, cross, _ in ordered])
        size = crosses.shape[1]
        grams = np.stack([gram.reshape(size, size) for gram, _, _ in ordered])
        totals = np.array([total for _, _, total in ordered])
        weights, left = ridge_by_fold(grams, crosses, totals, penalties)
        best = int(left.argmin())
        return phenotype, 1 - float(left[best] / totals.sum()), weights[best]

    found = (
        predictors.groupBy("phenotype", "part")
        .applyInPandas(moments, _MOMENTS)
        .rdd.map(arrays)
        .reduceByKey(add)
        .map(lambda item: (item[0][0], (item[0][1], item[1])))
        .groupByKey()
        .map(choose)
        .collect()
    )
    shared.unpersist()
    weights = {phenotype: one for phenotype, _, one in found}
    return weights, [round(r2, 5) for _, r2, _ in sorted(found, key=lambda one: one[0])]


def _predict(
    spark: SparkSession,
    predictors: DataFrame,
    weights: dict[int, Any],
    parts: Parts,
    scale: NDArray[np.float64],
    folder: str,
) -> None:
    """Write the predictions of every phenotype without each contig; contig "" is without none."""
    shared = spark.sparkContext.broadcast((weights, parts, scale))

    def loco(rows: pd.DataFrame) -> pd.DataFrame:
        weights, parts, scale = shared.value
        phenotype, part = int(rows["phenotype"].iloc[0]), int(rows["part"].iloc[0])
        rows = rows.sort_values("block")
        x, contigs = _matrix(rows), rows["contig"].to_numpy()
        own = weights[phenotype][parts.fold[part]].reshape(len(rows), -1)
        each = x.reshape(len(x), len(rows), -1) * own
        by_block = each.sum(axis=2) * scale[phenotype]
        total = by_block.sum(axis=1)
        out = [("", total)]
        out += [(c, total - by_block[:, contigs == c].sum(axis=1)) for c in np.unique(contigs)]
        return pd.DataFrame(
            [[phenotype, part, c, v.astype(np.float32).tobytes()] for c, v in out],
            columns=["phenotype", "part", "contig", "values"],
        )

    found = predictors.groupBy("phenotype", "part").applyInPandas(loco, _LOCO)
    found.write.parquet(folder)
    shared.unpersist()


def _blocks(
    variants: NDArray[np.int64], contigs: NDArray[Any], size: int
) -> list[tuple[str, NDArray[np.int64]]]:
    """Runs of at most `size` neighbouring variants of one contig, as even as can be."""
    blocks = []
    for contig in dict.fromkeys(contigs):
        own = variants[contigs == contig]
        parts = np.array_split(own, -(-len(own) // size))
        blocks += [(str(contig), part) for part in parts]
    return blocks


def _predictor_rows(
    found: Floats, phenotype: int, block: int, contig: str, parts: Parts
) -> pa.RecordBatch:
    """The predictors of a phenotype and block [n, penalties] as a row a part."""
    values = [found[own].tobytes() for _, own in parts]
    k = len(values)
    columns = [
        pa.array([phenotype] * k, pa.int32()),
        pa.array(range(k), pa.int32()),
        pa.array([block] * k, pa.int32()),
        pa.array([contig] * k),
        pa.array(values, pa.binary()),
    ]
    return pa.record_batch(columns, ["phenotype", "part", "block", "contig", "values"])


def _matrix(rows: pd.DataFrame) -> Floats:
    """The predictors [n, q] of one phenotype and part, block by block."""
    ordered = rows.sort_values("block")["values"]
    n_shrinkages = len(SHRINKAGES)
    return np.concatenate(
        [np.frombuffer(one, np.float32).reshape(-1, n_shrinkages) for one in ordered], axis=1
    )
