"""The UK Biobank RAP: the applet's file, and its script on a project laid out as there."""

import json
import os
import re
import shutil
import subprocess
import sys
from glob import glob
from pathlib import Path

import pytest
import yaml

from ecg_spark.genetics.genotypes.files import genotype_files
from ecg_spark.ids import read_id_list
from ecg_spark.participants import read_participants, read_sex
from ecg_spark.study import load_study
from tests.builders.ecg_files import cardiosoft, heart_mv, text_rows

ROOT = Path(__file__).parents[2]
RAP = ROOT / "infra" / "rap"
STUDY = ROOT / "infra" / "studies" / "ukb.yaml"
APP = json.loads((RAP / "dxapp.json").read_text())
FOLDER = "/ecg-spark/results"
PEOPLE = ("1000013", "1000026", "5912345")

# The one thing that is replaced: `dx upload` into the folder that stands for the project.
DX = f"""#!{sys.executable}
import os, pathlib, sys

assert sys.argv[1] == "upload" and sys.argv[-1] == "-"
project, path = sys.argv[sys.argv.index("--path") + 1].split(":")
assert project == os.environ["DX_PROJECT_CONTEXT_ID"]
if os.environ.get("DX_FAILS"):
    sys.exit(3)
target = pathlib.Path(os.environ["PROJECT_MOUNT"] + path)
target.parent.mkdir(parents=True, exist_ok=True)
with target.open("xb") as file:
    file.write(sys.stdin.buffer.read())
"""


@pytest.fixture
def project(tmp_path):
    """A project as it is mounted, with the study file's tables, and the study file in it."""
    mount = tmp_path / "project"
    ecgs = mount / "Bulk" / "Electrocardiogram" / "Resting"
    for number, eid in enumerate(PEOPLE, 10):
        # Each of its own height: one recording under three ids would be nobody's.
        content = cardiosoft(text_rows(heart_mv() * number / 10))
        for name in (f"{eid}_20205_2_0.xml", f"{eid}_20205_3_0.xml"):
            (ecgs / eid[:2]).mkdir(parents=True, exist_ok=True)
            (ecgs / eid[:2] / name).write_bytes(content)
    calls = mount / "Bulk" / "Genotype Results" / "Genotype calls"
    calls.mkdir(parents=True)
    for contig in (1, 2, 22, "X", "XY", "MT"):
        for end in ("bed", "bim", "fam"):
            (calls / f"ukb22418_c{contig}_b0_v2.{end}").touch()
    own = mount / "ecg-spark"
    own.mkdir()
    (own / "participants.csv").write_text(
        "eid,p31,p21003_i2,p21001_i2,p54_i2,p22000,p22009_a1\n"
        "1000013,0,61,24.9312,11025,-1,-12.1\n"
        "1000026,1,58,28.2,11027,95,3.5\n"
        "5912345,1,70,,11025,-1,0.5\n"
        "5999999,0,,27.5,,,\n"
    )
    (own / "keep.txt").write_text("\n".join(PEOPLE) + "\n")
    text = STUDY.read_text().replace("/mnt/project", str(mount))
    (own / "ukb.yaml").write_text(text.replace("/home/dnanexus", str(tmp_path / "instance")))
    return mount


def run(project, *arguments, **more):
    """What `run.sh` says and does on an instance of its own."""
    programs = project.parent / "programs"
    programs.mkdir(exist_ok=True)
    (programs / "dx").write_text(DX)
    (programs / "dx").chmod(0o755)
    environment = os.environ | {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "DX_PROJECT_CONTEXT_ID": "project-0123456789ABCDEFGHJKPQRS",
        "PROJECT_MOUNT": str(project),
    }
    command = [RAP / "run.sh", *arguments]
    return subprocess.run(command, env=environment | more, capture_output=True, text=True)


def test_the_study_file_takes_the_files_and_tables_as_the_platform_has_them(project):
    study = load_study(project / "ecg-spark" / "ukb.yaml")
    found = [Path(path).name for path in glob(study.locate(study.ecg.path))]
    assert sorted(found) == [f"{eid}_20205_2_0.xml" for eid in PEOPLE]
    assert [re.search(study.ecg.id_pattern, name)[1] for name in sorted(found)] == list(PEOPLE)
    genotypes = [Path(path).name for path in genotype_files(study.locate(study.genotypes.path))]
    assert {name.split("_")[1] for name in genotypes} == {"c1", "c2", "c22"}
    assert len(genotypes) == 9
    keep = read_id_list(study.locate(study.genotypes.keep), "list")
    assert keep.among(PEOPLE)[0] == set(PEOPLE)


def test_the_covariates_are_those_of_the_table_exporter(project):
    study = load_study(project / "ecg-spark" / "ukb.yaml")
    table = study.locate(study.participants.path)
    notes = []
    covariates = read_participants(study.participants, table, notes)
    assert list(read_sex(study.participants, table, notes)) == [0, 1, 1, 0]
    assert covariates.loc["1000013", "p21003_i2"] == 61
    assert covariates["p21001_i2"].isna().tolist() == [False, False, True, False]
    # A batch is a category, also that of the number -1, which is asked about and is none missing.
    (batch,) = [name for name in covariates.columns if name.startswith("p22000")]
    assert covariates[batch].tolist()[:3] == [0, 1, 0]
    assert [note for note in notes if "missing_codes" in note and "p22000" in note]


@pytest.mark.programs
def test_another_instance_goes_on_from_what_was_published(project):
    study = project / "ecg-spark" / "ukb.yaml"
    kept = project / FOLDER[1:]
    first = run(project, study, FOLDER, "ingest", DX_FAILS="1")
    assert first.returncode == 4
    assert "could not be uploaded" in first.stderr
    line = json.loads(first.stdout)
    assert (line["step"], line["n_in"], line["formats"]) == ("ingest", 3, {"cardiosoft": 3})
    assert not kept.exists()

    # A step may publish nothing but its summary; the folder of its run must be there.
    empty = project.parent / "instance" / "ukb" / "runs" / "null_model" / "a-run"
    empty.mkdir(parents=True)

    # The same instance: what was not uploaded is new, and kept although the next step fails.
    second = run(project, study, FOLDER, "ingest", "genotypes")
    assert second.returncode == 3
    assert "not in the format that its name says (bed)" in second.stderr
    assert json.loads(second.stdout)["skipped"] == "already published"
    assert "going on from" not in second.stderr
    archive, of_failed = sorted(kept.iterdir())
    assert archive.name.endswith("-ingest.tar")
    assert of_failed.name.endswith("-genotypes.tar")

    # Another one: nothing is there but the project. A folder cannot be read, as a file of which the
    # upload was cut off.
    shutil.rmtree(project.parent / "instance")
    (kept / "29991231T000000-average.tar").mkdir()
    third = run(project, study, FOLDER, "ingest")
    assert third.returncode == 0, third.stderr
    assert json.loads(third.stdout)["skipped"] == "already published"
    assert f"going on from {archive.name}" in third.stderr
    assert "29991231T000000-average.tar was not uploaded to its end" in third.stderr
    assert empty.is_dir()
    assert len(list(kept.iterdir())) == 3, "nothing is uploaded twice"
    for answer in (first, second, third):
        assert not any(eid in answer.stdout + answer.stderr for eid in PEOPLE)

    shutil.rmtree(project.parent / "instance")
    archive.write_bytes(archive.read_bytes()[:2000])
    fourth = run(project, study, FOLDER, "ingest")
    assert fourth.returncode == 4
    assert f"{archive.name} is damaged: remove it" in fourth.stderr
    assert not (project.parent / "instance" / "ukb").exists()


@pytest.mark.programs
@pytest.mark.parametrize(
    ("folder", "output", "variables", "code", "message"),
    [
        ("results", "{}/instance", {}, 2, "begins with /"),
        (FOLDER, "{}/project/out", {}, 2, "must be a folder of the instance"),
        (FOLDER, "s3://bucket/out", {}, 2, "must be a folder of the instance"),
        (FOLDER, "{}/instance", {"DX_PROJECT_CONTEXT_ID": ""}, 4, "DX_PROJECT_CONTEXT_ID"),
        (FOLDER, "{}/instance", {"PROJECT_MOUNT": "/nowhere"}, 4, "is not mounted at /nowhere"),
        (FOLDER, "", {}, 2, "output"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(project, folder, output, variables, code, message):
    path = project / "ecg-spark" / "ukb.yaml"
    content = yaml.safe_load(path.read_text()) | {"output": output.format(project.parent)}
    path.write_text(yaml.safe_dump(content))
    answer = run(project, path, folder, "ingest", **variables)
    assert answer.returncode == code
    assert message in answer.stderr
    assert "Traceback" not in answer.stderr
    assert not (project / FOLDER[1:]).exists()


def test_the_applet_is_as_the_platform_wants_it():
    assert re.fullmatch(r"[a-z0-9._-]+", APP["name"])
    assert re.fullmatch(r"\d+\.\d+\.\d+", APP["version"])
    assert not APP["summary"].endswith(".")
    spec = APP["runSpec"]
    runs_on = (spec["interpreter"], spec["distribution"], spec["release"], spec["version"])
    assert runs_on == ("bash", "Ubuntu", "24.04", "0")
    assert APP["access"]["project"] == "CONTRIBUTE", "uploads go to the project, not to the job"
    for region in APP["regionalOptions"].values():
        for needs in region["systemRequirements"].values():
            assert re.fullmatch(r"mem\d_ssd\d_v2_x\d+", needs["instanceType"])
    for one in APP["inputSpec"]:
        assert re.fullmatch(r"[a-zA-Z_][0-9a-zA-Z_]*", one["name"])
        assert one.keys() <= {"name", "label", "class", "default", "help", "optional"}
        assert one["class"] == "string"


def test_the_applet_calls_the_script_with_its_inputs(tmp_path):
    """Its main, with programs that tell how they were called in place of dxfuse and run.sh."""
    (tmp_path / "dxfuse").write_text('#!/bin/sh\necho "dxfuse $1"; cat "$2"; echo\n')
    (tmp_path / "run.sh").write_text('#!/bin/sh\necho "run.sh $# $*"\n')
    for name in ("dxfuse", "run.sh"):
        (tmp_path / name).chmod(0o755)
    script = (RAP / APP["runSpec"]["file"]).read_text()
    script = script.replace("/opt/ecg-spark/infra/rap/run.sh", str(tmp_path / "run.sh"))
    inputs = {one["name"]: one.get("default", "ingest average") for one in APP["inputSpec"]}
    environment = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "DX_PROJECT_CONTEXT_ID": "project-1",
    }
    for given, arguments in (
        (inputs, "4 {} {} ingest average"),
        (inputs | {"steps": ""}, "2 {} {}"),
    ):
        answer = subprocess.run(
            ["bash", "-c", f"{script}\nmain"],
            env=environment | given,
            capture_output=True,
            text=True,
            check=True,
        )
        mounted, manifest, called = answer.stdout.splitlines()
        assert mounted == "dxfuse /mnt"
        assert json.loads(manifest)["directories"] == [
            {"proj_id": "project-1", "folder": "/", "dirname": "/project"}
        ]
        expected = arguments.format(f"/mnt/project{inputs['study']}", inputs["folder"])
        assert called == f"run.sh {expected}"
