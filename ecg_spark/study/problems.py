"""What is wrong in a study file, in words."""

from collections.abc import Iterator, Mapping
from typing import Any

from ecg_spark.study.section import Section, section_in

STANDS_ON = {
    "beats": ("ecg",),
    "model": ("ecg",),
    "sweep": ("ecg",),
    "genotypes": ("participants",),
    "participants": ("genotypes", "phewas"),
    "phenotypes": ("genotypes", "phewas"),
    "phewas": ("participants",),
    "gwas": ("genotypes",),
}
"""Sections that nothing would read without one of others."""

OF_TRAINING = {"beats", "model", "sweep"}
"""Those of them that a study of archives reads as well."""


def key_of(location: tuple[int | str, ...]) -> str:
    """Return the key of a problem, as the study file spells it.

    Example:
        >>> key_of(("gwas", "rare", "max_maf", 0))
        'gwas.rare.max_maf.0'
    """
    return ".".join(str(part) for part in location)


def problem_of(item: dict[str, Any], whole: type[Section]) -> str:
    """Return a problem in words.

    Args:
        item: the problem as pydantic's `ValidationError.errors` describes it.
        whole: the section in which its location begins.
    """
    match item["type"]:
        case "missing":
            return "is missing"
        case "extra_forbidden":
            section = whole
            for part in item["loc"][:-1]:
                inner = section_in(section.model_fields[part].annotation)
                assert inner is not None
                section = inner
            return f"is not a key; known here are {', '.join(section.model_fields)}"
        case _:
            message = item["msg"].removeprefix("Value error, ")
            message = message[0].lower() + message[1:]
            return f"{message.replace('input should', 'should')} (found {item['input']!r})"


def contradictions(content: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield, by key, what is wrong with which sections are there and which are not."""
    there = {key for key, value in content.items() if value is not None}
    if "archives" in there:
        for key in ("ecg", "participants", "genotypes", "phenotypes", "phewas"):
            if key in there:
                yield key, "has no place beside archives, whose beats are trained on: take one out"
        model = content.get("model")
        if isinstance(model, Mapping) and model.get("source") and not model.get("fine_tune"):
            yield (
                "model.source",
                "leaves nothing to train on the archives: set model.fine_tune, or take it out",
            )
    elif not there & {"ecg", "phenotypes"}:
        yield (
            "ecg",
            "is missing, and phenotypes, too: a study begins with ECG files, or with a table of "
            "phenotypes",
        )
    for key, others in STANDS_ON.items():
        if "archives" in there and key in OF_TRAINING:
            continue
        if key in there and not there & set(others):
            missing = " or ".join(others)
            yield key, f"needs {missing}, which is missing: add it, or take {key} out"
