"""The study file that `ecg-spark init` writes, generated from the descriptions of the settings."""

import re
import textwrap
from collections.abc import Iterator
from typing import Any

import yaml
from pydantic.fields import FieldInfo

from ecg_spark.study.section import section_in
from ecg_spark.study.study import Study

_HEAD = """\
A study of ecg-spark: everything that it reads, does and writes. Only the settings without a # in
front are needed; the others show their default, or what is marked as an example. Relative paths
start from this file's folder; a path may be a URI (s3://, gs://, abfss://, dbfs:/), and so may
that of this file. Without genotypes and participants a study ends with the latents; without ecg
it begins with phenotypes."""

_NEEDED = {
    "name",
    "output",
    "ecg",
    "ecg.path",
    "participants",
    "participants.path",
    "genotypes",
    "genotypes.path",
}
"""What a study from ECG files to loci cannot do without."""

_COMMENTS_FROM = 30  # the column in which they begin
_WIDTH = 100


def study_template() -> str:
    """Return a study file with every setting, its default or an example, and what it means."""
    text = textwrap.indent(_HEAD, "# ") + "\n"
    was_short = False
    for name, field in Study.model_fields.items():
        lines = list(_setting(name, name, field, ""))
        is_short = len(lines) <= 2 and section_in(field.annotation) is None
        text += "" if was_short and is_short else "\n"
        text += "\n".join(lines) + "\n"
        was_short = is_short
    return text


def _setting(key: str, name: str, field: FieldInfo, before: str) -> Iterator[str]:
    """Yield the lines of the setting `key`; `before` is what precedes its name."""
    if key not in _NEEDED and (not before.lstrip() or _is_optional_section(field)):
        before += "# "
    section = section_in(field.annotation)
    value = None if section else _value(field)
    block: dict[str, Any] = value if isinstance(value, dict) else {}
    yield from _described(
        f"{before}{name}:" + ("" if section or block else f" {_spelled(value)}"),
        _text(key, field),
        "#" if before.startswith("#") else "",
    )
    if section:
        for inner, inner_field in section.model_fields.items():
            yield from _setting(f"{key}.{inner}", inner, inner_field, before + "  ")
    yield from (f"{before}  {inner}: {_spelled(own)}" for inner, own in block.items())


def _is_optional_section(field: FieldInfo) -> bool:
    return section_in(field.annotation) is not None and field.default is None


def _value(field: FieldInfo) -> Any:
    return field.examples[0] if field.examples else field.default


def _text(key: str, field: FieldInfo) -> str:
    told = field.description or ""
    is_example = field.examples and not field.is_required() and key not in _NEEDED
    return f"{told} (example)" if is_example else told


def _spelled(value: Any) -> str:
    """Return a value on one line of YAML."""
    style = "'" if isinstance(value, str) and not re.fullmatch(r"[\w ./:-]+", value) else None
    line = yaml.safe_dump(value, default_style=style, default_flow_style=True, width=float("inf"))
    return line.removesuffix("\n").removesuffix("\n...")


def _described(setting: str, told: str, margin: str) -> Iterator[str]:
    """Yield a setting with its description beside it, or below it if the setting is long."""
    lines = textwrap.wrap(told, _WIDTH - _COMMENTS_FROM - 2, break_on_hyphens=False)
    if len(setting) < _COMMENTS_FROM and lines:
        yield f"{setting:{_COMMENTS_FROM}}# {lines.pop(0)}"
    else:
        yield setting
    yield from (f"{margin:{_COMMENTS_FROM}}# {line}" for line in lines)
