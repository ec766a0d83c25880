"""The commands meta and replicate: what they publish, what they refuse, what a second run does."""

import json
from pathlib import Path

import pandas as pd
import pytest
import yaml

from ecg_spark.genetics.outputs.tables import LOCI
from ecg_spark.store import Store
from ecg_spark.tables import write_rows
from jobs import meta as job
from jobs.cli import main
from tests.builders import cohorts as given

EFFECTS = {(5, 0): 0.4, (62, 1): 0.35, (61, 0): 0.3}


def lines_of(capsys):
    return [json.loads(line) for line in capsys.readouterr().out.splitlines() if line[:1] == "{"]


@pytest.fixture
def folders(tmp_path):
    one, two = (given.results(seed, 120, 2, 1500, EFFECTS) for seed in (1, 2))
    return [
        str(given.write_output(tmp_path / "one" / "out", one)),
        str(given.write_ssf(tmp_path / "two", given.swapped(two, 2))),
    ]


def test_meta_publishes_once_and_again_only_what_is_new(spark, folders, tmp_path, capsys):
    out = tmp_path / "meta"
    command = ["meta", *folders, "--out", str(out)]
    assert main(command) == 0
    assert main(command) == 0
    assert main([*command, "--genomic-control"]) == 0
    first, second, third = lines_of(capsys)
    assert first["loci"] == {"vae": 3}
    assert [one["name"] for one in first["cohorts"]] == ["cohort 1 (out)", "cohort 2 (two)"]
    assert second["skipped"] == "already published"
    assert "skipped" not in third
    published = Store(str(out)).require("meta")
    assert published.summary["genomic_control"]
    page = (out / "report.html").read_text()
    assert "Meta-analysis of 2 cohorts" in page
    assert page.count("<img") == 2
    assert "chr3:1200000:" in page
    assert str(tmp_path) not in page
    assert len(pd.read_parquet(published.path("loci"))) == 3
    # What it publishes is a cohort itself, and its people are in two of the three.
    assert main(["meta", str(out), *folders, "--out", str(tmp_path / "again")]) == 3


def test_what_is_stopped_or_refused_leaves_nothing(spark, folders, tmp_path, capsys, monkeypatch):
    out = tmp_path / "meta"
    other = given.write_ssf(tmp_path / "other", given.results(3, 120, 2, 900), build="GRCh37")
    assert main(["meta", folders[0], str(other), "--out", str(out)]) == 3
    assert "lift one of them over" in capsys.readouterr().err

    def stopped(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(job, "meta_analyse", stopped)
    assert main(["meta", *folders, "--out", str(out)]) == 130
    assert not list((out / "runs/meta").iterdir())
    assert Store(str(out)).published("meta") is None


def test_one_cohort_is_none_to_combine(spark, folders, tmp_path, capsys):
    assert main(["meta", folders[0], "--out", str(tmp_path / "meta")]) == 2
    assert "2 to 50 cohorts" in capsys.readouterr().err
    assert main(["meta", str(tmp_path), folders[1], "--out", str(tmp_path / "meta")]) == 3
    said = capsys.readouterr().err
    assert "is neither the output of a study" in said
    assert str(tmp_path) not in said


@pytest.fixture
def study(folders, tmp_path):
    """A study whose findings are published, with its associations."""
    content = {
        "name": "ours",
        "output": folders[0],
        "ecg": {"path": "ecg"},
        "participants": {"path": "people.csv"},
        "genotypes": {"path": "g.bed"},
    }
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(content))
    table = given.results(1, 120, 2, 1500, EFFECTS).set_index(["position", "phenotype"])
    loci = []
    for variant, phenotype in EFFECTS:
        position, name = 1_000_000 + 40_000 * variant, f"vae_{phenotype:02d}"
        row = table.loc[(position, name)]
        site = {"contig": f"chr{row['chromosome']}", "ref": row["ref"], "alt": row["alt"]}
        own = {"rsid": None, "phenotype": name, "beta": row["beta"], "se": row["se"],
               "neg_log10_p": 20.0, "n": 1500, "af": row["af"]}  # fmt: skip
        loci.append(site | own | {"position": position, "method": "vae", "phenotypes": [name]})
        loci.append(
            site | own | {"position": position, "method": "vae omnibus", "phenotypes": [name]}
            | {"phenotype": "vae omnibus", "beta": None, "se": None}
        )  # fmt: skip
    blank = dict.fromkeys(LOCI.schema.names)
    size = {"start": 1, "end": 2, "n_variants": 1, "n_clumps": 1}
    folder = f"{folders[0]}/runs/findings/run/loci"
    write_rows([blank | size | one for one in loci], LOCI, folder)
    thresholds = {"vae": 7.5, "vae omnibus": 7.3}
    given.publish(tmp_path / "one" / "out", "findings", {"thresholds": thresholds})
    return path


def test_replicate_publishes_a_table_for_each_other_cohort(spark, study, folders, tmp_path, capsys):
    command = ["replicate", str(study), "--in"]
    assert main([*command, folders[1]]) == 0
    assert main([*command, folders[1]]) == 0
    third = given.write_output(tmp_path / "three", given.results(3, 120, 2, 1500, EFFECTS))
    assert main([*command, str(third)]) == 0
    found, again, other = lines_of(capsys)
    assert found["loci"]["vae"]["loci"] == found["loci"]["vae omnibus"]["loci"] == 3
    assert found["loci"]["vae"]["replicated"] == found["loci"]["vae"]["tested"] >= 2
    assert found["loci"]["vae omnibus"]["replicated"] >= 2
    assert again["skipped"] == "already published"
    for one, name in ((found, "cohort 2 (two)"), (other, "cohort 2 (three)")):
        assert one["in"] == name
        table = pd.read_csv(f"{one['folder']}/replication.tsv", sep="\t")
        assert len(table) == 6
        assert len(pd.read_parquet(f"{one['folder']}/replication")) == 6
        page = Path(one["report"]).read_text()
        assert f"Loci of ours in {name}" in page
        assert page.count("<tr>") == 2 + 2 + 6


def test_replicate_before_there_are_findings_says_what_to_run(spark, study, folders, capsys):
    (study.parent / "one/out/published/findings.json").unlink()
    assert main(["replicate", str(study), "--in", folders[1]]) == 2
    assert "run 'ecg-spark findings' first" in capsys.readouterr().err
