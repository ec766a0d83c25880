"""What the faults share: a study that was run without any, and what it published.

    make chaos                              every fault, some 20 minutes
    make chaos ARGS="-k killed"             some of them

Each case takes a copy of that study up to the step before, makes the fault happen while the step is
at work, and looks at what is there afterwards: nothing half published, nobody's work lost, one
sentence where it could not go on, and the same rows in the end.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from ecg_spark.store import Store
from jobs.cli import main
from tests.builders.study_file import OF_BIOBANK, of_biobank

ROOT = Path(__file__).parents[2]
MODEL = {"latents": 3, "channels": 8, "epochs": 3, "min_active_kl": 0.0}


@dataclass(frozen=True)
class Whole:
    """A study whose every step is published, and copies of it that lack some."""

    content: dict
    out: Path

    def until(self, step: str, folder: Path, out: Path | None = None, **changes) -> Path:
        """The study file of a copy in `folder`, whose `step` and what follows it is yet to do.

        `out` is the folder of its results, one beside the study file unless it is given.
        """
        out = out or folder / "out"
        shutil.copytree(self.out, out, dirs_exist_ok=True)
        for later in OF_BIOBANK[OF_BIOBANK.index(step) :]:
            (out / "published" / f"{later}.json").unlink()
            shutil.rmtree(out / "runs" / later)
        path = folder / "study.yaml"
        path.write_text(yaml.safe_dump({**self.content, "output": str(out), **changes}))
        return path

    def assert_same(self, step: str, study: Path) -> None:
        """What the study has published for the step is what this one has, row by row."""
        out = yaml.safe_load(study.read_text())["output"]
        mine, theirs = Store(str(self.out)).require(step), Store(out).require(step)
        found = list((Path(out) / "runs" / step).iterdir())
        assert [path.name for path in found] == [theirs.run], "what failed has left nothing"
        expected, tables = tables_of(mine.folder), tables_of(theirs.folder)
        assert sorted(tables) == sorted(expected)
        for name, frame in expected.items():
            assert_same_rows(frame, tables[name])
        assert counts(theirs.summary) == counts(mine.summary)


@pytest.fixture(scope="session")
def whole(biobank, hail, tmp_path_factory) -> Whole:
    """The simulated biobank's study, run once without a fault, all its paths absolute."""
    content = of_biobank(biobank, 2)
    content |= {"model": MODEL, "gwas": {"null_model": "whole_genome"}}
    content |= {"spark": {"driver_memory": "2g"}}
    folder = tmp_path_factory.mktemp("whole")
    out = folder / "out"
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump({**content, "output": str(out)}))
    assert main(["run", str(path)]) == 0
    return Whole(content, out)


def tables_of(folder: str) -> dict[str, pd.DataFrame]:
    """Every table in the folder of a run, by its path there."""
    files = defaultdict(list)
    for path in sorted(Path(folder).rglob("*.parquet")):
        if path.is_file():
            files[str(path.parent.relative_to(folder))].append(path)
    return {name: pd.concat(map(pd.read_parquet, paths)) for name, paths in files.items()}


def assert_same_rows(expected: pd.DataFrame, found: pd.DataFrame) -> None:
    """Equal rows in any order; sums that were added up in another order differ by rounding."""
    assert list(found.columns) == list(expected.columns)
    assert len(found) == len(expected)
    keys = [
        name
        for name in expected.columns
        if not pd.api.types.is_float_dtype(expected[name])
        and isinstance(expected[name].iloc[0] if len(expected) else None, str | int | np.integer)
    ]
    expected, found = (
        frame.sort_values(keys, ignore_index=True) if keys else frame for frame in (expected, found)
    )
    for name in expected.columns:
        for one, other in zip(expected[name], found[name], strict=True):
            assert _equal(one, other), name


def _equal(one: object, other: object) -> bool:
    if isinstance(one, float | np.ndarray) and isinstance(other, float | np.ndarray):
        if np.asarray(one).dtype.kind in "fc":
            return bool(np.allclose(one, other, rtol=1e-9, atol=1e-12, equal_nan=True))
        return bool(np.array_equal(one, other))
    return one is other or bool(one == other) or (pd.isna(one) is True and pd.isna(other) is True)


def counts(summary: dict) -> dict:
    """The whole numbers of a summary, which a fault does not change, but for the model's version.

    A model that was registered before its step was killed stays registered.
    """
    return {
        key: value for key, value in summary.items() if isinstance(value, int) and key != "version"
    }


def in_process(*arguments: object, **environment: str) -> subprocess.Popen:
    """`ecg-spark` with these arguments in a process of its own, as a user runs it."""
    return subprocess.Popen(
        [sys.executable, "-m", "jobs.cli", *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def sentence_of(job: subprocess.Popen, seconds: float = 300) -> tuple[int, str, list[str]]:
    """A job's exit code, the sentence it ends with, and all lines that it has said."""
    _, errors = job.communicate(timeout=seconds)
    lines = errors.splitlines()
    said = [line for line in lines if line.startswith("ecg-spark: ")]
    return job.returncode, said[-1] if said else "", lines


def wait_for(condition: Callable[[], object], seconds: float = 120) -> None:
    """Wait until something holds; fails where it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.02)


def run_of(study: Path, step: str) -> Path | None:
    """The folder of the run that a step is at work on, None before there is one."""
    out = Path(yaml.safe_load(study.read_text())["output"])
    return next((out / "runs" / step).glob("*"), None)


def summaries(text: str) -> dict[str, dict]:
    """The summaries in a command's standard output, by step."""
    lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    return {line["step"]: line for line in lines}
