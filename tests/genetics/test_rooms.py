"""Imports between the rooms of `ecg_spark/genetics/` point down: none runs back."""

import ast
from pathlib import Path

import pytest

from ecg_spark import genetics

ROOT = Path(genetics.__file__).parent
ROOMS = (
    "genotypes", "people", "outputs", "null_model", "testing", "findings", "cohorts", "scoring",
    "mendelian",
)  # fmt: skip
"""From below; each may import those before it."""


def rooms_imported(file):
    """The rooms that a module names."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file}: relative imports hide where they lead"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        own = [name.split(".") for name in names if name.startswith("ecg_spark.genetics.")]
        found |= {parts[2] for parts in own} & set(ROOMS)
    return found


def test_every_folder_is_a_room_that_the_map_names():
    folders = {path.parent.name for path in ROOT.glob("*/*.py")}
    assert folders == set(ROOMS)


@pytest.mark.parametrize("room", ROOMS)
def test_no_import_runs_back(room):
    below = {*ROOMS[: ROOMS.index(room) + 1]}
    for file in sorted((ROOT / room).rglob("*.py")):
        assert rooms_imported(file) <= below, f"{file.name} imports from a room above it"
