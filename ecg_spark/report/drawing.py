"""The report's figures from Python, as Matplotlib figures; `figure.savefig` writes them to files.

In a PDF, lines and text stay vector graphics; the many points of a Manhattan plot below the
threshold are rasterised.
"""

from collections.abc import Mapping
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ecg_spark import ecg_paper
from ecg_spark.errors import UsageError
from ecg_spark.genetics.testing.p_values import WITHIN
from ecg_spark.report import figures, loci, regional
from ecg_spark.report.explain import Explainer
from ecg_spark.report.page import told
from ecg_spark.report.sections import ReportInputs
from ecg_spark.steps import SHARED, steps_of
from ecg_spark.store import Store
from ecg_spark.study import Study
from ecg_spark.tables import PEER, group_of

_STRONG_Z = 5.45
"""|z| of p = 5e-8."""


def draw_report(study: Study) -> dict[str, Figure]:
    """Every figure of a study's report by name, as in the folder `figures` beside the page.

    Raises:
        UsageError: if a step of the study is not published.
    """
    material = _material(study, *(name for name in steps_of(study) if name != "report"))
    context, _ = told(material)
    return {name: figure for name, figure in context["figures"].items() if figure}


@mpl.rc_context(figures.STYLE)
def draw_heart(
    study: Study, factors: Mapping[str, float], beside: Mapping[str, float] | None = None
) -> Figure:
    """Draw the beat of given factors on ECG paper, over that of another heart.

    Args:
        factors: values of factors (`vae_03`), in standard deviations of the participants from
            their mean; a factor that is not named is at its mean.
        beside: the factors of the other heart; None for the mean heart.

    Raises:
        UsageError: for a factor that the model does not have, or if the study has not published
            its model and its latents.
    """
    material = _material(study, "train", "encode")
    names = list(material.latents.columns)
    hearts = {"heart A": factors, "heart B": beside or {}}
    unknown = sorted({name for heart in hearts.values() for name in heart} - set(names))
    if unknown:
        raise UsageError(
            f"The model has no factor {', '.join(unknown)}: its factors are {names[0]} to "
            f"{names[-1]}."
        )
    explainer = material.explainer
    beats = {
        label: explainer.beat(np.array([heart.get(name, 0.0) for name in names]))
        for label, heart in hearts.items()
    }
    colours = {"heart B": figures.VERMILION, "heart A": figures.INK}
    return ecg_paper.draw_beats(
        [ecg_paper.Curve(who, beats[who], one) for who, one in colours.items()]
    )


def draw_locus(study: Study, name: str, times: float = 1.0) -> Figure:
    """Draw a locus in full: its region with LD and genes, its effects on all phenotypes, and the
    beats with 0, 1 and 2 effect alleles.

    Args:
        name: the rsid of its lead variant, contig:position:ref:alt, or its nearest gene. If
            several loci match, the most significant is drawn.
        times: by how much to exaggerate the effect on the beat.

    Raises:
        UsageError: if no locus has that name, or the study has not published its loci.
    """
    own = ("train", "encode") if study.ecg else ()
    material = _material(study, *own, "associations", "findings")
    found = loci.merge(loci.read_loci(material.table("findings", "loci")))
    wanted = name.lower()
    named = [one for one in found if wanted in (one.name.lower(), one.variant.lower())]
    named += [one for one in found if str(one.lead["nearest_gene"]).lower() == wanted]
    if not named:
        raise UsageError(f"No locus is called {name}: the table loci has their names.")
    return _locus(material, named[0], times)


@mpl.rc_context(figures.STYLE)
def _locus(material: ReportInputs, region: loci.Region, times: float) -> Figure:
    effects = loci.effects_at(material.table("associations", "associations"), [region])
    known = effects[region.variant]
    known = known[[group_of(phenotype) != PEER for phenotype in known.index]]
    names = list(material.latents.columns) if material.study.ecg else []
    width, height = ecg_paper.size()
    heights = [max(3.2, 0.13 * len(known)), *([height + 0.4] if names else [])]
    figure = figures.new_figure(sum(heights), width)
    rows = figure.add_gridspec(len(heights), 1, height_ratios=heights)
    upper = rows[0].subgridspec(1, 2, width_ratios=(1.4, 1))
    inner = upper[0].subgridspec(2, 1, height_ratios=(3, 1.2), hspace=0.02)
    above = figure.add_subplot(inner[0])
    below = figure.add_subplot(inner[1], sharex=above)
    threshold = material.summary("findings")["thresholds"][region.lead["method"]]
    [test] = regional.tests(material, [region])
    linked, genes = regional.linkage(material), regional.genes(material)
    regional.draw(above, below, region, test, linked, genes, threshold)
    above.legend(handles=regional.keys(above), fontsize=6, loc="upper right")
    _forest(figure.add_subplot(upper[1]), known)
    if names:
        axes = figure.add_subplot(rows[1])
        ecg_paper.draw_leads(axes, _alleles(material.explainer, region, known, names, times))
    return figure


def _forest(axes: Axes, effects: pd.DataFrame) -> None:
    """β with its 95 % interval on each phenotype; `effects` has beta and se by phenotype.

    Those with p < 5e-8 are in colour.
    """
    known = effects.dropna()
    places = -np.arange(len(known))
    strong = (known["beta"] / known["se"]).abs() >= _STRONG_Z
    colours = np.where(strong, figures.BLUE, figures.MUTED)
    axes.axvline(0, color=figures.FAINT, lw=0.8)
    half = WITHIN * known["se"]
    axes.hlines(places, known["beta"] - half, known["beta"] + half, color=colours, lw=1.2)
    axes.scatter(known["beta"], places, color=colours, s=14, zorder=3)
    axes.set_yticks(places, [figures.shortened(name) for name in known.index], fontsize=6.5)
    axes.set_ylim(places.min(initial=0) - 0.7, 0.7)
    axes.tick_params(axis="y", length=0)
    figures.styled(axes, "", "β per effect allele, SD")


def _alleles(
    explainer: Explainer, region: loci.Region, known: Any, names: list[str], times: float
) -> list[ecg_paper.Curve]:
    effect = known.reindex(names)
    beats, half = explainer.genotypes(
        effect["beta"].to_numpy(), effect["se"].to_numpy(), float(region.lead["af"]), times
    )
    larger = "" if times == 1 else f", effect × {times:g}"
    colours = (figures.BLUE, figures.MUTED, figures.VERMILION)
    return [
        ecg_paper.Curve(f"{count} alleles{larger}", beats[count], colour, half[count])
        for count, colour in enumerate(colours)
    ]


def _material(study: Study, *steps: str) -> ReportInputs:
    own, whole = Store(study.output_path), Store((study.whole or study).output_path)
    return ReportInputs(
        study, {step: (whole if step in SHARED else own).require(step) for step in steps}
    )
