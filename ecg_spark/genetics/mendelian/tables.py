"""The tables that Mendelian randomisation publishes."""

from ecg_spark.tables import REAL, TEXT, VARIANT, VARIANT_COLUMNS, WHOLE, Table
from ecg_spark.tables import schema as columns

MR_ESTIMATES = Table(
    "mr_estimates",
    ("exposure", "outcome", "method"),
    columns(
        exposure=TEXT,
        outcome=TEXT,
        method=TEXT,
        variants=WHOLE,
        mean_f=REAL,  # of the variants' effects on the exposure
        estimate=REAL,  # of one SD of the exposure on the outcome, in the units of its file
        se=REAL,
        low=REAL,  # of the 95 % confidence interval
        high=REAL,
        neg_log10_p=REAL,
        q=(REAL, None),  # heterogeneity; null for the median
        q_df=(WHOLE, None),
        q_neg_log10_p=(REAL, None),
        intercept=(REAL, None),  # of Egger only
        intercept_se=(REAL, None),
        intercept_neg_log10_p=(REAL, None),
    ),
)
"""The effect of an exposure on an outcome, by each method."""

MR_VARIANTS = Table(
    "mr_variants",
    ("exposure", "outcome", *VARIANT),
    columns(
        exposure=TEXT,
        outcome=TEXT,
        **VARIANT_COLUMNS,
        use=TEXT,  # used, or why it is not
        exposure_beta=REAL,
        exposure_se=REAL,
        outcome_beta=(REAL, None),
        outcome_se=(REAL, None),
        estimate_without=(REAL, None),  # inverse variance, random, by the others; null if too few
        se_without=(REAL, None),
    ),
)
"""A lead variant of an exposure, looked up in an outcome's summary statistics."""
