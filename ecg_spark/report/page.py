"""The report: one HTML page for a researcher, which opens without a server or a network."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ecg_spark.report import (
    cohorts,
    diseases,
    findings,
    flow,
    heart,
    loci,
    manuscript,
    mendelian,
    polygenic,
    polygenic_scores,
    rare,
    sections,
)
from ecg_spark.report.causes import causes
from ecg_spark.report.comparison import read_planted
from ecg_spark.report.planted import planted_against_found
from ecg_spark.report.planted_genes import genes_against_found
from ecg_spark.report.rendering import embedded, render, write_page
from ecg_spark.report.sections import ReportInputs, Section
from ecg_spark.store import Publication
from ecg_spark.study import Study

SCRIPTS = ("decoder.js", "paper.js", "heart.js", "locus.js", "genome.js", "alleles.js", "beside.js")


def write_report(
    study: Study,
    published: Mapping[str, Publication],
    out: str | Path,
    replications: Sequence[Publication] = (),
) -> dict[str, Any]:
    """Write the report of a study.

    The page is one file with its figures inside; it contains no ids and no single person's
    heartbeat. The figures also lie beside it, in the folder `figures`, each under its name.

    Args:
        published: what each step of the study has published; the page has the sections that the
            study has.
        out: the file to write.
        replications: what is known of its loci in other cohorts, as 'replicate' publishes it.

    Returns:
        The counts for the summary of the step.
    """
    page, pictures, summary = build(ReportInputs(study, published, replications))
    return {**summary, "page_mb": write_page(page, pictures, str(out))}


def build(material: ReportInputs) -> tuple[str, dict[str, str], dict[str, Any]]:
    """The page of a study as HTML, its figures as data URIs by name, and its counts."""
    context, summary = told(material)
    pictures = embedded(context["figures"])
    page = render("template.html", context | {"figures": pictures}, SCRIPTS)
    return page, {name: uri for name, uri in pictures.items() if uri}, summary


def told(material: ReportInputs) -> tuple[dict[str, Any], dict[str, Any]]:
    """All that the page of a study says, with its figures under `figures`, and its counts."""
    study = material.study
    parts: list[Section] = [
        {"comparison": None, "gene_rows": [], "heart": None, "polygenic": None, "mr": None}
        | {"mr_notes": [], "methods_text": [], "phewas": None, "figures": {}}
    ]
    if study.archives:
        parts += [sections.model(material), sections.factors(material)]
    else:
        parts.append(flow.section(material))
    if study.ecg:
        parts += [
            sections.recordings(material),
            sections.beats(material),
            sections.model(material),
            sections.latents(material),
        ]
    if study.ecg or study.archives:
        parts += [sections.registry(material), heart.moved_heart(material)]
    summary: dict[str, Any] = {}
    if study.genotypes:
        found, summary = _genetics(material)
        parts += found
    if study.phewas:
        of_diseases, counts = diseases.section(material)
        parts.append(of_diseases)
        summary |= counts
    context: dict[str, Any] = {"figures": {}}
    for part in parts:
        context |= {**part, "figures": context["figures"] | part["figures"]}
    return context | _frame(material, context), summary


def _genetics(material: ReportInputs) -> tuple[list[Section], dict[str, Any]]:
    """The sections of the association study, and their counts."""
    study = material.study
    planted = read_planted(study.locate(study.truth)) if study.truth else []
    associated, summary = findings.gwas(material, planted)
    table = loci.read_loci(material.table("findings", "loci"))
    found = findings.found_loci(material, table, planted)
    parts = [
        findings.genotypes(material),
        associated,
        polygenic.heritability(material),
        found,
        causes(material),
        cohorts.replications(material),
        rare.rare_variants(material),
        manuscript.manuscript(material),
    ]
    parts += [polygenic_scores.scores(material)] if study.gwas.scores else []
    parts += [mendelian.mendelian(material)] if study.gwas.mr else []
    summary |= {"regions": found["regions"], "regions_by": dict(found["union"][:-1])}
    summary |= {"loci": {name: int((table["method"] == name).sum()) for name in material.methods}}
    if planted:
        genes = genes_against_found(material)
        compared, counts = planted_against_found(planted, table, material.methods, genes)
        parts.append(compared)
        summary |= counts
    return parts, summary


def _frame(material: ReportInputs, context: dict[str, Any]) -> dict[str, Any]:
    """What surrounds the sections: title, banners, key numbers, settings."""
    study = material.study
    comparison = context["comparison"]
    tiles: list[tuple[Any, str]] = []
    if study.ecg:
        tiles += [
            (context["ingest"]["n_in"], "recordings came in"),
            (context["ingest"]["participants"], "participants"),
            (context["average"]["n_out"], "average beats"),
            (context["train"]["n_latents"], "active latents"),
        ]
    elif study.archives:
        archives = context["train"]["archives"].values()
        tiles += [
            (len(archives), "archives"),
            (sum(beats["beats_training"] for beats in archives), "beats trained on"),
            (context["train"]["n_latents"], "active latents"),
        ]
    elif study.genotypes:
        tiles += [(context["gwas"]["analysed"], "people analysed")]
    if study.genotypes:
        tiles += [
            (context["n_variants"], "variants tested"),
            (context["regions"], "regions with a locus"),
        ]
    if comparison:
        methods = ("vae", "vae omnibus") if study.ecg else comparison.methods
        found, large = comparison.found(*methods)
        tiles.append((f"{found} of {large}", "large planted variants found"))
    model = [("model", context["train"]["model_uri"])] if "train" in context else []
    return {
        "study": study,
        "title": study.name,
        "made_on": f"{datetime.now(UTC):%-d %B %Y}",
        "random_pairing": study.genotypes is not None and study.genotypes.pairing == "random",
        "tiles": tiles,
        "steps": [
            (step, _moment(item.published_at), item.summary.get("seconds"))
            for step, item in material.published.items()
        ],
        "settings": [*model, *_settings(study)],
    }


def _moment(published_at: str) -> str:
    return published_at.replace("T", " ").replace("+00:00", " UTC")


def _settings(study: Study) -> list[tuple[str, str]]:
    """The settings that decide the result, by key, without paths of files."""
    shown = {"seed"}
    shown |= {"beats", "model"} if study.ecg or study.archives else set()
    shown |= {"gwas", "genotypes", "participants"} if study.genotypes else set()
    shown |= {"phenotypes"} if study.phenotypes else set()
    shown |= {"phewas", "participants"} if study.phewas else set()
    parts = study.model_dump(
        include=shown,
        exclude={
            "genotypes": {"path", "id_map", "exclude", "keep", "ancestry"},
            "participants": {"path"},
            "phenotypes": {"path"},
            "phewas": {"path", "map"},
            "beats": {"quality"},
            "gwas": {"genes": True, "published": True, "rare": {"genes"}, "mr": {"outcomes"}},
        },
    )
    rows = []
    for key, value in parts.items():
        if isinstance(value, dict):
            rows += [(f"{key}.{name}", _plain(item)) for name, item in value.items()]
        else:
            rows.append((key, _plain(value)))
    return rows


def _plain(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
