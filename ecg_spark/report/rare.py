"""The report's section on gene tests of rare variants."""

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from matplotlib.figure import Figure

from ecg_spark.report import waveforms
from ecg_spark.report.evidence import MIN_GROUP_SIZE, or_dash
from ecg_spark.report.sections import ReportInputs, Section

SHOWN = 30
_TESTS = {"burden": "burden", "skat": "SKAT", "acat_v": "ACAT-V"}
DRAWN = 3
_SET = ["contig", "gene", "mask", "max_maf"]


def rare_variants(material: ReportInputs) -> Section:
    """The genes with the smallest p, the set of variants and the test that it comes from, and the
    effects of significant genes on the beat.

    Sets with fewer than `MIN_GROUP_SIZE` rare alleles are not shown, since they would reveal the
    phenotypes of a few people.
    """
    summary = material.summary("rare")
    genes = material.table("rare", "genes").to_table().to_pandas()
    genes = genes.dropna(subset=["neg_log10_p"])
    genes = genes.sort_values(
        ["neg_log10_p", "gene", "phenotype"], ascending=[False, True, True]
    ).head(10 * SHOWN)
    sets = material.table("rare", "gene_sets")
    shown = pa.array(genes["gene"].unique(), pa.string())
    own = sets.to_table(filter=pc.field("gene").isin(shown)).to_pandas()
    rows = genes.merge(own, on=[*_SET, "phenotype"])
    rows = rows[rows["alleles"] >= MIN_GROUP_SIZE]
    effects = _effects(material, rows, own, summary.get("gene_threshold"))
    return {
        "gene_rows": [_row(row) for _, row in rows.head(SHOWN).iterrows()],
        "gene_threshold": summary.get("gene_threshold"),
        "gene_tests": summary.get("tests_of_a_gene"),
        "genes_significant": summary.get("significant_genes"),
        "genes_tested": summary["genes"],
        "figures": {"genes": effects},
    }


def _effects(
    material: ReportInputs, rows: pd.DataFrame, sets: pd.DataFrame, threshold: float | None
) -> Figure | None:
    """The effects of the most significant genes on the beat, from the burden of their rare
    alleles on all latents.
    """
    if threshold is None or not material.study.ecg:
        return None
    names, drawn = list(material.latents.columns), []
    acting = rows[rows["phenotype"].isin([*names, "vae omnibus"])]
    acting = acting[acting["neg_log10_p"] > threshold].drop_duplicates("gene")
    for _, row in acting.head(DRAWN).iterrows():
        own = sets[(sets[_SET] == row[_SET]).all(axis=1)].set_index("phenotype").reindex(names)
        effect = material.explainer.locus_effect(
            own["burden_beta"].to_numpy(float), own["burden_se"].to_numpy(float)
        )
        label = f"{row['gene']}: {row['mask']}, to {row['max_maf']:g}"
        drawn.append((label, effect.more, effect.less, effect.change_uv, effect.alleles))
    return waveforms.locus_effects(drawn, material.explainer.mean_beat) if drawn else None


def _row(row: pd.Series) -> list[object]:
    return [
        row["gene"],
        row["phenotype"],
        f"{row['neg_log10_p']:.2f}",
        or_dash(row["leave_one_out_neg_log10_p"], ".2f"),
        f"{row['mask']}, to {row['max_maf']:g}",
        _TESTS[row["test"]],
        int(row["n_variants"]),
        f"{row['alleles']:.0f}",
        int(row["n"]),
        or_dash(row["burden_beta"], "+.3f"),
        or_dash(row["burden_se"], ".3f"),
    ]
