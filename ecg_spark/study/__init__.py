"""The study file: the only configuration of ecg-spark, validated, with every default visible.

A module for each of its sections, `study` for the whole, `loading` for the file, `template` for
the file that a study starts from, which shows every setting with its description. A relative path
is relative to the folder of the study file. A wrong file is refused with every problem at once,
each with its key and what would be right.

Each name is imported when it is first used, so that a task which is sent a section imports no more
than it needs: the readers of ECG files take seconds.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ecg_spark.study.beats import Beats
    from ecg_spark.study.ecg import Ecg, Manifest
    from ecg_spark.study.genotypes import Genotypes
    from ecg_spark.study.gwas import Gwas, Mr, Rare
    from ecg_spark.study.loading import load_study
    from ecg_spark.study.model import Model
    from ecg_spark.study.participants import Participants
    from ecg_spark.study.phenotypes import Phenotypes
    from ecg_spark.study.phewas import Phewas
    from ecg_spark.study.section import given
    from ecg_spark.study.services import REGISTERED, REGISTRY_ADDRESS, TRACKING_ADDRESS, Spark
    from ecg_spark.study.study import COMBINED, POPULATIONS, Study
    from ecg_spark.study.template import study_template

__all__ = [
    "COMBINED",
    "POPULATIONS",
    "REGISTERED",
    "REGISTRY_ADDRESS",
    "TRACKING_ADDRESS",
    "Beats",
    "Ecg",
    "Genotypes",
    "Gwas",
    "Manifest",
    "Model",
    "Mr",
    "Participants",
    "Phenotypes",
    "Phewas",
    "Rare",
    "Spark",
    "Study",
    "given",
    "load_study",
    "study_template",
]

_HOMES = {
    "COMBINED": "study",
    "POPULATIONS": "study",
    "REGISTERED": "services",
    "REGISTRY_ADDRESS": "services",
    "TRACKING_ADDRESS": "services",
    "Beats": "beats",
    "Ecg": "ecg",
    "Genotypes": "genotypes",
    "Gwas": "gwas",
    "Manifest": "ecg",
    "Model": "model",
    "Mr": "gwas",
    "Participants": "participants",
    "Phenotypes": "phenotypes",
    "Phewas": "phewas",
    "Rare": "gwas",
    "Spark": "services",
    "Study": "study",
    "given": "section",
    "load_study": "loading",
    "study_template": "template",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
