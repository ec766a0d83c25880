"""What the truth file of a simulated biobank says: everything that was planted, and counts."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ecg_spark.simulate.cohort import Cohort
from ecg_spark.simulate.diseases import describe_diseases
from ecg_spark.simulate.exome import ActingGenes, Exome, PlantedGene
from ecg_spark.simulate.genome import FST, Genome
from ecg_spark.simulate.heart import PARAMETERS, Parameter
from ecg_spark.simulate.people import (
    People,
    Planted,
    describe_parameters,
    describe_planted,
    parameter_class,
)
from ecg_spark.simulate.recorded import CHANGES
from ecg_spark.simulate.visits import Defect

_RHYTHMS = {"atrial_fibrillation": "fibrillation", "ventricular_ectopy": "ventricular_ectopy"}
_TRUTH_NOTES = {
    "effect_allele": "ALT; beta is the change of the parameter's score (variance 1) by one allele",
    "variance_explained": "part of the score's variance in the population, by construction of beta",
    "variance_explained_measured": "squared correlation with the score over these participants",
    "genes": "beta is the change of the score by one rare allele, by what it does to the protein; "
    "of a gene of both directions that of the variants listed as raising, and its negative that of "
    "those listed as lowering, while the others do nothing",
    "value": "floor + median * exp(spread * score) if log, else median + spread * score",
}
_NOTES_OF_RECORDED = {
    "variance_explained": "part of the variance of a trait of the heart that differs between the "
    "recorded hearts as much as 'spread' says, by construction of beta; not measured",
    "value": "what is changed of the recorded signal: median * exp(spread * score) if log, else "
    "spread * score",
}


@dataclass(frozen=True)
class Biobank:
    """What every task needs to know."""

    out: Path
    genome: Genome
    planted: list[Planted]
    genes: ActingGenes
    of_diseases: list[Planted]
    defects: dict[int, Defect]
    participants: int
    hearts: Path | None
    cohort: Cohort

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """What the scores of the people are of."""
        return PARAMETERS if self.hearts is None else CHANGES

    @property
    def has_diseases(self) -> bool:
        """Recorded hearts have scores of what is changed of them, by which nobody falls ill."""
        return self.hearts is None


def sums_of(people: People, planted: list[Planted], genes: ActingGenes, n: int) -> np.ndarray:
    """Per planted variant, then per planted gene, the sums of 1, g, z, g², z² and gz, [k, 6].

    g: the ALT count of a variant, and what a gene adds to the score.
    """
    names = [p.name for p in people.parameters]
    g = np.concatenate([people.dosages, people.rare], axis=1)[:n]
    acting = [one.parameter for one in planted] + [one.parameter for one in genes.planted]
    z = people.scores[:n][:, [names.index(parameter) for parameter in acting]]
    return np.stack([np.ones_like(g), g, z, g * g, z * z, g * z]).sum(axis=1).T


def truth_of(
    biobank: Biobank,
    settings: dict[str, Any],
    chunks: list[dict[str, Any]],
    rare_variants: int,
) -> dict[str, Any]:
    """The whole truth of a biobank, of which `chunks` are what its tasks have counted, and
    `rare_variants` how many variants of genes somebody carries."""
    genome, drawn = biobank.genome, biobank.hearts is None
    n, g, z, gg, zz, gz = np.sum([chunk["sums"] for chunk in chunks], axis=0).T
    with np.errstate(divide="ignore", invalid="ignore"):
        r2 = (gz - g * z / n) ** 2 / ((gg - g * g / n) * (zz - z * z / n))
    measured = [float(one) if drawn and np.isfinite(one) else None for one in r2]
    variants, planted_genes = biobank.planted, biobank.genes.planted
    formats = {
        name: sum(chunk["formats"].get(name, 0) for chunk in chunks)
        for name in sorted({name for chunk in chunks for name in chunk["formats"]})
    }
    corrupt = [one for chunk in chunks for one in chunk["corrupt"]]

    def total(key: str) -> int:
        return sum(chunk[key] for chunk in chunks)

    cases: dict[str, int] = {}
    for chunk in chunks:
        cases |= {code: cases.get(code, 0) + n for code, n in chunk["cases"].items()}
    diseases = []
    if biobank.has_diseases:
        diseases = describe_diseases(genome, biobank.of_diseases, cases)

    return {
        **settings,
        "reference_genome": "GRCh38",
        "counts": {
            "genes": biobank.genes.exome.n_blocks,
            "rare_variants": rare_variants,
            "recordings": sum(formats.values()),
            "by_format": formats,
            "corrupt": {kind.value: sum(c["kind"] == kind for c in corrupt) for kind in Defect},
            **({key: total(of) for key, of in _RHYTHMS.items()} if drawn else {}),
            "sibling_pairs": total("siblings"),
            "parent_offspring_pairs": total("parent_offspring"),
            "poor_samples": total("poor_samples"),
            "badly_typed_variants": int(
                ((genome.missing >= 0.1) | (genome.lost_heterozygotes > 0)).sum()
            ),
        },
        "populations": {
            "shares": genome.population_shares,
            "fst": FST,
            "participants": np.sum([chunk["population"] for chunk in chunks], axis=0).tolist(),
        },
        "notes": _TRUTH_NOTES if drawn else _TRUTH_NOTES | _NOTES_OF_RECORDED,
        "planted": [
            describe_planted(genome, one) | {"variance_explained_measured": own}
            for one, own in zip(variants, measured[: len(variants)], strict=True)
        ],
        "planted_genes": [
            _describe_gene(biobank.genes.exome, one) | {"variance_explained_measured": own}
            for one, own in zip(planted_genes, measured[len(variants) :], strict=True)
        ],
        "parameters": describe_parameters(biobank.parameters),
        **({"diseases": diseases} if biobank.has_diseases else {}),
        "corrupt": corrupt,
    }


def _describe_gene(exome: Exome, one: PlantedGene) -> dict[str, object]:
    """A planted gene as the truth file says it."""
    span = exome.block(one.gene)
    signed = {
        sign: [exome.name(span.start + v) for v in np.flatnonzero(np.sign(one.beta) == sign)]
        for sign in (1, -1)
    }
    return {
        "gene": exome.genes[one.gene],
        "contig": exome.contig_name(span.start),
        "start": int(exome.position[span][0]),
        "end": int(exome.position[span][-1]),
        "parameter": one.parameter,
        "class": parameter_class(one.parameter),
        "directions": "one" if one.one_way else "both",
        "beta": dict(one.effects),
        "raising": [] if one.one_way else signed[1],
        "lowering": [] if one.one_way else signed[-1],
        "variance_explained": one.variance_explained,
    }


def summary_of(truth: dict[str, Any]) -> dict[str, Any]:
    """The counts of a biobank, from its truth file."""
    large = [one for one in truth["planted"] if one["variance_explained"] >= 0.05]
    return {
        "participants": truth["participants"],
        "variants": truth["variants"],
        "seed": truth["seed"],
        **truth["counts"],
        "planted": len(truth["planted"]),
        "planted_large": len(large),
        "planted_genes": len(truth["planted_genes"]),
    }
