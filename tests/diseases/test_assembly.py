"""Who is in a panel, with which predictors and days."""

import datetime

import numpy as np
import pandas as pd
import pytest

from ecg_spark.diseases.assembly import (
    Genotyped,
    Members,
    ecg_days,
    genotyped_people,
    last_days,
    lead_variants,
    of_cohort,
    of_genotypes,
    of_phenotypes,
    panel_of_ecgs,
    scores_of,
)
from ecg_spark.diseases.diagnoses import Dates
from ecg_spark.errors import DataError
from ecg_spark.genetics.outputs.tables import LOCI, SCORES
from ecg_spark.genetics.scoring.tables import POLYGENIC_SCORES, SCORE_ACCURACY
from ecg_spark.participants import read_last_days
from ecg_spark.study import Genotypes, Participants
from ecg_spark.tables import BEATS, write_rows
from tests.builders.genetics_data import cohort_of

DAY = datetime.date(1970, 1, 1)
LATEST = Dates(True, DAY + datetime.timedelta(days=900))


def test_close_relatives_are_left_out_and_people_are_participants():
    samples = pd.Index(["s1", "s2", "s3"])
    cohort = cohort_of(
        pd.Series(["p1", "p2", "p3"], samples),
        pd.DataFrame({"vae_00": [1.0, 2.0, np.nan]}, samples),
        pd.DataFrame({"age": [0.1, 0.2, 0.3]}, samples),
        pd.Series([True, False, True], samples),
        {"vae": ["vae_00"]},
    )
    members = of_cohort(cohort)
    assert list(members.predictors.index) == list(members.covariates.index) == ["p1", "p3"]


def test_without_genotypes_everybody_counts_who_has_every_covariate():
    rng = np.random.default_rng(1)
    people = [f"p{k}" for k in range(60)]
    phenotypes = pd.DataFrame({"vae_00": rng.normal(size=60), "pr_ms": 160.0}, people)
    covariates = pd.DataFrame({"age": rng.normal(size=50)}, people[:50])
    notes = []
    members = of_phenotypes(phenotypes, {"vae": ["vae_00"], "traits": ["pr_ms"]}, covariates, notes)
    assert list(members.predictors.index) == people[:50]
    assert members.groups == {"vae": ["vae_00"]}
    assert any("pr_ms is constant" in note for note in notes)
    assert any("10 of 60 samples lack a covariate" in note for note in notes)


def test_days_are_of_the_recordings_that_are_used(spark, tmp_path):
    def ecg(number, who, day, flags=()):
        when = day and datetime.datetime.combine(day, datetime.time(9))
        return {
            "ecg_id": f"{number:064x}", "participant_id": who, "participant_hash": 1,
            "acquired_at": when, "signal": [0.0], "n_beats": 1, "n_detected": 1, "noise_uv": 1.0,
            "source": "computed", "quality": 1.0, "weight": 1.0, "flags": list(flags),
        }  # fmt: skip

    rows = [
        ecg(1, "a", DAY + datetime.timedelta(days=10)),
        ecg(2, "a", DAY + datetime.timedelta(days=30)),
        ecg(3, "a", DAY + datetime.timedelta(days=1), ["paced"]),
        ecg(4, "b", None),
        ecg(5, "b", DAY),
    ]
    write_rows(rows, BEATS, f"{tmp_path}/beats")
    days = ecg_days(spark.read.schema(BEATS.schema).parquet(f"{tmp_path}/beats"), ["paced"])
    assert days.loc["a"].tolist() == [10.0, 30.0]
    assert days.loc["b"].isna().all()


def test_lead_variants_are_the_surest_of_their_neighbourhood(spark, tmp_path):
    rows = []
    for method, contig, position, strength in (
        ("vae", "chr1", 1_000_000, 9.0), ("traits", "chr1", 1_400_000, 12.0),
        ("pca", "chr1", 1_900_001, 8.0), ("vae", "chr2", 1_400_000, 10.0),
        ("vae omnibus", "chr2", 1_400_000, 11.0),
    ):  # fmt: skip
        rows.append({
            "method": method, "contig": contig, "position": position, "ref": "A", "alt": "G",
            "rsid": None, "start": position, "end": position, "phenotype": "x", "beta": None,
            "se": None, "neg_log10_p": strength, "n": 9, "af": 0.2, "phenotypes": [],
            "n_variants": 1, "n_clumps": 1, "n_signals": None, "nearest_gene": None,
            "gene_distance_bp": None, "published": None, "set_variants": None,
            "set_pip": None, "set_genes": [], "set_consequences": [],
        })  # fmt: skip
    write_rows(rows, LOCI, f"{tmp_path}/loci")
    found = lead_variants(spark, str(tmp_path))
    assert list(zip(found["contig"], found["position"], strict=True)) == [
        ("chr1", 1_400_000), ("chr2", 1_400_000), ("chr1", 1_900_001),
    ]  # fmt: skip


def test_records_end_for_all_for_each_or_with_the_latest_diagnosis():
    people, notes = pd.Index(["a", "b"]), []
    assert last_days(people, None, LATEST, notes).tolist() == [900, 900]
    assert "1972-06-19, the day of the latest diagnosis" in notes[0]
    assert last_days(people, DAY + datetime.timedelta(days=7), LATEST, []).tolist() == [7, 7]
    each = pd.Series([50.0, 5000.0], ["a", "c"])
    assert last_days(people, each, LATEST, []).tolist() == [50, 900]


@pytest.mark.parametrize(
    ("days", "dates", "dated", "note"),
    [
        (pd.DataFrame({"first": [1.0, np.nan], "last": [2.0, np.nan]}, ["a", "b"]), LATEST, True,
         "1 people have an ECG without a date"),
        (pd.DataFrame({"first": [1.0, 1.0], "last": [2.0, 900.0]}, ["a", "b"]), LATEST, True,
         "the records of 1 people end before their last ECG"),
        (pd.DataFrame({"first": [np.nan] * 2, "last": [np.nan] * 2}, ["a", "b"]), LATEST, False,
         "no ECG has a date"),
        (pd.DataFrame({"first": [1.0] * 2, "last": [2.0] * 2}, ["a", "b"]), Dates(False, None),
         False, ""),
    ],
)  # fmt: skip
def test_what_is_not_known_of_days_is_told(days, dates, dated, note):
    frame = pd.DataFrame({"vae_00": [1.0, 2.0]}, ["a", "b"])
    members = Members(frame, {"vae": ["vae_00"]}, frame.rename(columns={"vae_00": "age"}))
    notes = []
    panel = panel_of_ecgs(members, None, days, None, dates, notes)
    assert panel.is_dated == dated
    assert not note or any(note in one for one in notes)


def test_the_end_of_records_is_a_day_or_a_column(tmp_path):
    path = tmp_path / "people.csv"
    path.write_text("participant_id,age,sex,end\n1,50,1,2020-01-31\n2,60,0,\n3,55,1,soon\n")
    settings, notes = Participants(path=str(path)), []
    assert read_last_days(settings, str(path), "2023-10-31", []) == datetime.date(2023, 10, 31)
    found = read_last_days(settings, str(path), "end", notes)
    assert found.to_dict() == {"1": (datetime.date(2020, 1, 31) - DAY).days}
    assert notes == ["1 values of end are not dates and count as missing"]
    with pytest.raises(DataError, match="no column death"):
        read_last_days(settings, str(path), "death", [])
    with pytest.raises(DataError, match="holds no date"):
        read_last_days(settings, str(path), "age", [])


@pytest.fixture
def checked(tmp_path):
    """The table of genotyped samples s0 to s7: s1 is a relative, s2 an odd sample, of s3 the X
    chromosome is a woman's."""
    rows = [
        {"s": f"s{k}", "call_rate": 1.0, "heterozygosity_sd": 7.0 if k == 2 else 0.1 * k,
         "unrelated": k != 1, "ancestry": None, "pc": [float(k)], "pc_of_ancestry": None,
         "x_f": 0.0 if k == 3 else 1.0, "sets": [0]}
        for k in range(8)
    ]  # fmt: skip
    write_rows(rows, SCORES, f"{tmp_path}/scores")
    return str(tmp_path)


def some_of_them(people):
    """A cohort of some samples, each paired with a participant of another number."""
    samples = pd.Index(people)
    one = pd.DataFrame({"vae_00": np.arange(len(people), dtype=float)}, samples)
    owners = pd.Series([f"p{k}" for k in range(len(people))], samples)
    return cohort_of(owners, one, one, pd.Series(True, samples), {"vae": ["vae_00"]})


def test_the_genotyped_are_chosen_as_in_the_association_study(spark, checked):
    ages = [50.0, 51, 52, 53, np.nan, 55, 57]
    covariates = pd.DataFrame({"age": ages}, [f"s{k}" for k in (0, 1, 2, 3, 4, 5, 7)])
    men = pd.Series(1.0, covariates.index)
    notes = []
    found = genotyped_people(
        spark, checked, Genotypes(path="g.bed"), covariates, men, some_of_them(["s0"]), notes
    )
    assert found.people.to_dict() == {"s0": "s0", "s5": "s5", "s7": "s7"}
    assert list(found.terms.index) == ["s0", "s5", "s7"]
    assert notes == [
        "1 of 4 genotyped people lack a covariate: they are in no test of variants and scores"
    ]


def test_of_a_random_pairing_nobody_else_has_a_participant(spark, checked):
    covariates = pd.DataFrame({"age": [60.0, 61, 62]}, ["p0", "p1", "p2"])
    found = genotyped_people(
        spark, checked, Genotypes(path="g.bed", pairing="random"), covariates, None,
        some_of_them(["s1", "s5", "s6"]), [],
    )  # fmt: skip
    assert found.people.to_dict() == {"s5": "p1", "s6": "p2"}


def test_scores_are_scaled_among_those_whom_one_model_scores(spark, tmp_path):
    """Models of which each says more or less than the others; one person has a relative there."""
    rng = np.random.default_rng(2)
    folds = [0] * 30 + [1] * 40 + [None] * 50
    samples = pd.Index([f"s{k}" for k in range(120)])
    shift = {0: 5.0, 1: -2.0, None: 0.5}
    rows = [
        {"s": s, "participant_id": s, "fold": fold, "relative_analysed": k == 119,
         "scores": {"vae_00": shift[fold] * (1 + rng.normal()), "pr_ms": 3.0}}
        for k, (s, fold) in enumerate(zip(samples, folds, strict=True))
    ]  # fmt: skip
    write_rows(rows, POLYGENIC_SCORES, f"{tmp_path}/polygenic_scores")
    said = {"n": 70, "n_fitted": 35, "r": 0.1, "r2": 0.01, "r2_low": None, "r2_high": None}
    said |= {"slope": 1.0, "r2_covariates": 0.0}
    accuracy = [{"phenotype": name, **said} for name in ("vae_00", "pr_ms")]
    write_rows(accuracy, SCORE_ACCURACY, f"{tmp_path}/score_accuracy")
    wanted = samples[::-1]
    found = scores_of(spark, str(tmp_path), wanted)
    assert list(found.index) == list(wanted)
    own = found["vae_00"].reindex(samples).to_numpy()
    known = np.array([one["scores"]["vae_00"] for one in rows])
    assert np.isnan(own[119])
    for part in (slice(0, 30), slice(30, 70), slice(70, 119)):
        assert own[part].mean() == pytest.approx(0, abs=1e-12)
        assert own[part].std(ddof=1) == pytest.approx(1)
        assert np.corrcoef(own[part], known[part])[0, 1] == pytest.approx(1)
    genotyped = Genotyped(pd.Series(wanted, wanted), pd.DataFrame({"age": 1.0}, wanted))
    members = of_genotypes(genotyped, {"scores": found})
    assert members.groups == {"scores": ["vae_00"]}  # the other one is the same for all
    assert of_genotypes(genotyped, {"scores": found[["pr_ms"]]}) is None
