"""The report's section on heritability and genetic correlation."""

import numpy as np

from ecg_spark.report import figures
from ecg_spark.report.sections import ReportInputs, Section
from ecg_spark.tables import OWN, PEER, group_of

SHOWN = 2.0
"""A correlation is drawn if both heritabilities are this many standard errors above zero."""


def heritability(material: ReportInputs) -> Section:
    """The heritability of each phenotype, and the genetic correlations."""
    table = material.table("findings", "heritability").to_table().to_pandas()
    table = table.assign(z=table["h2"] / table["h2_se"], group=table["phenotype"].map(group_of))
    known = table.dropna(subset=["h2", "h2_se"]).sort_values("z", ascending=False)
    rows = [
        [
            row.phenotype,
            f"{row.h2:.3f} ± {row.h2_se:.3f}",
            f"{row.intercept:.3f} ± {row.intercept_se:.3f}",
            f"{row.mean_chi2:.3f}",
        ]
        for row in known[known["group"] != PEER].itertuples()
    ]
    heritable = set(known.loc[known["z"] >= SHOWN, "phenotype"])
    pairs = material.table("findings", "genetic_correlation").to_table().to_pandas()
    pairs = pairs[pairs["phenotype_1"].isin(heritable) & pairs["phenotype_2"].isin(heritable)]
    names = sorted(set(pairs["phenotype_1"]) | set(pairs["phenotype_2"]), key=_order)
    square = np.full((len(names), len(names)), np.nan)
    np.fill_diagonal(square, 1)
    for pair in pairs.itertuples():
        i, j = names.index(pair.phenotype_1), names.index(pair.phenotype_2)
        square[i, j] = square[j, i] = pair.rg
    return {
        "heritability_rows": rows,
        "heritable": len(heritable),
        "ld_score_variants": material.gwas.get("ld_score_variants"),
        "figures": {
            "genetic_correlation": len(names) > 1
            and figures.heat_map(square, names, names, "genetic correlation", 1.0),
        },
    }


def _order(phenotype: str) -> tuple[int, str]:
    """A sort key: latents before traits, and the study's own phenotypes last."""
    return {"traits": 1, OWN: 2}.get(group_of(phenotype), 0), phenotype
