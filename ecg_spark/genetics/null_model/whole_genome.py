"""Whole-genome regression: what the rest of the genome says about each phenotype.

The two-level ridge regression of REGENIE (Mbatchou et al. 2021, Nat Genet 53:1097). Level 0: each
block of neighbouring variants predicts each phenotype, once for each of five shrinkages. Level 1:
a ridge over these predictors, whose shrinkage is chosen by cross-validation. Both levels predict
the people of a fold from the others, and nothing that is decided for a fold knows its phenotypes
(see `ridge.level_one`). The prediction without a chromosome (leave one chromosome out, LOCO) is the
offset of the tests on that chromosome: it holds relatives, structure and the polygenic background.

A task of level 0 reads one block once, one of level 1 the predictors of one phenotype. With 500,000
people, 300 blocks and 20 phenotypes the first holds 65 MB of packed calls and 200 MB of predictors,
the other 50 MB of a part of the people, the predictors' products (9 MB a fold) and 46 MB of
predictions. On disk there are four bytes a person, phenotype, block and shrinkage while it runs.
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
    """What is known of the people analysed beside their covariates, each None where it is not used.

    `loco`: what the other chromosomes predict; `relatives`: pairs (s1, s2, kinship).
    """

    loco: Loco | None
    relatives: pd.DataFrame | None

    @property
    def notes(self) -> list[str]:
        """The phenotypes from which nothing is taken off."""
        names = self.loco.unpredicted if self.loco else ()
        if not self.loco or not names:
            return []
        return [
            f"the genome predicts nothing of {len(names)} of {len(self.loco.phenotypes)} "
            f"phenotypes, from which "
            f"nothing is taken off: {', '.join(names)}"
        ]


def thinned(
    spark: SparkSession,
    packed: Packed,
    variants: NDArray[np.int64],
    samples: pd.Index,
    seed: int,
) -> NDArray[np.int64]:
    """The variants for the model: of at most `MAX_CANDIDATES` none linked to a neighbour.

    `variants`: places in the set, chosen from with `seed`. r² is that among the `samples`, and of
    two variants within 1 Mb at most `MAX_R2`.
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
    """Fit the model to all phenotypes at once and predict each without each chromosome.

    `variants`: the places in `packed` of those in the model, all autosomal, of which at most
    `MAX_VARIANTS` are used, chosen with `seed`. `phenotypes` [samples, p] (NaN where missing; such
    people count with the mean) and `covariates` (complete, without the intercept) are indexed by
    sample id. A fold is a run of people in this order: relatives in a row should be shuffled apart.

    Where the prediction of a phenotype, or that of it without a chromosome, is not surely better
    than none in people of whose phenotypes the model knows nothing, it is 0. Writes the predictions
    as REGENIE does (see `loco`) into `folder`, which every task must reach, and `LIST` of them.

    Raises `DataError` where there is no variant.
    """
    variants = at_most(variants, MAX_VARIANTS, seed)
    basis = basis_of(covariates.to_numpy(float)).astype(np.float32)
    y, known, scale = residual_phenotypes(phenotypes.to_numpy(float), basis)
    samples = packed.places(list(phenotypes.index))
    parts = parts_of(len(phenotypes))
    contigs = packed.sites["contig"].iloc[variants].to_numpy()
    if not {CONTIGS.get(contig, contig) for contig in set(contigs)} <= set(AUTOSOMES):
        raise ValueError("the model stands on autosomes")
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
    """The share of a phenotype that the genome predicts, and its predictions by row (`ROWS`).

    `y` [n]: the residual phenotype, 0 where missing; `block_rows`: the row of each block's contig.
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
    """Whether a prediction is better than none, by more than the standard error of what it gains.

    One that seems better by chance takes as much off every effect as off the phenotype.
    """
    gain = (y**2 - (y - prediction) ** 2).astype(float)
    return bool(gain.sum() > np.sqrt((gain**2).sum()))
