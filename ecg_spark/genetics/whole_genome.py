"""Whole-genome regression: what the rest of the genome says about each phenotype.

The two-level ridge regression of REGENIE (Mbatchou et al. 2021, Nat Genet 53:1097). Level 0: each
block of neighbouring variants predicts each phenotype, once for each of five shrinkages. Level 1:
a ridge over these predictors, whose shrinkage is chosen by cross-validation. Both levels predict
the people of a fold from the others. The prediction without a chromosome (leave one chromosome
out, LOCO) is the offset of the tests on that chromosome: it holds relatives, structure and the
polygenic background.

Level 0 runs in Spark over blocks, level 1 over phenotypes and folds, in NumPy. A task holds the
calls of one block, or the predictors of one phenotype and fold.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import DataFrame, SparkSession
from scipy.linalg import cho_factor, cho_solve

from ecg_spark.genetics.packed import Calls, Packed, centred
from ecg_spark.store import remove_folder

BLOCK_VARIANTS = 1_000
MAX_VARIANTS = 500_000
FOLDS = 5
SHRINKAGES = (0.01, 0.25, 0.5, 0.75, 0.99)
"""Shares of variance for which the ridges shrink, at both levels."""

Floats = NDArray[np.float32]

_PREDICTORS = "phenotype int, fold int, block int, contig string, values binary"
_MOMENTS = "phenotype int, fold int, gram binary, cross binary, total double"
_CHOICES = "phenotype int, shrinkage int, r2 double, weights binary"
_LOCO = "phenotype int, fold int, contig string, values binary"


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
        rows = rows.sort_values(["phenotype", "fold"])
        parts = [np.frombuffer(part, np.float32) for part in rows["values"]]
        values = np.concatenate(parts).reshape(len(self.phenotypes), -1).T.astype(float)
        return pd.DataFrame(values, self.samples, list(self.phenotypes))


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
    basis = _basis(covariates.to_numpy(float))
    y, known, scale = _residual_phenotypes(phenotypes.to_numpy(float), basis)
    samples = packed.places(list(phenotypes.index))
    bounds = np.linspace(0, len(phenotypes), FOLDS + 1).astype(int)
    contigs = packed.sites["contig"].to_numpy()[variants]
    blocks = _blocks(variants, contigs, block_variants)
    penalties = [len(variants) * (1 - h2) / h2 for h2 in SHRINKAGES]
    shared = spark.sparkContext.broadcast(
        (packed.calls, samples, basis, y, known, bounds, blocks, penalties)
    )

    def level_0(batches: Iterable[pa.RecordBatch]) -> Iterable[pa.RecordBatch]:
        calls, samples, basis, y, known, bounds, blocks, penalties = shared.value
        for number in (i for batch in batches for i in batch.column(0).to_pylist()):
            contig, places = blocks[number]
            found = block_predictors(
                calls, places, samples, basis, y, known, bounds, np.array(penalties)
            )
            for phenotype in range(y.shape[1]):
                yield _predictor_rows(found[phenotype], phenotype, number, contig, bounds)

    numbers = spark.range(0, len(blocks), 1, len(blocks))
    scratch = f"{folder}/level-0"
    numbers.mapInArrow(level_0, _PREDICTORS).write.parquet(scratch)
    predictors = spark.read.schema(_PREDICTORS).parquet(scratch)
    weights, chosen = _level_1(spark, predictors, y, bounds, len(blocks))
    _predict(spark, predictors, weights, scale, f"{folder}/loco")
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


def block_predictors(
    calls: Calls,
    variants: NDArray[np.int64],
    samples: NDArray[np.int64],
    basis: Floats,
    y: Floats,
    known: NDArray[np.bool_],
    bounds: NDArray[np.int64],
    penalties: NDArray[np.float64],
) -> Floats:
    """Level 0 for one block: predictors [p, n, penalties] of mean 0 and variance 1.

    `samples`: places in the set, fold by fold (`bounds` [folds + 1]); `basis` [n, c]: orthonormal
    columns of intercept and covariates; `y` [n, p]: residual phenotypes, 0 where not `known`.
    Genotypes are residuals on the basis, scaled to variance 1. The people of a fold are predicted
    from the other folds.
    """
    n, p = y.shape
    values = centred(calls.read(variants, samples))
    on_basis = values @ basis
    length = np.maximum((values**2).sum(axis=1) - (on_basis**2).sum(axis=1), 0)
    spread = np.sqrt(length / (n - basis.shape[1]))
    varies = spread > 1e-4
    values, on_basis = values[varies], on_basis[varies]
    values -= on_basis @ basis.T
    values /= spread[varies, None]
    folds = [slice(a, b) for a, b in pairwise(bounds)]
    grams = [values[:, fold] @ values[:, fold].T for fold in folds]
    crosses = [values[:, fold] @ y[fold] for fold in folds]
    gram, cross = sum(grams), sum(crosses)
    found = np.zeros((p, n, len(penalties)), np.float32)
    for fold, own_gram, own_cross in zip(folds, grams, crosses, strict=True):
        rest = gram - own_gram
        weights = [_ridge(rest, cross - own_cross, penalty) for penalty in penalties]
        predicted = values[:, fold].T @ np.concatenate(weights, axis=1)
        found[:, fold] = predicted.reshape(-1, len(penalties), p).transpose(2, 0, 1)
    found *= known.T[:, :, None]
    count = known.sum(axis=0)[:, None]
    mean = found.sum(axis=1) / count
    variance = (found**2).sum(axis=1) / count - mean**2
    found -= mean[:, None]
    found /= np.sqrt(np.maximum(variance, 1e-12))[:, None]
    found *= known.T[:, :, None]
    return found


def _level_1(
    spark: SparkSession, predictors: DataFrame, y: Floats, bounds: NDArray[np.int64], n_blocks: int
) -> tuple[dict[int, Any], list[float]]:
    """Weights of every phenotype's predictors [folds, predictors], and its cross-validated R²."""
    shared = spark.sparkContext.broadcast((y, bounds))
    penalties = np.array([n_blocks * len(SHRINKAGES) * (1 - h2) / h2 for h2 in SHRINKAGES])

    def moments(rows: pd.DataFrame) -> pd.DataFrame:
        y, bounds = shared.value
        phenotype, fold = int(rows["phenotype"].iloc[0]), int(rows["fold"].iloc[0])
        x, own = _matrix(rows), y[bounds[fold] : bounds[fold + 1], phenotype]
        gram, cross = x.T @ x, x.T @ own
        total = float(own @ own)
        return pd.DataFrame(
            [[phenotype, fold, gram.tobytes(), cross.tobytes(), total]],
            columns=["phenotype", "fold", "gram", "cross", "total"],
        )

    def choose(rows: pd.DataFrame) -> pd.DataFrame:
        rows = rows.sort_values("fold")
        crosses = np.stack([np.frombuffer(one, np.float32) for one in rows["cross"]])
        size = crosses.shape[1]
        grams = np.stack([np.frombuffer(one, np.float32).reshape(size, size) for one in rows.gram])
        weights, left = ridge_by_fold(grams, crosses, rows["total"].to_numpy(), penalties)
        best = int(left.argmin())
        r2 = 1 - float(left[best] / rows["total"].sum())
        return pd.DataFrame(
            [[int(rows["phenotype"].iloc[0]), best, r2, weights[best].tobytes()]],
            columns=["phenotype", "shrinkage", "r2", "weights"],
        )

    found = (
        predictors.groupBy("phenotype", "fold")
        .applyInPandas(moments, _MOMENTS)
        .groupBy("phenotype")
        .applyInPandas(choose, _CHOICES)
        .orderBy("phenotype")
        .collect()
    )
    shared.unpersist()
    weights = {
        row["phenotype"]: np.frombuffer(row["weights"], np.float32).reshape(FOLDS, -1)
        for row in found
    }
    return weights, [round(float(row["r2"]), 5) for row in found]


def ridge_by_fold(
    grams: NDArray[Any], crosses: NDArray[Any], totals: NDArray[Any], penalties: NDArray[np.float64]
) -> tuple[Floats, NDArray[np.float64]]:
    """Level 1: weights [penalties, folds, q] and their squared error [penalties].

    `grams` [folds, q, q], `crosses` [folds, q] and `totals` [folds] are the predictors' products
    with themselves, those with the phenotype, and the phenotype's with itself, within each fold.
    The weights of a fold come from the others.
    """
    grams, crosses = grams.astype(np.float64), crosses.astype(np.float64)
    weights = np.empty((len(penalties), *crosses.shape))
    left = np.zeros(len(penalties))
    for k, (gram, cross, total) in enumerate(zip(grams, crosses, totals, strict=True)):
        rest, rest_cross = grams.sum(axis=0) - gram, crosses.sum(axis=0) - cross
        for j, penalty in enumerate(penalties):
            own = weights[j, k] = _ridge(rest, rest_cross, penalty)
            left[j] += total - 2 * own @ cross + own @ gram @ own
    return weights.astype(np.float32), left


def _predict(
    spark: SparkSession,
    predictors: DataFrame,
    weights: dict[int, Any],
    scale: NDArray[np.float64],
    folder: str,
) -> None:
    """Write the predictions of every phenotype without each contig; contig "" is without none."""
    shared = spark.sparkContext.broadcast((weights, scale))

    def loco(rows: pd.DataFrame) -> pd.DataFrame:
        weights, scale = shared.value
        phenotype, fold = int(rows["phenotype"].iloc[0]), int(rows["fold"].iloc[0])
        rows = rows.sort_values("block")
        parts, contigs = _matrix(rows), rows["contig"].to_numpy()
        each = parts.reshape(len(parts), len(rows), -1) * weights[phenotype][fold].reshape(
            len(rows), -1
        )
        by_block = each.sum(axis=2) * scale[phenotype]
        total = by_block.sum(axis=1)
        out = [("", total)]
        out += [(c, total - by_block[:, contigs == c].sum(axis=1)) for c in np.unique(contigs)]
        return pd.DataFrame(
            [[phenotype, fold, c, v.astype(np.float32).tobytes()] for c, v in out],
            columns=["phenotype", "fold", "contig", "values"],
        )

    found = predictors.groupBy("phenotype", "fold").applyInPandas(loco, _LOCO)
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


def _basis(covariates: NDArray[np.float64]) -> Floats:
    """Orthonormal columns [n, c + 1] that span the intercept and the covariates."""
    design = np.column_stack([np.ones(len(covariates)), covariates])
    return np.asarray(np.linalg.qr(design)[0], np.float32)


def _residual_phenotypes(
    phenotypes: NDArray[np.float64], basis: Floats
) -> tuple[Floats, NDArray[np.bool_], NDArray[np.float64]]:
    """Residual phenotypes [n, p] of variance 1, 0 where missing; what is known; their spreads."""
    known = np.isfinite(phenotypes)
    count = known.sum(axis=0)
    y = np.where(known, phenotypes - np.nanmean(phenotypes, axis=0), 0)
    y = (y - basis @ (basis.T @ y)) * known
    scale = np.sqrt((y**2).sum(axis=0) / (count - basis.shape[1]))
    return (y / scale).astype(np.float32), known, scale


def _ridge(gram: NDArray[Any], cross: NDArray[Any], penalty: float) -> NDArray[Any]:
    """(gram + penalty I)⁻¹ cross, in the precision of gram."""
    shrunk = gram.copy()
    shrunk.flat[:: len(gram) + 1] += penalty
    return np.asarray(cho_solve(cho_factor(shrunk, overwrite_a=True, check_finite=False), cross))


def _predictor_rows(
    found: Floats, phenotype: int, block: int, contig: str, bounds: NDArray[np.int64]
) -> pa.RecordBatch:
    """The predictors of a phenotype and block [n, penalties] as a row a fold."""
    parts = [found[a:b].tobytes() for a, b in pairwise(bounds)]
    k = len(parts)
    columns = [
        pa.array([phenotype] * k, pa.int32()),
        pa.array(range(k), pa.int32()),
        pa.array([block] * k, pa.int32()),
        pa.array([contig] * k),
        pa.array(parts, pa.binary()),
    ]
    return pa.record_batch(columns, ["phenotype", "fold", "block", "contig", "values"])


def _matrix(rows: pd.DataFrame) -> Floats:
    """The predictors [n, q] of one phenotype and fold, block by block."""
    ordered = rows.sort_values("block")["values"]
    n_shrinkages = len(SHRINKAGES)
    return np.concatenate(
        [np.frombuffer(one, np.float32).reshape(-1, n_shrinkages) for one in ordered], axis=1
    )
