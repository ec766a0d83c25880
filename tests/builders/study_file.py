"""The least that a study file has to say."""

from pathlib import Path
from typing import Any

import yaml

MINIMAL = {
    "name": "s",
    "output": "out",
    "ecg": {"path": "ecg"},
    "participants": {"path": "people.csv"},
    "genotypes": {"path": "g.bed"},
}


def write_study(folder: Path, content: dict[str, Any]) -> Path:
    """A study file of this content in a folder; its path."""
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(content))
    return path
