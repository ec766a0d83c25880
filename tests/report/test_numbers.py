"""The report's numbers against direct computations on the same rows."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from scipy import stats

from ecg_spark.report import associations, evidence, explain, loci
from ecg_spark.report.associations import contig_order, scan_associations
from ecg_spark.tables import group_of


def association_batches(neg_log10_p: dict[str, np.ndarray], rows: int) -> list[pa.RecordBatch]:
    parts = []
    for phenotype, values in neg_log10_p.items():
        n = len(values)
        table = pa.table(
            {
                "contig": np.where(np.arange(n) < n // 2, "chr2", "chr10"),
                "position": np.arange(n, dtype=np.int32) * 1000 + 1,
                "ref": ["A"] * n,
                "alt": ["G"] * n,
                "phenotype": [phenotype] * n,
                "neg_log10_p": pa.array(values, from_pandas=True),
            }
        )
        parts += table.to_batches(max_chunksize=rows)
    return parts


@pytest.fixture(scope="module")
def p_values():
    rng = np.random.default_rng(2)
    return {
        "vae_00": -np.log10(rng.random(20_000)),
        "vae_01": -np.log10(stats.chi2.sf(1.3 * rng.chisquare(1, 20_000), 1)),
        "qt_ms": np.r_[-np.log10(rng.random(19_999)), np.nan],
    }


@pytest.mark.parametrize("rows", [333, 50_000])
def test_scan_counts_all_tests_and_keeps_the_best_of_each_variant(p_values, rows):
    seen = scan_associations(association_batches(p_values, rows), group_of)
    assert seen.tests("vae_00") == 20_000
    assert seen.tests("qt_ms") == 19_999  # one had no p-value
    assert seen.extents == {"chr2": 9_999_001, "chr10": 19_999_001}
    best = np.maximum(p_values["vae_00"], p_values["vae_01"])
    points = seen.points("vae").sort_values("position")
    expected = best[best >= associations.FLOOR]
    np.testing.assert_allclose(points["neg_log10_p"], expected)
    assert len(seen.points("pca")) == 0


def test_lambda_agrees_with_the_median_chi_squared(p_values):
    seen = scan_associations(association_batches(p_values, 4096), group_of)
    for name in ("vae_00", "vae_01"):
        for df in (1, 20):
            exact = np.median(stats.chi2.isf(10 ** -p_values[name], df)) / stats.chi2.ppf(0.5, df)
            found = associations.median_lambda(seen.histograms[name], df)
            assert found == pytest.approx(exact, abs=0.01)


def test_tests_are_counted_by_the_frequency_of_the_minor_allele():
    af = np.array([0.005, 0.995, 0.01, 0.97, 0.3, 0.5, 0.04, 0.7])
    table = pa.table(
        {
            "contig": ["1"] * 8,
            "position": np.arange(8, dtype=np.int32),
            "ref": ["A"] * 8,
            "alt": ["C"] * 8,
            "phenotype": ["vae_00", "vae_01"] * 3 + ["qt_ms"] * 2,
            "neg_log10_p": np.full(8, 0.5),
            "af": af,
        }
    )
    found = scan_associations(table.to_batches(), group_of).by_frequency
    counts = {
        group: {name: int(one.sum()) for name, one in own.items()} for group, own in found.items()
    }
    assert counts == {
        "vae": {"below 1 %": 2, "1 to 5 %": 2, "20 to 50 %": 2},
        "traits": {"1 to 5 %": 1, "20 to 50 %": 1},
    }


def test_the_qq_curve_passes_through_the_ordered_p_values(p_values):
    curve = scan_associations(association_batches(p_values, 4096), group_of).qq("vae_01")
    observed = np.sort(p_values["vae_01"])
    expected = -np.log10((np.arange(20_000, 0, -1) - 0.5) / 20_000)
    at = np.interp(curve[0], expected, observed)
    assert np.all(np.diff(curve[0]) > 0)
    assert np.abs(at - curve[1])[curve[0] < 2.5].max() < 0.03
    assert curve[1, -1] == pytest.approx(observed[-1], abs=0.006)


def test_p_value_below_the_smallest_float_is_plotted_at_its_log():
    seen = scan_associations(
        association_batches({"vae_00": np.array([0.1, 0.5, 900.0, np.inf])}, 10), group_of
    )
    assert seen.tests("vae_00") == 4
    assert seen.qq("vae_00")[1, -1] == pytest.approx(1000, abs=0.01)


def test_phenotypes_fall_into_their_groups():
    assert [group_of(n) for n in ("vae_00", "pca_113", "qt_ms", "vae_x")] == [
        "vae",
        "pca",
        "traits",
        "own",
    ]


def test_contigs_are_in_the_order_of_the_genome():
    assert sorted(["chrX", "chr10", "chr2", "22", "1"], key=contig_order) == [
        "1",
        "chr2",
        "chr10",
        "22",
        "chrX",
    ]


def test_sampled_rows_come_from_all_row_groups(tmp_path):
    pq.write_table(pa.table({"x": np.arange(10_000)}), tmp_path / "a.parquet", row_group_size=100)
    table = ds.dataset(tmp_path)
    sample = evidence.sample_rows(table, ["x"], 500)["x"].to_numpy()
    assert 450 <= len(sample) <= 500
    assert sample.min() < 100
    assert sample.max() > 9_900
    assert len(np.unique(sample)) == len(sample)
    assert evidence.sample_rows(table, ["x"], 20_000).num_rows == 10_000


def test_no_percentiles_of_fewer_people_than_twenty():
    signals = np.random.default_rng(0).normal(size=(19, 12, 600)).astype(np.float32)
    assert evidence.beat_percentiles(signals) is None
    assert explain.reconstruct(signals, {"VAE": lambda s: s}) is None
    bands = evidence.beat_percentiles(np.concatenate([signals, signals]))
    np.testing.assert_allclose(bands[2], np.median(signals, axis=0), atol=1e-6)


def test_beats_by_trait_are_means_of_the_traits_tenths():
    rng = np.random.default_rng(1)
    qt = rng.normal(400, 20, 500)
    signals = np.broadcast_to(qt[:, None, None], (500, 12, 600)).astype(np.float32)
    traits = pd.DataFrame({"pr_ms": np.nan, "qrs_ms": np.nan, "qt_ms": qt}, index=range(500))
    groups = evidence.beats_by_trait(range(500), signals, traits)
    assert list(groups) == ["QT (ms)"]  # the others are missing in everyone
    ordered = np.sort(qt)
    means = dict(groups["QT (ms)"])
    assert means["lowest tenth"][0, 0] == pytest.approx(ordered[:50].mean(), rel=1e-5)
    assert means["highest tenth"][3, 9] == pytest.approx(ordered[-50:].mean(), rel=1e-5)


def test_beat_of_a_locus_is_decoded_from_its_betas():
    rng = np.random.default_rng(3)
    axes = rng.normal(0, 0.02, (4, 12 * 600))
    scores = rng.normal(0.3, [1.0, 2.0, 0.5, 1.0], (5000, 4))
    told = explain.Explainer(lambda z: (z @ axes).reshape(-1, 12, 600), scores)
    beta, se = np.array([0.2, -0.1, 0.0, np.nan]), np.array([0.03, 0.03, 0.03, np.nan])
    effect = told.locus_effect(beta, se)
    sd = scores.std(axis=0)
    weights = np.array([0.2, -0.1, 0.0, 0.0]) * sd
    np.testing.assert_allclose(effect.change_uv[0].ravel(), 1000 * weights @ axes, atol=1e-6)
    error = 1000 * 1.959964 * np.sqrt(((0.03 * sd[:3, None] * axes[:3]) ** 2).sum(axis=0))
    np.testing.assert_allclose(
        (effect.change_uv[2] - effect.change_uv[1]).ravel() / 2, error, rtol=1e-6
    )
    np.testing.assert_allclose(
        effect.more - effect.less, 2 * effect.alleles * effect.change_uv[0] / 1000, atol=1e-9
    )
    moved = told.traversal(1)
    np.testing.assert_allclose((moved[4] - moved[2]).ravel(), 2 * sd[1] * axes[1], atol=1e-9)


def locus(method: str, contig: str, start: int, end: int, p: float, **more: object) -> dict:
    return {
        "method": method,
        "contig": contig,
        "start": start,
        "end": end,
        "position": start,
        "ref": "A",
        "alt": "G",
        "rsid": None,
        "phenotypes": [more.get("phenotype", "vae_00")],
        "beta": 0.1,
        "se": 0.01,
        "neg_log10_p": p,
        "af": 0.2,
        "n": 100,
        "n_signals": 2,
        "set_variants": 7,
        "set_pip": 0.614,
        "set_genes": ["SCN5A", "SCN10A"],
        "set_consequences": ["SCN5A missense_variant"],
        "nearest_gene": "SCN5A",
        "gene_distance_bp": 12_000,
        "published": True,
        **more,
    }


def test_loci_of_all_methods_are_merged_by_place():
    table = pd.DataFrame(
        [
            locus("vae", "chr2", 5_000_000, 5_200_000, 9.0),
            locus("traits", "chr2", 5_600_000, 5_700_000, 12.0, phenotype="qt_ms", rsid="rs7"),
            locus(
                "vae omnibus",
                "chr2",
                6_500_000,
                6_500_000,
                30.0,
                beta=np.nan,
                se=np.nan,
                phenotype="vae omnibus",
                n_signals=None,
                set_variants=None,
                set_pip=None,
                set_genes=[],
                set_consequences=[],
                nearest_gene=None,
                published=None,
            ),
            locus("vae", "chr10", 5_100_000, 5_200_000, 8.0),
        ]
    )
    regions = loci.merge(table)
    assert [(r.contig, r.start, r.end) for r in regions] == [
        ("chr2", 6_500_000, 6_500_000),
        ("chr2", 5_000_000, 5_700_000),
        ("chr10", 5_100_000, 5_200_000),
    ]
    assert regions[1].methods == ("vae", "traits")
    assert regions[1].name == "rs7"
    assert regions[1].row()["phenotypes"] == ["qt_ms", "vae_00"]
    told = ("gene", "published", "signals", "set", "in_set")
    assert [regions[1].row()[key] for key in told] == [
        "SCN5A (12 kb)", "known", 2, "7 (0.61)", "in SCN5A, SCN10A; SCN5A missense variant",
    ]  # fmt: skip
    assert [regions[0].row()[key] for key in told] == ["–", "–", None, "–", ""]
    assert regions[0].row()["beta"] is None
    assert regions[0].phenotypes == ()
    assert regions[2].name == "chr10:5100000:A:G"
    assert [region.row()["found_by"] for region in regions] == [
        "latents", "latents and traits", "latents",
    ]  # fmt: skip
    assert loci.merge(table.iloc[:0]) == []


def test_the_union_counts_every_region_once():
    all_of_them = ["vae", "traits", "pca", "vae omnibus", "pca omnibus"]
    together = ["vae omnibus", "pca omnibus"]
    by_contig = [all_of_them, ["traits"], ["pca"], together, ["vae", "traits"]]
    table = pd.DataFrame(
        [
            locus(method, f"chr{k}", 5_000_000, 5_100_000, 9.0)
            for k, found in enumerate(by_contig)
            for method in found
        ]
    )
    rows = loci.union(loci.merge(table))
    assert rows == [
        ("latents and traits", 2),
        ("latents alone", 1),
        ("traits alone", 1),
        ("components alone", 1),
        ("all together", 5),
    ]
    assert loci.union([]) == [("all together", 0)]
