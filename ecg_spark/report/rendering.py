"""Pages from their templates, which share macros and a style."""

from importlib.resources import files
from typing import Any

import jinja2

from ecg_spark.display import number


def render(template: str, context: dict[str, Any]) -> str:
    """A page as HTML; `template` is the name of a file beside this module."""
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_text),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = number
    return environment.get_template(template).render(context)


def _text(name: str) -> str:
    return files("ecg_spark.report").joinpath(name).read_text(encoding="utf-8")
