"""Sections on what is known about the loci: shared causes, sex and age, genes by common
variants.
"""

import math
from collections.abc import Iterator
from itertools import islice
from typing import Any

import pandas as pd
import pyarrow.compute as pc

from ecg_spark.report.evidence import MIN_GROUP_SIZE, or_dash
from ecg_spark.report.loci import Placed
from ecg_spark.report.sections import ReportInputs, Section

SHOWN = 40

SHARED_HEADS = ("phenotypes", "variant", "place", "H4", "H3", "of the variant")
MODIFIED_HEADS = (
    "variant", "phenotype", "β women", "β men", "−log₁₀ p of sex", "β of ten years",
    "−log₁₀ p of age",
)  # fmt: skip

SHARED = 0.8
"""A pair is shown if the probability of a shared cause is at least this."""


def causes(material: ReportInputs) -> Section:
    """The pairs of signals with a shared cause, the effects by sex and age, and the genes."""
    genes = material.table("findings", "common_genes")
    tests = genes.count_rows()
    return {
        "shared_heads": SHARED_HEADS,
        "shared_rows": [one.row for one in islice(shared(material), SHOWN)],
        "shared_least": f"{100 * SHARED:.0f}",
        "modifier_heads": MODIFIED_HEADS,
        "modifier_rows": [one.row for one in islice(modified(material), SHOWN)],
        "common_gene_rows": list(islice(_genes(material, tests), SHOWN)),
        "common_gene_tests": tests,
        "common_gene_threshold": _threshold(tests),
        "figures": {},
    }


def shared(material: ReportInputs) -> Iterator[Placed]:
    """Pairs of signals that share their cause, the surest first, each at the likeliest variant."""
    table = material.table("findings", "colocalisation")
    rows = table.to_table(filter=pc.field("h4") >= SHARED).to_pandas()
    for row in rows.sort_values("h4", ascending=False).itertuples():
        told = [
            f"{row.phenotype_1} and {row.phenotype_2}",
            row.rsid or f"{row.contig}:{row.position}",
            f"{row.contig.removeprefix('chr')}: {row.position / 1e6:.2f} Mb",
            f"{row.h4:.3f}",
            f"{row.h3:.3f}",
            f"{row.shared_pip:.2f}",
        ]
        yield Placed(row.contig, row.position, told)


def modified(material: ReportInputs) -> Iterator[Placed]:
    """Effects of lead variants by sex and age, the strongest change first."""
    table = material.table("findings", "interactions").to_table().to_pandas()
    both = table[["sex_neg_log10_p", "age_neg_log10_p"]].astype(float).max(axis=1)
    table = table.assign(best=both).dropna(subset=["best"])
    for row in table.sort_values("best", ascending=False).itertuples():
        women = min(row.n_women, row.n_men) >= MIN_GROUP_SIZE
        told = [
            row.rsid or f"{row.contig}:{row.position}",
            row.phenotype,
            _effect(row.beta_women, row.se_women) if women else "–",
            _effect(row.beta_men, row.se_men) if women else "–",
            or_dash(row.sex_neg_log10_p, ".2f"),
            _effect(row.age_beta, row.age_se),
            or_dash(row.age_neg_log10_p, ".2f"),
        ]
        yield Placed(row.contig, row.position, told)


def _genes(material: ReportInputs, tests: int) -> Iterator[list[Any]]:
    table = material.table("findings", "common_genes")
    rows = table.to_table(filter=pc.field("neg_log10_p") >= _threshold(tests)).to_pandas()
    for row in rows.sort_values("neg_log10_p", ascending=False).itertuples():
        place = f"{row.contig.removeprefix('chr')}: {row.start / 1e6:.2f} Mb"
        yield [row.gene, row.phenotype, place, int(row.n_variants), f"{row.neg_log10_p:.2f}"]


def _threshold(tests: int) -> float:
    return -math.log10(0.05 / max(tests, 1))


def _effect(beta: float, se: float) -> str:
    return "–" if pd.isna(beta) else f"{beta:+.3f} ± {se:.3f}"
