"""The section on planted against found, for a study and for several cohorts together."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from ecg_spark.display import in_a_row
from ecg_spark.report import figures
from ecg_spark.report.comparison import (
    FALSE_BP,
    FOUND_BP,
    Comparison,
    Planted,
    compare,
)
from ecg_spark.report.planted_genes import GeneComparison
from ecg_spark.tables import OWN, PEER, TOGETHER

_NAMES = {
    "vae": "the VAE's latents",
    PEER: "as many principal components",
    "traits": "the conventional traits",
    OWN: "the study's own phenotypes",
}


def marks_of(planted: Sequence[Planted]) -> pd.DataFrame:
    """The planted variants as marks for a Manhattan plot: contig, position, is_large."""
    return pd.DataFrame(
        [(one.contig, one.position, one.is_large) for one in planted],
        columns=["contig", "position", "is_large"],
    )


def planted_against_found(
    planted: Sequence[Planted],
    loci: pd.DataFrame,
    methods: Sequence[str],
    genes: GeneComparison | None = None,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The comparison of what was planted with loci, as a section of a page; and its counts.

    `loci` and `methods`: see `comparison.compare`. `genes` is that of genes by their rare variants,
    if they were tested.
    """
    comparison = compare(planted, loci, methods)
    sets: dict[str, tuple[str, ...]] = {method: (method,) for method in comparison.methods}
    sets |= {f"{group} or omnibus": both for group, both in comparison.pairs.items()}
    rows = [
        [
            name,
            *comparison.found(*own),
            *comparison.found(*own, large=False),
            comparison.false_loci[name],
        ]
        for name, own in sets.items()
    ]
    section = {
        "comparison": comparison,
        "methods": comparison.methods,
        "found_bp": FOUND_BP,
        "false_bp": FALSE_BP,
        "planted_sentence": _sentence(comparison),
        "method_rows": rows,
        "planted_genes": genes,
        "figures": {"shares": figures.found_shares(_shares(comparison))},
    }
    return section, comparison.summary() | (genes.summary() if genes else {})


def _shares(comparison: Comparison) -> dict[str, dict[str, tuple[int, int]]]:
    return {
        "≥ 5 % of the variance": {name: comparison.found(name) for name in comparison.methods},
        "all planted variants": {
            name: comparison.found(name, large=False) for name in comparison.methods
        },
    }


def _sentence(comparison: Comparison) -> str:
    large = comparison.found(*comparison.methods)[1]
    found = {
        name: comparison.found(group, f"{group}{TOGETHER}")[0]
        for group, name in _NAMES.items()
        if group in comparison.methods
    }
    first, *others = (f"{name} {number}" for name, number in found.items())
    first = " found ".join(first.rsplit(" ", 1))
    said = (
        f"Of {large} planted variants that explain at least 5 % of their parameter's variance, "
        f"{in_a_row([first, *others])}."
    )
    if "vae" not in comparison.methods:
        return said
    if "traits" in comparison.methods:
        missed = len(comparison.missed_by_traits())
        said += (
            f" Planted variants of any size that the latents found and the traits miss: {missed}."
        )
    false = comparison.false_loci.get("vae or omnibus", comparison.false_loci["vae"])
    return f"{said} False loci of the latents: {false}."
