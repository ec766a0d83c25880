"""The genetic sections of the report: genotypes, associations, loci, planted against found."""

from collections import defaultdict
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ecg_spark.report import evidence, figures, genome, loci, waveforms
from ecg_spark.report import regional as plots
from ecg_spark.report.associations import FLOOR, group_of, survey
from ecg_spark.report.comparison import (
    FALSE_BP,
    FOUND_BP,
    Comparison,
    Planted,
    acting_at,
    compare,
)
from ecg_spark.report.sections import Material, Section
from ecg_spark.tables import OWN, VARIANT

LOCI_LISTED = 500
LOCI_SHOWN = 60
"""Loci in a picture; the table lists more."""
EFFECTS_SHOWN = 6

TITLES = {
    "vae": "VAE latents, one by one: the best of each variant",
    "vae omnibus": "VAE latents together: omnibus test",
    "traits": "Conventional traits: the best of each variant",
    OWN: "The study's own phenotypes, one by one: the best of each variant",
    f"{OWN} omnibus": "The study's own phenotypes together: omnibus test",
    "pca": "Principal components of the beat, one by one: the best of each variant",
    "pca omnibus": "Principal components of the beat together: omnibus test",
}
"""The groups of tests in the order of their panels: latents above traits, the peer below."""

NAMES = {
    "vae": "VAE latents",
    "pca": "principal components of the beat",
    "traits": "conventional traits",
    OWN: "phenotypes of the study's own",
}
"""The groups of phenotypes, as counted."""


def genotypes(material: Material) -> Section:
    """What each filter left of samples and variants, and the people's ancestry."""
    scores = evidence.ancestry_scores(material.table("genotypes", "scores"))
    summary = material.summary("genotypes")
    return {
        "genotypes": summary,
        "qc_rows": [
            [row["filter"], row["samples"], row.get("variants", "–")]
            for row in [*summary["filters"], *material.summary("cohort")["people"][1:]]
        ],
        "figures": {"ancestry": scores.shape[1] > 1 and figures.ancestry(scores)},
    }


def gwas(material: Material, planted: list[Planted]) -> tuple[Section, dict[str, Any]]:
    """Manhattan and QQ plots of every group of tests, with their lambdas; and counts."""
    singles = survey(
        evidence.batches(
            material.table("associations", "associations"), [*VARIANT, "phenotype", "neg_log10_p"]
        ),
        group_of,
    )
    omnibus = survey(evidence.omnibus_batches(material.table("associations", "omnibus")), str)
    summary = material.gwas
    thresholds, published = summary["thresholds"], summary["lambda"]
    members: dict[str, list[str]] = defaultdict(list)
    for name in sorted(singles.histograms):
        members[group_of(name)].append(name)
    for name in omnibus.histograms:
        members[name] = [name]
    present = [group for group in TITLES if members[group]]
    surveys = {group: omnibus if group in omnibus.histograms else singles for group in present}
    lambdas = {
        group: [published.get(name) or surveys[group].lambda_gc(name) for name in members[group]]
        for group in present
    }
    marks = pd.DataFrame(
        [(one.contig, one.position, one.is_large) for one in planted],
        columns=["contig", "position", "is_large"],
    )
    panels = [
        (TITLES[group], group, surveys[group].points(group), thresholds[group]) for group in present
    ]
    manhattan = figures.manhattan(
        panels,
        singles.extents,
        FLOOR,
        marks,
    )
    qq = figures.quantile_quantile(
        [
            (
                f"{group}  λ {np.mean(lambdas[group]):.3f}",
                group,
                {name: surveys[group].qq(name) for name in members[group]},
            )
            for group in present
        ]
    )
    section = {
        "gwas": summary,
        "genome": genome.points_of(panels, singles.extents),
        "covariates": _covariates(summary["covariates"]),
        "n_variants": summary["variants"],  # of all phenotypes together, as in the flow
        "tested": loci.in_a_row(
            [f"{len(members[group])} {name}" for group, name in NAMES.items() if members[group]]
        ),
        "thresholds": [(group, thresholds[group]) for group in present],
        "floor": f"{FLOOR:g}",
        "lambda_rows": [
            [
                TITLES[group].split(":")[0],
                len(values),
                *(f"{value:.3f}" for value in (np.mean(values), min(values), max(values))),
            ]
            for group, values in lambdas.items()
        ],
        "figures": {
            "manhattan": manhattan,
            "qq": qq,
        },
    }
    counts = {
        "variants": section["n_variants"],
        "lambda_mean": {group: round(float(np.mean(v)), 4) for group, v in lambdas.items()},
    }
    return section, counts


def _covariates(names: list[str]) -> str:
    """The covariates in words, the principal components as their number."""
    own = [name.replace("_", " ") for name in names if not name.startswith("pc_")]
    components = len(names) - len(own)
    return ", ".join([*own, *([f"{components} principal components"] if components else [])])


def found_loci(material: Material, table: pd.DataFrame, planted: list[Planted]) -> Section:
    """The loci of all methods, which factors they move and what they do to the heartbeat."""
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
    regional = plots.regional(material, shown, material.gwas["thresholds"])
    return {
        "locus_details": genome.details(
            material, listed, effects, [*names, *drawn], material.gwas["thresholds"]
        ),
        "regions": len(regions),
        "loci": [{**region.row(), "acting": acting[region.variant]} for region in listed],
        "loci_left_out": len(regions) - len(listed),
        "union": loci.union(regions),
        "loci_sentence": f"{len(regions)} regions hold at least one locus: "
        + ", ".join(f"{counts.get(method, 0)} loci by {method}" for method in material.methods)
        + ".",
        "heat_caption": "z-score (β / SE) of each locus's lead variant on every "
        + loci.in_a_row(
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


def _locus_effects(
    material: Material,
    regions: list[loci.Region],
    effects: dict[str, pd.DataFrame],
    names: list[str],
    acting: dict[str, str],
) -> Figure | None:
    """The picture of the strongest loci that a method of the VAE has found."""
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


def planted_against_found(
    material: Material, planted: list[Planted], table: pd.DataFrame
) -> tuple[Section, dict[str, Any]]:
    """The comparison of a simulated biobank's truth with the loci; and its counts."""
    comparison = compare(planted, table, material.methods)
    sets: dict[str, tuple[str, ...]] = {method: (method,) for method in comparison.methods}
    sets |= {f"{group} or omnibus": methods for group, methods in comparison.pairs.items()}
    rows = [
        [
            name,
            *comparison.found(*methods),
            *comparison.found(*methods, large=False),
            comparison.false_loci[name],
        ]
        for name, methods in sets.items()
    ]
    section = {
        "comparison": comparison,
        "methods": comparison.methods,
        "found_bp": FOUND_BP,
        "false_bp": FALSE_BP,
        "planted_sentence": _sentence(comparison),
        "method_rows": rows,
        "figures": {"shares": figures.found_shares(_shares(comparison))},
    }
    return section, comparison.summary()


def _shares(comparison: Comparison) -> dict[str, dict[str, tuple[int, int]]]:
    return {
        "≥ 5 % of the variance": {name: comparison.found(name) for name in comparison.methods},
        "all planted variants": {
            name: comparison.found(name, large=False) for name in comparison.methods
        },
    }


def _sentence(comparison: Comparison) -> str:
    if "vae" not in comparison.methods:
        own, large = comparison.found(*comparison.methods)
        return (
            f"Of {large} planted variants that explain at least 5 % of their parameter's variance, "
            f"the study's own phenotypes found {own}."
        )
    vae, large = comparison.found("vae", "vae omnibus")
    pca, _ = comparison.found("pca", "pca omnibus")
    traits, _ = comparison.found("traits")
    missed = len(comparison.missed_by_traits())
    false = comparison.false_loci["vae or omnibus"]
    return (
        f"Of {large} planted variants that explain at least 5 % of their parameter's variance, "
        f"the VAE's latents found {vae}, as many principal components {pca} and the conventional "
        f"traits {traits}. Planted variants of any size that the latents found and the traits "
        f"miss: {missed}. False loci of the latents: {false}."
    )
