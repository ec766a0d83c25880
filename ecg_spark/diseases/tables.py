"""The tables that the study of diseases publishes, and their schemas."""

from pyspark.sql.types import ArrayType, FloatType

from ecg_spark.tables import REAL, TEXT, WHOLE, Table, schema

OCCURRENCES = Table(
    "occurrences",
    ("participant_id", "disease"),
    schema(
        participant_id=TEXT,
        disease=TEXT,
        first=(WHOLE, None),  # days since 1970-01-01; null where no date is known
        times=WHOLE,  # on how many days; without dates, the number of rows
    ),
)
"""Who has which disease: a phecode with those above it, or three characters of ICD-10."""

DISEASES = Table(
    "diseases",
    ("disease", "kind", "people"),
    schema(
        disease=TEXT,
        kind=TEXT,  # ever, prevalent (at the first ECG) or incident (after the last)
        people=TEXT,  # ecg: those with an ECG; genotypes: everybody genotyped
        name=TEXT,
        category=TEXT,
        sex=TEXT,  # both, men or women: who is studied
        cases=WHOLE,
        controls=WHOLE,
        left_out=WHOLE,  # neither: other sex, excluded range, too few codes, date not known
        null_model=(TEXT, None),  # logistic, firth or cox; null where it was not tested
        why_not=(TEXT, None),  # why it was not tested; null where it was
    ),
)
"""A disease in the people of a panel, with its numbers of cases and controls, one row per kind."""

DISEASE_ASSOCIATIONS = Table(
    "disease_associations",
    ("disease", "kind", "people", "predictor"),
    schema(
        disease=TEXT,
        kind=TEXT,
        people=TEXT,  # as in `diseases`: ecg for factors, genotypes for their scores
        predictor=TEXT,  # a factor, trait or own phenotype, or contig:position:ref:alt
        group=TEXT,  # vae, traits, own, variants, or scores: the predictor's polygenic score
        beta=(REAL, None),  # log odds or hazard ratio per SD; for a variant per allele
        se=(REAL, None),
        lower=(REAL, None),  # 95 % profile likelihood interval, where p of the score test < 0.1
        upper=(REAL, None),
        neg_log10_p=REAL,
        q=REAL,  # false discovery rate over all tests (Benjamini and Hochberg)
        test=TEXT,  # score, firth (penalised likelihood ratio) or cox (likelihood ratio)
        cases=WHOLE,
        n=WHOLE,
    ),
)
"""The test of a predictor against a disease; there is no row where it could not be tested."""

PREDICTION = Table(
    "prediction",
    ("disease", "kind", "model"),
    schema(
        disease=TEXT,
        kind=TEXT,
        model=TEXT,  # covariates, and what is added to them: see `diseases.prediction.MODELS`
        cases=WHOLE,
        n=WHOLE,
        concordance=REAL,  # AUC, or Harrell's C for incident disease; out of fold
        se=REAL,
        gain=(REAL, None),  # over the model that it extends
        gain_se=(REAL, None),
        slope=REAL,  # of the outcome on the linear predictor; 1 if that is calibrated
        slope_se=REAL,
        expected=ArrayType(REAL, False),  # cases by tenths of the predicted risk
        observed=ArrayType(REAL, False),
    ),
)
"""How well a disease is predicted by covariates, intervals, factors and components."""

DISEASE_BEATS = Table(
    "disease_beats",
    ("disease", "kind", "group"),
    schema(
        disease=TEXT,
        kind=TEXT,
        group=TEXT,  # cases, or controls of the same sex and expected risk
        people=WHOLE,
        mean=ArrayType(FloatType(), False),  # mV, [12, 600]
        se=ArrayType(FloatType(), False),
    ),
)
"""The mean beat of people with a disease and of matched controls, for groups of at least 20 people.
"""

DISEASE_FACTORS = Table(
    "disease_factors",
    ("disease", "kind", "factor"),
    schema(
        disease=TEXT,
        kind=TEXT,
        factor=TEXT,
        difference=REAL,  # cases minus matched controls, in SD
        se=REAL,
    ),
)
"""How the factors of people with a disease differ from those of matched controls."""
