"""The page as one uses it, in a real browser."""

import base64
import hashlib
import json
import re

import lxml.html
import numpy as np
import pandas as pd
import pytest

from ecg_spark.report import evidence, explain, genome, heart, loci
from ecg_spark.report.rendering import render
from models.registry.publishing import load_encoder
from tests.builders.encoders import untrained_encoder
from tests.builders.report_biobank import HOSTILE, PACED

ENTER = 13


def test_only_the_pages_own_scripts_may_run(planted, empty_page, tmp_path):
    tree = lxml.html.fromstring(planted.text)
    policy = tree.xpath("//meta[@http-equiv]/@content")[0]
    run = [s.text for s in tree.xpath("//script") if s.get("type") is None]
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in run]
    assert re.findall(r"'sha256-([^']+)'", policy) == hashes
    assert "unsafe-inline" not in policy.partition("script-src")[2]
    assert not [name for node in tree.iter() for name in node.attrib if name.startswith("on")]
    foreign = tmp_path / "foreign.html"
    text = planted.text.replace("</main>", "<script>window.foreign = 1</script></main>")
    foreign.write_text(text, encoding="utf-8")
    empty_page.events.clear()
    empty_page.open(foreign)
    assert empty_page.run("window.foreign") is None
    assert any("violates" in line for line in empty_page.complaints)


def test_a_table_is_sorted_and_filtered_by_keyboard_and_saved_exactly(page, planted):
    page.run("""window.table = [...document.querySelectorAll("table")].find(t =>
        t.textContent.includes("left out by"))""")
    shown = """[...table.tBodies[0].rows].filter(r => !r.hidden)
        .map(r => parseFloat(r.cells[3].dataset.v))"""
    original = page.run(shown)
    page.run("table.tHead.rows[0].cells[3].querySelector('button').focus()")
    for order in (sorted(original, reverse=True), sorted(original), original):
        page.press("Enter", ENTER, "\r")
        assert page.run(shown) == order
    page.run("""(() => {
        const field = table.parentElement.previousElementSibling.querySelector("input");
        field.value = "PACED recordings";
        field.dispatchEvent(new Event("input"));
    })()""")
    assert page.run(shown) == [PACED]
    page.run("""window.kept = []; URL.createObjectURL = blob => (kept.push(blob), "#")""")
    tools = "document.querySelector('table.loci').parentElement.previousElementSibling"
    assert page.run(f"{tools}.textContent.includes('Save as TSV')")
    page.run(f"[...{tools}.querySelectorAll('button')].pop().click()")
    text = page.run("kept[0].text()")
    header, *rows = (line.split("\t") for line in text.splitlines())
    stored = pd.read_parquet(planted.store.require("findings").path("loci"))
    regions = loci.merge(stored)
    assert len(rows) == len(regions)
    for row, region in zip(rows, regions, strict=True):
        assert float(row[header.index("−log₁₀ p")]) == region.lead["neg_log10_p"]
        beta = row[header.index("β")]
        assert (float(beta) if beta else None) == region.row()["beta"]


def test_the_pages_of_several_cohorts_have_such_tables_too(empty_page, tmp_path):
    row = ["rs1", "vae", "vae_00", 0.1, 0.02, 9.0, "replicated", 0.1, 0.02, 5.0, 7.0, 900, 0.3,
           0.9, 0.8]  # fmt: skip
    loci_rows = [[f"rs{k}", *row[1:3], k / 7, *row[4:]] for k in range(12)]
    context = {"title": "t", "made_on": "today", "tiles": [], "method_rows": [], "left_out": 0,
               "method_heads": [],
               "figures": {"compared": None}}  # fmt: skip
    path = tmp_path / "replication.html"
    path.write_text(render("replication.html", context | {"loci_rows": loci_rows}), "utf-8")
    empty_page.events.clear()
    empty_page.open(path)
    empty_page.run("""[...document.querySelectorAll("#loci th button")].find(
        b => b.textContent === "β here").click()""")
    first = empty_page.run("document.querySelector('#loci tbody td:nth-child(4)').dataset.v")
    assert float(first) == 11 / 7
    assert empty_page.complaints == []


def decoded(page, decoder, sds):
    """What decoders of the page make of factors [n, k], as the beats' largest and the beats."""
    return np.array(
        page.run(f"{json.dumps(sds.tolist())}.map(one => Array.from({decoder}.decode(one)))")
    ).reshape(len(sds), 12, 600)


def test_the_decoder_in_the_page_is_the_network(page, planted):
    study = planted.store.require("train").summary
    uri = study["model_uri"]
    encoder = load_encoder(uri, f"sqlite:///{planted.path.parent}/mlflow.db")
    latents = evidence.latent_scores(
        evidence.dataset(planted.store.require("encode").path("latents")), "vae"
    ).to_numpy()
    sds = np.random.default_rng(6).normal(0, 1.5, (100, encoder.n_active))
    expected = encoder.decode(latents.mean(axis=0) + sds * latents.std(axis=0))
    found = decoded(page, "ecgSpark.heart.decoder", sds)
    assert 1000 * np.abs(found - expected).max() < 1


def test_the_decoder_of_several_rotated_folds_is_their_mean(page):
    rng = np.random.default_rng(7)
    beats = rng.normal(0, 0.3, (60, 12, 600)).astype(np.float32).cumsum(axis=2) / 8
    plain = untrained_encoder(beats, 5)
    turns = [np.linalg.qr(rng.normal(size=(5, 5)))[0][:, :4] for _ in plain.folds]
    folds = [f.rotated(t, t, np.ones(4)) for f, t in zip(plain.folds, turns, strict=True)]
    encoder = type(plain)(folds, [1.0] * 4)
    mean, sd = rng.normal(size=4), rng.uniform(0.5, 2, 4)
    page.run(f"window.other = ecgSpark.decoder({json.dumps(heart.decoder(encoder, mean, sd))})")
    sds = np.concatenate([rng.normal(0, 2, (30, 4)), 30 * np.eye(4)])  # the warp at its furthest
    expected = encoder.decode(mean + sds * sd)
    found = decoded(page, "other", sds)
    assert np.abs(expected - expected.mean(axis=0)).max() > 0.5
    assert (1000 * np.abs(found - expected).max(axis=(1, 2)) < 1).all()


def test_a_slider_moves_the_heart_at_once(page):
    paths = "[...document.querySelectorAll('#heart .heart-a')].map(p => p.getAttribute('d')).join()"
    before = page.run(paths)
    page.run("document.querySelector('#heart input[type=range]').focus()")
    page.press("PageUp", 33)
    assert page.run(paths) != before
    assert "A differs from B" in page.run(
        "document.querySelector('#heart [role=status]').innerText"
    )
    seconds = page.run("""(() => {
        const slider = document.querySelector("#heart input[type=range]");
        const times = [];
        for (let k = 0; k < 15; k++) {
            const start = performance.now();
            slider.value = k / 10;
            slider.dispatchEvent(new Event("input"));
            document.querySelector("#heart svg").getBoundingClientRect();
            times.push(performance.now() - start);
        }
        return times.sort((a, b) => a - b)[7] / 1000;
    })()""")
    assert seconds < 0.05
    assert first_paint(page) < 2


def first_paint(page):
    """Seconds from the page's opening to its first content."""
    milliseconds = page.run("""new Promise(done => new PerformanceObserver(list => {
        for (const one of list.getEntriesByName("first-contentful-paint")) done(one.startTime);
    }).observe({type: "paint", buffered: true}))""")
    return milliseconds / 1000


def test_groups_are_of_many_people_and_start_from_their_mean_factors(page, planted):
    data = page.run("ecgSpark.data('heart')")
    groups = dict(data["groups"])
    assert {"PR (ms)", "QT (ms)", "Frontal axis (degrees)", "age", "sex"} <= set(groups)
    assert "visit 2" not in groups
    assert {member["text"] for member in groups["sex"]} == {"sex: women", "sex: men"}
    assert all(member["n"] >= 20 for members in groups.values() for member in members)
    table = evidence.dataset(planted.store.require("encode").path("latents"))
    latents = evidence.latent_scores(table, "vae")
    people = np.argsort(planted.bank.traits["qt_ms"])[-len(planted.bank.ids) // 10 :]
    chosen = latents.loc[[planted.bank.ids[k] for k in people]].mean()
    expected = (chosen - latents.mean()) / latents.std(ddof=0)
    last = groups["QT (ms)"][-1]
    np.testing.assert_allclose(last["sds"], expected, atol=1.01 / last["n"])
    page.run("""(() => {
        const list = document.querySelector("#heart-preset");
        list.value = [...list.options].find(o => o.text.startsWith("QT (ms): 10 of 10")).value;
        list.dispatchEvent(new Event("change"));
    })()""")
    label = page.run("document.querySelector('#heart svg').getAttribute('aria-label')")
    for name, value in zip(latents.columns, last["sds"], strict=True):
        if abs(value) > 0.1:
            assert f"{name} {value:+.1f}"[:-1].replace("-", "−") in label


def test_tied_values_and_small_groups_make_no_small_tenth():
    latents = pd.DataFrame({"vae_00": np.arange(250.0)}, index=[f"p{k}" for k in range(250)])
    tied = pd.Series(np.where(np.arange(250) < 200, 1.0, np.arange(250.0)), latents.index)
    found = dict(heart.groups(latents, {"tied": tied, "few": tied[:30], "none": tied[:0]}))
    assert set(found) == {"tied"}
    assert sum(member["n"] for member in found["tied"]) <= 250
    assert found["tied"][0]["n"] == 200


@pytest.mark.parametrize("kind", ["svg", "png"])
def test_the_heart_is_saved_as_a_picture(page, kind):
    found = page.run(f"""new Promise(done => {{
        ecgSpark.save = (blob, name) => blob.arrayBuffer().then(bytes =>
            done([name, blob.size, String.fromCharCode(...new Uint8Array(bytes).slice(0, 40))]));
        [...document.querySelectorAll("#heart button")]
            .find(b => b.textContent.endsWith("{kind.upper()}")).click();
    }})""")
    assert found[0] == f"heart.{kind}"
    assert found[1] > 5000
    assert found[2].startswith("<svg" if kind == "svg" else "\x89PNG")


def shown_locus(page):
    return page.run("document.querySelector('#genome .locus h3')?.textContent ?? null")


def of_lead(planted, page, number):
    """The details of a locus in the page, and the stored tests of its lead variant by phenotype."""
    held = page.run(f"(({{effects, beta, ...own}}) => own)(ecgSpark.loci.loci[{number}])")
    rows = pd.read_parquet(planted.store.require("associations").path("associations"))
    contig, position, *_ = held["variant"].split(":")
    own = rows[(rows["contig"] == contig) & (rows["position"] == int(position))]
    return held, own.set_index("phenotype")


def test_what_a_locus_does_to_the_beat_is_what_the_figures_show(page, planted):
    encoder = load_encoder(
        planted.store.require("train").summary["model_uri"],
        f"sqlite:///{planted.path.parent}/mlflow.db",
    )
    table = evidence.dataset(planted.store.require("encode").path("latents"))
    latents = evidence.latent_scores(table, "vae")
    told = explain.Explainer(encoder.decode, latents.to_numpy())
    names = list(latents.columns)
    for number in range(2):
        _, stored = of_lead(planted, page, number)
        beta, se = (stored[column][names].to_numpy() for column in ("beta", "se"))
        expected = told.locus_effect(beta, se).change_uv
        found = page.run(f"""(({{change, band}}) => [Array.from(change), Array.from(band)])(
            ecgSpark.loci.changeOf(ecgSpark.loci.loci[{number}]))""")
        change, band = (1000 * np.reshape(one, (12, 600)) for one in found)
        assert np.abs(change - expected[0]).max() < 1
        np.testing.assert_allclose(change + band, expected[2], atol=1)
        assert band.max() > 5


def test_the_region_of_a_locus_holds_its_tests_and_its_linkage(page, planted):
    held, _ = of_lead(planted, page, 0)
    unpacked = {
        key: page.run(f"Array.from(ecgSpark.unpack({json.dumps(held[key])}))")
        for key in ("away", "heights", "r2")
    }
    rows = pd.read_parquet(planted.store.require("associations").path("associations"))
    near = rows[
        (rows["contig"] == f"chr{held['contig']}")
        & (rows["phenotype"] == held["phenotype"])
        & ((rows["position"] - held["position"]).abs() <= 250_000)
    ]
    assert sorted(unpacked["away"]) == sorted(near["position"] - held["position"])
    lead = unpacked["away"].index(0)
    assert unpacked["r2"][lead] == pytest.approx(1)
    assert unpacked["heights"][lead] == pytest.approx(held["neg_log10_p"], rel=1e-4)


def test_a_locus_is_found_by_name_gene_and_place_and_by_keyboard(page):
    loci = page.run(
        "ecgSpark.loci.loci.map(({name, contig, position}) => [name, contig, position])"
    )
    name = loci[-1][0]
    page.run("document.querySelector('#genome-search').focus()")
    page.run(f"document.querySelector('#genome-search').value = {json.dumps(name)}")
    page.press("Enter", ENTER, "\r")
    assert shown_locus(page) == f"Locus {name}"
    assert page.run("document.activeElement.textContent") == f"Locus {name}"
    page.run(f"ecgSpark.genome.search('chr{loci[0][1]}:{loci[0][2] / 1e6:.3f}M')")
    assert shown_locus(page) == f"Locus {loci[0][0]}"
    page.run("ecgSpark.genome.search('no such gene')")
    assert "No locus here has" in page.run(
        "document.querySelector('#genome [role=status]').innerText"
    )
    page.run("document.querySelector('#genome canvas').focus()")
    before = page.run("ecgSpark.genome.view()")
    page.press("Home", 36)
    page.press("+", 187, "+")
    after = page.run("ecgSpark.genome.view()")
    assert after != before
    page.press("Enter", ENTER, "\r")
    assert shown_locus(page).startswith("Locus ")
    assert page.run("document.querySelectorAll('#genome .locus svg').length") == 4
    page.run("document.querySelector('table.loci button.link').click()")
    assert shown_locus(page) == f"Locus {loci[0][0]}"


def test_markup_in_names_stays_text_in_what_scripts_write(page):
    names = page.run("ecgSpark.loci.loci.map(({name}) => name)")
    hostile = names.index(HOSTILE)
    scripts = page.run("document.scripts.length")
    page.run(f"window.alert = () => {{ window.bad = 1 }}; ecgSpark.loci.open({hostile})")
    assert shown_locus(page) == f"Locus {HOSTILE}"
    assert page.run("document.scripts.length") == scripts
    assert page.run("window.bad") is None


@pytest.mark.parametrize("width", [1440, 1200, 800, 390])
def test_many_loci_with_long_names_break_no_page(large, empty_page, width):
    empty_page.events.clear()
    empty_page.open(large.path, width)
    assert len(large.text) < 15e6
    assert empty_page.run("document.querySelectorAll('table.loci tbody tr').length") == 500
    assert large.summary["regions"] >= 500
    empty_page.run("ecgSpark.loci.open(17)")
    assert empty_page.run("document.querySelectorAll('#genome .effect').length") == 60
    assert empty_page.run("document.documentElement.scrollWidth - innerWidth") <= 0
    assert empty_page.complaints == []
    rights = empty_page.run("""[...document.querySelectorAll("table.loci th")].filter(
        th => /^(β|−log₁₀ p)/.test(th.textContent)).map(th => th.getBoundingClientRect().right)""")
    if width >= 1200:
        assert len(rights) == 2
        assert max(rights) < width
    assert first_paint(empty_page) < 2


def test_every_control_and_picture_has_a_name(page):
    page.run("ecgSpark.loci.open(0)")
    nodes = page.call("Accessibility.getFullAXTree")["nodes"]
    asked = {"button", "slider", "combobox", "searchbox", "radio", "img", "image", "application",
             "Canvas", "link"}  # fmt: skip
    named = [
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in nodes
        if not node.get("ignored") and node["role"]["value"] in asked
    ]
    assert {"button", "slider", "combobox", "radio"} <= {role for role, _ in named}
    assert [one for one in named if not one[1].strip()] == []


def test_thinned_points_keep_every_height_of_the_picture():
    rng = np.random.default_rng(3)
    points = pd.DataFrame(
        {
            "contig": rng.choice(["1", "2"], 200_000),
            "position": rng.integers(1, 100_000_000, 200_000),
            "neg_log10_p": 2 + rng.exponential(0.8, 200_000),
            "phenotype": "qt_ms",
        }
    )
    extents = {"1": 100_000_000, "2": 100_000_000}
    kept = genome.thinned(points, 8.0, extents)
    assert len(kept) < 40_000
    assert kept["neg_log10_p"].max() == points["neg_log10_p"].max()
    hits = points["neg_log10_p"] >= 8
    assert (kept["neg_log10_p"] >= 8).sum() > 0.95 * hits.sum() > 20
    for cell, part in points.groupby(points["position"] // 5_000_000):
        own = kept[kept["position"] // 5_000_000 == cell]
        assert own["neg_log10_p"].max() == part["neg_log10_p"].max()
