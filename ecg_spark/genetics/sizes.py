"""What the stages of the association study need, reckoned from their counts (see `needs`).

Bytes for each thing that a stage holds or writes. `tests/bench/bench_scale.py` prints what was used
beside what was reckoned.
"""

from ecg_spark.genetics.findings.polygenic import MAX_VARIANTS
from ecg_spark.genetics.findings.regions import MOST_VARIANTS
from ecg_spark.genetics.genotypes.parts import BATCH_BYTES
from ecg_spark.genetics.null_model.loco import ROWS
from ecg_spark.genetics.null_model.ridge import FOLDS, PART, SHRINKAGES
from ecg_spark.genetics.null_model.whole_genome import BLOCK_VARIANTS
from ecg_spark.needs import PROCESS_BYTES, Needs

SITE = 12
"""What the driver holds of a variant: chromosome, position, and a few flags."""

NAME = 300
"""What Python holds of the names of a person in two tables."""

TEST_ON_DISK = 240
"""A test of a variant and phenotype: in Parquet by variant and by phenotype, and as text in
GWAS-SSF's and in REGENIE's columns, compressed."""


def of_null_model(
    people: int, genotyped: int, phenotypes: int, covariates: int, candidates: int, blocks: int
) -> Needs:
    """Whole-genome regression in `blocks` of variants (see `whole_genome`)."""
    predictors = blocks * len(SHRINKAGES)
    sent = people * (8 + 4 * covariates + 5 * phenotypes)
    block = BLOCK_VARIANTS * (genotyped / 4 + 4 * min(people, PART))
    block += 4 * people * phenotypes * len(SHRINKAGES)
    level_one = 4 * predictors * min(people, PART) + 4 * (FOLDS + 4) * predictors**2
    text = 12 * people * phenotypes * len(ROWS)
    return Needs(
        4.0 * people * phenotypes * predictors + text,
        PROCESS_BYTES + SITE * candidates + 3 * 8 * people * (phenotypes + covariates),
        PROCESS_BYTES + 2 * sent + max(block, level_one + 4 * people * len(ROWS)),
    )


def of_scores(
    people: int, genotyped: int, phenotypes: int, covariates: int, candidates: int, blocks: int
) -> Needs:
    """Polygenic scores: whole-genome regression, then sums for everybody genotyped, of whom the
    driver holds what it tells and the scores of the people analysed."""
    model = of_null_model(people, genotyped, phenotypes, covariates, candidates, blocks)
    sums = 2 * 8.0 * genotyped * phenotypes
    return Needs(
        model.disk + sums,
        model.driver + NAME * genotyped + 8 * people * phenotypes,
        max(model.task, PROCESS_BYTES + NAME * genotyped + sums + 6 * BATCH_BYTES),
    )


def of_associations(
    people: int, phenotypes: int, covariates: int, patterns: int, variants: int
) -> Needs:
    """The tests of every variant; `patterns`: how many sets of people have the phenotypes."""
    sent = 8 * people * (phenotypes + covariates * patterns)
    return Needs(
        float(TEST_ON_DISK) * variants * phenotypes,
        PROCESS_BYTES + 3 * sent + SITE * variants,
        PROCESS_BYTES + 4 * sent + 6 * BATCH_BYTES,
    )


def of_findings(people: int, phenotypes: int, candidates: int) -> Needs:
    """Loci and what the variants say together: what is known of the candidates, z of the common
    ones among them while heritability is computed, and in a task the products of a region's
    variants, whose genotypes wait on the disk of the task."""
    region = min(candidates, MOST_VARIANTS)
    return Needs(
        64e6 + 10.0 * min(candidates, MAX_VARIANTS) * phenotypes,
        PROCESS_BYTES + SITE * candidates + 3 * 8 * people * phenotypes,
        PROCESS_BYTES + 8 * BATCH_BYTES + 36.0 * region**2 + 3 * 8 * people * phenotypes,
    )
