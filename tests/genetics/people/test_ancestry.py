"""Ancestry from a reference, of people whose populations are known."""

import numpy as np
import pandas as pd
import pytest

from ecg_spark.errors import DataError
from ecg_spark.genetics.genotypes.packed import MISSING
from ecg_spark.genetics.genotypes.view import IS_SNP, packed_view
from ecg_spark.genetics.people.ancestry import (
    infer_ancestry,
    of_population,
    people_of,
    read_populations,
)
from ecg_spark.genetics.prepare import prepare_genotypes
from ecg_spark.study import Genotypes
from tests.builders.genetics_data import people, write_plink
from tests.builders.genotype_parts import sites_of, write_set

M, REFERENCE, OURS = 2_000, 240, 90
NAMES = np.array(["AFR", "EAS", "EUR"])


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """A reference and a set of three populations, the populations, and what there is beside: the
    last three of the set are mixed, a tenth of its calls is missing, ref and alt of every third
    variant are the other way round, and each set has variants of its own."""
    calls, population = people(REFERENCE + OURS, M, seed=3, populations=3, fst=0.1)
    calls, ours = calls[:, :REFERENCE].copy(), calls[:, REFERENCE:].copy()
    known, population = population[:REFERENCE], population[REFERENCE:]
    rng = np.random.default_rng(7)
    half = rng.random(M) < 0.5
    for k in (-3, -2, -1):
        ours[:, k] = np.where(half, ours[:, k - 3], ours[:, k - 4])
    ours[rng.random(ours.shape) < 0.1] = MISSING
    contigs = np.repeat(["1", "2"], M // 2)
    positions = 60_000_000 + 10_000 * np.tile(np.arange(M // 2), 2)
    sites = sites_of(contigs, positions).assign(ref="A", alt="G")
    turned = np.arange(M) % 3 == 0
    other = sites.copy()
    other.loc[turned, ["ref", "alt"]] = ["G", "A"]
    flipped = np.where(ours == MISSING, MISSING, 2 - ours).astype(np.int8)
    ours[turned] = flipped[turned]
    folder = tmp_path_factory.mktemp("ancestry")
    both = np.arange(M) % 10
    reference = write_set(
        folder / "reference", calls[both != 1], range(REFERENCE),
        sites[both != 1].reset_index(drop=True), 300,
    )  # fmt: skip
    own = write_set(
        folder / "own", ours[both != 2], range(OURS), other[both != 2].reset_index(drop=True), 400
    )
    populations = pd.Series(NAMES[known], [str(one) for one in reference.samples])
    return packed_view(own, IS_SNP), packed_view(reference, IS_SNP), populations, population


def test_people_are_of_their_populations_and_mixed_ones_of_none(spark, sets):
    own, reference, populations, population = sets
    found = infer_ancestry(spark, own, reference, populations, "GRCh37", 1)
    assert 1_000 < found.variants <= 0.8 * M
    assert found.populations[:-3].tolist() == NAMES[population[:-3]].tolist()
    assert found.populations[-3:].tolist() == [None] * 3


def test_an_unusable_ancestry_reference_is_refused(spark, sets, tmp_path):
    own, reference, populations, _ = sets
    with pytest.raises(DataError, match="Fewer than two populations"):
        infer_ancestry(spark, own, reference, populations[populations == "EUR"], "GRCh37", 1)
    moved = own.sites.assign(position=own.sites["position"] + 1)
    elsewhere = type(own)(own.calls, own.samples, moved, own.names)
    with pytest.raises(DataError, match="shares 0 independent common variants"):
        infer_ancestry(spark, elsewhere, reference, populations, "GRCh37", 1)
    path = tmp_path / "populations.tsv"
    path.write_text("sample_id\tpopulation\nA\tEUR\nB\tAFR\nA\tEUR\n")
    with pytest.raises(DataError, match="names 1 samples more than once"):
        read_populations(str(path))
    path.write_text("sample_id\tsuperpopulation\nA\tEUR\n")
    with pytest.raises(DataError, match="no column population"):
        read_populations(str(path))


def test_all_samples_stay_and_each_population_has_components_of_its_own(spark, tmp_path):
    calls, population = people(160, 1_600, seed=5, populations=2, fst=0.1)
    ids = [f"S{i}" for i in range(160)]
    contigs, positions = np.repeat(["1", "2"], 800), 60_000_000 + 10_000 * (np.arange(1_600) % 800)
    paths = [
        write_plink(tmp_path / name, calls[:, own], ids[own], contigs, positions)
        for name, own in (("reference", slice(0, 80)), ("set", slice(80, 160)))
    ]
    names = NAMES[population]
    table = pd.DataFrame({"sample_id": ids[:80], "population": names[:80]})
    table.to_csv(tmp_path / "populations.csv", index=False)
    ancestry = {"reference": paths[0], "populations": str(tmp_path / "populations.csv")}
    settings = Genotypes.model_validate(
        {"path": paths[1], "reference_genome": "GRCh37", "components": 2, "ancestry": ancestry}
    )
    summary = prepare_genotypes(spark, settings, paths[1], str(tmp_path / "out"), 1)
    assert summary["ancestry"] == {"AFR": 40, "EAS": 40}
    assert summary["samples"] == 80
    scores = pd.read_parquet(tmp_path / "out/scores").set_index("s")
    assert scores["ancestry"].tolist() == names[80:].tolist()
    own = of_population(scores, "EAS")
    assert own.index.tolist() == [one for one in ids[80:] if names[ids.index(one)] == "EAS"]
    components = np.array(own["pc"].tolist())
    assert components.mean(axis=0) == pytest.approx([0, 0], abs=1e-9)
    assert components.std(axis=0) == pytest.approx([1, 1])
    # As of the set that holds its people alone.
    alone = np.flatnonzero(names[80:] == "EAS")
    path = write_plink(tmp_path / "eas", calls[:, 80:][:, alone], own.index, contigs, positions)
    by_itself = settings.model_copy(update={"ancestry": None})
    prepare_genotypes(spark, by_itself, path, str(tmp_path / "eas_out"), 1)
    expected = pd.read_parquet(tmp_path / "eas_out/scores").set_index("s")["pc"]
    r = np.corrcoef(components.T, np.array(expected.tolist()).T)[:2, 2:]
    assert (np.abs(np.diag(r)) > (0.97, 0.85)).all()  # two of many that are nearly alike
    assert of_population(scores, None) is scores


def test_a_population_that_nobody_or_hardly_anybody_is_of_is_refused():
    scores = pd.DataFrame(
        {"ancestry": ["EUR", "AFR", None], "pc_of_ancestry": [[0.1], None, None]}, ["A", "B", "C"]
    )
    with pytest.raises(DataError, match=r"population SAS .* are of AFR, EUR"):
        of_population(scores, "SAS")
    with pytest.raises(DataError, match="Too few people are of the population AFR"):
        of_population(scores, "AFR")


def test_few_people_of_a_population_are_not_counted():
    ancestry = pd.Series(["EUR"] * 20 + ["AFR"] * 19 + [None])
    assert people_of(ancestry) == {"EUR": 20, "AFR": None}
