"""The study file: what is accepted, and what a wrong one says."""

import re

import fsspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ecg_spark.ecg import FLAGS
from ecg_spark.errors import UsageError
from ecg_spark.study import Study, load_study, study_template
from ecg_spark.study.section import section_in
from tests.builders.study_file import MINIMAL, write_study


def written(tmp_path, content):
    if not isinstance(content, str):
        return write_study(tmp_path, content)
    path = tmp_path / "study.yaml"
    path.write_text(content)
    return path


def test_the_template_is_a_valid_study_with_the_defaults(tmp_path):
    study = load_study(written(tmp_path, study_template()))
    assert study.model == Study.model_validate(MINIMAL).model
    assert study.gwas == Study.model_validate(MINIMAL).gwas


def settings_of(section, above=""):
    """Every setting of a section and those in it: its key and its field."""
    for name, field in section.model_fields.items():
        inner = section_in(field.annotation)
        yield f"{above}{name}", field
        if inner:
            yield from settings_of(inner, f"{above}{name}.")


def everything():
    """The content of the template with every # taken away that stands in front of a setting."""
    kept = []
    for line in study_template().splitlines():
        setting = re.fullmatch(r"([ #]*)([a-z0-9_]+:.*)", line)
        if setting and len(setting[1]) < 12:
            kept.append(" " * (len(setting[1]) - 2 * setting[1].count("#")) + setting[2])
    return yaml.safe_load("\n".join(kept))


def test_the_template_shows_each_setting_with_its_default_or_an_example():
    shown = everything()
    for key, field in settings_of(Study):
        value = shown
        for part in key.split("."):
            value = value[part]
        if section_in(field.annotation):
            continue
        if field.examples:
            assert value == field.examples[0], key
        else:
            assert not field.is_required(), f"{key} needs an example"
            default = field.default
            assert value == (list(default) if isinstance(default, tuple) else default), key


def test_all_that_the_template_shows_would_be_accepted():
    shown = everything()
    del shown["archives"]  # which have no place beside ecg
    study = Study.model_validate(shown)
    defaults = Study.model_validate(MINIMAL)
    for section in ("beats", "model", "mlflow", "spark"):
        assert getattr(study, section) == getattr(defaults, section)


def test_each_setting_is_described_on_lines_that_a_screen_shows():
    lines = study_template().splitlines()
    assert max(map(len, lines)) <= 100
    told = " ".join(line.rpartition("# ")[2] for line in lines)
    for key, field in settings_of(Study):
        assert field.description, f"{key} has no description"
        assert field.description in told, key


def test_study_needs_an_ecg_path_or_a_manifest(tmp_path):
    table = {"ecg": {"manifest": {"path": "m.csv"}}}
    assert load_study(written(tmp_path, MINIMAL | table)).ecg.path is None
    with pytest.raises(UsageError, match="ecg: needs a path, or a manifest"):
        load_study(written(tmp_path, MINIMAL | {"ecg": {}}))


def test_every_problem_is_listed_at_once_with_its_key(tmp_path):
    bad = {
        "name": "s",
        "ecg": {"path": "ecg", "id_pattern": "no group", "colour": 1},
        "participants": {"path": "p.csv"},
        "genotypes": {"path": "g.bed", "min_maf": 0.9, "reference_genome": "hg19"},
        "model": {"latents": 0},
        "gwaz": {},
    }
    with pytest.raises(UsageError) as caught:
        load_study(written(tmp_path, bad))
    message = str(caught.value)
    assert caught.value.exit_code == 2
    for part in (
        "7 problems",
        "output: is missing",
        "ecg.id_pattern: needs exactly one group",
        "ecg.colour: is not a key; known here are path, manifest, id_pattern",
        "genotypes.min_maf: should be less than or equal to 0.5 (found 0.9)",
        "genotypes.reference_genome: should be 'GRCh37' or 'GRCh38' (found 'hg19')",
        "model.latents: should be greater than or equal to 1 (found 0)",
        "gwaz: is not a key; known here are name, output",
    ):
        assert part in message


def test_an_unknown_flag_is_refused_with_the_known_ones(tmp_path):
    with pytest.raises(
        UsageError, match=r"beats\.leave_out: noisey, q is not a flag; known are rhy"
    ):
        load_study(written(tmp_path, MINIMAL | {"beats": {"leave_out": ["noisey", "paced", "q"]}}))
    none = load_study(written(tmp_path, MINIMAL | {"beats": {"leave_out": []}}))
    assert none.beats.leave_out == ()


@given(st.lists(st.sampled_from(FLAGS)))
def test_the_order_of_flags_in_the_study_file_does_not_matter(names):
    beats = Study.model_validate(MINIMAL | {"beats": {"leave_out": names}}).beats
    again = Study.model_validate(MINIMAL | {"beats": {"leave_out": names[::-1] * 2}}).beats
    assert beats == again
    assert set(beats.leave_out) == set(names)


@pytest.mark.parametrize(
    ("content", "says"),
    [("a: [1", "not YAML at line"), ("", "holds no keys"), ("- 1", "holds no keys")],
)
def test_a_file_that_is_no_study_is_refused_in_a_sentence(tmp_path, content, says):
    with pytest.raises(UsageError, match=says):
        load_study(written(tmp_path, content))


def test_missing_study_file_names_the_init_command(tmp_path):
    with pytest.raises(UsageError, match="ecg-spark init"):
        load_study(tmp_path / "none.yaml")


def test_paths_start_from_the_folder_of_the_study_file(tmp_path):
    study = load_study(written(tmp_path, MINIMAL))
    assert study.locate("ecg") == str(tmp_path / "ecg")
    assert study.locate("/data/ecg") == "/data/ecg"
    assert study.locate("gs://bucket/ecg") == "gs://bucket/ecg"
    assert study.tracking_uri == f"sqlite:///{tmp_path}/out/mlflow.db"


def test_a_study_file_on_a_store_has_its_paths_there(bucket):
    text = yaml.safe_dump(MINIMAL | {"participants": {"path": "../people.csv"}})
    with fsspec.open(f"{bucket}/studies/study.yaml", "w") as file:
        file.write(text)
    for written_as in (bucket, bucket.replace("s3a", "s3")):
        study = load_study(f"{written_as}/studies/study.yaml")
        assert study.output_path == f"{bucket}/studies/out"
        assert study.locate(study.participants.path) == f"{bucket}/people.csv"
    with pytest.raises(UsageError, match=r"none\.yaml cannot be read: there is no such"):
        load_study(f"{bucket}/studies/none.yaml")


def test_every_input_of_a_study_is_listed_with_its_key(tmp_path):
    more = {
        "ecg": {"path": "ecg", "manifest": {"path": "/m.csv"}},
        "genotypes": {"path": "g.bgen", "separate": ["x.bgen", "s3://b/y.bgen"]},
        "gwas": {"rare": {"genes": "genes.tsv"}},
        "truth": "truth.json",
    }
    here = str(tmp_path)
    assert sorted(load_study(written(tmp_path, MINIMAL | more)).inputs()) == [
        ("ecg.manifest.path", "/m.csv"),
        ("ecg.path", f"{here}/ecg"),
        ("genotypes.path", f"{here}/g.bgen"),
        ("genotypes.separate", f"{here}/x.bgen"),
        ("genotypes.separate", "s3a://b/y.bgen"),
        ("gwas.rare.genes", f"{here}/genes.tsv"),
        ("participants.path", f"{here}/people.csv"),
        ("truth", f"{here}/truth.json"),
    ]


def test_the_environment_says_where_mlflow_is_unless_the_study_does(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://there:5000")
    assert load_study(written(tmp_path, MINIMAL)).tracking_uri == "http://there:5000"
    own = MINIMAL | {"mlflow": {"tracking_uri": "http://here:5000"}}
    assert load_study(written(tmp_path, own)).tracking_uri == "http://here:5000"


def test_models_may_be_registered_elsewhere(tmp_path, monkeypatch):
    assert load_study(written(tmp_path, MINIMAL)).registry_uri is None
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", "http://there:5000")
    assert load_study(written(tmp_path, MINIMAL)).registry_uri == "http://there:5000"
    own = MINIMAL | {"mlflow": {"registry_uri": "http://here:5000"}}
    assert load_study(written(tmp_path, own)).registry_uri == "http://here:5000"


@pytest.mark.parametrize("uri", ["databricks-uc", "databricks-uc://profile"])
def test_unity_catalog_takes_names_of_three_parts(uri):
    def registry(name):
        chosen = MINIMAL | {"mlflow": {"registry_uri": uri, "model_name": name}}
        return Study.model_validate(chosen).registry_uri

    assert registry("main.ecg.ecg-vae") == uri
    for wrong in (
        "ecg-vae",
        "ecg.vae",
        "main.ecg.ecg.vae",
        "main..vae",
        "main.ecg.ecg vae",
        "a.b.c/d",
    ):
        with pytest.raises(
            UsageError, match=r"write catalog\.schema\.name under mlflow\.model_name"
        ):
            registry(wrong)


def test_an_output_on_a_store_needs_a_tracking_address(tmp_path, monkeypatch):
    study = load_study(written(tmp_path, MINIMAL | {"output": "s3://bucket/out"}))
    with pytest.raises(UsageError, match=r"name a server in the study file \(mlflow\.tracking_uri"):
        _ = study.tracking_uri
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "databricks")
    assert study.tracking_uri == "databricks"


OWN = {"path": "own.csv", "columns": ["z_*"]}
DIAGNOSES = {"path": "diagnoses.csv", "until": "2023-10-31", "map": "phecodes.csv"}
GENETICS = {key: MINIMAL[key] for key in ("participants", "genotypes")}
BARE = {key: MINIMAL[key] for key in ("name", "output")}


@pytest.mark.parametrize(
    "content",
    [
        BARE | {"ecg": {"path": "ecg"}},
        BARE | {"ecg": {"path": "ecg"}, "genotypes": None, "model": {"latents": 3}},
        BARE | GENETICS | {"phenotypes": OWN},
        MINIMAL | {"phenotypes": OWN},
        MINIMAL | {"phewas": DIAGNOSES},
        MINIMAL | {"genotypes": None, "phewas": DIAGNOSES},
    ],
)
def test_a_study_may_end_with_latents_or_begin_with_phenotypes(tmp_path, content):
    study = load_study(written(tmp_path, content))
    assert (study.ecg is None) == ("ecg" not in content)
    assert (study.phenotypes is None) == ("phenotypes" not in content)
    assert study.name in study._repr_html_()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (BARE, ["ecg: is missing, and phenotypes, too"]),
        (BARE | GENETICS, ["ecg: is missing, and phenotypes, too"]),
        (BARE | {"phenotypes": OWN}, ["phenotypes: needs genotypes or phewas, which is"]),
        (MINIMAL | {"participants": None}, ["genotypes: needs participants, which is missing"]),
        (MINIMAL | {"genotypes": None}, ["participants: needs genotypes or phewas, which"]),
        (
            BARE | GENETICS | {"phenotypes": OWN, "model": {"latents": 0}, "sweep": {}},
            ["model.latents: should be", "model: needs ecg, which is", "sweep: needs ecg, which"],
        ),
        (
            BARE | {"ecg": {"path": "ecg"}, "gwas": {}, "colour": 1},
            ["colour: is not a key; known here are name", "gwas: needs genotypes, which is"],
        ),
        (
            MINIMAL | {"participants": None, "genotypes": None, "phewas": DIAGNOSES},
            ["phewas: needs participants, which is missing"],
        ),
        (MINIMAL | {"phewas": DIAGNOSES | {"code": "date"}}, ["phewas: names one column twice"]),
        (MINIMAL | {"phenotypes": OWN | {"id": "z_*"}}, ["phenotypes: has its id among"]),
        (MINIMAL | {"phenotypes": OWN | {"columns": []}}, ["phenotypes.columns: tuple should"]),
    ],
)
def test_sections_that_contradict_each_other_are_listed_with_all_other_problems(
    tmp_path, content, says
):
    with pytest.raises(UsageError, match=f"has {len(says)} problem") as caught:
        load_study(written(tmp_path, content))
    for each in says:
        assert f"\n  {each}" in str(caught.value)
