"""F on X against Hail's and against its definition, for any set."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecg_spark.genetics.people.sex import MIN_VARIANTS, x_inbreeding
from tests.builders.genotype_parts import write_set

PAR = {"GRCh37": ("X", 60_001, 2_699_520, 154_931_044, 155_260_560),
       "GRCh38": ("chrX", 10_001, 2_781_479, 155_701_383, 156_030_895)}  # fmt: skip


def _set(seed, build, samples=30, usable=MIN_VARIANTS, dosages=0.3, missing=0.1):
    """Dosages with men's on X, and sites: of X inside and just outside its pseudo-autosomal
    regions, of another chromosome, rare, and not common by another criterion."""
    rng = np.random.default_rng(seed)
    x, *ends = PAR[build]
    edge = [ends[0] - 1, ends[0], ends[1], ends[1] + 1, ends[2] - 1, ends[2], ends[3], ends[3] + 1]
    between = rng.integers(ends[1] + 2, ends[2] - 2, usable + 30)
    positions = np.sort(np.r_[edge, between])
    sites = pd.DataFrame({"contig": x, "position": positions.astype(np.int32)})
    sites.loc[rng.choice(len(sites), 10, replace=False), "contig"] = "7" if x == "X" else "chr7"
    af = rng.uniform(0.02, 0.98, len(sites))
    is_man = rng.random(samples) < 0.5
    values = rng.binomial(2, af[:, None], (len(sites), samples)).astype(float)
    one = 2.0 * rng.binomial(1, af[:, None], values.shape)
    values = np.where(is_man, one, values)
    near = rng.random(len(sites)) < dosages  # some within, some beyond the tolerance of a call
    values[near] = np.abs(values[near] - rng.choice([0.0, 0.05, 0.3], values[near].shape))
    values[rng.random(values.shape) < missing] = np.nan
    values[:, 0] = np.nan
    return values, sites.assign(
        ref="A", alt="G", rsid=None, af=af,
        is_common=rng.random(len(sites)) < 0.97,
    )  # fmt: skip


def _expected(values, sites, build):
    """F as it is defined, sample by sample and variant by variant; None of too few variants."""
    x, first, last, second, end = PAR[build]
    used = [
        (row, site.af)
        for row, site in zip(values, sites.itertuples(), strict=True)
        if site.contig == x and site.is_common and min(site.af, 1 - site.af) >= 0.05
        and not first <= site.position <= last and not second <= site.position <= end
    ]  # fmt: skip
    if len(used) < MIN_VARIANTS:
        return None
    found = []
    for i in range(values.shape[1]):
        calls = [(round(row[i]), af) for row, af in used if abs(row[i] - np.rint(row[i])) <= 0.1]
        expected = sum(1 - 2 * af * (1 - af) for _, af in calls)
        homozygous = sum(call != 1 for call, _ in calls)
        found.append((homozygous - expected) / (len(calls) - expected) if calls else np.nan)
    return np.array(found)


@pytest.mark.parametrize("build", PAR)
def test_f_on_x_is_that_of_hail(spark, hail, tmp_path, build):
    values, sites = _set(5, build, usable=MIN_VARIANTS + 60)
    genotypes = write_set(tmp_path, values, [f"S{i}" for i in range(values.shape[1])], sites, 90)
    found = x_inbreeding(spark, genotypes, build)
    rows = [
        {"locus": hail.Locus(site.contig, site.position, build), "af": site.af,
         "is_common": site.is_common, "n_alt": [None if np.isnan(v) else float(v) for v in row]}
        for row, site in zip(values, sites.itertuples(), strict=True)
    ]  # fmt: skip
    kind = f"struct{{locus:locus<{build}>,af:float64,is_common:bool,n_alt:array<float64>}}"
    table = hail.Table.parallelize(rows, kind)
    common = (hail.min(table.af, 1 - table.af) >= 0.05) & table.is_common
    table = table.filter(table.locus.in_x_nonpar() & common)

    def call(dosage):
        near = hail.int32(hail.floor(dosage + 0.5))
        return hail.unphased_diploid_gt_index_call(
            hail.or_missing(hail.abs(dosage - near) <= 0.1, near)
        )

    expected = table.aggregate(
        hail.agg.array_agg(lambda v: hail.agg.inbreeding(call(v), table.af).f_stat, table.n_alt)
    )
    expected = np.array([np.nan if one is None else one for one in expected])
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    assert np.isnan(found).tolist() == [True] + [False] * (len(found) - 1)


@settings(max_examples=8)
@given(
    st.integers(0, 2**32), st.sampled_from(list(PAR)), st.integers(1, 9), st.integers(-60, 60),
    st.integers(60, 400), st.sampled_from([0.0, 0.5]),
)  # fmt: skip
def test_f_on_x_is_what_it_is_defined_as(
    spark, tmp_path_factory, seed, build, samples, more, variants, dosages
):
    values, sites = _set(seed, build, samples, MIN_VARIANTS + more, dosages)
    folder = tmp_path_factory.mktemp("set")
    genotypes = write_set(folder, values, [f"S{i}" for i in range(samples)], sites, variants)
    found, expected = x_inbreeding(spark, genotypes, build), _expected(values, sites, build)
    assert (found is None) == (expected is None)
    if expected is not None:
        np.testing.assert_allclose(found, expected, rtol=1e-9)
