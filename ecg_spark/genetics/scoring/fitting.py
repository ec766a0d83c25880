"""Weights of variants for every phenotype, from whole-genome regression that keeps families
together.

This is the two-level ridge regression of `null_model.whole_genome`, with folds of whole families:
the model of a fold knows the phenotypes neither of its people nor of their relatives. Level 1 also
uses the sums of the predictors (`ridge.level_one_with_sums`), without which a score of thousands
of small effects explains half as much. A predictor of level 0 is a sum over variants, and level 1
is a sum over predictors, so the model of each fold amounts to one weight per variant. People who
are in no fold are scored by the mean of the folds' weights.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.pandas.types import from_arrow_schema

from ecg_spark.genetics.genotypes.packed import NAMES, Packed
from ecg_spark.genetics.null_model.levels import (
    Block,
    Predictors,
    fit_blocks,
    fit_predictors_with_sums,
)
from ecg_spark.genetics.null_model.projection import basis_of
from ecg_spark.genetics.null_model.ridge import (
    SHRINKAGES,
    Floats,
    parts_between,
    residual_phenotypes,
)
from ecg_spark.session import broadcast

_ARROW = pa.schema(
    {
        **{"contig": pa.string(), "position": pa.int32(), "ref": pa.string(), "alt": pa.string()},
        **{"rsid": pa.string(), "af": pa.float64(), "part": pa.int32(), "row": pa.int32()},
        "weights": pa.list_(pa.float64()),
    }
)
WEIGHTS = from_arrow_schema(_ARROW)
"""A variant of the model: its name, the frequency of alt, its place in the set, and the weights of
an alternate allele [models, phenotypes] as one flat list: those of each fold, then their mean."""


@dataclass(frozen=True)
class Fitted:
    """A model of every phenotype for each fold, and their mean for people in no fold.

    Attributes:
        weights: rows of `WEIGHTS`.
        r2: the share of each phenotype that the out-of-fold predictions explain.
        scratch: a folder that `weights` reads from, to be removed afterwards.
    """

    weights: DataFrame
    r2: dict[str, float]
    scratch: str


def fit_scores(
    spark: SparkSession,
    packed: Packed,
    blocks: Sequence[Block],
    phenotypes: pd.DataFrame,
    covariates: pd.DataFrame,
    fold: NDArray[np.int64],
    folder: str,
) -> Fitted:
    """Fit the model to every phenotype, with each fold left out in turn.

    Args:
        packed: a set in parts, with `af` among its sites.
        blocks: the variants in the model, in blocks.
        phenotypes: [samples, p], indexed by sample id; NaN where missing.
        covariates: [samples, c], without missing values and without the intercept.
        fold: the fold of each sample, [samples].
        folder: for temporary files; every task must be able to reach it.

    Returns:
        The models; weights are in units of the phenotypes per alternate allele.
    """
    order = np.argsort(fold, kind="stable")
    phenotypes, covariates = phenotypes.iloc[order], covariates.iloc[order]
    basis = basis_of(covariates.to_numpy(float)).astype(np.float32)
    y, known, scale = residual_phenotypes(phenotypes.to_numpy(float), basis)
    parts = parts_between(np.append(0, np.cumsum(np.bincount(fold))).tolist())
    samples = packed.places(list(phenotypes.index))
    scratch = f"{folder}/.level-0"
    made = fit_blocks(spark, packed.calls, blocks, samples, basis, y, known, parts, scratch)
    told = broadcast(spark, y)

    def fit(k: int) -> tuple[Floats, float]:
        return fit_predictors_with_sums(made, k, told.value[:, k])

    numbers = range(y.shape[1])
    found = spark.sparkContext.parallelize(numbers, len(numbers)).map(fit).collect()
    told.unpersist()
    # [p, folds, blocks, penalties], in the phenotypes' units
    level_1 = np.stack([own for own, _ in found]) * scale[:, None, None]
    level_1 = level_1.reshape(*level_1.shape[:2], len(blocks), len(SHRINKAGES))
    return Fitted(
        _variant_weights(spark, packed, made, blocks, level_1),
        {str(name): r2 for name, (_, r2) in zip(phenotypes.columns, found, strict=True)},
        scratch,
    )


def _variant_weights(
    spark: SparkSession,
    packed: Packed,
    made: Predictors,
    blocks: Sequence[Block],
    level_1: NDArray[np.float64],
) -> DataFrame:
    """Rows of `WEIGHTS`, computed by one task per block."""
    af = packed.sites["af"].to_numpy(float)
    unnamed = replace(packed, samples=packed.samples[:0], sites=packed.sites[:0])
    sent = (unnamed, [(places, af[places]) for _, places in blocks], level_1)
    shared = broadcast(spark, sent)

    def combine(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        packed, blocks, level_1 = shared.value
        for number in (one for batch in batches for one in batch.column(0).to_pylist()):
            places, af = blocks[number]
            by_fold = np.einsum("pfkm,pfk->mfp", made.weights(number), level_1[:, :, number])
            weights = np.concatenate([by_fold, by_fold.mean(axis=1, keepdims=True)], axis=1)
            part, row = packed.calls.located(places)
            numbers = np.array([number for number, _ in packed.calls.parts])
            columns = packed.named(places)[NAMES].assign(
                af=af, part=numbers[part], row=row, weights=list(weights.reshape(len(places), -1))
            )
            yield pa.RecordBatch.from_pandas(columns, _ARROW, preserve_index=False)

    return spark.range(0, len(blocks), 1, len(blocks)).mapInArrow(combine, WEIGHTS)
