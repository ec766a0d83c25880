"""A study of two populations that differ in frequencies and phenotypes, and a reference of them."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tests.builders.genetics_data import write_plink
from tests.builders.study_file import write_study

VARIANTS, CHROMOSOMES = 2_000, 4
CAUSAL = 611
"""The place of the variant that acts, common in both populations."""
ONE_SHIFTED, EFFECT = 1.5, 0.45
NULLS = tuple(f"null_{k}" for k in range(6))
PEOPLE = {"AFR": 260, "EUR": 320, "EAS": 30}
REFERENCE = 60
"""People of each population in the reference."""

FST, FST_WITHIN = 0.1, 0.04
"""Between populations, and between the two halves of AFR."""


def write_populations(folder: Path) -> Path:
    """Write genotypes, reference, phenotypes and participants into a folder; its study file.

    AFR and EUR differ in the mean of all phenotypes, and so do the halves of AFR. `acted` is moved
    by a variant, the others by none. Every fourth variant is A/T.
    """
    rng = np.random.default_rng(11)
    parts = _frequencies(rng)
    groups = np.repeat(list(parts), [PEOPLE[name[:3]] // (2 if name[3:] else 1) for name in parts])
    groups = rng.permutation(groups)
    calls = _draw(rng, parts, groups)
    ids = [f"P{number:04d}" for number in range(len(groups))]
    known = np.repeat(list(parts), [REFERENCE // (2 if name[3:] else 1) for name in parts])
    names = [f"R{number:03d}" for number in range(len(known))]
    write_set(folder / "genotypes", calls, ids)
    write_set(folder / "reference", _draw(rng, parts, known), names)
    table = pd.DataFrame({"sample_id": names, "population": [name[:3] for name in known]})
    table.to_csv(folder / "populations.csv", index=False)
    shift = pd.Series(groups).map({"AFR1": 0.8, "AFR2": -0.8, "EUR": ONE_SHIFTED, "EAS": 0.0})
    own = {name: shift + rng.normal(size=len(ids)) for name in NULLS}
    own["acted"] = shift + EFFECT * calls[CAUSAL] + rng.normal(size=len(ids))
    pd.DataFrame({"participant_id": ids, **own}).to_csv(folder / "phenotypes.csv", index=False)
    people = {"participant_id": ids, "age": rng.integers(40, 70, len(ids))}
    pd.DataFrame(people).to_csv(folder / "people.csv", index=False)
    content = {
        "name": "two",
        "output": "out",
        "participants": {"path": "people.csv", "covariates": ["age"]},
        "phenotypes": {"path": "phenotypes.csv", "columns": ["acted", "null_*"]},
        "genotypes": {
            "path": "genotypes.bed",
            "reference_genome": "GRCh37",
            "components": 2,
            "ancestry": {"reference": "reference.bed", "populations": "populations.csv"},
        },
        "gwas": {"engine": "blocks"},
    }
    return write_study(folder, content)


def write_set(stem: Path, calls: np.ndarray, samples: list[str]) -> None:
    """Write calls as a PLINK set, every fourth variant with the alleles A and T."""
    each = VARIANTS // CHROMOSOMES
    contigs = np.repeat([str(1 + k) for k in range(CHROMOSOMES)], each)
    positions = 60_000_000 + 20_000 * (np.arange(VARIANTS) % each)
    write_plink(stem, calls, samples, contigs, positions)
    path = Path(f"{stem}.bim")
    lines = path.read_text().splitlines()
    lines[::4] = [line.removesuffix("G") + "T" for line in lines[::4]]
    path.write_text("\n".join([*lines, ""]))


def _frequencies(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """The frequency of each variant in each group."""
    ancestral = rng.uniform(0.1, 0.9, VARIANTS)
    found = {name: _drift(rng, ancestral, FST) for name in PEOPLE}
    for one in found.values():
        one[CAUSAL] = 0.4
    halves = {f"AFR{k}": _drift(rng, found["AFR"], FST_WITHIN) for k in (1, 2)}
    return halves | {name: found[name] for name in ("EUR", "EAS")}


def _drift(rng: np.random.Generator, before: np.ndarray, fst: float) -> np.ndarray:
    a, b = before * (1 - fst) / fst, (1 - before) * (1 - fst) / fst
    return np.clip(rng.beta(a, b), 0.03, 0.97)


def _draw(rng: np.random.Generator, parts: dict[str, np.ndarray], groups: Any) -> np.ndarray:
    frequencies = np.array([parts[name] for name in groups]).T
    return rng.binomial(2, frequencies).astype(np.int8)
