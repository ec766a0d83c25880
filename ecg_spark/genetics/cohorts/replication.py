"""Replication: the loci of a study looked up in another cohort.

The lead variant of a locus is tested there for the phenotype that found it. It is replicated if
its effect has the same sign and p < 0.05 / n, two-sided, where n loci of the method were tested
there. The power is the probability of that result, with effect beta and standard error s there:
Φ(|beta| / s - c) for the c with p(c) = 0.05 / n.

A locus is found because its effect was estimated as large, so the estimate is on average too large
(the winner's curse). `shrunk` corrects this: the most likely effect given that |z| passed the
threshold (Ghosh, Zou & Wright 2008, Am J Hum Genet 82:1064, the conditional likelihood). As a rule
that overcorrects, so the number of loci that replicate lies between what the two powers predict.

An omnibus test has no effect but a direction: the combination of phenotypes with the largest z
here, w = R⁻¹ z with R their correlation, and z_w = w'z / √(w'Rw). The same combination is tested
as a single test there, with R of the other cohort (O'Brien 1984, Biometrics 40:1079). Both R are
the correlations of z-scores at variants without effect.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from scipy.special import log_ndtr, ndtr, ndtri_exp

from ecg_spark.errors import DataError
from ecg_spark.genetics.cohorts.alignment import align
from ecg_spark.genetics.cohorts.joint import looking_only, pass_over
from ecg_spark.genetics.cohorts.overlap import refuse_different, refuse_shared, refuse_unlike
from ecg_spark.genetics.cohorts.tables import REPLICATION
from ecg_spark.genetics.genotypes.contigs import NUMBERS
from ecg_spark.genetics.outputs.alleles import AMBIGUOUS, KEY, keyed
from ecg_spark.genetics.outputs.reading import Cohort, genotype_sets
from ecg_spark.genetics.testing.p_values import neg_log10_p_of_z
from ecg_spark.tables import TOGETHER, VARIANT, write_rows

Reals = NDArray[np.float64]

LEVEL = 0.05

REPLICATED, NOT_REPLICATED = "replicated", "not replicated"
NO_VARIANT = "the variant is not there"
NO_PHENOTYPE = "the phenotype is not there"
NO_RESULT = "the variant has no result there"
UNCLEAR_STRAND = "strand unclear there"

_SINGULAR = 1e-8


def replicate(
    spark: SparkSession,
    here: Cohort,
    loci: pd.DataFrame,
    thresholds: Mapping[str, float],
    there: Cohort,
    folder: str,
) -> dict[str, Any]:
    """Look up the loci of the cohort `here` in the cohort `there`, and write the table
    replication.

    Loci that cannot be tested there count neither as replicated nor as failed.

    Args:
        loci: rows of the published table of loci.
        thresholds: the threshold of each method as -log10 p.
        folder: where the table is written.

    Returns:
        The summary.

    Raises:
        DataError: if there is no locus, or if the two cohorts cannot be compared: no common
            phenotype, different builds, latents of different models, people in common, or effect
            alleles that contradict the frequencies.
    """
    if loci.empty:
        raise DataError("The study has no locus: there is nothing to replicate.")
    refuse_different([here, there])
    phenotypes = sorted(set(here.models) & set(there.models))
    if not phenotypes:
        raise DataError(
            f"{there.name} has none of the study's phenotypes: name its files as the study does."
        )
    gathered = pass_over(spark, [here, there], phenotypes, looking_only)
    refuse_unlike([here, there], gathered)
    refuse_shared([here, there], gathered)
    found = at_leads(loci, here, there)
    correlations = [
        pd.DataFrame(one, index=phenotypes, columns=phenotypes) for one in gathered.correlation
    ]
    rows = [
        row
        for method, own in loci.groupby("method", sort=True)
        for row in _of_method(own, found, thresholds[str(method)], correlations)
    ]
    write_rows(rows, REPLICATION, f"{folder}/{REPLICATION.name}")
    table = pd.DataFrame(rows)
    return {
        "variants_in_common": int(gathered.variants[0, 1]),
        "aligned": {
            key: int(counts[1])
            for key, counts in gathered.counts.items()
            if key in ("swapped", "other_strand", "by_frequency", "unclear", "repeated")
        },
        "loci": {str(method): _counted(own) for method, own in table.groupby("method", sort=True)},
    }


def _counted(own: pd.DataFrame) -> dict[str, Any]:
    tested = own[own["outcome"].isin([REPLICATED, NOT_REPLICATED])]
    return {
        "loci": len(own),
        "tested": len(tested),
        "same_sign": int(tested["same_sign"].astype(bool).sum()),
        "replicated": int((tested["outcome"] == REPLICATED).sum()),
        "expected": round(float(tested["power"].sum()), 2),
        "expected_shrunk": round(float(tested["power_shrunk"].fillna(tested["power"]).sum()), 2),
    }


@dataclass(frozen=True)
class Found:
    """What both cohorts report of a lead variant, with alleles as in the loci.

    Attributes:
        here: beta, se, n and af by phenotype.
        there: the same in the other cohort.
        is_there: whether the other cohort has the variant.
        is_clear: whether both certainly report the effect of the same allele.
    """

    here: pd.DataFrame
    there: pd.DataFrame
    is_there: bool
    is_clear: bool


def at_leads(loci: pd.DataFrame, here: Cohort, there: Cohort) -> dict[tuple[Any, ...], Found]:
    """What both cohorts report of the lead variants of `here`, by contig, position, ref and
    alt.
    """
    leads = loci[VARIANT].drop_duplicates().reset_index(drop=True)
    places = leads.assign(
        chromosome=leads["contig"].map(NUMBERS).astype("int32"), lead=leads.index.astype("int32")
    )
    spark = here.rows.sparkSession
    wanted = keyed(
        spark.createDataFrame(
            places[["chromosome", "position", "ref", "alt", "lead"]],
            "chromosome int, position int, ref string, alt string, lead int",
        )
    )
    names = ["complemented", "effect_first"]
    as_asked = pd.DataFrame(wanted.select("lead", "pair", *names).toPandas()).set_index("lead")
    asked = wanted.select(*KEY, "lead")
    said = [_results(one.rows, asked) for one in (here, there)]
    found = {}
    for lead, site in enumerate(leads.itertuples(index=False)):
        own_rows = [part[part["lead"] == lead] for part in said]
        rows = pd.concat(own_rows, keys=[0, 1], names=["cohort"]).reset_index("cohort")
        own = as_asked.loc[lead]
        aligned = align(
            np.zeros(len(rows), np.int64),
            rows["cohort"].to_numpy(np.int64),
            rows["complemented"].to_numpy(bool),
            rows["effect_first"].to_numpy(bool),
            rows["af"].to_numpy(float),
            np.ones(len(rows), np.int64),
            np.array([own["pair"] in AMBIGUOUS]),
            genotype_sets([here, there]),
        )
        # The two are aligned to each other; now turn them to the alleles of the loci.
        sign = aligned.sign.copy()
        first = rows["cohort"].to_numpy() == 0
        turned = first.any() and int(sign[first][0]) * _sense(rows[first].iloc[0], own) < 0
        sign = -sign if turned else sign
        rows["beta"] *= sign
        rows["af"] = np.where(sign < 0, 1 - rows["af"], rows["af"])
        by_cohort = [
            rows[(rows["cohort"] == k) & (sign != 0)]
            .drop_duplicates("phenotype", keep=False)
            .set_index("phenotype")[["beta", "se", "n", "af"]]
            for k in (0, 1)
        ]
        is_there = bool((~first).any())
        is_clear = bool((sign != 0).all())
        found[tuple(site)] = Found(by_cohort[0], by_cohort[1], is_there, is_clear)
    return found


def _sense(row: pd.Series, asked: pd.Series) -> int:
    """1 if a row has the effect allele of the loci, -1 if it has the other."""
    return 1 if row["effect_first"] == asked["effect_first"] else -1


def _results(rows: DataFrame, asked: DataFrame) -> pd.DataFrame:
    """The results of a cohort at some variants, one row per variant and phenotype."""
    one = F.explode("results").alias("one")
    told = (
        keyed(rows)
        .join(F.broadcast(asked), list(KEY))
        .select("lead", "complemented", "effect_first", one)
        .select("lead", "complemented", "effect_first", "one.*")
        .filter((F.col("se") > 0) & F.col("beta").isNotNull())
    )
    return pd.DataFrame(told.toPandas())


def _of_method(
    loci: pd.DataFrame,
    found: Mapping[tuple[Any, ...], Found],
    threshold: float,
    correlations: Sequence[pd.DataFrame],
) -> list[dict[str, Any]]:
    """The rows of the table replication for the loci of one method."""
    rows = []
    for locus in loci.itertuples(index=False):
        own = found[tuple(getattr(locus, name) for name in VARIANT)]
        row = {name: getattr(locus, name) for name in ("method", *VARIANT, "rsid", "phenotype",
               "beta", "se", "neg_log10_p", "n")}  # fmt: skip
        row |= dict.fromkeys(name for name in REPLICATION.schema.names if name not in row)
        test = _tested(locus, own, correlations)
        rows.append(row | (test if isinstance(test, dict) else {"outcome": test}))
    tested = [row for row in rows if row["z_there"] is not None]
    if not tested:
        return rows
    critical = float(-ndtri_exp(np.log(LEVEL / len(tested) / 2)))
    passed = float(-ndtri_exp(-threshold * np.log(10) - np.log(2)))
    for row in tested:
        z, expected = row["z_there"], row.pop("expected")
        row["same_sign"] = z > 0
        row["outcome"] = REPLICATED if z > critical else NOT_REPLICATED
        row["power"] = float(ndtr(expected - critical))
        if row["beta"] is not None and np.isfinite(row["beta"]):
            whole = max(abs(row["beta"]) / row["se"], passed)
            share = float(shrunk(whole, passed)) / whole
            row["power_shrunk"] = float(ndtr(share * expected - critical))
    return rows


def _tested(locus: Any, own: Found, correlations: Sequence[pd.DataFrame]) -> dict[str, Any] | str:
    """The test of a locus there, or why there is none.

    `expected` is the z-score that it would have if the effect here were the true one.
    """
    if not own.is_there:
        return NO_VARIANT
    if not own.is_clear:
        return UNCLEAR_STRAND
    if locus.phenotype in correlations[0].index:
        names = [locus.phenotype]
    else:
        model = str(locus.method).removesuffix(TOGETHER)
        names = [name for name in correlations[0].index if name.startswith(f"{model}_")]
        if locus.method == model or not names:
            return NO_PHENOTYPE
    names = [name for name in names if name in own.here.index]
    if not names or any(name not in own.there.index for name in names):
        return NO_RESULT
    here, there = own.here.loc[names], own.there.loc[names]
    told = {
        "n_there": None if there["n"].isna().all() else int(there["n"].max()),
        "af_there": None if there["af"].isna().all() else float(there["af"].mean()),
    }
    if len(names) > 1 or locus.phenotype != names[0]:
        of_here, of_there = (one.loc[names, names].to_numpy() for one in correlations)
        weights = direction(here["beta"].to_numpy() / here["se"].to_numpy(), of_here)
        scores = np.array([one["beta"] / there["se"] for one in (there, here)])
        z, expected = along(weights, scores, of_there)
    else:
        beta, se = (float(there[name].iloc[0]) for name in ("beta", "se"))
        sign = np.sign(here["beta"].iloc[0])
        told |= {"beta_there": beta, "se_there": se}
        z, expected = sign * beta / se, abs(float(here["beta"].iloc[0])) / se
    p = float(neg_log10_p_of_z(z))
    return told | {"z_there": float(z), "neg_log10_p_there": p, "expected": float(expected)}


def direction(z: Reals, correlation: Reals) -> Reals:
    """The weights R⁻¹ z [k] of the combination of phenotypes with the largest z-score.

    Directions in which the phenotypes do not vary are left out.

    Args:
        z: [k].
        correlation: R, [k, k].

    Example:
        >>> direction(np.array([3.0, 1.0]), np.eye(2)).tolist()
        [3.0, 1.0]
    """
    values, vectors = np.linalg.eigh(correlation)
    held = values > _SINGULAR * values.max()
    own = vectors[:, held]
    return np.asarray(own @ ((own.T @ z) / values[held]))


def along(weights: Reals, z: Reals, correlation: Reals) -> Reals:
    """The z-scores w'z / √(w'Rw) of a combination of phenotypes.

    Args:
        weights: w, [k].
        z: z-scores of the phenotypes, [..., k].
        correlation: R, [k, k].
    """
    return np.asarray(z @ weights / np.sqrt(weights @ correlation @ weights))


def shrunk(z: Reals | float, passed: float) -> Reals:
    """The most likely true z-scores of estimates that were selected for |z| > `passed`.

    Solves E(Z | |Z| > c; μ) = z for μ by bisection, since the left side increases with μ. The
    result has the sign of z, or is 0.

    Example:
        >>> shrunk(np.array([5.5, 12.0]), 5.45).round(2).tolist()
        [0.39, 12.0]
    """
    z = np.asarray(z, float)
    low, high = np.zeros_like(z), np.abs(z)
    for _ in range(60):
        middle = (low + high) / 2
        above = _mean_beyond(middle, passed) > np.abs(z)
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    return np.asarray(np.sign(z) * (low + high) / 2)


def _mean_beyond(mean: Reals, limit: float) -> Reals:
    """E(Z | |Z| > limit) of a normal Z with the given mean and variance 1."""
    log_p = np.logaddexp(log_ndtr(mean - limit), log_ndtr(-mean - limit))
    densities = [-((limit - mean) ** 2) / 2, -((limit + mean) ** 2) / 2]
    upper, lower = (np.exp(one - 0.5 * np.log(2 * np.pi) - log_p) for one in densities)
    return np.asarray(mean + upper - lower)
