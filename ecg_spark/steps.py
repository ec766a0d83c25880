"""The steps of the line, and which of them a study asks for.

A step that a study does not ask for is not run, and no other step needs it.
"""

from operator import attrgetter

from ecg_spark.genetics import STAGES
from ecg_spark.study import Study

STEPS = (
    "ingest", "average", "train", "encode", "genotypes", *STAGES,
    "scores", "mr", "phewas", "report",
)  # fmt: skip
"""The steps in the order in which they are run."""

SHARED = STEPS[: 1 + STEPS.index("genotypes")]
"""What a population of a study shares with the whole: all that comes before people are chosen."""

SECTIONS = {
    **dict.fromkeys(("ingest", "average", "encode"), ("ecg",)),
    "train": ("ecg", "archives"),
    **dict.fromkeys(("genotypes", *STAGES, "scores", "mr"), ("genotypes",)),
    "phewas": ("phewas", "genotypes"),
}
"""Sections of the study file that a step works on: without any of its own a study cannot have it.
"""

SETTINGS = {"scores": "gwas.scores", "mr": "gwas.mr", "phewas": "phewas"}
"""Settings of the study file that ask for a step: without its own a study does without it."""


def steps_of(study: Study) -> list[str]:
    """The names of the steps that a study asks for, in the order in which they are run."""
    return [name for name in STEPS if is_asked_for(name, study)]


def is_asked_for(name: str, study: Study) -> bool:
    """Whether a study has what a step works on, and asks for it."""
    is_set = name not in SETTINGS or bool(attrgetter(SETTINGS[name])(study))
    return is_set and lacking(name, study) is None


def lacking(name: str, study: Study) -> str | None:
    """The section for want of which a study cannot have a step, None where it can."""
    sections = SECTIONS.get(name)
    if sections is None or any(getattr(study, section) for section in sections):
        return None
    return " or ".join(sections)
