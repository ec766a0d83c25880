"""The pictures from Python: what they show, and that a PDF of them is lines."""

import io

import numpy as np
import pandas as pd
import pytest

from ecg_spark import ecg_paper
from ecg_spark.ecg import LEADS
from ecg_spark.errors import UsageError
from ecg_spark.report import draw_heart, draw_locus, draw_report, evidence, explain, models
from ecg_spark.results import Figures
from models.registry.overview import Registered, _page, registered
from models.registry.publishing import load_encoder
from tests.builders.report_biobank import HOSTILE


def pdf_of(figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="pdf")
    return file.getvalue()


@pytest.fixture(scope="module")
def explainer(planted):
    uri = planted.store.require("train").summary["model_uri"]
    encoder = load_encoder(uri, planted.study.tracking_uri)
    table = evidence.dataset(planted.store.require("encode").path("latents"))
    return explain.Explainer(encoder.decode, evidence.latent_scores(table, "vae").to_numpy())


def test_a_heart_on_paper_is_the_decoded_beat_in_lines(planted, explainer):
    figure = draw_heart(planted.study, {"vae_01": 1.5})
    sds = np.zeros(len(explainer.mean))
    sds[1] = 1.5
    expected = explainer.beat(sds)
    curves = figure.axes[0].lines
    assert len(curves) == 24
    lead = curves[1]  # of lead I, after heart B
    shown = (lead.get_ydata() + ecg_paper._ZERO_MM) / ecg_paper._MM_PER_MV
    np.testing.assert_allclose(shown, expected[LEADS.index("I"), ecg_paper._SHOWN])
    content = pdf_of(figure)
    assert content.startswith(b"%PDF")
    assert b"/Subtype /Image" not in content


def test_a_factor_that_the_model_lacks_is_refused(planted):
    with pytest.raises(UsageError, match="no factor vae_77: its factors are vae_00 to vae_"):
        draw_heart(planted.study, {"vae_00": 1.0}, {"vae_77": 1.0})


def test_a_locus_on_paper_is_found_by_its_names(planted):
    loci = pd.read_parquet(planted.store.require("findings").path("loci"))
    lead = loci[loci["rsid"] != HOSTILE].sort_values("neg_log10_p").iloc[-1]
    figure = draw_locus(planted.study, lead["rsid"].upper(), times=3)
    assert b"/Subtype /Image" not in pdf_of(figure)
    assert any(str(lead["rsid"]) in axes.get_title("left") for axes in figure.axes)
    legend = figure.axes[-1].get_legend().get_texts()
    assert [text.get_text() for text in legend] == [
        f"{count} alleles, effect × 3" for count in range(3)
    ]
    with pytest.raises(UsageError, match="No locus is called nobody"):
        draw_locus(planted.study, "nobody")


def test_the_beats_of_genotypes_lie_about_the_mean_heart():
    axes = np.random.default_rng(3).normal(0, 0.02, (3, 12 * 600))
    scores = np.random.default_rng(4).normal(0, 2.0, (500, 3))
    told = explain.Explainer(lambda z: (z @ axes).reshape(-1, 12, 600), scores)
    beta, se = np.array([0.2, np.nan, 0.1]), np.array([0.03, 0.1, 0.02])
    beats, half = told.genotypes(beta, se, 0.3, times=4)
    one = told.locus_effect(beta, se).change_uv / 1000
    np.testing.assert_allclose(beats[2] - beats[1], 4 * one[0], atol=1e-9)
    np.testing.assert_allclose(beats[0], told.mean_beat - 4 * 0.6 * one[0], atol=1e-9)
    np.testing.assert_allclose(half[2], 4 * 1.4 * (one[2] - one[1]) / 2, atol=1e-9)


def test_every_picture_of_the_page_is_drawn_from_python(own):
    drawn = draw_report(own.study)
    assert set(drawn) == set(Figures(str(own.path.parent)))
    assert pdf_of(drawn["heat"]).startswith(b"%PDF")


def test_models_of_the_registry_are_told_by_their_runs_metrics(planted):
    versions = registered(planted.study.mlflow.model_name, planted.study.tracking_uri)
    assert [one.version for one in versions] == [2, 1]
    metrics = planted.store.require("train").summary["metrics"]
    for one in versions:
        assert one.metrics["test/mae_uv"] == pytest.approx(metrics["test/mae_uv"])
        assert one.page == ""
    assert versions[1].uri == planted.store.require("train").summary["model_uri"]
    assert set(versions[1].aliases) == {"candidate", "champion"}
    shown = planted.table("error (µV)", "mean |r|")
    assert shown["version"].tolist()[0] == "2"
    assert "this study" in shown["version"][1]
    assert float(shown["error (µV)"][1]) == pytest.approx(metrics["test/mae_uv"], rel=5e-3)
    assert registered("nothing", planted.study.tracking_uri) == []


def test_a_link_into_mlflow_holds_no_password():
    page = _page("https://me:secret@mlflow.example:5000/", "7", "abc")
    assert page == "https://mlflow.example:5000/#/experiments/7/runs/abc"
    assert _page("sqlite:///mlflow.db", "7", "abc") == ""


def test_a_model_without_metrics_has_no_dot_and_one_alone_no_picture():
    bare = Registered("m", 2, (), "", {}, "")
    full = Registered("m", 1, ("champion",), "here", {"test/mae_uv": 6.0, "icc/vae_mean": 0.8}, "")
    assert models.compared([bare, full], full.uri) is None
    figure = models.compared([full, bare, full], full.uri)
    assert [len(axes.collections) for axes in figure.axes] == [2, 2]
    assert models.rows([bare], full.uri)[0]["measures"] == [None] * len(models.MEASURES)
