"""What the sidecar file beside each summary statistics file says about the study."""

from typing import Any

from ecg_spark.genetics.null_model.cohort import Cohort
from ecg_spark.genetics.null_model.traits import units_kept
from ecg_spark.genetics.outputs.sumstats import Context
from ecg_spark.genetics.people.analysed import in_words
from ecg_spark.study import Genotypes, Gwas
from ecg_spark.tables import LATENT


def context_of(
    cohort: Cohort,
    genotype_settings: Genotypes,
    settings: Gwas,
    flow: list[dict[str, Any]],
    model: str | None,
) -> Context:
    """The facts about the study that every sidecar repeats.

    Args:
        flow: rows of the table `flow`: which people and variants were left out, and why.
        model: the digest of the model that produced the latent phenotypes, or None if there is
            none.
    """
    notes = [in_words(flow)]
    if genotype_settings.pairing == "random":
        notes.insert(
            0, "Samples and participants were paired at random: there is no association to find."
        )
    latents = [name for key in LATENT for name in cohort.groups.get(key, [])]
    return Context(
        genotype_settings.reference_genome,
        list(cohort.terms.columns),
        genotype_settings.min_maf,
        settings.engine_used,
        settings.null_model == "whole_genome",
        " ".join(notes),
        dict.fromkeys(latents, model) if model else {},
        units_kept(cohort.groups, settings.scale),
        genotype_settings.population,
    )
