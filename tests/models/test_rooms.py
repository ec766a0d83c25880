"""Imports between the rooms of `models/` point down: none runs back."""

import ast
from pathlib import Path

import pytest

import models

ROOT = Path(models.__file__).parent
MAY_IMPORT = {
    "distributed.py": set(),
    "data": {"distributed"},
    "network": {"distributed"},
    "encoding": {"data", "network", "distributed"},
    "registry": {"encoding", "data", "network", "distributed"},
    "training": {"registry", "encoding", "data", "network", "distributed"},
}


def rooms_imported(file):
    """The rooms of `models/` that a module names, the package itself as ''."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file}: relative imports hide where they lead"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        found |= {(*name.split("."), "")[1] for name in names if name.split(".")[0] == "models"}
    return found


def test_every_module_is_in_a_room_that_the_map_names():
    modules = {path.relative_to(ROOT).parts[0] for path in ROOT.rglob("*.py")}
    assert modules - {"__init__.py"} == set(MAY_IMPORT)


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_no_import_runs_back(room):
    files = [ROOT / room] if room.endswith(".py") else sorted((ROOT / room).rglob("*.py"))
    assert files
    for file in files:
        allowed = MAY_IMPORT[room] | {"", room}
        assert rooms_imported(file) <= allowed, f"{file.name} imports from a room above it"


def test_models_import_neither_hail_nor_the_steps():
    for file in ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
            assert not {name.split(".")[0] for name in names} & {"hail", "jobs", "pyspark"}, file
