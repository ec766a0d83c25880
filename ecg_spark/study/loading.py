"""Reads a study file, and refuses it with every problem at once."""

import os
from pathlib import Path

import yaml
from pydantic import ValidationError

from ecg_spark.errors import UsageError
from ecg_spark.locations import resolve
from ecg_spark.reach import content_of
from ecg_spark.study.problems import contradictions, key_of, problem_of
from ecg_spark.study.study import Study


def load_study(path: str | Path) -> Study:
    """Read and validate a study file.

    Args:
        path: a path or URI. Relative paths in the file are relative to its folder.

    Raises:
        UsageError: the file cannot be read or is wrong; the message lists every problem, one per
            line.
        InfrastructureError: the store on which it lies cannot be reached.
    """
    place, text = _text(path)
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}" if mark else ""
        raise UsageError(
            f"The study file {path} is not YAML{where}: {getattr(error, 'problem', error)}."
        ) from None
    if not isinstance(content, dict):
        raise UsageError(
            f"The study file {path} holds no keys; 'ecg-spark init' writes one to start from."
        )
    problems = list(contradictions(content))
    try:
        study = Study.model_validate(content)
    except ValidationError as error:
        found = [(key_of(item["loc"]), problem_of(dict(item), Study)) for item in error.errors()]
        problems = found + problems
    if problems:
        raise UsageError(
            f"The study file {path} has {len(problems)} problem{'s' if len(problems) > 1 else ''}:"
            + "".join(f"\n  {key}: {problem}" for key, problem in problems)
        )
    study._folder = place.rpartition("/")[0] or "/"
    return study


def _text(path: str | Path) -> tuple[str, str]:
    """Return the location of a study file, and its content."""
    try:
        place = resolve(os.getcwd(), str(path))
        return place, content_of(place).decode()
    except FileNotFoundError:
        reason = "there is no such file"
    except PermissionError:
        reason = "there is no permission"
    except UnicodeDecodeError:
        reason = "it is not UTF-8 text"
    except (OSError, ValueError) as error:
        reason = str(getattr(error, "strerror", None) or error)
    raise UsageError(
        f"The study file {path} cannot be read: {reason}; 'ecg-spark init' writes a new one."
    )
