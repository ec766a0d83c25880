"""The report's pictures from Python, as Matplotlib figures: `figure.savefig` writes them as files.

Lines and letters of a PDF stay lines and letters; of a Manhattan plot, the many points below the
threshold are pixels.
"""

from collections.abc import Mapping
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from ecg_spark.errors import UsageError
from ecg_spark.report import figures, loci, papers, regional
from ecg_spark.report.explain import Explainer
from ecg_spark.report.page import told
from ecg_spark.report.sections import ReportInputs
from ecg_spark.steps import steps_of
from ecg_spark.store import Store
from ecg_spark.study import Study
from ecg_spark.tables import PEER, group_of


def draw_report(study: Study) -> dict[str, Figure]:
    """Every picture of a study's report by its name, as `figures/` beside the page has them.

    Raises `UsageError` where a step of the study is not published.
    """
    material = _material(study, *(name for name in steps_of(study) if name != "report"))
    context, _ = told(material)
    return {name: figure for name, figure in context["figures"].items() if figure}


def draw_heart(
    study: Study, factors: Mapping[str, float], beside: Mapping[str, float] | None = None
) -> Figure:
    """The beat of factors on ECG paper, over that of `beside`, by default of the mean heart.

    Both name factors (`vae_03`) with values in standard deviations of the participants from their
    mean; a factor that is not named is at its mean.

    Raises `UsageError` for a factor that the model does not have, and where the study has not
    published its model and its latents.
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
    return papers.hearts([papers.Curve(who, beats[who], one) for who, one in colours.items()])


def draw_locus(study: Study, name: str, times: float = 1.0) -> Figure:
    """A locus in full: its region with linkage and genes, its effects on all phenotypes, and the
    beats of 0, 1 and 2 effect alleles, the effect `times` as large as it is.

    `name` is the rsid of its lead variant, contig:position:ref:alt, or its nearest gene; of several
    loci it is the strongest.

    Raises `UsageError` where no locus has that name, and where the study has not published its
    loci.
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
    width, height = papers.size()
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
    papers.forest(figure.add_subplot(upper[1]), known)
    if names:
        axes = figure.add_subplot(rows[1])
        papers.twelve_leads(axes, _alleles(material.explainer, region, known, names, times))
    return figure


def _alleles(
    explainer: Explainer, region: loci.Region, known: Any, names: list[str], times: float
) -> list[papers.Curve]:
    effect = known.reindex(names)
    beats, half = explainer.genotypes(
        effect["beta"].to_numpy(), effect["se"].to_numpy(), float(region.lead["af"]), times
    )
    larger = "" if times == 1 else f", effect × {times:g}"
    colours = (figures.BLUE, figures.MUTED, figures.VERMILION)
    return [
        papers.Curve(f"{count} alleles{larger}", beats[count], colour, half[count])
        for count, colour in enumerate(colours)
    ]


def _material(study: Study, *steps: str) -> ReportInputs:
    store = Store(study.output_path)
    return ReportInputs(study, {step: store.require(step) for step in steps})
