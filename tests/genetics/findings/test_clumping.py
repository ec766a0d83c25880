"""Clumping by linkage disequilibrium and distance, and merging into loci."""

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from ecg_spark.genetics.findings.clumping import clump, find_loci, merge
from ecg_spark.tables import VARIANT

tests = st.lists(
    st.tuples(
        st.sampled_from(["1", "2"]),
        st.integers(1, 40).map(lambda k: 50_000 * k),
        st.floats(8, 300),
        st.integers(0, 2**31),
    ),
    min_size=1,
    max_size=25,
    unique_by=lambda item: (item[0], item[1]),
)


def _variants(rows):
    frame = pd.DataFrame(
        [(c, p, "A", "G", s) for c, p, s, _ in rows], columns=[*VARIANT, "neg_log10_p"]
    )
    frame = frame.assign(seed=[row[3] for row in rows])
    return frame.sort_values(["neg_log10_p", *VARIANT], ascending=[False] + [True] * 4).reset_index(
        drop=True
    )


def _genotypes(frame):
    shared = np.random.default_rng(0).normal(size=20)
    rows = []
    for seed in frame["seed"]:
        rng = np.random.default_rng(seed)
        row = rng.normal(size=20) + rng.choice([0, 1, 3]) * shared
        row -= row.mean()
        rows.append(row / np.linalg.norm(row))
    return np.array(rows, np.float32)


def _correlations(frame, genotypes):
    """Those of all pairs, by contig and position."""
    row = {
        (one.contig, one.position): x for one, x in zip(frame.itertuples(), genotypes, strict=True)
    }

    def of(lead, others):
        (own,), more = ([row[c, p] for c, p in zip(f.contig, f.position, strict=True)]
                        for f in (lead, others))  # fmt: skip
        return np.array(more) @ own

    return of


def _by_hand(frame, genotypes, window, r2):
    """The same clumps, one pair of variants at a time."""
    clumps = {}
    for lead in range(len(frame)):
        if lead in clumps:
            continue
        clumps[lead] = lead
        for other in range(len(frame)):
            near = (
                frame.contig[lead] == frame.contig[other]
                and abs(frame.position[lead] - frame.position[other]) <= window
            )
            correlation = float(np.float32(np.sum(genotypes[lead] * genotypes[other])))
            if other not in clumps and near and correlation**2 >= r2:
                clumps[other] = lead
    return [clumps[i] for i in range(len(frame))]


@given(tests)
@settings(max_examples=60, deadline=None)
def test_clumps_are_those_found_one_pair_at_a_time(rows):
    frame = _variants(rows)
    genotypes = _genotypes(frame)
    found = clump(frame, _correlations(frame, genotypes), 500_000, 0.1)
    assert found.tolist() == _by_hand(frame, genotypes, 500_000, 0.1)


@given(tests)
@settings(max_examples=60, deadline=None)
def test_leads_of_different_loci_are_far_apart(rows):
    frame = _variants(rows)
    clumps = clump(frame, _correlations(frame, _genotypes(frame)), 500_000, 0.1)
    loci = merge(frame, clumps, 500_000)
    leads = np.unique(clumps)
    assert (loci[leads] >= 0).all()
    for a in leads:
        for b in leads:
            if loci[a] != loci[b] and frame.contig[a] == frame.contig[b]:
                assert abs(frame.position[a] - frame.position[b]) > 500_000


def test_a_locus_tells_its_lead_its_region_and_its_phenotypes():
    signal = np.array([1, -1, 1, -1], np.float32) / 2
    other = np.array([1, 1, -1, -1], np.float32) / 2
    rows = [
        ("1", 1_000_000, "vae_00", 20.0, signal),
        ("1", 1_000_000, "vae_03", 30.0, signal),
        ("1", 1_200_000, "vae_00", 15.0, signal),
        ("1", 1_450_000, "vae_05", 12.0, other),  # not linked, but near: the same locus
        ("1", 5_000_000, "vae_00", 11.0, signal),
        ("2", 1_000_000, "vae_00", 10.0, other),
    ]
    hits = pd.DataFrame(
        [
            {
                "contig": c, "position": p, "ref": "A", "alt": "G", "rsid": None, "phenotype": name,
                "beta": 0.1, "se": 0.01, "neg_log10_p": strength, "n": 100, "af": 0.3,
            }
            for c, p, name, strength, _ in rows
        ]
    )  # fmt: skip
    correlations = _correlations(hits, [x for *_, x in rows])
    loci = find_loci(hits, correlations, 500_000, 0.1)
    assert [(one["contig"], one["position"]) for one in loci] == [
        ("1", 1_000_000), ("1", 5_000_000), ("2", 1_000_000)
    ]  # fmt: skip
    first = loci[0]
    assert (first["start"], first["end"]) == (1_000_000, 1_450_000)
    assert (first["phenotype"], first["neg_log10_p"]) == ("vae_03", 30.0)
    assert first["phenotypes"] == ["vae_03", "vae_00", "vae_05"]
    assert (first["n_variants"], first["n_clumps"]) == (3, 2)
    shuffled = hits.sample(frac=1, random_state=3)
    assert find_loci(shuffled, correlations, 500_000, 0.1) == loci
    assert find_loci(hits.iloc[:0], correlations, 500_000, 0.1) == []
