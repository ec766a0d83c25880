"""No error, whatever goes wrong, says whose data it was or what a file of theirs is called."""

import errno
import os
import re
import stat
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pytest

from ecg_spark.errors import DataError, InfrastructureError
from ecg_spark.pipeline.plan import write_plan
from ecg_spark.pipeline.reading import reader
from ecg_spark.pipeline.sources import Source
from ecg_spark.store import Store
from ecg_spark.study import load_study
from jobs.cli import main
from jobs.step import Step, guarded, run_step

SECRETS = ("1234567", "Quixote", "markerfolder")


@pytest.fixture
def study_file(tmp_path):
    folder = tmp_path / "markerfolder"
    folder.mkdir()
    path = tmp_path / "study.yaml"
    path.write_text(
        "name: s\noutput: out\necg: {path: markerfolder/ecg}\n"
        "participants: {path: markerfolder/Quixote.csv}\n"
        "genotypes: {path: markerfolder/Quixote.bed}\n"
    )
    return path


def _failing(study_file, error):
    def work(context):
        raise error

    step = Step("one", (), lambda study: None, work)
    return guarded(lambda: run_step(step, load_study(study_file)))


def _denied(path):
    return PermissionError(errno.EACCES, "Permission denied", path)


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (lambda f: _denied(f"{f}/ecg/1234567_20205_2_0.hea"), 4, "what ecg.path names"),
        (lambda f: _denied(f"{f}/Quixote.csv"), 4, "what participants.path names"),
        (lambda f: _denied(f"{f}/Quixote.bed"), 4, "what genotypes.path names"),
        (lambda f: _denied("/elsewhere/1234567.xml"), 4, "a file that the study file names, or"),
        (lambda f: RuntimeError(f"An error in a task: PermissionError: [Errno 13] Permission denied"
                                f": '{f}/ecg/1234567.xml'"), 4, "what ecg.path names"),
        (lambda f: RuntimeError("in a task: OSError: [Errno 5] Input/output error below ecg.path"),
         4, "below ecg.path could not be read (Input/output error)"),
        (lambda f: OSError(errno.ENOSPC, "No space left on device", f"{f}/1234567"), 4, "disk"),
        (lambda f: RuntimeError(f"row 1234567 Quixote of {f}"), 1, "RuntimeError in jobs/"),
        (lambda f: KeyError("1234567"), 1, "KeyError in jobs/"),
        (lambda f: DataError(f"The genotypes {f}/chr2.bgen are damaged."), 3, "chr2.bgen are"),
        (lambda f: DataError(f"The genotypes file://{f}/chr2.bgen are damaged."), 3, "s chr2.bgen"),
        (lambda f: InfrastructureError("MLflow at http://host:5000/api/x failed."), 4,
         "http://host:5000/api/x"),
    ],
)  # fmt: skip
def test_an_error_is_a_sentence_without_names(study_file, capsys, error, code, says):
    folder = study_file.parent / "markerfolder"
    assert _failing(study_file, error(folder)) == code
    captured = capsys.readouterr()
    assert says in captured.err
    assert captured.err.count("\n") == 1
    assert "Traceback" not in captured.err
    assert not any(secret in captured.err for secret in SECRETS)


def test_all_of_a_defect_is_shown_to_who_asks_for_it(study_file, caplog, monkeypatch):
    monkeypatch.setenv("ECG_SPARK_LOG", "DEBUG")
    _failing(study_file, KeyError("1234567"))
    assert "1234567" in caplog.text


PEOPLE = "participant_id,age,sex\n1234567,60,1\n1234568,61,0\n"


@pytest.mark.parametrize(
    ("table", "more", "says"),
    [
        ("1234567,60,1\n1234568,61,0\n", {}, "its first row does not look like a header"),
        ("participant_id,age,sex\n1234567,60,1,5\n", {}, "1 rows of the participant table"),
        (PEOPLE.replace("60", ""), {"covariates": "[age, sex]"}, None),
        (PEOPLE, {"covariates": "[height]"}, "no column height"),
        (PEOPLE, {"id_map": "1234567,P1\n1234568,P2\n"}, "id map .* no column sample_id"),
        (PEOPLE, {"exclude": "\n"}, "list genotypes.exclude is empty"),
        (PEOPLE, {"keep": None}, "list genotypes.keep does not exist"),
    ],
)
def test_tables_of_people_are_refused_before_the_first_step(study_file, capsys, table, more, says):
    folder = study_file.parent / "markerfolder"
    (folder / "Quixote.csv").write_text(table)
    text = study_file.read_text()
    for key, content in more.items():
        if key == "covariates":
            text = text.replace("Quixote.csv}", f"Quixote.csv, covariates: {content}}}")
            continue
        text = text.replace("Quixote.bed}", f"Quixote.bed, {key}: markerfolder/{key}.txt}}")
        if content is not None:
            (folder / f"{key}.txt").write_text(content)
    study_file.write_text(text)
    assert main(["run", str(study_file)]) == 3
    error = capsys.readouterr().err.splitlines()[-1]
    assert re.search(says or "ecg.path", error)  # a table that is right: the ECGs lack
    assert not any(secret in error for secret in SECRETS)
    assert not (study_file.parent / "out" / "runs").exists()


@pytest.mark.parametrize("step", ["ingest", "genotypes"])
def test_an_input_that_is_not_there_is_named_by_its_key(study_file, capsys, step):
    assert main([step, str(study_file)]) == 3
    error = capsys.readouterr().err
    assert {"ingest": "ecg.path", "genotypes": "genotypes.path"}[step] in error
    assert "markerfolder" not in error


@pytest.mark.parametrize("name", ["1234567_20205.xml", "Quixote.hea"])
def test_a_file_that_goes_while_it_is_read_is_not_named(tmp_path, name):
    """What a task raises is logged by Spark on its way to the driver."""
    gone = str(tmp_path / name)
    write_plan([Source(gone, [gone], 1, "")], [1], str(tmp_path / "plan.parquet"))
    batch = pa.RecordBatch.from_pydict({"id": [0]})
    with pytest.raises(FileNotFoundError, match=r"below ecg\.path") as caught:
        list(reader(str(tmp_path / "plan.parquet"), None, False)([batch]))
    assert not any(secret in str(caught.value) for secret in SECRETS)
    assert caught.value.filename is None
    assert caught.value.__suppress_context__


def test_a_study_has_one_secret_that_only_its_owner_can_read(tmp_path):
    roots = [str(tmp_path / name) for name in "ab"]
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: Store(roots[0]).secret(), range(16)))
    assert len(found) == 1
    assert len(found | {Store(roots[1]).secret()}) == 2
    (path,) = (tmp_path / "a").iterdir()
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    path.write_bytes(b"")
    with pytest.raises(InfrastructureError, match="is damaged"):
        Store(roots[0]).secret()
