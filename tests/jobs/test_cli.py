"""The command line: usage, exit codes, steps that skip themselves."""

import json
from importlib.metadata import version

import pytest

from ecg_spark.errors import DataError, InfrastructureError, UsageError
from ecg_spark.steps import STEPS, steps_of
from ecg_spark.store import Store, file_stamp
from ecg_spark.study import Gwas, Study, load_study
from jobs import report
from jobs.api import run
from jobs.cli import main
from jobs.step import GROUPS, NOT_ASKED_FOR, Step, description_of, guarded, run_step


@pytest.fixture
def study(tmp_path):
    return Study.model_validate(
        {
            "name": "s",
            "output": str(tmp_path / "out"),
            "ecg": {"path": "ecg"},
            "participants": {"path": "people.csv"},
            "genotypes": {"path": "g.bed"},
        }
    )


def step_of(work, name="one", needs=(), settings=lambda study: study.seed):
    return Step(name, needs, settings, work)


def test_init_writes_a_study_that_loads_and_never_overwrites(tmp_path, capsys):
    path = tmp_path / "study.yaml"
    assert main(["init", str(path)]) == 0
    assert load_study(path).name == "my-study"
    path.write_text("mine")
    assert main(["init", str(path)]) == 2
    assert path.read_text() == "mine"
    assert "exists already" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [[], ["nonsense"], ["run"], ["simulate", "--participants", "-1"]]
)
def test_wrong_usage_is_exit_code_2(arguments):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2


def test_help_says_what_each_step_does(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    shown = " ".join(capsys.readouterr().out.split())
    told = [description_of(name) for name in (*STEPS, *GROUPS, "run", "sweep")]
    assert all(f" {one}" in shown for one in told)
    assert len(set(told)) == len(told)
    assert min(map(len, told)) > 20


def test_version_is_that_of_the_installed_package(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"ecg-spark {version('ecg-spark')}\n"


def test_a_bad_study_file_is_exit_code_2_with_every_problem(tmp_path, capsys):
    path = tmp_path / "study.yaml"
    path.write_text("name: x\ncolour: 1\n")
    assert main(["run", str(path)]) == 2
    error = capsys.readouterr().err
    assert "3 problems" in error
    assert "Traceback" not in error


def test_a_step_before_its_input_says_what_to_run_first(tmp_path, capsys):
    path = tmp_path / "study.yaml"
    main(["init", str(path)])
    assert main(["average", str(path)]) == 2
    assert "run 'ecg-spark ingest' first" in capsys.readouterr().err


def test_an_empty_ecg_folder_is_exit_code_3(tmp_path, capsys):
    path = tmp_path / "study.yaml"
    main(["init", str(path)])
    assert main(["ingest", str(path)]) == 3
    assert "does not exist" in capsys.readouterr().err
    (tmp_path / "ecg").mkdir()
    assert main(["ingest", str(path)]) == 3
    assert "holds no file" in capsys.readouterr().err


def test_a_step_skips_itself_until_settings_or_inputs_change(study):
    calls = []

    def work(context):
        calls.append(context.run.folder)
        return {"n": len(calls)}

    step = step_of(work)
    assert run_step(step, study)["n"] == 1
    assert run_step(step, study) == {"step": "one", "skipped": "already published", "n": 1} | {
        "seconds": Store(study.output_path).require("one").summary["seconds"]
    }
    assert run_step(step, study.model_copy(update={"seed": 2}))["n"] == 2
    assert run_step(step, study.model_copy(update={"seed": 2}), force=True)["n"] == 3

    run_step(step, study)
    second = step_of(lambda context: {}, "two", (step,))
    assert "skipped" not in run_step(second, study)
    assert "skipped" in run_step(second, study)
    run_step(step, study, force=True)
    assert "skipped" not in run_step(second, study)


def test_step_refuses_inputs_made_with_other_settings_or_before_a_rerun(study):
    first = step_of(lambda context: {})
    second = step_of(lambda context: {}, "two", (first,), lambda study: None)
    third = step_of(lambda context: {}, "three", (second,), lambda study: None)
    for step in (first, second, third):
        run_step(step, study)
    changed = study.model_copy(update={"seed": 2})
    with pytest.raises(UsageError, match="'one' was made with other settings"):
        run_step(third, changed)
    run_step(first, study, force=True)
    with pytest.raises(UsageError, match="'one' has been run again since 'two'"):
        run_step(third, study)
    run_step(second, study)
    assert "skipped" not in run_step(third, study)


def test_changed_file_is_read_again_but_a_removed_one_stops_no_later_step(study, tmp_path):
    source = tmp_path / "people.csv"
    source.write_text("a")
    first = Step("one", (), lambda s: None, lambda c: {}, lambda s: file_stamp(str(source)))
    second = step_of(lambda context: {}, "two", (first,))
    run_step(first, study)
    assert "skipped" in run_step(first, study)
    source.write_text("ab")
    assert "skipped" not in run_step(first, study)
    source.unlink()
    assert "skipped" not in run_step(second, study)


def test_failed_step_publishes_nothing_and_can_be_run_again(study):
    def fail(context):
        with open(context.run.path("half"), "w") as file:
            file.write("x")
        raise DataError("bad")

    with pytest.raises(DataError):
        run_step(step_of(fail), study)
    assert Store(study.output_path).published("one") is None
    assert run_step(step_of(lambda context: {"n": 1}), study)["n"] == 1


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (DataError("No beat."), 3, "No beat."),
        (InfrastructureError("No GPU."), 4, "No GPU."),
        (OSError(28, "No space left on device"), 4, "disk is full"),
        (RuntimeError("java.io.IOException: No space left on device"), 4, "disk is full"),
        (PermissionError(13, "Permission denied", "/out"), 4, "No permission to write or read"),
    ],
)
def test_errors_become_a_sentence_and_an_exit_code(error, code, says, capsys):
    def action():
        raise error

    assert guarded(action) == code
    captured = capsys.readouterr()
    assert says in captured.err
    assert "Traceback" not in captured.err
    assert captured.out == ""


def test_a_full_disk_ends_in_one_sentence(tmp_path, other_python):
    """A real full disk: a process that may write only a few kilobytes."""
    code = (
        "import resource, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (64, 64))\n"
        "from jobs.cli import main\n"
        f"sys.exit(main(['init', {str(tmp_path / 'study.yaml')!r}]))\n"
    )
    ended = other_python("-c", code)
    assert ended.returncode == 4
    assert ended.stderr.startswith("ecg-spark: The disk is full")
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / "study.yaml").exists()


def test_the_last_line_of_a_step_is_json(study, capsys):
    assert guarded(lambda: print(json.dumps(run_step(step_of(lambda c: {"n": 1}), study)))) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["step"] == "one"


OF_GENOTYPES = "genotypes, cohort, null_model, associations, rare, findings, report"


@pytest.mark.parametrize(
    ("arguments", "section", "steps"),
    [
        (["train"], "ecg or archives", OF_GENOTYPES),
        (["sweep"], "ecg or archives", OF_GENOTYPES),
        (["gwas"], "genotypes", "ingest, average, train, encode, report"),
        (["genotypes", "--force"], "genotypes", "ingest, average, train, encode, report"),
    ],
)
def test_a_step_that_a_study_cannot_have_is_refused(tmp_path, arguments, section, steps, capsys):
    sections = {"ecg": "ecg: {path: ecg}\n", "genotypes": (
        "genotypes: {path: g.bed}\nparticipants: {path: p.csv}\n"
        "phenotypes: {path: own.csv, columns: [z]}\n"
    )}  # fmt: skip
    path = tmp_path / "study.yaml"
    text = "".join(text for key, text in sections.items() if key not in section.split())
    path.write_text(f"name: s\noutput: out\n{text}")
    name, *options = arguments
    assert main([name, str(path), *options]) == 2
    error = capsys.readouterr().err
    assert f"its file has no section {section}" in error
    assert f"run one of {steps}.\n" in error
    assert not (tmp_path / "out" / "runs").exists()


def test_what_a_study_does_not_ask_for_is_skipped_and_not_needed(study, capsys):
    scores = step_of(lambda context: {"scored": 1}, "scores")
    report = step_of(lambda context: {"from": sorted(context.inputs)}, "report", (scores,))
    assert not {"scores", "mr", "phewas"} & set(steps_of(study))
    assert run_step(scores, study) == {"step": "scores", "skipped": NOT_ASKED_FOR}
    assert Store(study.output_path).published("scores") is None
    assert run_step(report, study)["from"] == []
    asking = study.model_copy(update={"gwas": Gwas(scores=True)})
    assert "scores" in steps_of(asking)
    with pytest.raises(UsageError, match="run 'ecg-spark scores' first"):
        run_step(report, asking)
    assert run_step(scores, asking)["scored"] == 1
    assert run_step(report, asking)["from"] == ["scores"]
    assert dict(run(study, ["scores", "mr", "phewas"])) == {}


def test_a_replication_is_a_reason_to_make_the_report_again(study):
    before = report.files(study)
    with Store(study.output_path).run("replicate-0a1b2c3d", {}) as run_of_it:
        run_of_it.publish({})
    after = report.files(study)
    assert after != before
    assert report.files(study) == after


def test_what_a_study_no_longer_has_is_a_reason_to_run_again(study):
    """A cohort with latents is none of a study without ECGs, and the other way round."""
    averaged = step_of(lambda context: {}, "average")
    cohort = step_of(lambda context: {"from": sorted(context.inputs)}, "cohort", (averaged,))
    rare = step_of(lambda context: {}, "rare", (cohort,))
    bare = study.model_copy(update={"ecg": None})
    run_step(averaged, study)
    assert run_step(cohort, study)["from"] == ["average"]
    with pytest.raises(UsageError, match="'cohort' was made with other settings"):
        run_step(rare, bare)
    assert run_step(cohort, bare)["from"] == []
    run_step(rare, bare)
    with pytest.raises(UsageError, match="'cohort' was made with other settings"):
        run_step(rare, study)
    with pytest.raises(UsageError, match="no step 'average', since its file has no section ecg"):
        run_step(averaged, bare)
