"""The whole study of diseases in Spark: tables, counts, notes, and mean beats."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from ecg_spark.diseases.beats import mean_beats
from ecg_spark.diseases.diagnoses import Told
from ecg_spark.diseases.panels import make_panel
from ecg_spark.diseases.phecode_map import Disease, Diseases
from ecg_spark.diseases.phewas import Settings, answer_of, associate_diseases
from ecg_spark.diseases.tables import OCCURRENCES
from ecg_spark.tables import BEATS, write_rows

N = 700
KNOWN = Diseases(
    {},
    {
        "427.2": Disease("427.2", "Atrial fibrillation", "circulatory", excluded="426-427.99"),
        "426": Disease("426", "Conduction disorders", "circulatory"),
        "185": Disease("185", "Cancer of prostate", "neoplasms", "men"),
        "540": Disease("540", "Appendicitis", "digestive"),
    },
)


@pytest.fixture(scope="module")
def made_up():
    """People, their panel, and who has which disease since when."""
    rng = np.random.default_rng(6)
    people = pd.Index([f"p{k:04d}" for k in range(N)])
    covariates = pd.DataFrame({"age": rng.normal(size=N), "site": np.arange(N) % 2}, people)
    names = [f"vae_{k:02d}" for k in range(4)]
    values = pd.DataFrame(rng.normal(size=(N, 4)), people, names)
    male = pd.Series(rng.integers(0, 2, N).astype(float), people)
    days = pd.DataFrame({"first": 1000.0, "last": 1100.0, "until": 3000.0}, people)
    panel = make_panel("ecg", values, {"vae": names}, covariates, male, days=days)
    rows = []

    def ill(disease, share, effect=0.0, who=None):
        eta = np.log(share / (1 - share)) + effect * values["vae_00"]
        has = rng.random(N) < 1 / (1 + np.exp(-eta)).to_numpy()
        for k in np.flatnonzero(has if who is None else has & who):
            first = int(rng.integers(0, 3000))
            rows.append({"participant_id": people[k], "disease": disease, "first": first,
                         "times": int(rng.integers(1, 4))})  # fmt: skip

    ill("427.2", 0.25, effect=1.3)
    ill("426", 0.2)
    ill("540", 0.3)
    ill("185", 0.5, who=(male == 1).to_numpy())
    ill("185", 0.03, who=(male == 0).to_numpy())
    ill("999", 0.01)
    table = pd.DataFrame(rows).drop_duplicates(["participant_id", "disease"])
    return people, panel, table


def beats_of(people, shift):
    """A beat of everybody, and a flagged one of the first that must count nowhere."""
    rng = np.random.default_rng(0)
    rows = []
    for k, name in enumerate([*people, people[0]]):
        signal = np.full(7200, shift[k % len(people)]) + rng.normal(0, 0.01, 7200)
        flagged = k == len(people)
        rows.append({
            "ecg_id": f"{k:064x}", "participant_id": name, "participant_hash": k,
            "acquired_at": None, "signal": (signal + 90 * flagged).tolist(), "n_beats": 9,
            "n_detected": 9, "noise_uv": 1.0, "source": "computed", "quality": 0.9, "weight": 0.5,
            "flags": ["paced"] if flagged else [],
        })  # fmt: skip
    return rows


@pytest.fixture(scope="module")
def published(spark, made_up, tmp_path_factory):
    """The tables that are published, by name, and the summary."""
    people, panel, table = made_up
    folder = tmp_path_factory.mktemp("phewas")
    write_rows(table.to_dict("records"), OCCURRENCES, f"{folder}/occurrences")
    write_rows(beats_of(people, panel.filled[:, 0]), BEATS, f"{folder}/beats")
    told = Told({"diagnoses": 9}, ["a note"])
    summary = associate_diseases(
        spark, {"ecg": (people, panel)}, KNOWN, Settings(30, 1, 1),
        (spark.read.schema(BEATS.schema).parquet(f"{folder}/beats"), ["paced"]), str(folder), told,
    )  # fmt: skip
    tables = {one.name: pd.read_parquet(one) for one in folder.iterdir() if one.name != "beats"}
    return tables, summary


def test_what_spark_publishes_is_what_each_disease_answers_alone(published, made_up):
    tables, _ = published
    people, panel, table = made_up
    place = pd.Series(np.arange(N), people)
    own = table[table["disease"] == "427.2"].assign(is_own=True)
    others = table[table["disease"] == "426"].assign(is_own=False)
    group = pd.concat([own, others])
    group["place"] = place[group["participant_id"]].to_numpy()
    answer = answer_of("427.2", group, panel, "both", Settings(30, 1, 1))
    found = tables["disease_associations"].query("disease == '427.2'")
    assert len(found) == len(answer["associations"]) == 8
    for row in answer["associations"]:
        same = found[(found["kind"] == row["kind"]) & (found["predictor"] == row["predictor"])]
        assert same["neg_log10_p"].item() == pytest.approx(row["neg_log10_p"])
        assert same["n"].item() == row["n"]


def test_the_planted_association_is_found_and_no_other(published):
    tables, summary = published
    found = tables["disease_associations"]
    hits = found[found["q"] < 0.05]
    assert set(zip(hits["disease"], hits["predictor"], strict=True)) == {("427.2", "vae_00")}
    assert set(hits["kind"]) == {"prevalent", "incident"}
    assert set(hits["test"]) == {"firth", "cox"}
    assert (hits["lower"] > 0.5).all()
    assert summary["significant_fdr"] == 2
    assert summary["tests"] == len(found)
    json.dumps(summary)


def test_every_disease_is_counted_and_says_why_it_was_not_tested(published):
    tables, summary = published
    known = tables["diseases"].set_index(["disease", "kind"])
    assert known.loc["999", "why_not"].tolist() == ["too few cases"] * 2
    assert known.loc[("185", "prevalent"), "sex"] == "men"
    assert known.loc[("427.2", "incident"), "null_model"] == "cox"
    assert (known["cases"] + known["controls"] + known["left_out"]).eq(N).all()
    assert summary["diseases"] == 4
    assert summary["one_sex"] == 1
    assert summary["diagnoses"] == 9
    said = " ".join(summary["notes"])
    assert "a note" in said
    assert "own phenotypes are of a disease of the other sex (1 diseases)" in said
    assert "with an ECG or own phenotypes, for too few cases: 1 of 5 diseases" in said


def test_prediction_and_factors_are_of_the_diseases_that_have_enough_cases(published):
    tables, _ = published
    prediction = tables["prediction"].query("disease == '427.2'")
    gains = prediction.set_index(["kind", "model"])["gain"]
    assert all(gains.loc[(kind, "factors")] > 0.1 for kind in prediction["kind"].unique())
    factors = tables["disease_factors"].query("disease == '427.2' and factor == 'vae_00'")
    assert len(factors) == 2
    assert (factors["difference"] > 4 * factors["se"]).all()


def test_mean_beats_are_of_cases_and_controls_and_of_no_flagged_recording(published):
    tables, _ = published
    beats = tables["disease_beats"].set_index(["disease", "kind", "group"])
    assert {key[0] for key in beats.index} == {"427.2"}
    for kind in ("prevalent", "incident"):
        ill, well = (beats.loc[("427.2", kind, side)] for side in ("cases", "controls"))
        assert min(ill["people"], well["people"]) >= 20
        assert 0.4 < np.mean(ill["mean"]) - np.mean(well["mean"]) < 2
        assert np.max(ill["mean"]) < 5


def test_groups_of_fewer_than_twenty_people_have_no_mean_beat(spark, tmp_path):
    people = [f"p{k}" for k in range(40)]
    write_rows(beats_of(people, np.arange(40.0)), BEATS, f"{tmp_path}/beats")
    beats = spark.read.schema(BEATS.schema).parquet(f"{tmp_path}/beats")
    places = pd.DataFrame({"participant_id": people, "place": np.arange(40)})
    found = mean_beats(
        beats, ["paced"], places, {"few": list(range(19)), "enough": list(range(20))}
    )
    assert list(found) == ["enough"]
    n, mean, se = found["enough"]
    assert n == 20
    np.testing.assert_allclose(mean, 9.5, atol=0.02)
    np.testing.assert_allclose(se, np.arange(20).std(ddof=1) / np.sqrt(20), rtol=0.02)


def test_a_study_in_which_nothing_can_be_tested_says_so(spark, made_up, tmp_path):
    people, panel, table = made_up
    write_rows(table.head(5).to_dict("records"), OCCURRENCES, f"{tmp_path}/occurrences")
    summary = associate_diseases(
        spark, {"ecg": (people, panel)}, KNOWN, Settings(30, 1, 1), None, str(tmp_path), Told()
    )
    assert summary["tests"] == summary["diseases"] == 0
    assert any("no disease has enough cases and controls" in one for one in summary["notes"])
    json.dumps(summary)


@pytest.fixture(scope="module")
def two_panels(spark, tmp_path_factory):
    """Folders of tables of 90 people with an ECG and 300 genotyped ones: at least 30 cases, or 60
    with two diagnoses each; and the summary of the former."""
    rng = np.random.default_rng(8)
    genotyped = pd.Index([f"g{k:03d}" for k in range(300)])
    panels = {}
    for people, names in (("ecg", genotyped[:90]), ("genotypes", genotyped)):
        values = pd.DataFrame({"vae_00": rng.normal(size=len(names))}, names)
        age = pd.DataFrame({"age": rng.normal(size=len(names))}, names)
        groups = {"vae" if people == "ecg" else "scores": ["vae_00"]}
        panels[people] = (names, make_panel(people, values, groups, age, None))

    def ill(disease, who, times=1):
        return [{"participant_id": one, "disease": disease, "first": None, "times": times}
                for one in who]  # fmt: skip

    rows = [
        *ill("540", genotyped[80:180]),  # 10 of those with an ECG
        *ill("427.2", genotyped[200:240]),  # nobody with an ECG
        *ill("426", genotyped[:70]),  # all but 20 of those with an ECG
        *ill("185", genotyped[100:150]),
        *ill("185", genotyped[150:200], times=2),
        *ill("111", genotyped[::2]),
    ]
    known = Diseases({}, {key: replace(one, sex="both") for key, one in KNOWN.known.items()})
    folders = []
    for settings in (Settings(30, 1, 1), Settings(60, 2, 1)):
        folder = tmp_path_factory.mktemp("two")
        write_rows(rows, OCCURRENCES, f"{folder}/occurrences")
        summary = associate_diseases(spark, panels, known, settings, None, str(folder), Told())
        folders.append((folder, summary))
    return folders


def counts_in(folder):
    known = pd.read_parquet(folder / "diseases").set_index(["people", "disease"])
    return known[["cases", "controls", "left_out", "why_not"]]


def test_each_panel_has_its_own_cases_and_controls(two_panels):
    folder, summary = two_panels[0]
    known = counts_in(folder)
    assert known.loc[("ecg", "540")].tolist() == [10, 80, 0, "too few cases"]
    assert known.loc[("genotypes", "540")].tolist() == [100, 200, 0, None]
    assert ("ecg", "427.2") not in known.index
    # Of its exclusion range (426) seventy are neither.
    assert known.loc[("genotypes", "427.2")].tolist() == [40, 190, 70, None]
    assert known.loc[("ecg", "426")].tolist() == [70, 20, 0, "too few controls"]
    assert summary["diseases"] == 5
    assert summary["notes"] == [
        f"not tested among the people with an ECG or own phenotypes, for {why}: 1 of 3 diseases"
        for why in ("too few cases", "too few controls")
    ]


def test_a_case_has_enough_diagnoses_also_where_it_is_not_tested(two_panels):
    folder, _ = two_panels[1]
    assert counts_in(folder).loc[("genotypes", "185")].tolist() == [50, 200, 50, "too few cases"]


def test_a_factor_and_its_score_are_two_predictors(two_panels):
    folder, _ = two_panels[0]
    found = pd.read_parquet(folder / "disease_associations").query("disease == '111'")
    named = found.set_index(["people", "group", "predictor"])["n"].to_dict()
    assert named == {("ecg", "vae", "vae_00"): 90, ("genotypes", "scores", "vae_00"): 300}
