"""What the genetic steps publish besides the associations: the tables and their schemas."""

from pyspark.sql.types import ArrayType, BooleanType

from ecg_spark.tables import (
    REAL,
    TEXT,
    VARIANT,
    VARIANT_COLUMNS,
    WHOLE,
    Table,
    schema,
)

SCORES = Table(
    "scores",
    ("s",),
    schema(
        s=TEXT,
        call_rate=REAL,
        heterozygosity_sd=(REAL, None),  # beyond what the components predict; null: too few samples
        unrelated=BooleanType(),  # of all samples: those that the components stand on
        ancestry=(TEXT, None),  # a population of genotypes.ancestry; null: none for certain
        pc=ArrayType(REAL, False),
        x_f=(REAL, None),  # inbreeding on X; null with too few variants
        sets=ArrayType(WHOLE, False),  # 0: genotypes.path; those of genotypes.separate from 1
    ),
)
"""A genotyped sample: is it in the unrelated set, its scores on the principal components, and
what tells its sex."""

RELATIVES = Table(
    "relatives",
    ("s1", "s2"),
    schema(
        s1=TEXT,
        s2=TEXT,
        kinship=REAL,  # 0.25 for siblings
    ),
)
"""Pairs of samples related more closely than the study's limit."""

ANALYSED = Table(
    "analysed",
    ("s",),
    schema(
        s=TEXT,
        participant_id=TEXT,
        unrelated=BooleanType(),  # of those analysed
        judges=BooleanType(),  # is the quality of variants that of their genotypes?
        judges_on_x=BooleanType(),
        sets=ArrayType(WHOLE, False),  # as in `scores`
    ),
)
"""The people analysed: their sample and their participant id. It never leaves the store."""

FEWEST_TOGETHER = 100
"""Minor alleles in the people tested, below which phenotypes are not tested together. Of 32 latents
of beats, made normal together (`phenotypes.jointly_normal`), p < 1e-5 came as often as it should by
chance among so many carriers, and 1.8 times as often among 40, where it came 4 times as often
before."""

OMNIBUS = Table(
    "omnibus",
    (*VARIANT, "model"),
    schema(
        **VARIANT_COLUMNS,
        model=TEXT,
        chi2=(REAL, None),
        df=WHOLE,
        neg_log10_p=(REAL, None),
        n=WHOLE,
        af=REAL,
    ),
)
"""A variant against all latents of a model together."""

LOCI = Table(
    "loci",
    ("method", *VARIANT),
    schema(
        method=TEXT,  # vae, vae omnibus, pca, …, traits, own
        **VARIANT_COLUMNS,  # of the lead variant
        start=WHOLE,  # of the variants in it, bp, inclusive
        end=WHOLE,
        phenotype=TEXT,
        beta=(REAL, None),  # null for an omnibus test
        se=(REAL, None),
        neg_log10_p=REAL,
        n=WHOLE,
        af=REAL,
        phenotypes=ArrayType(TEXT, False),
        n_variants=WHOLE,
        n_clumps=WHOLE,
        n_signals=(WHOLE, None),  # null for an omnibus test
        nearest_gene=(TEXT, None),  # null without a table of genes
        gene_distance_bp=(WHOLE, None),
        published=(BooleanType(), None),  # null without a table of such loci
    ),
)
"""A locus that a method has found, and its lead variant."""

SIGNALS = Table(
    "signals",
    ("method", "contig", "lead", "step"),
    schema(
        method=TEXT,
        lead=WHOLE,  # the position of the locus's lead variant
        step=WHOLE,  # from 1
        **VARIANT_COLUMNS,
        phenotype=TEXT,
        beta=REAL,  # given the signals of the steps before
        se=REAL,
        neg_log10_p=REAL,
    ),
)
"""An independent signal of a locus, by stepwise conditional regression."""


LD = Table(
    "ld",
    ("contig", "lead", "lead_ref", "lead_alt", "position", "ref", "alt"),
    schema(
        contig=TEXT,
        lead=WHOLE,  # the position of a locus's lead variant
        lead_ref=TEXT,
        lead_alt=TEXT,
        position=WHOLE,
        ref=TEXT,
        alt=TEXT,
        r2=REAL,  # of the calls of the people analysed
    ),
)
"""The linkage of lead variants with their neighbours."""

NEARBY_GENES = Table(
    "nearby_genes",
    ("contig", "start", "end", "gene"),
    schema(
        contig=TEXT,  # named as in the loci
        start=WHOLE,  # bp, inclusive
        end=WHOLE,
        gene=TEXT,
    ),
)
"""The genes about the loci; empty where no table of genes is given."""


HERITABILITY = Table(
    "heritability",
    ("phenotype",),
    schema(
        phenotype=TEXT,
        n=WHOLE,
        variants=WHOLE,  # in the regression
        mean_chi2=REAL,
        h2=(REAL, None),  # null where there are too few variants
        h2_se=(REAL, None),
        intercept=(REAL, None),
        intercept_se=(REAL, None),
    ),
)
"""The share of a phenotype's variance that the variants explain, by LD-score regression."""

GENETIC_CORRELATION = Table(
    "genetic_correlation",
    ("phenotype_1", "phenotype_2"),
    schema(
        phenotype_1=TEXT,
        phenotype_2=TEXT,
        rg=(REAL, None),  # null where one has no heritability
        rg_se=(REAL, None),
        covariance=REAL,
        covariance_se=REAL,
        intercept=REAL,
    ),
)
"""How far two phenotypes share their genetic causes, by LD-score regression."""


GENES = Table(
    "genes",
    ("gene", "phenotype"),
    schema(
        gene=TEXT,
        phenotype=TEXT,
        n_variants=WHOLE,
        alleles=REAL,  # minor alleles in all people
        n=WHOLE,
        burden_beta=(REAL, None),  # per minor allele
        burden_se=(REAL, None),
        burden_neg_log10_p=(REAL, None),
        skat_q=(REAL, None),
        skat_neg_log10_p=(REAL, None),
    ),
)
"""The rare variants of a gene against a phenotype; empty where no gene table is given."""
