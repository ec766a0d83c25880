"""The report's section on rare variants, gene by gene."""

import math

import pandas as pd

from ecg_spark.report.evidence import FEWEST
from ecg_spark.report.sections import Material, Section

SHOWN = 30
TESTS = ["burden_neg_log10_p", "skat_neg_log10_p"]


def rare_variants(material: Material) -> Section:
    """The genes with the smallest p of burden or SKAT, and what remains significant of them.

    Genes with fewer than `FEWEST` rare alleles are not shown: theirs is the phenotype of a few
    people.
    """
    table = material.table("rare", "genes").to_table().to_pandas()
    tests = int(table[TESTS].notna().sum().sum())
    table = table.assign(best=table[TESTS].astype(float).max(axis=1)).dropna(subset=["best"])
    table = table.sort_values(["best", "gene", "phenotype"], ascending=[False, True, True])
    table = table[table["alleles"] >= FEWEST]
    rows = [
        [
            row.gene,
            row.phenotype,
            int(row.n_variants),
            f"{row.alleles:.0f}",
            int(row.n),
            _or_dash(row.burden_beta, "+.3f"),
            _or_dash(row.burden_se, ".3f"),
            _or_dash(row.burden_neg_log10_p, ".2f"),
            _or_dash(row.skat_neg_log10_p, ".2f"),
        ]
        for row in table.head(SHOWN).itertuples()
    ]
    return {
        "gene_rows": rows,
        "gene_tests": tests,
        "gene_threshold": -math.log10(0.05 / max(tests, 1)),
        "genes_tested": table["gene"].nunique(),
        "figures": {},
    }


def _or_dash(value: float, form: str) -> str:
    return "–" if pd.isna(value) else format(value, form)
