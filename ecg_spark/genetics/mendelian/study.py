"""Mendelian randomisation of a study's factors and traits on diseases from other studies."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from ecg_spark.genetics.cohorts.overlap import refuse_different
from ecg_spark.genetics.cohorts.replication import (
    NO_RESULT,
    NO_VARIANT,
    UNCLEAR_STRAND,
    Found,
    at_leads,
)
from ecg_spark.genetics.findings.catalogue import correlations_of, passing
from ecg_spark.genetics.findings.clumping import find_loci, significant_variants
from ecg_spark.genetics.genotypes.parts import open_set
from ecg_spark.genetics.genotypes.view import packed_view
from ecg_spark.genetics.gwas import VARIANTS
from ecg_spark.genetics.mendelian.estimators import FEWEST, Effects, estimates, leave_one_out
from ecg_spark.genetics.mendelian.tables import MR_ESTIMATES, MR_VARIANTS
from ecg_spark.genetics.null_model.cohort import load_cohort
from ecg_spark.genetics.outputs.reading import Cohort
from ecg_spark.study import Gwas
from ecg_spark.tables import ASSOCIATIONS, PEER, VARIANT, read_table, write_rows

log = logging.getLogger(__name__)

USED = "used"


def randomise(
    spark: SparkSession,
    genotypes: str,
    cohort_folder: str,
    tests: str,
    settings: Gwas,
    here: Cohort,
    outcomes: Cohort,
    folder: str,
) -> dict[str, Any]:
    """Estimate the effect of each factor and trait on each disease of `outcomes`.

    The instruments of a factor or trait are the lead variants of its own loci at
    `settings.p_threshold`, clumped as the study's loci are. Each is looked up in the outcomes,
    with alleles matched as in `cohorts.alignment`. A pair with fewer than `FEWEST` usable variants
    is not estimated, which the notes report. Writes the tables mr_estimates and mr_variants.

    Args:
        genotypes: the folder that `prepare_genotypes` wrote.
        cohort_folder: the folder that `prepare_cohort` wrote.
        tests: the folder that `associate_variants` wrote.
        here: the study's own results.
        outcomes: the results of the diseases.
        folder: where the tables are written.

    Raises:
        DataError: if the two lie on different builds.
    """
    refuse_different([here, outcomes])
    cohort = load_cohort(cohort_folder)
    names = [name for key, own in cohort.groups.items() if key != PEER for name in own]
    leads = _leads(spark, genotypes, list(cohort.terms.index), tests, names, settings)
    diseases = sorted(outcomes.models)
    found = at_leads(leads, here, outcomes) if len(leads) and diseases else {}
    estimated: list[dict[str, Any]] = []
    looked_up: list[dict[str, Any]] = []
    told: list[str] = []
    without = [name for name in names if name not in set(leads["phenotype"])]
    for exposure, own in leads.groupby("phenotype", sort=False):
        for outcome in diseases:
            pair = {"exposure": str(exposure), "outcome": outcome}
            rows = [pair | _looked_up(lead, found, outcome) for lead in own.itertuples()]
            used = [row for row in rows if row["use"] == USED]
            if len(used) >= FEWEST:
                effects = _effects(used)
                common = pair | {"variants": len(used), "mean_f": effects.mean_f}
                estimated += [common | asdict(one) for one in estimates(effects)]
                for row, one in zip(used, leave_one_out(effects), strict=True):
                    row |= {"estimate_without": one.estimate, "se_without": one.se}
            else:
                told.append(
                    f"{exposure} on {outcome}: {len(used)} of {len(own)} lead variants can be "
                    f"used, and at least {FEWEST} are needed"
                )
            looked_up += rows
    write_rows(estimated, MR_ESTIMATES, f"{folder}/{MR_ESTIMATES.name}")
    write_rows(looked_up, MR_VARIANTS, f"{folder}/{MR_VARIANTS.name}")
    log.info("mr: %d estimates", len(estimated))
    if without:
        told.append(
            f"{len(without)} of {len(names)} factors and traits have no locus at p < "
            f"{settings.p_threshold:g}: {', '.join(without)}"
        )
    uses = pd.Series([row["use"] for row in looked_up], dtype=object).value_counts()
    return {
        "exposures": len({row["exposure"] for row in estimated}),
        "outcomes": len(diseases),
        "pairs": len({(row["exposure"], row["outcome"]) for row in estimated}),
        "variants": {str(use): int(n) for use, n in uses.items()},
        "notes": told,
    }


def _leads(
    spark: SparkSession,
    genotypes: str,
    samples: Sequence[str],
    tests: str,
    names: Sequence[str],
    settings: Gwas,
) -> pd.DataFrame:
    """The lead variants of the loci of each phenotype by itself, with its effect there."""
    rows = read_table(spark, ASSOCIATIONS, f"{tests}/{ASSOCIATIONS.name}")
    own = rows.filter(F.col("phenotype").isin(list(names)))
    hits = passing(own, -np.log10(settings.p_threshold), "the factors and traits")
    packed = packed_view(open_set(f"{genotypes}/{VARIANTS}").where("is_candidate"))
    correlations = correlations_of(packed, significant_variants([hits]), packed.places(samples))
    loci = [
        locus
        for _, own in hits.groupby("phenotype", sort=True)
        for locus in find_loci(own, correlations, settings.clump_window_bp, settings.clump_r2)
    ]
    return pd.DataFrame(loci, columns=[*VARIANT, "rsid", "phenotype", "beta", "se"])


def _looked_up(lead: Any, found: Mapping[tuple[Any, ...], Found], outcome: str) -> dict[str, Any]:
    """A lead variant in the summary statistics of an outcome."""
    row = {name: getattr(lead, name) for name in (*VARIANT, "rsid")}
    row |= {"exposure_beta": lead.beta, "exposure_se": lead.se}
    row |= dict.fromkeys(("outcome_beta", "outcome_se", "estimate_without", "se_without"))
    own = found[tuple(getattr(lead, name) for name in VARIANT)]
    if not own.is_there:
        return row | {"use": NO_VARIANT}
    if not own.is_clear:
        return row | {"use": UNCLEAR_STRAND}
    if outcome not in own.there.index:
        return row | {"use": NO_RESULT}
    there = own.there.loc[outcome]
    return row | {
        "use": USED, "outcome_beta": float(there["beta"]), "outcome_se": float(there["se"]),
    }  # fmt: skip


def _effects(rows: Sequence[Mapping[str, Any]]) -> Effects:
    columns = ("exposure_beta", "exposure_se", "outcome_beta", "outcome_se")
    return Effects(*(np.array([row[name] for row in rows], float) for name in columns))
