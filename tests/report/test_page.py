"""The page: published tables in; one file out that says what they say and nothing it must not."""

import base64
import json
import re
from pathlib import Path

import lxml.html
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ecg_spark.display import number
from ecg_spark.errors import UsageError
from ecg_spark.report.flow import joined
from ecg_spark.results import Figures
from jobs.report import STEP as REPORT
from jobs.step import run_step
from tests.builders.report_biobank import (
    HOSTILE,
    PACED,
    PLANTED,
    lambda_of,
    study_of,
)


def test_a_report_without_ecgs_shows_loci_and_no_heartbeat(own, planted):
    sections = lxml.html.fromstring(own.text).xpath("//section/@id")
    assert sections == [
        "recordings", "genotypes", "gwas", "heritability", "genome", "loci", "genes", "planted",
        "provenance",
    ]  # fmt: skip
    assert "z-score (β / SE) of each locus&#39;s lead variant on every phenotype of" in own.text
    assert {"heat", "regional", "manhattan", "qq", "shares"} <= set(Figures(str(own.path.parent)))
    assert "effects" not in Figures(str(own.path.parent))
    assert "VAE" not in re.sub(r"base64,[^\"]*", "", own.text)
    found = own.summary["found_large_by_method"]
    assert found == {
        "own": planted.summary["found_large_by_method"]["vae"],
        "own omnibus": planted.summary["found_large_by_method"]["vae omnibus"],
    }
    assert own.summary["found_large_own"] == planted.summary["found_large_vae"] >= 1
    assert own.summary["loci"]["own"] == planted.summary["loci"]["vae"]
    people = own.table("left out by", "of").set_index("Unnamed: 0")["of"]
    assert people["people with a phenotype"] == "people"


def test_report_holds_no_participant_id_or_hash(reports):
    for report in reports:
        for secret in [*report.bank.ids, *[f"{k:064x}" for k in range(len(report.bank.ids))]]:
            assert secret not in report.text
        pictures = re.findall(r"data:[^\"]*;base64,([A-Za-z0-9+/=]+)", report.text)
        assert len(pictures) >= 8
        for picture in pictures:
            content = base64.b64decode(picture)
            assert not any(name.encode() in content for name in report.bank.ids)


def test_the_pictures_of_the_page_lie_beside_it_by_name(planted):
    pictures = Figures(str(planted.path.parent))
    embedded = re.findall(r"data:(image/[a-z+]+);base64,([A-Za-z0-9+/=]+)", planted.text)
    assert len(pictures) == len(embedded)
    assert {"manhattan", "effects", "traversals"} <= set(pictures)
    shown = [pictures[name]._repr_mimebundle_() for name in pictures]
    for mime, content in embedded:
        text = content if mime == "image/png" else base64.b64decode(content).decode()
        assert {mime: text} in shown


def test_markup_in_names_is_escaped(planted):
    scripts = lxml.html.fromstring(planted.text).xpath("//script")
    assert planted.text.lower().count("<script") == len(scripts)
    for script in scripts:
        if script.get("type") == "application/json":
            assert json.loads(script.text)
        else:
            assert "alert(" not in script.text
    assert "&lt;script&gt;alert(&#39;rs1&#39;)" in planted.text
    assert any(HOSTILE in str(cell) for cell in planted.table("lead variant")["lead variant"])


def test_report_links_only_to_itself(reports):
    for report in reports:
        tree = lxml.html.fromstring(report.text)
        for _, name, target, _ in tree.iterlinks():
            assert target.startswith(("data:", "#")), name
        anchors = {target[1:] for *_, target, _ in tree.iterlinks() if target.startswith("#")}
        assert anchors == set(tree.xpath("//section/@id"))
        assert len(report.text) < 6_000_000


def test_report_counts_are_the_summaries_counts(planted):
    flow = planted.table("left out by", "of")
    for step in ("ingest", "average"):
        summary = planted.store.require(step).summary
        for name, count in summary["reasons"].items():
            row = flow[flow.iloc[:, 0] == f"– {name.replace('_', ' ')}"]
            assert row[["left out by", "of", "n"]].to_numpy().tolist() == [
                [step, "recordings", count]
            ]
    n = planted.store.require("ingest").summary["n_in"]
    assert f"{number(n)} files came in" in planted.text


def test_the_flow_goes_from_the_files_to_the_tests(planted):
    """Blue minus red is the next blue, in each unit; what goes on is told once."""
    flow = planted.table("left out by", "of").rename(columns={"Unnamed: 0": "what"})
    assert list(flow["of"].unique()) == ["recordings", "people", "samples", "variants"]
    for unit, rows in flow.groupby("of"):
        there = rows["n"].iloc[0]
        for row in rows.iloc[1:].itertuples():
            if row.what.startswith("–"):
                there -= row.n
            else:
                assert row.n == there, unit
    last = flow[flow["of"] == "recordings"].iloc[-1]
    assert (last["what"], last["n"]) == ("used", len(planted.bank.ids))
    analysed = flow[flow["what"] == "analysed in the GWAS"].set_index("of")["n"]
    assert (analysed == planted.store.require("cohort").summary["analysed"]).all()
    tested = flow[flow["of"] == "variants"]["n"].iloc[-1]
    assert f"{number(tested)} variants tested" in planted.text
    paced = flow[flow["what"] == "– paced"]
    assert paced["n"].tolist() == [PACED]
    assert "paced (left out)" in planted.text


def test_a_flow_that_does_not_go_on_is_an_error():
    ingest = [
        {"place": 0, "step": "ingest", "unit": "recordings", "reason": "came in", "n": 9},
        {"place": 1, "step": "ingest", "unit": "recordings", "reason": "went on", "n": 9},
    ]
    average = [row | {"step": "average", "n": 8} for row in ingest]
    tables = {"ingest": ingest, "average": average, "encode": average}
    with pytest.raises(AssertionError, match="average counts 8 recordings coming in, but 9"):
        joined({step: pd.DataFrame(rows) for step, rows in tables.items()})


def test_traits_agree_with_their_table(planted):
    table = pd.read_parquet(planted.store.require("average").path("traits"))
    table = table[[not len(flags) for flags in table["flags"]]]
    row = planted.table("trait", "median").set_index("trait").loc["PR (ms)"]
    assert row["measured"] == table["pr_ms"].notna().sum()
    assert row["missing"] == table["pr_ms"].isna().sum()
    assert row["median"] == pytest.approx(table["pr_ms"].median(), rel=5e-3)


def test_report_shows_the_trainings_held_out_figures(planted):
    metrics = planted.store.require("train").summary["metrics"]
    row = planted.table("VAE").set_index("on held-out participants").iloc[0]
    assert float(row["VAE"]) == pytest.approx(metrics["test/mae_uv"], rel=5e-3)
    assert float(row.iloc[1]) == pytest.approx(metrics["test_pca/mae_uv"], rel=5e-3)


def test_report_shows_the_measured_correlations_of_latents(planted):
    carried = planted.table("KL (nats)")
    assert len(carried) > 1
    assert (carried.iloc[:, 2].astype(float) == 0.9).all()
    kl = carried["KL (nats)"].astype(float).tolist()
    assert kl == sorted(kl, reverse=True)
    probes = planted.table("measure").set_index("of")
    assert list(probes.index) == ["PR (ms)", "sex", "age"]
    assert float(probes.loc["PR (ms)", "value"]) == 0.81
    assert probes.loc["sex", "measure"] == "area under the ROC curve"


def test_lambda_agrees_with_the_associations(planted):
    rows = pd.read_parquet(planted.store.require("associations").path("associations"))
    vae = rows[rows["phenotype"].str.startswith("vae_")]
    lambdas = [lambda_of(part["neg_log10_p"].to_numpy()) for _, part in vae.groupby("phenotype")]
    assert planted.summary["lambda_mean"]["vae"] == pytest.approx(np.mean(lambdas), abs=0.0006)
    shown = planted.table("mean λ").set_index("group").loc["VAE latents, one by one"]
    assert shown["mean λ"] == pytest.approx(np.mean(lambdas), abs=0.0006)
    assert shown["tests"] == vae["phenotype"].nunique()
    n = planted.store.require("cohort").summary["analysed"]
    at_1000 = 1 + (np.mean(lambdas) - 1) * 1000 / n
    assert float(shown["λ at n = 1,000"]) == pytest.approx(at_1000, abs=0.002)
    assert float(shown["LDSC intercept"]) == 1.01


def test_lambda_of_an_omnibus_test_is_on_its_own_degrees_of_freedom(planted):
    rows = pd.read_parquet(planted.store.require("associations").path("omnibus"))
    rows = rows[rows["model"] == "vae"]
    expected = np.median(rows["chi2"]) / stats.chi2.ppf(0.5, rows["df"].iloc[0])
    group = "VAE latents together"
    shown = planted.table("mean λ").set_index("group").loc[group]
    assert float(shown["mean λ"]) == pytest.approx(expected, abs=0.002)
    by_bin = planted.table("20 to 50 %").set_index("λ by the frequency of the minor allele")
    common = rows[np.minimum(rows["af"], 1 - rows["af"]) >= 0.2]
    expected = np.median(common["chi2"]) / stats.chi2.ppf(0.5, rows["df"].iloc[0])
    assert float(by_bin.loc[group, "20 to 50 %"]) == pytest.approx(expected, abs=0.02)


def test_methods_and_checklist_are_of_the_study(planted, null):
    assert "count as 12.5 independent ones" in planted.text
    assert "regressed on the dosage of each variant with age, sex, pc_1 as covariates" in null.text
    shown = planted.table("in this study").set_index("to be reported")["in this study"]
    assert shown["Relatives"].startswith("one of each pair with a kinship above 0.0884")
    told = shown["Eligibility; people at each step"]
    assert told.endswith("left out: a covariate is missing (2)")
    assert shown["Funding, availability of data"] == "for the authors to fill in"


def test_report_shows_the_genes_of_the_loci_table(planted):
    shown = planted.table("without one").set_index("gene")
    assert shown.index[0] == "MYH6"
    assert shown.loc["MYH6", "−log₁₀ p"] == 5.25
    assert shown.loc["MYH6", "test"] == "SKAT"
    assert shown.loc["MYH6", "burden β"] == "+0.410"
    assert shown["burden β"].iloc[1] == "–"
    assert "The strongest regions" in planted.text


def test_report_finds_planted_variants_at_their_positions(planted):
    assert planted.summary["planted"] == len(PLANTED)
    assert planted.summary["planted_large"] == 3
    shown = planted.table("parameter of the heart").set_index("parameter of the heart")
    assert shown.loc["qrs duration", "traits"] == "found"
    assert (shown["vae"] == "found").sum() == planted.summary["found_by_method"]["vae"]
    large = (shown["vae"] == "found") | (shown["vae omnibus"] == "found")
    assert large[:3].sum() == planted.summary["found_large_vae"] >= 1
    assert planted.summary["false_loci"]["vae"] == 1  # the hostile one, at no planted variant
    assert "Simulated biobank" in planted.text


def test_random_pairing_says_that_the_truth_is_null(planted, null):
    assert "The truth is null" in null.text
    assert "The truth is null" not in planted.text
    assert "Planted against found" not in null.text
    assert null.summary["regions"] == 0
    assert "No variant passed the thresholds" in null.text
    assert "planted" not in null.summary


def test_the_page_opens_in_a_browser_without_a_network(reports, empty_page):
    for report in reports:
        empty_page.events.clear()
        empty_page.open(report.path)
        assert empty_page.complaints == []
        assert empty_page.asked == [report.path.as_uri()]


def test_the_browser_would_notice_a_request_and_an_error(empty_page, tmp_path):
    page = tmp_path / "page.html"
    page.write_text("<img src='http://127.0.0.1:9/x.png'><script>console.error('no')</script>")
    empty_page.events.clear()
    empty_page.open(page)
    assert empty_page.asked == [page.as_uri(), "http://127.0.0.1:9/x.png"]
    assert any("no" in line for line in empty_page.complaints)


def test_report_names_a_step_that_is_not_published(tmp_path):
    study = study_of(tmp_path)
    with pytest.raises(UsageError, match="Nothing is published for the step 'ingest'"):
        run_step(REPORT, study)
    assert not Path(study.output_path, "report.html").exists()


def test_diseases_are_shown_with_what_goes_with_them_and_what_was_planted(planted, null):
    text, summary = planted.text, planted.summary
    assert 'id="diseases"' in text
    assert 'id="diseases"' not in null.text
    found = planted.table("predictor", "ratio (95 %)", "q")
    assert set(found["disease"]) == {"Atrial fibrillation (427.2)"}
    qrs = found[found["predictor"] == "QRS"].iloc[0]
    ratio, low, high = map(float, re.findall(r"[\d.]+", qrs["ratio (95 %)"]))
    assert 1 < low < ratio < high
    compared = planted.table("caused by", "parameters of the heart").set_index("caused by")
    assert "QRS" in compared.loc["heart", "found by"]
    assert compared.loc["neither", "found by"] == "–"
    assert summary["found_heart"] == summary["planted_heart"] == 1
    assert summary["false_heart"] == 0
    assert planted.table("model", "AUC or C", "gain")["cases"].eq(110).all()
    drawn = {"phewas", "disease_heat", "forest", "prediction", "calibration", "disease_beats"}
    assert drawn <= set(Figures(str(planted.path.parent)))
    assert not drawn & set(Figures(str(null.path.parent)))
