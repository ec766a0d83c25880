"""Whole-genome regression: how well the rest of the genome predicts each phenotype.

This is the two-level ridge regression of REGENIE (Mbatchou et al. 2021, Nat Genet 53:1097). Level
0: each block of neighbouring variants predicts each phenotype, once for each of five penalties.
Level 1: a ridge regression combines these predictors, with a penalty chosen by cross-validation.
Both levels predict the people of a fold from the other folds, and nothing that is decided for a
fold knows its phenotypes (see `ridge.level_one`). The prediction that leaves one chromosome out
(LOCO) is the offset of the tests on that chromosome: it accounts for relatives, structure and the
polygenic background.

A task of level 0 reads one block, a task of level 1 the predictors of one phenotype. With 500,000
people, 300 blocks and 20 phenotypes the former holds 65 MB of packed calls and 200 MB of
predictors; the latter 50 MB for a part of the people, the products of the predictors (9 MB per
fold) and 46 MB of predictions. While it runs, the disk holds four bytes for each combination of
person, phenotype, block and penalty.
"""

import logging
import time
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pyspark.sql import SparkSession

from ecg_spark.errors import DataError
from ecg_spark.genetics.genotypes.contigs import AUTOSOMES, CONTIGS
from ecg_spark.genetics.genotypes.packed import Packed
from ecg_spark.genetics.null_model.levels import (
    Predictors,
    blocks_of,
    fit_blocks,
    fit_predictors,
)
from ecg_spark.genetics.null_model.loco import ROWS, Lines, Loco, row_of, write_list, write_loco
from ecg_spark.genetics.null_model.projection import basis_of
from ecg_spark.genetics.null_model.ridge import (
    SHRINKAGES,
    Floats,
    parts_of,
    residual_phenotypes,
)
from ecg_spark.genetics.people.pruning import at_most, pruned
from ecg_spark.session import broadcast
from ecg_spark.store import remove_folder

log = logging.getLogger(__name__)

BLOCK_VARIANTS = 500
MAX_VARIANTS = 150_000
MAX_CANDIDATES = 500_000
MAX_R2 = 0.5
LIST = "predictions.list"


@dataclass(frozen=True)
class Offsets:
    """What the null model knows of the people analysed besides their covariates.

    Attributes:
        loco: predictions from the other chromosomes; None if not used.
        relatives: pairs (s1, s2, kinship); None if not used.
    """

    loco: Loco | None
    relatives: pd.DataFrame | None

    @property
    def notes(self) -> list[str]:
        """A note that names the phenotypes without an offset, if there are any."""
        names = self.loco.unpredicted if self.loco else ()
        if not self.loco or not names:
            return []
        return [
            f"the genome does not predict {len(names)} of {len(self.loco.phenotypes)} phenotypes, "
            f"which are tested without an offset: {', '.join(names)}"
        ]


def thinned(
    spark: SparkSession,
    packed: Packed,
    variants: NDArray[np.int64],
    samples: pd.Index,
    seed: int,
) -> NDArray[np.int64]:
    """Choose variants for the model: of at most `MAX_CANDIDATES`, those not in LD with a
    neighbour.

    Of two variants within 1 Mb with r² above `MAX_R2` among the samples, one is left out.

    Args:
        variants: places in the set, from which candidates are drawn with `seed`.
    """
    variants = at_most(variants, MAX_CANDIDATES, seed)
    return pruned(spark, packed, variants, packed.places(list(samples)), MAX_R2, seed)


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
    """Fit the model to all phenotypes at once, and predict each of them without each chromosome.

    If the prediction of a phenotype, or its prediction without a chromosome, is not clearly better
    than none in people whose phenotypes the model has not seen, it is set to 0. Writes the
    predictions in REGENIE's format (see `loco`) into `folder`, with their list `LIST`.

    Args:
        variants: the places in `packed` of the variants for the model, all autosomal; at most
            `MAX_VARIANTS` of them are used, drawn with `seed`.
        phenotypes: [samples, p], indexed by sample id; a missing value (NaN) counts as the mean.
        covariates: [samples, c], without missing values and without the intercept. Folds are
            consecutive runs of people, so relatives that follow each other should be shuffled
            apart.
        folder: every task must be able to reach it.
        block_variants: the most variants of a block.

    Raises:
        DataError: if there is no variant.
        ValueError: if a variant is not autosomal.
    """
    variants = at_most(variants, MAX_VARIANTS, seed)
    basis = basis_of(covariates.to_numpy(float)).astype(np.float32)
    y, known, scale = residual_phenotypes(phenotypes.to_numpy(float), basis)
    samples = packed.places(list(phenotypes.index))
    parts = parts_of(len(phenotypes))
    contigs = packed.sites["contig"].iloc[variants].to_numpy()
    if not {CONTIGS.get(contig, contig) for contig in set(contigs)} <= set(AUTOSOMES):
        raise ValueError("the model takes autosomal variants only")
    if not len(variants):
        raise DataError(
            "No common autosomal variant is left for whole-genome regression: set gwas.null_model "
            "to none, or name an array's set under genotypes.model."
        )
    blocks = blocks_of(variants, contigs, block_variants)
    clock = [time.monotonic()]
    made = fit_blocks(
        spark, packed.calls, blocks, samples, basis, y, known, parts, f"{folder}/level-0"
    )
    clock.append(time.monotonic())
    names = [str(name) for name in phenotypes.columns]
    files = [f"phenotype-{k}.loco" for k in range(len(names))]
    ids = list(map(str, phenotypes.index))
    block_rows = np.array([row_of(contig) for contig, _ in blocks])
    told = broadcast(spark, (y, ids))

    def level_1(k: int) -> tuple[float, bool, Lines]:
        y, ids = told.value
        r2, predictions = _predictions(made, k, y[:, k], block_rows)
        lines = write_loco(f"{folder}/{files[k]}", ids, predictions)
        return r2, bool(predictions[ROWS[-1]].any()), lines

    found = spark.sparkContext.parallelize(range(len(names)), len(names)).map(level_1).collect()
    clock.append(time.monotonic())
    log.info("whole genome: level 0 %.1f s, level 1 and predictions %.1f s", *np.diff(clock))
    told.unpersist()
    write_list(f"{folder}/{LIST}", dict(zip(names, files, strict=True)))
    remove_folder(made.folder)
    return Loco(
        tuple(f"{folder}/{file}" for file in files),
        tuple(lines for _, _, lines in found),
        np.arange(len(ids)),
        phenotypes.index,
        tuple(names),
        tuple(scale.tolist()),
        tuple(dict.fromkeys(contig for contig, _ in blocks)),
        {name: round(r2, 5) for name, (r2, _, _) in zip(names, found, strict=True)},
        tuple(name for name, (_, is_used, _) in zip(names, found, strict=True) if not is_used),
    )


def _predictions(
    made: Predictors, phenotype: int, y: Floats, block_rows: NDArray[np.str_]
) -> tuple[float, dict[str, Floats]]:
    """The share of a phenotype that the genome predicts, and its predictions by line of `ROWS`.

    `y` [n] is the residual phenotype, 0 where missing; `block_rows` the line of each block's
    contig.
    """
    parts, q = made.parts, len(block_rows) * len(SHRINKAGES)
    weights, r2 = fit_predictors(made, phenotype, y)
    rows = list(dict.fromkeys(block_rows.tolist()))
    uses = np.array(
        [np.ones(q, bool), *(np.repeat(block_rows != one, q // len(block_rows)) for one in rows)]
    )
    found = np.empty((len(uses), len(y)), np.float32)
    for part, (fold, own) in enumerate(parts):
        found[:, own] = (uses * weights[fold]) @ made.of_part(phenotype, part)
    better = np.array([_is_better(own, y) for own in found])
    found[~(better & better[0])] = 0
    by_row = dict(zip(rows, found[1:], strict=True))
    return r2, {row: by_row.get(row, found[0]) for row in ROWS}


def _is_better(prediction: Floats, y: Floats) -> bool:
    """Whether a prediction beats none by more than the standard error of its gain.

    A prediction that only seems better by chance would shrink every effect as much as the
    phenotype.
    """
    gain = (y**2 - (y - prediction) ** 2).astype(float)
    return bool(gain.sum() > np.sqrt((gain**2).sum()))
