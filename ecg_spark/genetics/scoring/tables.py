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
        fold=(WHOLE, None),  # scored by the model fitted to the other folds; null: not analysed
        relative_analysed=BooleanType(),  # the model has seen the phenotype of a close relative
        scores=MapType(TEXT, REAL, False),  # by phenotype, in its units; 0 for mean genotypes
    ),
)
"""A genotyped sample, scored by a model that has not seen its phenotypes: people who are analysed
by the model of their fold, everybody else by the mean of the folds' models."""

POLYGENIC_WEIGHTS = Table(
    "polygenic_weights",
    (*VARIANT, "phenotype"),
    columns(
        **VARIANT_COLUMNS,
        af=REAL,  # of alt, among everybody genotyped
        phenotype=TEXT,
        weight=REAL,  # of one allele alt: the mean over the folds, for people in no fold
        by_fold=ArrayType(REAL, False),  # the weight in the model that scores each fold
    ),
)
"""The weight of a variant in the score of a phenotype."""

SCORE_ACCURACY = Table(
    "score_accuracy",
    ("phenotype",),
    columns(
        phenotype=TEXT,
        n=WHOLE,  # people who have the phenotype
        n_fitted=WHOLE,  # how many of them a fold's model was fitted to, on average
        r=REAL,  # of score and phenotype after covariates, out of fold
        r2=REAL,  # r |r|: the share of the variance after covariates
        r2_low=(REAL, None),  # of the 95 % confidence interval; null with too few families
        r2_high=(REAL, None),
        slope=REAL,  # of the phenotype on the score
        r2_covariates=REAL,  # the adjusted R² of the covariates alone
    ),
)
"""How well the score of a phenotype predicts it."""

APPLIED_SCORES = Table(
    "applied_scores",
    ("s",),
    columns(
        s=TEXT,
        participant_id=(TEXT, None),
        scores=MapType(TEXT, REAL, False),  # by file: Σ weight x alleles, as plink2's _SUM columns
    ),
)
"""A genotyped sample with its scores by scoring files."""

APPLIED_FILES = Table(
    "applied_files",
    ("score",),
    columns(
        score=TEXT,
        file=TEXT,  # its number among the files given, from 1
        weight_type=(TEXT, None),  # as the file says
        variants=WHOLE,  # in the file
        used=WHOLE,
        weight_used=REAL,  # their share of Σ |weight|
        other_allele=WHOLE,  # used variants whose effect allele is the set's ref
        other_strand=WHOLE,
        not_in_set=WHOLE,
        unclear_strand=WHOLE,  # A/T or C/G whose strand no frequency decides
        not_autosomal=WHOLE,
        several_in_set=WHOLE,  # two variants of the set have these alleles
        no_weight=WHOLE,  # no number, or no place or allele
    ),
)
"""How the variants of a scoring file were used."""
