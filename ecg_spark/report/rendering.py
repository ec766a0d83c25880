"""Pages from their templates, which share macros, a style and scripts."""

import base64
import hashlib
import re
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

import jinja2

from ecg_spark.display import number

ON_EVERY_PAGE = ("common.js", "tables.js")


def render(template: str, context: dict[str, Any], scripts: Sequence[str] = ()) -> str:
    """A page as HTML; `template` and `scripts` are the names of files beside this module.

    The scripts are run after those of every page, in their order. The page's policy knows them by
    their hashes, and lets no other run.
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
    """How a content security policy names a script."""
    if re.search(r"</script|<!--", script, re.IGNORECASE):
        raise ValueError("a script of the report holds what would end it")
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def _text(name: str) -> str:
    return files("ecg_spark.report").joinpath(name).read_text(encoding="utf-8")
