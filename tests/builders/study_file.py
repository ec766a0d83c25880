"""Study files: the least that one has to say, and that of a simulated biobank."""

from pathlib import Path
from typing import Any

import yaml

from ecg_spark.steps import STEPS

MINIMAL = {
    "name": "s",
    "output": "out",
    "ecg": {"path": "ecg"},
    "participants": {"path": "people.csv"},
    "genotypes": {"path": "g.bed"},
}


OF_BIOBANK = tuple(step for step in STEPS if step not in ("scores", "mr"))
"""The steps that the study of a simulated biobank asks for."""


def write_study(folder: Path, content: dict[str, Any]) -> Path:
    """A study file of this content in a folder; its path."""
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def of_biobank(biobank: Path, components: int) -> dict[str, Any]:
    """The content of a simulated biobank's study file, all paths absolute."""
    content: dict[str, Any] = yaml.safe_load((biobank / "study.yaml").read_text())
    content["ecg"]["path"] = str(biobank / "ecg")
    content["ecg"]["manifest"]["path"] = str(biobank / "manifest.csv")
    content["participants"]["path"] = str(biobank / "participants.csv")
    content["genotypes"] |= {"path": str(biobank / "*.bed"), "components": components}
    content["gwas"]["rare"] = {
        key: str(biobank / name) for key, name in content["gwas"]["rare"].items()
    }
    for key, name in (("path", "diagnoses.csv"), ("map", "phecodes.csv")):
        content["phewas"][key] = str(biobank / name)
    content["phewas"]["min_cases"] = 10
    content["truth"] = str(biobank / "truth.json")
    return content
