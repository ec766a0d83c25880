"""The tables that the genetic steps publish, apart from the associations, and their schemas."""

from typing import Any

from pyspark.sql.types import ArrayType, BooleanType, DataType

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
        heterozygosity_sd=(REAL, None),  # residual on the components; null with too few samples
        unrelated=BooleanType(),  # among all samples; the components are computed from these
        ancestry=(TEXT, None),  # a population of genotypes.ancestry; null where uncertain
        pc=ArrayType(REAL, False),
        pc_of_ancestry=(ArrayType(REAL, False), None),  # among its people; null: none or too few
        x_f=(REAL, None),  # inbreeding on X; null with too few variants
        sets=ArrayType(WHOLE, False),  # 0: genotypes.path; those of genotypes.separate from 1
    ),
)
"""A genotyped sample: whether it is in the unrelated set, its principal components, and the
inbreeding on X, which shows its sex."""

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
        unrelated=BooleanType(),  # among those analysed
        judges=BooleanType(),  # whether the quality of variants is judged by their genotypes
        judges_on_x=BooleanType(),
        sets=ArrayType(WHOLE, False),  # as in `scores`
        is_male=(REAL, None),  # 1 or 0; null where unknown
        age=(REAL, None),  # in years; null if no covariate is the age
    ),
)
"""The people analysed, by sample and participant id. This table never leaves the store."""

FEWEST_TOGETHER = 100
"""Minor alleles in the people tested, below which phenotypes are not tested together. Of 20
components of the beats of 180 people of PTB-XL, made normal together (`phenotypes.jointly_normal`),
p < 1e-5 came 0.96 times as often as it should at variants without an effect with so many alleles
(14 million tests, to within 0.08; `tests/bench/bench_tails.py`), and 4.5 times as often with 40
where each was made normal by itself."""

OMNIBUS = Table(
    "omnibus",
    (*VARIANT, "model"),
    schema(
        **VARIANT_COLUMNS,
        model=TEXT,
        chi2=(REAL, None),  # (n - c) R², of many people chi-squared; see `testing.omnibus`
        df=WHOLE,  # how many independent phenotypes there are
        neg_log10_p=(REAL, None),  # of F, exact for few people too: not that of chi2
        n=WHOLE,
        af=REAL,
    ),
)
"""A variant against all latents of a model together. Lambda and quantiles are of `neg_log10_p`, as
chi-squared of `df` degrees of freedom with the same p."""

LOCUS_COLUMNS: dict[str, Any] = dict(
    method=TEXT,  # vae, vae omnibus, pca, …, traits, own
    **VARIANT_COLUMNS,  # of the lead variant
    start=WHOLE,  # of its significant variants, bp, inclusive
    end=WHOLE,
    phenotype=TEXT,
    beta=(REAL, None),  # null for an omnibus test
    se=(REAL, None),
    neg_log10_p=REAL,
    n=WHOLE,
)
"""What every table of loci begins with."""

LOCI = Table(
    "loci",
    ("method", *VARIANT),
    schema(
        **LOCUS_COLUMNS,
        af=REAL,
        phenotypes=ArrayType(TEXT, False),
        n_variants=WHOLE,
        n_clumps=WHOLE,
        n_signals=(WHOLE, None),  # credible sets; null where it was not fine-mapped
        set_variants=(WHOLE, None),  # in the strongest signal's credible set; null if none
        set_pip=(REAL, None),  # the largest probability of a variant in it to be causal
        set_genes=ArrayType(TEXT, False),  # coding genes that contain a variant of the set
        set_consequences=ArrayType(TEXT, False),  # as in `SCN5A missense_variant`
        nearest_gene=(TEXT, None),  # null without a table of genes
        gene_distance_bp=(WHOLE, None),
        published=(BooleanType(), None),  # null without a table of published loci
    ),
)
"""A locus that a method has found, and its lead variant."""

_IN_REGION: dict[str, DataType | tuple[DataType, None]] = {
    "phenotype": TEXT,  # or a group's omnibus test, as in `loci`
    "region_start": WHOLE,  # of the region that was fine-mapped, bp, inclusive
    "region_end": WHOLE,
    "signal": WHOLE,  # of the phenotype in the region, from 1, the strongest first
}

_LIES_IN: dict[str, DataType | tuple[DataType, None]] = {
    "genes": ArrayType(TEXT, False),  # coding genes that contain the variant
    "consequences": ArrayType(TEXT, False),  # as in `SCN5A missense_variant`
}

SIGNALS = Table(
    "signals",
    ("phenotype", "contig", "region_start", "signal"),
    schema(
        **_IN_REGION,
        **VARIANT_COLUMNS,  # of the variant that is most probably causal
        probability=REAL,  # that it is the causal one
        n_variants=WHOLE,  # in the 95 % credible set
        min_r2=REAL,  # between two variants of the set
        log10_bf=REAL,  # of the signal against none
        has_converged=BooleanType(),  # the fit of the phenotype; else its signals are provisional
        beta=(REAL, None),  # beside the other signals; null for an omnibus test
        se=(REAL, None),
        neg_log10_p=(REAL, None),  # in that regression; null if the variants are collinear
        **_LIES_IN,  # of any variant of its set
    ),
)
"""A signal of the region around a locus, by SuSiE, for every phenotype that has a locus or a
suggestive test there."""

CREDIBLE_SETS = Table(
    "credible_sets",
    (*SIGNALS.key, "position", "ref", "alt"),
    schema(
        **_IN_REGION,
        **VARIANT_COLUMNS,
        probability=REAL,  # to be the causal variant of this signal
        pip=REAL,  # to be causal in any signal of the phenotype
        beta=(REAL, None),  # of the variant by itself; null for an omnibus test
        se=(REAL, None),
        neg_log10_p=REAL,
        af=REAL,
        **_LIES_IN,
    ),
)
"""The variants of the 95 % credible set of each signal."""

COLOCALISATION = Table(
    "colocalisation",
    ("contig", "region_start", "phenotype_1", "signal_1", "phenotype_2", "signal_2"),
    schema(
        region_start=WHOLE,
        region_end=WHOLE,
        phenotype_1=TEXT,
        signal_1=WHOLE,  # as in `signals`
        phenotype_2=TEXT,  # of the study, or a published trait
        signal_2=(WHOLE, None),  # null for a published trait, which is assumed to have one cause
        **VARIANT_COLUMNS,  # of the variant that is most probably the cause of both
        n_variants=WHOLE,  # in common
        h0=REAL,  # probability that neither has a cause
        h1=REAL,  # only the first
        h2=REAL,  # only the second
        h3=REAL,  # both, different variants
        h4=REAL,  # both, the same variant
        shared_pip=REAL,  # the probability of the variant to be the cause, if they share it
    ),
)
"""Whether two signals of a region have the same cause."""

INTERACTIONS = Table(
    "interactions",
    ("phenotype", *VARIANT),
    schema(
        phenotype=TEXT,
        **VARIANT_COLUMNS,  # a lead variant
        n=WHOLE,  # people, relatives left out
        n_women=WHOLE,
        beta_women=(REAL, None),  # null with too few minor alleles, like all that follow
        se_women=(REAL, None),  # robust, like all that follow
        n_men=WHOLE,
        beta_men=(REAL, None),
        se_men=(REAL, None),
        sex_beta=(REAL, None),  # effect in men minus effect in women
        sex_se=(REAL, None),
        sex_neg_log10_p=(REAL, None),
        age_beta=(REAL, None),  # change of the effect per ten years
        age_se=(REAL, None),
        age_neg_log10_p=(REAL, None),
    ),
)
"""Whether sex and age modify the effect of a lead variant on the phenotypes with a locus there."""

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
        r2=REAL,  # of the genotypes tested, in the people analysed, after covariates
    ),
)
"""The linkage disequilibrium of lead variants with their neighbours."""

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
"""The genes around the loci; empty if no table of genes is given."""


COMMON_GENES = Table(
    "common_genes",
    ("gene", "contig", "start", "end", "phenotype"),
    schema(
        gene=TEXT,
        contig=TEXT,
        start=WHOLE,  # bp, inclusive
        end=WHOLE,
        phenotype=TEXT,
        n_variants=WHOLE,  # in and near it
        chi2=REAL,  # their sum
        neg_log10_p=REAL,
    ),
)
"""The test of a gene's common variants for a phenotype; empty if no table of genes is given."""

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
"""The genetic correlation of two phenotypes, by LD-score regression."""


GENES = Table(
    "genes",
    ("contig", "gene", "phenotype"),
    schema(
        contig=TEXT,
        gene=TEXT,
        start=WHOLE,  # bp, of its first variant
        end=WHOLE,
        phenotype=TEXT,  # "<group> omnibus": the joint test of a group of phenotypes
        n=WHOLE,
        neg_log10_p=(REAL, None),  # over all sets and tests, by the Cauchy combination
        mask=TEXT,  # the set with the smallest p, with the next two
        max_maf=REAL,
        test=TEXT,
        leave_one_out_neg_log10_p=(REAL, None),  # smallest without one variant; null: not computed
    ),
)
"""The test of a gene's rare variants for a phenotype; empty if no gene table is given."""

GENE_SETS = Table(
    "gene_sets",
    ("contig", "gene", "mask", "max_maf", "phenotype"),
    schema(
        contig=TEXT,
        gene=TEXT,
        mask=TEXT,
        max_maf=REAL,
        phenotype=TEXT,
        n_variants=WHOLE,
        alleles=REAL,  # minor alleles in all people
        burden_beta=(REAL, None),  # per minor allele; null for a group of phenotypes
        burden_se=(REAL, None),
        burden_neg_log10_p=(REAL, None),
        skat_q=(REAL, None),
        skat_neg_log10_p=(REAL, None),
        acat_v_neg_log10_p=(REAL, None),
        acat_o_neg_log10_p=(REAL, None),
    ),
)
"""The tests of each mask of a gene up to each frequency, which are combined into the gene's p."""


def described(phenotype: str, in_units: bool) -> str:
    """A phenotype in the words of a published file: what its effects and weights are of."""
    return f"{phenotype}, {'in its units' if in_units else 'rank-inverse-normal transformed'}"
