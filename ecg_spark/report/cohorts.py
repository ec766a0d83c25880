"""The pages of a meta-analysis and of a replication, from the tables that these publish."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd

from ecg_spark.genetics.cohorts.tables import REPLICATION
from ecg_spark.report import evidence, figures
from ecg_spark.report.associations import FLOOR
from ecg_spark.report.comparison import METHODS, Planted
from ecg_spark.report.loci import Placed
from ecg_spark.report.overview import overview
from ecg_spark.report.planted import planted_against_found
from ecg_spark.report.rendering import embedded, render, write_page
from ecg_spark.report.sections import ReportInputs, Section
from ecg_spark.tables import TOGETHER, VARIANT

SHOWN = 200
"""How many loci a page shows at most; the table has all."""

COUNTED = {
    "loci": "loci",
    "tested": "tested there",
    "same_sign": "same sign",
    "replicated": "replicated",
    "expected": "expected",
    "expected_shrunk": "expected, corrected",
}
"""What the summary of a replication counts of each method, and how a reader is told."""

THERE = ("beta_there", "se_there", "neg_log10_p_there", "n_there", "power")
REPLICATED = (
    "cohort", "lead variant", "phenotype", "outcome", "β there", "SE there", "−log₁₀ p there",
    "n there", "power",
)  # fmt: skip
"""The heads of `replicated`, whose last are those of the columns `THERE`."""


def write_meta_page(
    folder: str, summary: Mapping[str, Any], window_bp: int, planted: Sequence[Planted]
) -> dict[str, Any]:
    """Write the page of a meta-analysis, report.html, and its figures into the folder of its run.

    Args:
        summary: of the meta-analysis.
        window_bp: the distance within which significant variants are one locus.
        planted: the planted variants of simulated cohorts; empty for real ones.

    Returns:
        What is to be added to the summary.
    """
    thresholds = summary["thresholds"]
    has_omnibus = any(name.endswith(TOGETHER) for name in thresholds)
    seen = overview(
        evidence.dataset(f"{folder}/associations"),
        evidence.dataset(f"{folder}/omnibus") if has_omnibus else None,
        thresholds,
        summary["lambda"],
        summary["degrees_of_freedom"],
        planted,
    )
    loci = evidence.dataset(f"{folder}/loci").to_table().to_pandas()
    loci = loci.sort_values("neg_log10_p", ascending=False)
    methods = [name for name in METHODS if name in thresholds]
    compared: dict[str, Any] = {"comparison": None, "figures": {}}
    counts: dict[str, Any] = {}
    if planted:
        compared, counts = planted_against_found(planted, loci, methods)
    pictures = embedded(seen.figures | compared["figures"])
    cohorts = summary["cohorts"]
    corrected = summary["genomic_control"]
    headings = ["cohort", "n", "variants", "swapped", "other strand", "by frequency",
                "strand unclear", "twice"]  # fmt: skip
    keys = ["name", "n", "variants", "swapped", "other_strand", "by_frequency", "unclear",
            "repeated"]  # fmt: skip
    page = render(
        "meta.html",
        compared
        | {
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
            "told": summary["notes"],
            "not_together": [
                f"The latents {key} are not tested together: {reason}."
                for key, reason in summary["not_together"].items()
            ],
            "floor": f"{FLOOR:g}",
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
            "figures": pictures,
        },
    )  # fmt: skip
    return counts | {"page_mb": write_page(page, pictures, f"{folder}/report.html")}


def replications(material: ReportInputs) -> Section:
    """How many of a study's loci replicate in each other cohort where they were sought."""
    current = material.replicated
    return {
        "replication_heads": ["cohort", "method", *COUNTED.values()],
        "replication_rows": [
            [one.summary["in"], method, *(counts[key] for key in COUNTED)]
            for one in current
            for method, counts in one.summary["loci"].items()
        ],
        "replication_pages": [(one.summary["in"], f"{one.step}.html") for one in current],
        "replications_of_old_loci": len(material.replications) - len(current),
        "figures": {},
    }


def replicated(material: ReportInputs) -> Iterator[Placed]:
    """The loci in other cohorts, the most significant here first."""
    tables = [
        evidence.dataset(one.path(REPLICATION.name))
        .to_table()
        .to_pandas()
        .assign(cohort=one.summary["in"])
        for one in material.replicated
    ]
    if not tables:
        return
    rows = pd.concat(tables).sort_values("neg_log10_p", ascending=False, kind="stable")
    for row in rows.itertuples():
        there = [getattr(row, key) for key in THERE]
        told = [row.cohort, _name(row), row.phenotype, row.outcome]
        told += [None if pd.isna(value) else value for value in there]
        yield Placed(row.contig, row.position, told)


def write_replication_page(folder: str, summary: Mapping[str, Any], study: str) -> float:
    """Write the page of a replication, report.html, and its figure into the folder of its run.

    Args:
        summary: of the replication.
        study: the name of the study whose loci were looked up.

    Returns:
        The size of the page in MB.
    """
    table = evidence.dataset(f"{folder}/replication").to_table().to_pandas()
    table = table.sort_values("neg_log10_p", ascending=False)
    methods = summary["loci"]
    shown = ["beta", "se", "neg_log10_p", "outcome", "beta_there", "se_there", "z_there",
             "neg_log10_p_there", "n_there", "af_there", "power", "power_shrunk"]  # fmt: skip
    effects = table.dropna(subset=["beta", "beta_there"])
    pictures = embedded({"compared": figures.effects_there(effects) if len(effects) else None})
    page = render(
        "replication.html",
        {
            "title": f"Loci of {study} in {summary['in']}",
            "made_on": _today(),
            "tiles": [
                (sum(one[key] for one in methods.values()), label)
                for key, label in (("loci", "loci"), ("tested", "tested there"),
                                   ("replicated", "replicated"))
            ],
            "method_heads": ["method", *COUNTED.values()],
            "method_rows": [
                [name, *(one[key] for key in COUNTED)] for name, one in methods.items()
            ],
            "loci_rows": [
                [_name(row), row.method, row.phenotype, *(getattr(row, key) for key in shown)]
                for row in table.head(SHOWN).itertuples()
            ],
            "left_out": max(0, len(table) - SHOWN),
            "figures": pictures,
        },
    )  # fmt: skip
    return write_page(page, pictures, f"{folder}/report.html")


def _today() -> str:
    return f"{datetime.now(UTC):%-d %B %Y}"


def _name(row: Any) -> str:
    """The rsid of a lead variant, if it has one, with its position and alleles."""
    variant = ":".join(str(getattr(row, column)) for column in VARIANT)
    return f"{row.rsid} ({variant})" if row.rsid else variant
