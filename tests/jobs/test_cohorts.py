"""The commands meta and replicate: what they publish, what they refuse, what a second run does."""

import json
from pathlib import Path

import pandas as pd
import pytest

import ecg_spark
from ecg_spark.errors import UsageError
from ecg_spark.genetics.outputs.tables import LOCI
from ecg_spark.store import Store
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
    assert page.count("<img") == 3
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

    monkeypatch.setattr("jobs.meta.meta_analyse", stopped)
    assert main(["meta", *folders, "--out", str(out)]) == 130
    assert not list((out / "runs/meta").iterdir())
    assert Store(str(out)).published("meta") is None


def test_one_cohort_and_a_folder_without_results_are_refused(spark, folders, tmp_path, capsys):
    assert main(["meta", folders[0], "--out", str(tmp_path / "meta")]) == 2
    assert "2 to 50 cohorts" in capsys.readouterr().err
    assert main(["meta", str(tmp_path), folders[1], "--out", str(tmp_path / "meta")]) == 3
    said = capsys.readouterr().err
    assert "is neither the output of a study" in said
    assert str(tmp_path) not in said


TRUTH = {
    "planted": [
        {"contig": f"chr{contig}", "position": position, "parameter": name, "class": "morphology",
         "variance_explained": share}
        for contig, position, name, share in (
            (3, 1_200_000, "a", 0.08), (3, 3_480_000, "b", 0.04), (1, 4_000_000, "c", 0.06),
        )
    ]
}  # fmt: skip


def of_locus(variant, phenotype, table):
    """The loci, by a latent and by all of them, that a study would have found at a variant."""
    position, name = 1_000_000 + 40_000 * variant, f"vae_{phenotype:02d}"
    row = table.set_index(["position", "phenotype"]).loc[(position, name)]
    own = {"contig": f"chr{row['chromosome']}", "position": position, "ref": row["ref"],
           "alt": row["alt"], "phenotype": name, "beta": row["beta"], "se": row["se"],
           "neg_log10_p": 20.0, "n": 1500, "af": row["af"], "method": "vae", "phenotypes": [name],
           "start": 1, "end": 2, "n_variants": 1, "n_clumps": 1}  # fmt: skip
    together = {"method": "vae omnibus", "phenotype": "vae omnibus", "beta": None, "se": None}
    blank = dict.fromkeys(LOCI.schema.names) | {"set_genes": [], "set_consequences": []}
    return [blank | own, blank | own | together]


@pytest.fixture
def study(tmp_path):
    """A study whose associations and findings are published."""
    table = given.results(1, 120, 2, 1500, EFFECTS)
    loci = [one for where in EFFECTS for one in of_locus(*where, table)]
    thresholds = {"vae": 7.5, "vae omnibus": 7.3}
    return given.publish_study(tmp_path / "ours", "ours", table, loci, thresholds)


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
        assert page.count("<img") == 1


def test_replicate_before_there_are_findings_says_what_to_run(spark, study, folders, capsys):
    (study.parent / "out/published/findings.json").unlink()
    assert main(["replicate", str(study), "--in", folders[1]]) == 2
    assert "run 'ecg-spark findings' first" in capsys.readouterr().err


def test_replicate_and_meta_refuse_results_that_are_not_of_the_study_file(study, folders, capsys):
    study.write_text(study.read_text().replace("g.bed", "other.bed"))
    for command in (
        ["replicate", str(study), "--in", folders[1]],
        ["meta", folders[1], str(study), "--out", str(study.parent / "meta")],
    ):
        assert main(command) == 2
        said = capsys.readouterr().err
        assert "(ours): The published output of 'genotypes' was made with other settings" in said
    assert not (study.parent / "meta").exists()


def test_force_makes_it_again(spark, study, folders, tmp_path, capsys):
    for command in (
        ["replicate", str(study), "--in", folders[1]],
        ["meta", *folders, "--out", str(tmp_path / "meta")],
    ):
        for options in ([], [], ["--force"]):
            assert main([*command, *options]) == 0
        skipped = ["skipped" in one for one in lines_of(capsys)]
        assert skipped == [False, True, False]


def test_outputs_of_one_name_are_kept_apart(spark, study, tmp_path, capsys):
    for seed in (2, 3):
        other = given.results(seed, 120, 2, 1500, EFFECTS)
        given.write_output(tmp_path / str(seed) / "out", other)
        assert main(["replicate", str(study), "--in", str(tmp_path / str(seed) / "out")]) == 0
    one, two = lines_of(capsys)
    assert one["in"] == two["in"] == "cohort 2 (out)"
    assert Path(one["report"]).exists()
    assert Path(two["report"]).exists()
    assert one["report"] != two["report"]


def test_loci_stand_beside_the_truth_where_every_cohort_names_one(spark, tmp_path, capsys):
    (tmp_path / "truth.json").write_text(json.dumps(TRUTH))
    (tmp_path / "none.json").write_text(json.dumps({"planted": []}))
    studies = [
        str(given.publish_study(
            tmp_path / name, name, given.results(seed, 120, 2, 1500, EFFECTS),
            truth=str(tmp_path / truth),
        ))
        for seed, (name, truth) in enumerate(
            [("one", "truth.json"), ("two", "truth.json"), ("three", "none.json")], 1
        )
    ]  # fmt: skip
    assert main(["meta", *studies[:2], "--out", str(tmp_path / "both")]) == 0
    assert main(["meta", *studies, "--out", str(tmp_path / "all")]) == 0
    output = str(tmp_path / "two" / "out")
    assert main(["meta", studies[0], output, "--out", str(tmp_path / "part")]) == 0
    both, everyone, part = lines_of(capsys)
    assert (both["planted"], both["planted_large"]) == (3, 2)
    assert both["found_by_method"]["vae"] == 2
    assert both["found_large_by_method"]["vae"] == 1
    assert both["false_loci"]["vae"] == 1  # the one on chromosome 2
    assert (everyone["planted"], everyone["planted_large"]) == (3, 1)  # 8 % in two of three
    assert "planted" not in part
    page = (tmp_path / "both" / "report.html").read_text()
    assert "Planted against found" in page
    assert page.count("<img") == 4
    assert "planted" not in (tmp_path / "part" / "report.html").read_text()
    (tmp_path / "truth.json").write_text("{}")
    assert main(["meta", *studies[:2], "--out", str(tmp_path / "no")]) == 3
    assert not (tmp_path / "no").exists()


def test_python_gives_what_the_commands_publish(spark, study, folders, tmp_path, capsys):
    ours = ecg_spark.load_study(study)
    whole = ecg_spark.meta([ours, folders[1]], tmp_path / "meta", spark=spark)
    assert not whole.skipped
    assert set(whole.tables) >= {"associations", "loci"}
    assert whole.tables["loci"].count() == whole.summary["loci"]["vae"] == 3
    assert set(whole.figures) == {"manhattan", "qq", "qq_by_frequency"}
    found = ecg_spark.replicate(ours, folders[1])
    assert found.tables["replication"].count() == 6
    assert set(found.figures) == {"compared"}
    assert ecg_spark.replicate(ours, Path(folders[1])).skipped
    assert main(["meta", str(study), folders[1], "--out", str(tmp_path / "meta")]) == 0
    assert lines_of(capsys)[-1]["skipped"]
    with pytest.raises(UsageError, match="2 to 50 cohorts"):
        ecg_spark.meta([ours], tmp_path / "alone")
