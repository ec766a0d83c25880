"""The tables that polygenic scores publish."""

from pyspark.sql.types import ArrayType, BooleanType, MapType

from ecg_spark.tables import REAL, TEXT, VARIANT, VARIANT_COLUMNS, WHOLE, Table
from ecg_spark.tables import schema as columns

POLYGENIC_SCORES = Table(
    "polygenic_scores",
    ("s",),
    columns(
        s=TEXT,
        participant_id=(TEXT, None),  # null where no participant is known for the sample
        fold=(WHOLE, None),  # whose model, fitted to the other folds, scores; null: not analysed
        relative_analysed=BooleanType(),  # a close relative's phenotype is known to the model
        scores=MapType(TEXT, REAL, False),  # by phenotype, in its units, about the mean genotypes
    ),
)
"""A genotyped sample, scored by a model that knows nothing of its phenotypes: people who are
analysed by that of their fold, everybody else by the mean of the folds' models."""

POLYGENIC_WEIGHTS = Table(
    "polygenic_weights",
    (*VARIANT, "phenotype"),
    columns(
        **VARIANT_COLUMNS,
        af=REAL,  # of alt, among everybody genotyped
        phenotype=TEXT,
        weight=REAL,  # of an allele alt: the mean over the folds, for people who are in none
        by_fold=ArrayType(REAL, False),  # of the model that scores the people of each fold
    ),
)
"""A variant in the model of a phenotype."""

SCORE_ACCURACY = Table(
    "score_accuracy",
    ("phenotype",),
    columns(
        phenotype=TEXT,
        n=WHOLE,  # people who have the phenotype
        n_fitted=WHOLE,  # of them, those whom the model of a fold was fitted to, on average
        r=REAL,  # of score and phenotype beside the covariates, nobody scored who fitted the model
        r2=REAL,  # r |r|: the share of what the covariates leave
        r2_low=(REAL, None),  # of the interval of 95 %; null with too few families
        r2_high=(REAL, None),
        slope=REAL,  # of the phenotype on the score
        r2_covariates=REAL,  # what they tell alone
    ),
)
"""What the score of a phenotype tells of it."""

APPLIED_SCORES = Table(
    "applied_scores",
    ("s",),
    columns(
        s=TEXT,
        participant_id=(TEXT, None),
        scores=MapType(TEXT, REAL, False),  # by file: Σ weight x alleles, as plink2's _SUM columns
    ),
)
"""A genotyped sample, scored by the weights of files."""

APPLIED_FILES = Table(
    "applied_files",
    ("score",),
    columns(
        score=TEXT,
        file=TEXT,  # which of those given, from 1
        weight_type=(TEXT, None),  # as the file says
        variants=WHOLE,  # in the file
        used=WHOLE,
        weight_used=REAL,  # the share of Σ |weight| that belongs to them
        other_allele=WHOLE,  # of those used, how many name the set's other allele as the effect's
        other_strand=WHOLE,
        not_in_set=WHOLE,
        unclear_strand=WHOLE,  # A/T or C/G that no frequency decides
        not_autosomal=WHOLE,
        several_in_set=WHOLE,  # two variants of the set have these alleles
        no_weight=WHOLE,  # no number, or no place or allele
    ),
)
"""What became of the variants of a file of weights."""
