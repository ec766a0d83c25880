"""Pages from their templates, which share macros, a style and scripts."""

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

import jinja2
from matplotlib.figure import Figure

from ecg_spark.display import number
from ecg_spark.report.figures import embed, picture_in
from ecg_spark.results import FIGURES
from ecg_spark.store import atomic_write

ON_EVERY_PAGE = ("common.js", "tables.js")

DENSE = {
    "ancestry",
    "disease_beats",
    "effects",
    "manhattan",
    "phewas",
    "population",
    "qq",
    "regional",
    "traversals",
}
"""Figures with so many lines or points that they are smaller as pixels."""


def render(template: str, context: dict[str, Any], scripts: Sequence[str] = ()) -> str:
    """Render a page as HTML.

    The scripts run after those of every page, in their order. The page's content security policy
    lists them by their hashes and allows no others.

    Args:
        template: the name of a file beside this module.
        scripts: names of files beside this module.
    """
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_text),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = number
    texts = [_text(name) for name in (*ON_EVERY_PAGE, *scripts)]
    shared = {"scripts": texts, "script_sources": " ".join(map(_source, texts))}
    return environment.get_template(template).render(context | shared)


def _source(script: str) -> str:
    """A script's entry in a content security policy."""
    if re.search(r"</script|<!--", script, re.IGNORECASE):
        raise ValueError("a script of the report holds what would end it")
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def embedded(pictures: Mapping[str, Figure | None]) -> dict[str, str | None]:
    """Figures by name as data URIs; None stays None."""
    return {
        name: embed(figure, "png" if name in DENSE else "svg") if figure else None
        for name, figure in pictures.items()
    }


def write_page(page: str, pictures: Mapping[str, str | None], out: str) -> float:
    """Write a page, and its figures beside it.

    Args:
        pictures: data URIs by name, as they are in the page; None where there is no figure.
        out: the file to write.

    Returns:
        The size of the page in MB.
    """
    content = page.encode()
    folder = out.rpartition("/")[0]
    for name, uri in pictures.items():
        if not uri:
            continue
        kind, picture = picture_in(uri)
        atomic_write(f"{folder}/{FIGURES}/{name}.{kind}", picture)
    atomic_write(out, content)
    return round(len(content) / 1e6, 2)


def _text(name: str) -> str:
    return files("ecg_spark.report").joinpath(name).read_text(encoding="utf-8")
