"""The notebooks: they run from the first cell to the last, and are kept without outputs."""

import json
import re
from pathlib import Path

import pytest

NOTEBOOKS = Path(__file__).parents[2] / "infra" / "notebooks"
NAMES = ("tour", "your_own_data", "choose_a_model")
"""In this order: the second and third go on with the biobank and the tables of the first."""


def test_all_notebooks_are_run_by_these_tests():
    assert {path.stem for path in NOTEBOOKS.glob("*.ipynb")} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_notebooks_are_kept_without_outputs(name):
    content = json.loads((NOTEBOOKS / f"{name}.ipynb").read_text(encoding="utf-8"))
    for cell in content["cells"]:
        assert not cell.get("outputs"), "clear the outputs of all cells and save it again"
        assert cell.get("execution_count") is None
    assert set(content["metadata"]) <= {"kernelspec", "language_info"}


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_runs_to_its_end(name, notebook):
    cells = [cell for cell in notebook(NOTEBOOKS / f"{name}.ipynb").cells if "outputs" in cell]
    shown = [output for cell in cells for output in cell.outputs]
    assert all(cell.execution_count for cell in cells)
    assert not any(output.output_type == "error" for output in shown)
    html = " ".join(output.get("data", {}).get("text/html", "") for output in shown)
    states = set(re.findall(r">(waits|runs|stopped|already published|done in [\d.]+ s)<", html))
    assert states
    assert not states & {"waits", "runs", "stopped"}
    pictures = [output for output in shown if "image/png" in output.get("data", {})]
    assert len(pictures) >= 2
