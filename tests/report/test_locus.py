"""What an opened locus tells beside its tests, and the presets of diseases."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecg_spark.diseases.phewas import FDR
from ecg_spark.report import evidence, genome, heart
from ecg_spark.report.evidence import MIN_GROUP_SIZE
from ecg_spark.report.loci import MERGE_BP, Region
from ecg_spark.report.locus import region_of
from ecg_spark.report.regional import FLANK_BP
from tests.builders.report_biobank import BESIDE, DISEASES, HOSTILE, REPLICATION_NAME

ENTER = 13


def opened(page, name):
    """Open the locus of this name; its entry without what the scripts have added."""
    page.run(
        f"ecgSpark.loci.open(ecgSpark.loci.loci.findIndex(l => l.name === {json.dumps(name)}))"
    )
    return page.run(f"""(({{effects, drawMarks, ...own}}) => own)(
        ecgSpark.loci.loci.find(l => l.name === {json.dumps(name)}))""")


def shown_table(page, title):
    """The rows of the table below a heading of the opened locus; None where there is none."""
    return page.run(f"""(() => {{
        const title = [...document.querySelectorAll("#genome .locus h4")]
            .find(one => one.textContent === {json.dumps(title)});
        const table = title?.nextElementSibling.querySelector("table");
        return table ? [...table.tBodies[0].rows].map(row => [...row.cells].map(
            cell => cell.dataset.v ?? cell.textContent)) : null;
    }})()""")


def strongest(planted):
    loci = pd.read_parquet(planted.store.require("findings").path("loci"))
    return loci[loci["rsid"] != HOSTILE].sort_values("neg_log10_p").iloc[-1]


def test_the_credible_sets_of_a_locus_are_listed_and_marked_in_its_region(page, planted):
    lead = strongest(planted)
    held = opened(page, lead["rsid"])
    signals = pd.read_parquet(planted.store.require("findings").path("signals"))
    own = signals[(signals["contig"] == lead["contig"]) & (signals["position"] == lead["position"])]
    own = own[~own["phenotype"].str.startswith("pca")]
    rows = shown_table(page, "Credible sets")
    assert {row[0] for row in rows} == set(own["phenotype"].str.replace("_", " "))
    assert len(rows) == len(own) == len(held["sets"])
    assert held["sets"][0]["phenotype"] == lead["phenotype"]
    assert held["sets"][0]["n"] == 2
    assert [one[:3] for one in held["variants"]] == [
        [0, "A>G", lead["rsid"]], [1_500, "A>G", f"rs{BESIDE + lead['position']}"],
    ]  # fmt: skip
    assert held["variants"][0][4] == pytest.approx(lead["neg_log10_p"], abs=0.01)
    assert held["variants"][1][4] is None, "it was not tested: it has no height"
    rings = "document.querySelectorAll('#genome .locus .ring').length"
    assert page.run(rings) == 1
    page.run("""document.querySelectorAll("#genome .locus button.mark")[1].focus()""")
    page.press("Enter", ENTER, "\r")
    assert page.run(rings) == 2
    assert page.run("document.activeElement.getAttribute('aria-pressed')") == "true"
    page.press("Enter", ENTER, "\r")
    assert page.run(rings) == 1


def test_the_diseases_of_a_locus_are_the_tests_of_its_lead_variant(page, planted):
    lead = planted.bank.planted[0]
    tests = pd.read_parquet(planted.store.require("phewas").path("disease_associations"))
    tests = tests[tests["group"] == "variants"].sort_values("neg_log10_p", ascending=False)
    assert len(tests) == len(DISEASES)
    variant = f"{lead['contig']}:{lead['position']}:A:G"
    name = page.run(f"ecgSpark.loci.loci.find(l => l.variant === {json.dumps(variant)}).name")
    opened(page, name)
    rows = shown_table(page, "Diseases")
    assert len(rows) == len(tests)
    for row, (_, test) in zip(rows, tests.iterrows(), strict=True):
        assert test["disease"] in row[0]
        assert float(row[4]) == pytest.approx(test["neg_log10_p"], abs=0.06)
        assert int(row[6]) == test["cases"]
        low = np.exp([test["beta"], test["lower"], test["upper"]])
        if np.isfinite(low).all():
            assert row[3] == "{:.2f} ({:.2f}–{:.2f})".format(*low)
    other = page.run("ecgSpark.loci.loci.find(l => !l.diseases.length)?.name ?? null")
    if other is not None:
        opened(page, other)
        assert shown_table(page, "Diseases") is None


def test_a_locus_tells_its_replication_and_an_old_one_is_left_out(page, planted):
    lead = strongest(planted)
    opened(page, lead["rsid"])
    rows = shown_table(page, "In other cohorts")
    assert f"cohort 2 ({HOSTILE})" in {row[0] for row in rows}
    table = pd.read_parquet(planted.store.require(REPLICATION_NAME).path("replication"))
    own = table[(table["contig"] == lead["contig"]) & (table["position"] == lead["position"])]
    assert len(rows) == min(len(own), 12), "of one replication only"
    betas = own.loc[own["beta_there"].notna(), "beta_there"]
    assert {float(row[4]) for row in rows if row[4] != "–"} <= set(betas)
    assert f"{REPLICATION_NAME}.html" in planted.text
    assert "replicate-00000000" not in planted.text
    assert "that the study no longer has are left out (1)" in planted.text


def test_a_variant_is_found_by_its_rsid_wherever_a_locus_has_it(page, planted):
    lead = strongest(planted)
    status = "document.querySelector('#genome [role=status]').innerText"
    title = "document.querySelector('#genome .locus h3').textContent"
    page.run(f"ecgSpark.genome.search('RS{BESIDE + lead['position']}')")
    assert page.run(title) == f"Locus {lead['rsid']}"
    assert "1,500 bp from its lead variant" in page.run(status)
    assert page.run("document.querySelectorAll('#genome .locus .sought').length") == 1
    page.run(f"ecgSpark.genome.search('{lead['rsid']}')")
    assert page.run("document.querySelectorAll('#genome .locus .sought').length") == 0
    page.run("ecgSpark.genome.search('rs4294967295')")
    assert "No locus here has" in page.run(status)


def test_a_disease_is_a_heart_to_start_from(page, planted):
    groups = dict(page.run("ecgSpark.data('heart').groups"))["Diagnosed with"]
    assert [one["text"] for one in groups] == sorted(name for name, *_ in DISEASES.values())
    held = pd.read_parquet(planted.store.require("phewas").path("occurrences"))
    table = evidence.dataset(planted.store.require("encode").path("latents"))
    latents = evidence.latent_scores(table, "vae")
    scaled = (latents - latents.mean()) / latents.std(ddof=0)
    for code, (name, *_) in DISEASES.items():
        [group] = [one for one in groups if one["text"] == name]
        ill = held.loc[held["disease"] == code, "participant_id"]
        assert group["n"] == len(ill)
        np.testing.assert_allclose(group["sds"], scaled.loc[ill].mean(), atol=1.01 / len(ill))
    options = page.run("[...document.querySelectorAll('#heart-preset option')].map(o => o.text)")
    assert f"{HOSTILE}, n 110" in options


def test_few_cases_and_diseases_that_differ_by_one_person_tell_nothing_of_anybody():
    rng = np.random.default_rng(5)
    latents = pd.DataFrame(rng.normal(size=(300, 3)), [f"p{k}" for k in range(300)])
    ids = latents.index.to_numpy()
    ill = {"few": ids[: MIN_GROUP_SIZE - 1], "kind": ids[:40], "kinds": ids[:41]}
    rows = [
        pd.DataFrame({"participant_id": [*own, "stranger"], "disease": name})
        for name, own in ill.items()
    ]
    [(_, found)] = heart.diagnosed(latents, rows, {name: name for name in ill})
    assert {one["text"]: one["n"] for one in found} == {"kind": 40, "kinds": 41}
    totals = [np.array(one["sds"]) * one["n"] for one in found]
    steps = (totals[1] - totals[0]) / heart.ROUNDED_TO
    np.testing.assert_allclose(steps, np.rint(steps), atol=0.01)
    assert heart.diagnosed(latents, rows[:1], {"few": "few"}) == []


@given(
    st.lists(st.integers(0, 40_000_000), min_size=1, max_size=8, unique=True),
    st.lists(st.integers(0, 42_000_000), max_size=30),
)
def test_a_place_is_of_the_one_region_that_it_lies_in_or_next_to(starts, places):
    assert 2 * FLANK_BP <= MERGE_BP
    regions, end = [], -MERGE_BP - 1
    for start in sorted(starts):
        if start - end > MERGE_BP:
            end = start + 300_000
            regions.append(Region("chr1", start, end, (), (), pd.Series(dtype=object)))
    regions.append(Region("chr2", 5, 9, (), (), pd.Series(dtype=object)))
    regions.reverse()
    table = pd.DataFrame({"contig": "chr1", "position": np.array(places, int)})
    for place, found in zip(places, region_of(table, regions), strict=True):
        near = [
            k for k, one in enumerate(regions)
            if one.contig == "chr1" and one.start - FLANK_BP <= place <= one.end + FLANK_BP
        ]  # fmt: skip
        assert [found] == (near or [-1])


@given(st.lists(st.integers(1, 2**32 - 1), max_size=20))
def test_rs_numbers_go_through_32_bits(numbers):
    others = [None, "rs0", "Affx-1", "rs99999999999", "rs5x"]
    names = pd.Series([*(f"rs{n}" for n in numbers), *others], dtype=object)
    found = genome._rs_numbers(names).view(np.uint32)
    assert found.tolist() == [*numbers, *[0] * len(others)]


def test_a_disease_that_is_looked_at_in_two_sets_of_people_is_told_once_of_each(planted):
    """Of diagnoses without dates, those with an ECG and those genotyped have the same kind."""
    known = pd.read_parquet(planted.store.require("phewas").path("diseases"))
    assert known.groupby(["disease", "kind"]).size().eq(2).all()
    shown = planted.table("predictor", "ratio (95 %)")
    assert not shown.duplicated(["disease", "predictor"]).any()
    tests = pd.read_parquet(planted.store.require("phewas").path("disease_associations"))
    assert len(shown) == min((tests["q"] < FDR).sum(), 40)
