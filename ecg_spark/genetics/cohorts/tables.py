"""The tables that a meta-analysis and a replication publish."""

from pyspark.sql.types import ArrayType, BooleanType, StructField, StructType

from ecg_spark.genetics.outputs.tables import LOCUS_COLUMNS, OMNIBUS
from ecg_spark.tables import ASSOCIATIONS, REAL, TEXT, VARIANT, VARIANT_COLUMNS, WHOLE, Table
from ecg_spark.tables import schema as columns

META_ASSOCIATIONS = Table(
    "associations",
    ASSOCIATIONS.key,
    columns(
        **VARIANT_COLUMNS,
        phenotype=TEXT,
        beta=REAL,
        se=REAL,
        neg_log10_p=REAL,
        n=WHOLE,  # over the cohorts that have a result
        af=(REAL, None),  # the mean over the cohorts, weighted by n
        cohorts=WHOLE,
        direction=TEXT,  # a sign per cohort, in their order: + - 0, ? where it has no result
        q=(REAL, None),  # Cochran's; null with one cohort, like the next two
        i2_percent=(REAL, None),
        het_neg_log10_p=(REAL, None),
    ),
)
"""A variant and phenotype over all cohorts."""

_KINDS = {
    field.name: field.dataType
    for field in META_ASSOCIATIONS.schema
    if field.name not in VARIANT_COLUMNS
} | {"t": REAL}  # z, by the name that an engine's tests have
META_RESULT = list(_KINDS)
META_TESTS = columns(
    **VARIANT_COLUMNS,
    results=ArrayType(StructType([StructField(name, kind) for name, kind in _KINDS.items()])),
)
"""The same as one row per variant, with a result per phenotype that is null where no cohort has
one; the summary statistics are written from it."""

META_OMNIBUS = Table(
    "omnibus",
    OMNIBUS.key,
    columns(
        **VARIANT_COLUMNS,
        model=TEXT,
        chi2=REAL,
        df=WHOLE,
        neg_log10_p=REAL,
        n=WHOLE,  # over the cohorts that take part
        af=REAL,
        cohorts=WHOLE,
        q=(REAL, None),  # see `together`; null with one cohort, like the next two
        i2_percent=(REAL, None),
        het_neg_log10_p=(REAL, None),
    ),
)
"""The joint test of a variant against all latents of a model, over all cohorts."""

META_LOCI = Table(
    "loci",
    ("method", *VARIANT),
    columns(
        **LOCUS_COLUMNS,
        af=(REAL, None),
        cohorts=WHOLE,
        direction=(TEXT, None),  # null for an omnibus test
        i2_percent=(REAL, None),
        het_neg_log10_p=(REAL, None),
        phenotypes=ArrayType(TEXT, False),
        n_variants=WHOLE,
    ),
)
"""A locus of the meta-analysis by distance, with its lead variant."""

REPLICATION = Table(
    "replication",
    ("method", *VARIANT),
    columns(
        method=TEXT,
        **VARIANT_COLUMNS,  # of the lead variant
        phenotype=TEXT,
        beta=(REAL, None),  # here; null for an omnibus test, as in the loci
        se=(REAL, None),
        neg_log10_p=REAL,
        n=WHOLE,
        outcome=TEXT,  # replicated, not replicated, or why it could not be tested there
        beta_there=(REAL, None),
        se_there=(REAL, None),
        z_there=(REAL, None),  # positive: the direction found here
        neg_log10_p_there=(REAL, None),
        n_there=(WHOLE, None),
        af_there=(REAL, None),
        same_sign=(BooleanType(), None),
        power=(REAL, None),  # if the effect here is the true one
        power_shrunk=(REAL, None),  # with the effect corrected for the winner's curse
    ),
)
"""A locus of a study, looked up in another cohort."""
