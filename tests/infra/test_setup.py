"""Set-up: the lock files, the Makefile's commands, what stands in the environment."""

import importlib.util
import json
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
REQUIREMENTS = sum(PROJECT["optional-dependencies"].values(), PROJECT["dependencies"])


def pins(name):
    """A lock file's versions by package; any line that is not an exact pin is an error."""
    found = {}
    for line in (ROOT / name).read_text().splitlines():
        if not line.startswith("#"):
            match = re.fullmatch(r"([A-Za-z0-9._-]+)==([A-Za-z0-9.]+)", line)
            assert match, f"{name} has a line that is no exact pin: {line}"
            found[canonicalize_name(match[1])] = Version(match[2])
    return found


def make(*arguments, folder=ROOT, **variables):
    return subprocess.run(
        ["make", *arguments], cwd=folder, capture_output=True, text=True, env=variables or None
    )


@pytest.mark.parametrize("text", REQUIREMENTS)
def test_the_lock_satisfies_every_requirement(text):
    requirement = Requirement(text)
    version = pins("requirements.lock")[canonicalize_name(requirement.name)]
    assert requirement.specifier.contains(version)


def test_the_environment_is_the_lock(other_python):
    locked = pins("requirements.lock")
    # Asked in a process of its own: setuptools, once imported, adds the packages that it carries.
    answer = other_python("-I", "-m", "pip", "list", "--format=json")
    installed = {
        canonicalize_name(item["name"]): Version(item["version"])
        for item in json.loads(answer.stdout)
    }
    # The local part of a version (torch's +cpu) names a build of it.
    assert {name: Version(installed[name].public) for name in locked} == locked
    assert set(installed) - set(locked) <= {"ecg-spark", "pip", "triton"} | {
        name for name in installed if name.startswith(("nvidia-", "cuda-"))
    }


def test_nothing_installed_is_in_conflict(other_python):
    answer = other_python("-m", "pip", "check")
    assert answer.returncode == 0, answer.stdout


def test_make_lists_its_commands():
    answer = make()
    assert answer.returncode == 0
    assert re.findall(r"^make (\w+)", answer.stdout, re.M) == [
        *("help", "setup", "demo", "consortium", "test", "check", "lint"),
        *("coverage", "chaos", "bench", "cluster", "lock", "clean"),
    ]


def test_make_demo_takes_its_size_from_its_variables():
    answer = make("-n", "demo", "PARTICIPANTS=7", "VARIANTS=11", "SEED=3", "OUT=elsewhere")
    assert "--participants 7 --variants 11 --seed 3 --out elsewhere/biobank" in answer.stdout
    assert "ecg-spark run elsewhere/biobank/study.yaml" in answer.stdout


def test_make_consortium_has_its_own_size_and_takes_another():
    own, other = make("-n", "consortium").stdout, make("-n", "consortium", "VARIANTS=11").stdout
    assert "--consortium --participants 1000 --variants 5000" in own
    assert "--consortium --participants 1000 --variants 11" in other
    assert own.count("ecg-spark run out/consortium/") == 3


def test_without_python_311_setup_says_so(tmp_path):
    for name in ("bash", "env", "dirname"):
        (tmp_path / name).symlink_to(f"/usr/bin/{name}")
    answer = subprocess.run(
        ["/usr/bin/env", "bash", ROOT / "infra" / "setup.sh", "main"],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert answer.returncode == 4
    assert "Python 3.11 was not found" in answer.stderr


def test_a_python_that_is_not_311_is_refused():
    answer = make("setup", "PYTHON=/bin/false")
    assert answer.returncode != 0
    assert "/bin/false is not a Python 3.11" in answer.stderr


def test_the_gwas_ssf_validator_is_pinned_apart():
    locked = pins("infra/gwas-ssf.lock")
    assert locked["gwas-sumstats-tools"] >= Version("1.0.25")
    assert locked["pydantic"] < Version("2")
    assert importlib.util.find_spec("gwas_sumstats_tools") is None
