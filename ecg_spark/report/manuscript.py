"""The methods of the study as text for a paper, and the items that STREGA asks to report.

STREGA: Strengthening the Reporting of Genetic Association studies (Little et al. 2009, PLoS Med
6:e22). Numbers are those of this run; what only the authors know is marked as theirs to fill in.
"""

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from ecg_spark.genetics.outputs.tables import FEWEST_TOGETHER
from ecg_spark.report import evidence
from ecg_spark.report.sections import ReportInputs, Section
from ecg_spark.tables import TOGETHER

AUTHORS = "for the authors to fill in"


def manuscript(material: ReportInputs) -> Section:
    """The methods of the association study as paragraphs, and the rows of the checklist."""
    return {"methods_text": _methods(material), "checklist": _checklist(material), "figures": {}}


def _methods(material: ReportInputs) -> list[str]:
    return [_genotypes(material), _phenotypes(material), _tests(material), _loci(material)]


def _genotypes(material: ReportInputs) -> str:
    own, told, people = material.study.genotypes, material.summary("genotypes"), material.gwas
    assert own is not None
    return (
        f"Genotypes of {_n(told['samples'])} samples ({told['reference_genome']}) passed a call "
        f"rate of {own.min_sample_call_rate:g} over variants that were called in most samples. "
        f"Kinship was "
        f"estimated by KING-robust, and {told['components']} principal components were computed "
        f"on unrelated samples and projected onto the others, from "
        f"{_n(told['structure_variants'])} independent common variants outside regions of "
        f"long-range linkage disequilibrium. People were left out whose heterozygosity lay more "
        f"than {own.max_heterozygosity_sd:g} standard deviations from what their components "
        f"predict, or whose X chromosome contradicts their reported sex. Variants had to have a "
        f"call rate of {own.min_variant_call_rate:g}, a minor allele frequency of {own.min_maf:g}"
        + (f" and {own.min_mac} minor alleles" if own.min_mac else "")
        + f" in the people analysed, and in the unrelated ones among these (on X, in women) an "
        f"imputation quality of {own.min_info:g} and p ≥ {own.min_hwe_p:g} in an exact test for an "
        f"excess of heterozygotes. {_n(people['variants'])} variants were tested."
    )


def _phenotypes(material: ReportInputs) -> str:
    study, told = material.study, material.gwas
    counts = told["phenotypes"]
    parts = []
    if study.ecg:
        parts.append(
            f"{counts.get('vae', 0)} latent factors of the average heartbeat (variational "
            f"autoencoder), as many principal components of it and {counts.get('traits', 0)} "
            f"conventional traits, of which the frontal axis was taken as the angle from its mean "
            f"direction, and QT and QTc as their residuals on heart rate and its square"
        )
    if study.phenotypes:
        parts.append(f"{counts.get('own', 0)} phenotypes of the study's own")
    scale = (
        "All were rank-inverse-normal transformed."
        if study.gwas.scale == "ranks"
        else "Latents and components were rank-inverse-normal transformed, the others were "
        "analysed in their units."
    )
    return f"The phenotypes were {' and '.join(parts)}. {scale}"


def _tests(material: ReportInputs) -> str:
    study, told = material.study, material.gwas
    whole = study.gwas.null_model == "whole_genome"
    kept = (
        "relatives among them"
        if whole
        else f"no two of whom have a kinship above {_genotype_settings(material).max_kinship:g}"
    )
    offset = (
        " after subtracting what whole-genome ridge regression predicts of it from the other "
        "chromosomes, with standard errors that allow for relatives"
        if whole
        else ""
    )
    together = any(name.endswith(TOGETHER) for name in told["thresholds"])
    omnibus = (
        f" Groups of phenotypes were also tested together, at variants with {FEWEST_TOGETHER} "
        f"minor alleles or more, by the F test of all regressions together."
        if together
        else ""
    )
    return (
        f"In {_n(told['analysed'])} people, {kept}, each phenotype was regressed on the dosage of "
        f"each variant with {', '.join(told['covariates'])} as covariates{offset}.{omnibus} A "
        f"variant has {told['tests_of_a_variant']} tests, which in this tail count as "
        f"{told['effective_tests']:.1f} independent ones by the correlation of the phenotypes: the "
        f"study-wide threshold is p < {study.gwas.p_threshold:g} / {told['effective_tests']:.1f}. "
        f"The analysis was done with ecg-spark {version('ecg-spark')}"
        + (f" and Hail {version('hail')}" if study.gwas.engine_used == "hail" else "")
        + "."
    )


def _loci(material: ReportInputs) -> str:
    gwas = material.study.gwas
    return (
        f"Significant variants within {gwas.clump_window_bp // 1000} kb of each other and with "
        f"r² above {gwas.clump_r2:g} in the people analysed were taken as one signal, and signals "
        f"that lie as near as one locus. Heritability and genetic correlation are by LD-score "
        f"regression over common variants outside the major histocompatibility complex and farther "
        f"than 1 Mb from variants with χ² above max(80, n / 1,000), with LD scores of the people "
        f"analysed, on the scale of the phenotype given its covariates."
    )


def _checklist(material: ReportInputs) -> list[list[str]]:
    """The rows of the checklist: item, what is to be reported, and what or where it is here."""
    told, own = material.gwas | material.summary("genotypes"), _genotype_settings(material)
    left_out = told["left_out"]
    relatives = (
        "kept: whole-genome regression and standard errors that allow for them"
        if material.study.gwas.null_model == "whole_genome"
        else f"one of each pair with a kinship above {own.max_kinship:g} left out"
    )
    return [
        ["1–3", "Title, background, objectives", AUTHORS],
        ["4–5", "Study design, setting, dates of recruitment", AUTHORS],
        ["6", "Eligibility; people at each step", f"{_n(told['analysed'])} analysed; left out: "
         f"{_counts(left_out.get('people', {}))}"],
        ["7", "Variants by their names", f"position, alleles and build "
         f"({told['reference_genome']}) in every table"],
        ["7", "Phenotypes and covariates", f"{sum(told['phenotypes'].values())} phenotypes; "
         f"covariates: {', '.join(told['covariates'])}"],
        ["8", "Genotyping or sequencing, imputation, laboratory", AUTHORS],
        ["8", "Call rate of samples and of variants", f"≥ {own.min_sample_call_rate:g} and "
         f"≥ {own.min_variant_call_rate:g}; each variant's own in the summary statistics"],
        ["9, 12", "Population stratification", f"{told['components']} principal components; λ and "
         f"intercepts of LD-score regression under Associations"],
        ["9, 12", "Ancestry", _ancestry(material)],
        ["10", "Size of the sample", f"{_n(told['analysed'])}"],
        ["11", "Scale of the phenotypes", "normal scores of ranks"
         if material.study.gwas.scale == "ranks" else "traits in their units"],
        ["12", "Software", f"ecg-spark {version('ecg-spark')}"],
        ["12", "Hardy-Weinberg equilibrium", f"exact test for an excess of heterozygotes, p ≥ "
         f"{own.min_hwe_p:g}; each variant's own in the summary statistics"],
        ["12", "Imputation quality", f"≥ {own.min_info:g}; each variant's own in the summary "
         f"statistics"],
        ["12", "Relatives", relatives],
        ["12", "Multiple comparisons", f"p < {material.study.gwas.p_threshold:g} over "
         f"{told['effective_tests']:.1f} independent tests of a variant"],
        ["12", "Missing genotypes and phenotypes", "a missing genotype at the mean of its variant; "
         "a phenotype is tested in those who have it"],
        ["13", "Samples and variants left out, and why", f"samples: "
         f"{_counts(left_out.get('samples', {}))}; variants: "
         f"{_counts(left_out.get('variants', {}))}"],
        ["16", "Results with effects and confidence", "β, standard error and −log₁₀ p of every "
         "test, as GWAS-SSF and in REGENIE's columns"],
        ["17", "Replication", _replication(material)],
        ["18–21", "Discussion, limits, generalisability", AUTHORS],
        ["22", "Funding, availability of data", AUTHORS],
    ]  # fmt: skip


def _replication(material: ReportInputs) -> str:
    sought = [str(one.summary["in"]) for one in material.replicated]
    return f"loci sought in {', '.join(sought)}: see Loci" if sought else AUTHORS


def _ancestry(material: ReportInputs) -> str:
    own = _genotype_settings(material).ancestry
    if own is None:
        return AUTHORS
    told = evidence.people_told(material.summary("genotypes")["ancestry"])
    counts = "; ".join(f"{name} ({_n(n)})" for name, n in told.items()) or "none"
    analysed = f"; analysed: {own.analyse}" if own.analyse else ""
    return f"inferred from a reference: {counts}{analysed}"


def _genotype_settings(material: ReportInputs) -> Any:
    own = material.study.genotypes
    assert own is not None
    return own


def _counts(reasons: Mapping[str, int]) -> str:
    told = [f"{reason} ({_n(count)})" for reason, count in reasons.items() if count]
    return "; ".join(told) or "none"


def _n(count: int | str) -> str:
    return count if isinstance(count, str) else f"{count:,}"
