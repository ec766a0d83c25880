"""One simulated set gives the same dosages, and so the same tests, however it is written."""

import tempfile

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from ecg_spark.errors import DataError
from ecg_spark.genetics.genotypes.reading import import_genotypes
from tests.builders.genetics_data import least_squares
from tests.builders.genotype_parts import dosages_of
from tests.builders.genotype_sets import (
    simulate_set,
    write_bed,
    write_bgen,
    write_pgen,
    write_vcf,
)

bits = st.sampled_from([8, 16]) | st.integers(2, 32)
FORMS = {
    "bed": st.just({}),
    "pgen": st.just({}),
    "bgen": st.fixed_dictionaries({
        "bits": bits, "phased": st.booleans(), "ids": st.sampled_from(["inside", "beside"]),
        "compression": st.sampled_from(["zlib", "zstd", "none"]),
    }),
    "vcf": st.sampled_from([("GT",), ("GT", "DS"), ("DS", "GT"), ("GP",), ("HDS",),
                            ("GT", "GP", "DS", "HDS")]).map(lambda one: {"fields": one}),
    "mt": st.sampled_from([("GT", "DS"), ("GT",)]).map(lambda one: {"fields": one}),
}  # fmt: skip
WRITERS = {"bed": write_bed, "pgen": write_pgen, "bgen": write_bgen, "vcf": write_vcf}


def _write(hl, form, stem, data, options):
    if form != "mt":
        return WRITERS[form](stem, data, **options)
    write_vcf(stem, data, **options)
    hl.import_vcf(
        f"{stem}.vcf", reference_genome="GRCh37", array_elements_required=False
    ).write(f"{stem}.mt")  # fmt: skip


def _precision(form, options, is_hard):
    if is_hard:
        return 1e-9
    held = 0.51 / 16_384  # what a set in parts tells apart
    return {"pgen": 1e-4, "bgen": 2.01 / (2 ** options.get("bits", 8) - 1) + held}.get(form, 1e-3)


@pytest.mark.parametrize("form", FORMS)
@settings(
    max_examples=4,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],  # an import takes seconds: no failure is shrunk
    suppress_health_check=list(HealthCheck),
)
@given(drawn=st.data())
def test_a_set_gives_the_same_tests_however_it_is_written(spark, hail, form, drawn):
    options = drawn.draw(FORMS[form], "options")
    seed = drawn.draw(st.integers(0, 999), "seed")
    only_calls = form == "bed" or options.get("fields") == ("GT",)
    is_hard = only_calls or drawn.draw(st.booleans(), "hard calls")
    one_allele = form not in ("bed", "pgen")
    whole = simulate_set(seed, hard=is_hard, haploid_men=one_allele)
    rng = np.random.default_rng(seed)
    chromosomes = [list(range(4)), list(range(4, 8)), list(range(8, 12))]
    parts = chromosomes if drawn.draw(st.booleans(), "by chromosome") else [list(range(12))]
    with tempfile.TemporaryDirectory() as folder:
        for number, variants in enumerate(parts):
            part = whole.part(variants, rng.permutation(len(whole.samples)))
            _write(hail, form, f"{folder}/set{number}", part, options)
        found = import_genotypes(spark, f"{folder}/set*.{form}", "GRCh37", f"{folder}/scratch", 2)
        sites, read = dosages_of(found.genotypes)
    place = found.genotypes.samples.get_indexer(whole.samples)
    values = dict(zip(sites["rsid"], read[:, place], strict=True))
    assert sorted(values) == sorted(rsid for _, _, rsid in whole.sites)
    phenotype = rng.normal(size=len(whole.samples))
    none = np.empty((len(phenotype), 0))
    for (_, _, rsid), dosages in zip(whole.sites, whole.dosages, strict=True):
        within = _precision(form, options, is_hard)
        np.testing.assert_allclose(values[rsid], dosages, rtol=0, atol=within)
        if np.nanstd(dosages) > 0.1 and within < 0.01:
            ours, true = (least_squares(phenotype, x, none) for x in (values[rsid], dosages))
            assert ours[0] == pytest.approx(true[0], abs=100 * within)


def test_men_whose_one_allele_is_not_told_are_refused(spark, hail, tmp_path):
    data = simulate_set(3, hard=False)
    write_vcf(tmp_path / "autosomes", data.part(range(8), np.arange(24)), ("DS",))
    write_vcf(tmp_path / "x", data.part(range(8, 12), np.arange(24)), ("DS",))
    scratch = str(tmp_path / "scratch")
    found = import_genotypes(spark, str(tmp_path / "autosomes.vcf"), "GRCh37", scratch, 2)
    assert (found.genotypes.variants, len(found.genotypes.samples)) == (8, 24)
    with pytest.raises(DataError, match=r"of 3 variants .* on X .* write GT beside it"):
        import_genotypes(spark, str(tmp_path / "x.vcf"), "GRCh37", scratch, 2)


@pytest.mark.parametrize(
    ("cell", "message"),
    [("0/1:-9", "below 0"), ("0/1:2.2", "above the number of alleles"), ("1:1.9", "above")],
)
def test_impossible_dosages_are_refused_with_their_count(spark, hail, tmp_path, cell, message):
    write_vcf(tmp_path / "set", simulate_set(3), ("GT", "DS"))
    lines = (tmp_path / "set.vcf").read_text().splitlines()
    lines[-1] = "\t".join([*lines[-1].split("\t")[:-1], cell])
    (tmp_path / "set.vcf").write_text("\n".join(lines) + "\n")
    with pytest.raises(DataError, match=f"1 calls of 1 variants .*{message}"):
        import_genotypes(spark, str(tmp_path / "set.vcf"), "GRCh37", str(tmp_path / "scratch"), 2)


def test_a_sample_file_that_contradicts_its_bgen_is_refused(tmp_path):
    from ecg_spark.genetics.genotypes.samples import read_bgen_ids

    data = simulate_set(3)
    write_bgen(tmp_path / "set", data)
    other = data.part(range(12), np.arange(24)[::-1])
    write_bgen(tmp_path / "other", other, ids="beside")
    assert read_bgen_ids(str(tmp_path / "set.bgen"), None) == data.samples
    with pytest.raises(DataError, match="24 of 24 differ") as caught:
        read_bgen_ids(str(tmp_path / "set.bgen"), str(tmp_path / "other.sample"))
    assert "S0" not in str(caught.value)
    (tmp_path / "short.sample").write_text("ID_1 ID_2 missing\n0 0 0\n0 S00 0\n")
    with pytest.raises(DataError, match="names 1 people and the BGEN holds 24"):
        read_bgen_ids(str(tmp_path / "other.bgen"), str(tmp_path / "short.sample"))


@pytest.mark.parametrize("form", ["bed", "bgen", "pgen", "vcf"])
def test_files_with_other_people_are_refused_with_the_count(spark, hail, tmp_path, form):
    data = simulate_set(5, haploid_men=False)
    WRITERS[form](f"{tmp_path}/set1", data.part(range(4), np.arange(24)))
    WRITERS[form](f"{tmp_path}/set2", data.part(range(4, 8), np.arange(21)))
    with pytest.raises(DataError, match=r"File 2 of the 2 .* lacks 3 of its 24") as caught:
        import_genotypes(spark, f"{tmp_path}/set*.{form}", "GRCh37", f"{tmp_path}/scratch", 2)
    assert "S2" not in str(caught.value)


def test_lines_of_a_table_of_variants_that_are_none_are_named(tmp_path):
    from ecg_spark.genetics.genotypes.plink import bim_sites

    (tmp_path / "a.bim").write_text("1 rs1 0 1.2e+06 A G\n\n \nchr2\trs2\t5000\tA\tG\r\n")
    assert [one[2:5] for one in bim_sites(str(tmp_path / "a.bim"))] == [
        ("1", 1_200_000, ["G", "A"]), ("chr2", 5_000, ["G", "A"]),
    ]  # fmt: skip
    for line in ("1 rs1 0 1.25e0 A G", "1 rs1 0 x A G", "1 rs1 0 inf A G", "1 rs1 7"):
        (tmp_path / "b.bim").write_text(f"1 rs0 0 5 A G\n{line}\n")
        with pytest.raises(DataError, match=r"Line 2 of a \.bim"):
            list(bim_sites(str(tmp_path / "b.bim")))
