"""What the study of diseases publishes: the tables and their schemas."""

from pyspark.sql.types import ArrayType, FloatType

from ecg_spark.tables import REAL, TEXT, WHOLE, Table, schema

OCCURRENCES = Table(
    "occurrences",
    ("participant_id", "disease"),
    schema(
        participant_id=TEXT,
        disease=TEXT,
        first=(WHOLE, None),  # days since 1970-01-01; null where no date is known
        times=WHOLE,  # days with the diagnosis; of a table without dates, its rows
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
        sex=TEXT,  # both, men or women: who is looked at
        cases=WHOLE,
        controls=WHOLE,
        left_out=WHOLE,  # neither: other sex, excluded range, too few codes, date not known
        null_model=(TEXT, None),  # logistic, firth or cox; null where it was not tested
        why_not=(TEXT, None),  # why it was not tested; null where it was
    ),
)
"""A disease in some people, and how many of them have it; one row per way of looking at it."""

DISEASE_ASSOCIATIONS = Table(
    "disease_associations",
    ("disease", "kind", "people", "predictor"),
    schema(
        disease=TEXT,
        kind=TEXT,
        people=TEXT,  # as in `diseases`: factors in those with an ECG, their scores in all
        predictor=TEXT,  # a factor, trait or own phenotype, or contig:position:ref:alt
        group=TEXT,  # vae, traits, own, variants, or scores: the predictor's polygenic score
        beta=(REAL, None),  # log odds or log hazard ratio by one SD, of a variant by one allele
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
"""A predictor against a disease; nothing is there of what could not be tested."""

PREDICTION = Table(
    "prediction",
    ("disease", "kind", "model"),
    schema(
        disease=TEXT,
        kind=TEXT,
        model=TEXT,  # covariates, and what is added to them: see `diseases.prediction.MODELS`
        cases=WHOLE,
        n=WHOLE,
        concordance=REAL,  # AUC, of incident disease Harrell's C; in people not fitted to
        se=REAL,
        gain=(REAL, None),  # over the model that it extends
        gain_se=(REAL, None),
        slope=REAL,  # of the outcome on the linear predictor: 1 where that is calibrated
        slope_se=REAL,
        expected=ArrayType(REAL, False),  # cases by tenths of the predicted risk
        observed=ArrayType(REAL, False),
    ),
)
"""How well a disease is told from covariates, intervals, factors and components."""

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
"""The mean beat of those who have a disease and of controls like them, of 20 people and more."""

DISEASE_FACTORS = Table(
    "disease_factors",
    ("disease", "kind", "factor"),
    schema(
        disease=TEXT,
        kind=TEXT,
        factor=TEXT,
        difference=REAL,  # of cases from such controls, in SD
        se=REAL,
    ),
)
"""How the factors of those who have a disease differ from those of controls like them."""
