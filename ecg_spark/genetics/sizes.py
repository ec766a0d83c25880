"""Estimates of the disk and memory that each stage of the association study needs (see `needs`).

They are reckoned from the counts of people, variants and phenotypes, before the stage starts.
`tests/bench/bench_scale.py` prints what was used beside what was estimated.
"""

from ecg_spark.genetics.findings.polygenic import MAX_VARIANTS
from ecg_spark.genetics.findings.regions import MOST_VARIANTS
from ecg_spark.genetics.genotypes.parts import BATCH_BYTES
from ecg_spark.genetics.null_model.loco import ROWS
from ecg_spark.genetics.null_model.ridge import FOLDS, PART, SHRINKAGES
from ecg_spark.genetics.null_model.whole_genome import BLOCK_VARIANTS
from ecg_spark.needs import PROCESS_BYTES, Needs

SITE = 12
"""Bytes that the driver holds for each variant: chromosome, position and a few flags."""

NAME = 300
"""Bytes that Python holds for the ids of one person in two tables."""

TEST_ON_DISK = 240
"""Bytes on disk for the test of one variant against one phenotype: in Parquet, by variant and by
phenotype, and as compressed text in the columns of GWAS-SSF and of REGENIE."""


def of_null_model(
    people: int, genotyped: int, phenotypes: int, covariates: int, candidates: int, blocks: int
) -> Needs:
    """What whole-genome regression needs in bytes (see `whole_genome`).

    Args:
        people: how many people are analysed.
        genotyped: how many samples the genotype set has.
        candidates: how many variants the driver lists.
        blocks: how many blocks of variants the ridge regressions of level 0 use.
    """
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
    """What polygenic scores need in bytes: whole-genome regression, then a sum over variants for
    everybody genotyped.

    The arguments are those of `of_null_model`.
    """
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
    """What the tests of every variant against every phenotype need in bytes.

    Args:
        patterns: how many different sets of people have a phenotype; each has its own projection
            of the covariates.
    """
    sent = 8 * people * (phenotypes + covariates * patterns)
    return Needs(
        float(TEST_ON_DISK) * variants * phenotypes,
        PROCESS_BYTES + 3 * sent + SITE * variants,
        PROCESS_BYTES + 4 * sent + 6 * BATCH_BYTES,
    )


def of_findings(people: int, phenotypes: int, candidates: int) -> Needs:
    """What finding and describing the loci needs in bytes.

    The driver holds what is known of the candidate variants. Heritability needs the z-scores of
    the common ones, and one task needs the genotypes of a region with the correlations of its
    variants.
    """
    region = min(candidates, MOST_VARIANTS)
    return Needs(
        64e6 + 10.0 * min(candidates, MAX_VARIANTS) * phenotypes,
        PROCESS_BYTES + SITE * candidates + 3 * 8 * people * phenotypes,
        PROCESS_BYTES
        + 8 * BATCH_BYTES
        + region * (2.0 * people + 32.0 * region)
        + 3 * 8 * people * phenotypes,
    )
