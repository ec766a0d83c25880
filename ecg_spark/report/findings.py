"""The genetic sections of the report: genotypes, associations, loci."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ecg_spark.display import in_a_row
from ecg_spark.report import evidence, figures, genome, loci, locus, waveforms
from ecg_spark.report import regional as plots
from ecg_spark.report.associations import BINS, FLOOR
from ecg_spark.report.comparison import Planted, acting_at
from ecg_spark.report.overview import TITLES, overview
from ecg_spark.report.sections import ReportInputs, Section
from ecg_spark.tables import OWN, PEER, group_of

LOCI_LISTED = 500
LOCI_SHOWN = 60
"""How many loci a figure shows at most; the table lists more."""
EFFECTS_SHOWN = 6

NAMES = {
    "vae": "VAE latents",
    PEER: "principal components of the beat",
    "traits": "conventional traits",
    OWN: "phenotypes of the study's own",
}
"""The names of the groups of phenotypes after a number."""


def genotypes(material: ReportInputs) -> Section:
    """What each filter left of samples and variants, and the people's ancestry."""
    scores = evidence.ancestry_scores(material.table("genotypes", "scores"))
    summary = material.summary("genotypes")
    return {
        "genotypes": summary,
        "qc_rows": [
            [row["filter"], row["samples"], row.get("variants", "–")]
            for row in [*summary["filters"], *material.summary("cohort")["people"][1:]]
        ],
        "ancestry_rows": evidence.people_told(summary["ancestry"]).items(),
        "figures": {"ancestry": scores.shape[1] > 1 and figures.ancestry(scores)},
    }


def gwas(material: ReportInputs, planted: list[Planted]) -> tuple[Section, dict[str, Any]]:
    """Manhattan and QQ plots of every group of tests, with their lambdas.

    Args:
        planted: the planted variants of a simulated biobank; empty for a real one.

    Returns:
        The section, and its counts for the summary.
    """
    summary = material.gwas
    thresholds = summary["thresholds"]
    singles, omnibus = (material.table("associations", one) for one in ("associations", "omnibus"))
    seen = overview(
        singles, omnibus, thresholds, summary["lambda"], summary["degrees_of_freedom"], planted
    )
    intercepts = _intercepts(material)
    section = {
        "gwas": summary,
        "genome": genome.points_of(seen.panels, seen.extents),
        "covariates": _covariates(summary["covariates"]),
        "n_variants": summary["variants"],  # of all phenotypes together, as in the flow
        "tested": in_a_row(
            [
                f"{len(seen.members[group])} {name}"
                for group, name in NAMES.items()
                if group in seen.members
            ]
        ),
        "threshold": max(thresholds.values()),
        "floor": f"{FLOOR:g}",
        "lambda_rows": [
            _calibration(group, values, summary["analysed"], intercepts)
            for group, values in seen.lambdas.items()
        ],
        "frequency_headings": ["λ by the frequency of the minor allele", *BINS],
        "frequency_rows": [
            [_short(group), *(f"{own[name]:.3f}" if name in own else None for name in BINS)]
            for group, own in seen.by_frequency.items()
        ],
        "figures": seen.figures,
    }
    counts = {
        "variants": section["n_variants"],
        "lambda_mean": {group: round(float(np.mean(v)), 4) for group, v in seen.lambdas.items()},
    }
    return section, counts


def _short(group: str) -> str:
    return TITLES[group].split(":")[0]


def _intercepts(material: ReportInputs) -> pd.Series:
    """The intercept of LD-score regression of each phenotype."""
    table = material.table("findings", "heritability").to_table(["phenotype", "intercept"])
    return pd.Series(table.to_pandas().set_index("phenotype")["intercept"], dtype=float)


def _calibration(
    group: str, lambdas: Sequence[float], people: int, intercepts: pd.Series
) -> list[Any]:
    """A group's lambdas, its mean lambda scaled to 1,000 people, and the mean LD-score
    intercept.
    """
    own = intercepts[[group_of(name) == group for name in intercepts.index]]
    mean = float(np.mean(lambdas))
    at_1000 = 1 + (mean - 1) * 1000 / people
    return [
        _short(group),
        len(lambdas),
        *(f"{value:.3f}" for value in (mean, min(lambdas), max(lambdas), at_1000)),
        f"{own.mean():.3f}" if own.notna().any() else None,
    ]


def _covariates(names: list[str]) -> str:
    """The covariates in words, with principal components only as their number."""
    own = [name.replace("_", " ") for name in names if not name.startswith("pc_")]
    components = len(names) - len(own)
    return ", ".join([*own, *([f"{components} principal components"] if components else [])])


def found_loci(material: ReportInputs, table: pd.DataFrame, planted: list[Planted]) -> Section:
    """The loci of all methods, which factors they affect, and their effects on the beat.

    Args:
        table: rows of the table loci.
        planted: the planted variants of a simulated biobank; empty for a real one.
    """
    regions = loci.merge(table)
    listed = regions[:LOCI_LISTED]
    shown = listed[:LOCI_SHOWN]
    acting = {
        region.variant: ", ".join(acting_at(planted, region.contig, region.start, region.end))
        for region in listed
    }
    effects = loci.effects_at(material.table("associations", "associations"), listed)
    names = list(material.latents.columns) if material.study.ecg else []
    tested = sorted({name for part in effects.values() for name in part.index})
    drawn = [name for kind in ("traits", OWN) for name in tested if group_of(name) == kind]
    heat = loci.z_scores(shown, effects, [*names, *drawn])
    counts = table["method"].value_counts()
    thresholds, tests = material.gwas["thresholds"], plots.tests(material, listed)
    linked, near = plots.linkage(material), plots.genes(material)
    regional = plots.regional(listed, tests, linked, near, thresholds)
    return {
        "locus_details": genome.details(
            listed,
            tests,
            linked,
            near,
            effects,
            [*names, *drawn],
            thresholds,
            locus.known(material, listed, tests),
        ),
        "regions": len(regions),
        "loci": [{**region.row(), "acting": acting[region.variant]} for region in listed],
        "loci_left_out": len(regions) - len(listed),
        "union": loci.union(regions),
        "loci_sentence": f"{len(regions)} region{'s hold' if len(regions) != 1 else ' holds'} at "
        "least one locus: "
        + ", ".join(_counted(counts.get(method, 0), method) for method in material.methods)
        + ".",
        "heat_caption": "z-score (β / SE) of each locus's lead variant on every "
        + in_a_row(
            [
                *(["VAE latent", "trait"] if material.study.ecg else []),
                *(["phenotype of the study's own"] if material.study.phenotypes else []),
            ]
        )
        + ".",
        "effects_caption": "The mean beat (grey) and the beat with more (red) and fewer (blue) "
        "effect alleles, decoded by the model from the locus's β on all latents at once; below, "
        "the change per allele with its 95 % confidence band. As many alleles are drawn as it "
        "takes to see something.",
        "figures": {
            "regional": regional,
            "heat": len(heat) > 0
            and figures.heat_map(heat.to_numpy(), list(heat.index), list(heat.columns), "z", 12),
            "effects": names and _locus_effects(material, shown, effects, names, acting),
        },
    }


def _counted(loci_found: int, method: str) -> str:
    return f"{loci_found} {'locus' if loci_found == 1 else 'loci'} by {method}"


def _locus_effects(
    material: ReportInputs,
    regions: list[loci.Region],
    effects: dict[str, pd.DataFrame],
    names: list[str],
    acting: dict[str, str],
) -> Figure | None:
    """The figure of the most significant loci that a method of the VAE has found."""
    drawn = []
    for region in regions:
        if {"vae", "vae omnibus"} & set(region.methods) and region.variant in effects:
            known = effects[region.variant].reindex(names)
            effect = material.explainer.locus_effect(
                known["beta"].to_numpy(), known["se"].to_numpy()
            )
            label = f"{region.name}, chromosome {region.contig.removeprefix('chr')}"
            if acting[region.variant]:
                label += f" (planted: {acting[region.variant].replace('_', ' ')})"
            drawn.append((label, effect.more, effect.less, effect.change_uv, effect.alleles))
    if not drawn:
        return None
    return waveforms.locus_effects(drawn[:EFFECTS_SHOWN], material.explainer.mean_beat)
