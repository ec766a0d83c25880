"""Genotypes and phenotypes of a study that finds hundreds of loci."""

import numpy as np

from tests.builders.report_biobank import CONTIGS, Biobank


def many_loci(people: int, variants: int, phenotypes: int) -> tuple[Biobank, np.ndarray]:
    """Genotypes a megabase apart, each of which acts on one of several phenotypes, [people, k]."""
    rng = np.random.default_rng(8)
    dosages = rng.binomial(2, rng.uniform(0.2, 0.8, variants), (people, variants))
    contigs = np.sort(np.arange(variants) % len(CONTIGS))
    positions = 1_000_000 * (1 + np.arange(variants) - np.searchsorted(contigs, contigs))
    scaled = (dosages - dosages.mean(axis=0)) / dosages.std(axis=0)
    acts = np.arange(variants)[:, None] % phenotypes == np.arange(phenotypes)
    values = scaled @ acts + rng.normal(0, 1, (people, phenotypes))
    bank = Biobank(
        [f"person-{k:06d}" for k in range(people)], np.empty(0), np.empty(0), {}, dosages,
        np.array(CONTIGS)[contigs], positions, [],
    )  # fmt: skip
    return bank, values
