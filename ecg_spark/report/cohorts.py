"""The pages of a meta-analysis and of a replication, from what they publish."""

from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd

from ecg_spark.report import evidence, figures
from ecg_spark.report.associations import FLOOR, group_of, survey
from ecg_spark.report.rendering import render
from ecg_spark.tables import VARIANT

SHOWN = 200
"""Loci of a page; all are in the table."""

TITLES = {
    "vae": "VAE latents: the best of each variant",
    "pca": "Principal components of the beat: the best of each variant",
    "traits": "Conventional traits: the best of each variant",
}


def meta_page(folder: str, summary: Mapping[str, Any], window_bp: int) -> str:
    """The page of a meta-analysis as HTML, from the folder and summary of its run."""
    table = evidence.dataset(f"{folder}/associations")
    seen = survey(evidence.batches(table, [*VARIANT, "phenotype", "neg_log10_p"]), group_of)
    members: dict[str, list[str]] = defaultdict(list)
    for name in sorted(seen.histograms):
        members[group_of(name)].append(name)
    present = [group for group in TITLES if members[group]]
    manhattan = figures.manhattan(
        [(TITLES[one], one, seen.points(one), summary["thresholds"][one]) for one in present],
        seen.extents,
        FLOOR,
        pd.DataFrame(columns=["contig", "position", "is_large"]),
    )
    qq = figures.quantile_quantile(
        [
            (f"{group}  λ {summary['mean_lambda'][group]:.3f}", group,
             {name: seen.qq(name) for name in members[group]})
            for group in present
        ]
    )  # fmt: skip
    loci = evidence.dataset(f"{folder}/loci").to_table().to_pandas()
    loci = loci.sort_values("neg_log10_p", ascending=False)
    cohorts = summary["cohorts"]
    corrected = summary["genomic_control"]
    headings = ["cohort", "n", "variants", "turned", "other strand", "by frequency",
                "strand unclear", "twice"]  # fmt: skip
    keys = ["name", "n", "variants", "swapped", "other_strand", "by_frequency", "unclear",
            "repeated"]  # fmt: skip
    return render(
        "meta.html",
        {
            "title": f"Meta-analysis of {len(cohorts)} cohorts",
            "made_on": _today(),
            "assembly": summary["genome_assembly"],
            "tiles": [
                (len(cohorts), "cohorts"),
                (sum(one["n"] for one in cohorts), "people"),
                (summary["variants"], "variants"),
                (sum(summary["phenotypes"].values()), "phenotypes"),
                (len(loci), "loci"),
            ],
            "corrected": corrected,
            "cohort_headings": [*headings, *(["mean λ"] if corrected else [])],
            "cohort_rows": [
                [
                    *(one[key] for key in keys),
                    *([float(np.mean(list(one["lambda"].values())))] if corrected else []),
                ]
                for one in cohorts
            ],
            "shared": summary["highest_share_of_people_in_common"],
            "alone": summary["in_one_cohort_only"],
            "floor": f"{FLOOR:g}",
            "manhattan": figures.embed(manhattan, "png"),
            "qq": figures.embed(qq, "png"),
            "loci_rows": [
                [
                    _name(row), row.method, f"{row.start / 1e6:.2f}–{row.end / 1e6:.2f} Mb",
                    row.phenotype, row.beta, row.se, row.neg_log10_p, row.af, row.n, row.cohorts,
                    row.direction, row.i2_percent, row.het_neg_log10_p,
                ]
                for row in loci.head(SHOWN).itertuples()
            ],
            "left_out": max(0, len(loci) - SHOWN),
            "window_kb": window_bp // 1000,
        },
    )  # fmt: skip


def replication_page(folder: str, summary: Mapping[str, Any], study: str) -> str:
    """The page of a replication as HTML, from the folder and summary of its run."""
    table = evidence.dataset(f"{folder}/replication").to_table().to_pandas()
    table = table.sort_values("neg_log10_p", ascending=False)
    methods = summary["loci"]
    counted = ["loci", "tested", "same_sign", "replicated", "expected", "expected_shrunk"]
    shown = ["beta", "se", "neg_log10_p", "outcome", "beta_there", "se_there", "z_there",
             "neg_log10_p_there", "n_there", "af_there", "power", "power_shrunk"]  # fmt: skip
    return render(
        "replication.html",
        {
            "title": f"Loci of {study} in {summary['in']}",
            "made_on": _today(),
            "tiles": [
                (sum(one[key] for one in methods.values()), label)
                for key, label in (("loci", "loci"), ("tested", "tested there"),
                                   ("replicated", "replicated"))
            ],
            "method_rows": [
                [name, *(one[key] for key in counted)] for name, one in methods.items()
            ],
            "loci_rows": [
                [_name(row), row.method, row.phenotype, *(getattr(row, key) for key in shown)]
                for row in table.head(SHOWN).itertuples()
            ],
            "left_out": max(0, len(table) - SHOWN),
        },
    )  # fmt: skip


def _today() -> str:
    return f"{datetime.now(UTC):%-d %B %Y}"


def _name(row: Any) -> str:
    """The rsid of a lead variant, where it has one, and its place and alleles."""
    variant = ":".join(str(getattr(row, column)) for column in VARIANT)
    return f"{row.rsid} ({variant})" if row.rsid else variant
