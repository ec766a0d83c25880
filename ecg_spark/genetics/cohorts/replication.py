"""The loci of a study, sought in another cohort.

Of a locus the lead variant is looked at there with the phenotype that found it. It is replicated
where its effect has the same sign and p < .05 / n, two-sided, n loci of the method having been
tested there. The power is that of such a result, with beta the effect and s its standard error
there: Φ(|beta| / s - c) for the c with p(c) = .05 / n.

A locus is found because its effect was estimated as large: the estimate is on average too large
(the winner's curse). `shrunk` takes that off: the most probable effect given that |z| has passed
the threshold (Ghosh, Zou, Wright, Am J Hum Genet 2008; 82:1064, the conditional likelihood). That
takes off too much as a rule: the loci that replicate are between what the two powers promise.

An omnibus test has no effect but a direction: the combination of the phenotypes that has the
largest z here, w = R⁻¹ z with their correlation R, and z_w = w'z / √(w'Rw). The same combination is
one test there, with R of the other cohort (O'Brien, Biometrics 1984; 40:1079). Both R are the
correlations of z-scores at variants without an effect.
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
from ecg_spark.genetics.cohorts.alignment import KEY, align, keyed
from ecg_spark.genetics.cohorts.joint import looking_only, pass_over
from ecg_spark.genetics.cohorts.overlap import refuse_different, refuse_shared, refuse_unlike
from ecg_spark.genetics.cohorts.reading import Cohort
from ecg_spark.genetics.cohorts.tables import REPLICATION
from ecg_spark.genetics.genotypes.contigs import NUMBERS
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
    """Seek the loci of the cohort `here` in the cohort `there`.

    `loci`: rows of the published table, `thresholds` the -log10 p that each method's have passed.
    Loci that cannot be tested there count neither as replicated nor as failed.

    Writes the table replication. Raises `DataError` where there is no locus, and where the two
    cohorts cannot be compared: on two builds, latents of two models, people in common, frequencies
    of other alleles.
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
    """What both cohorts say of a lead variant, by phenotype (beta, se, n, af), in the terms of the
    loci; `is_clear`: whether it is certain that they speak of the same allele."""

    here: pd.DataFrame
    there: pd.DataFrame
    is_there: bool
    is_clear: bool


def at_leads(loci: pd.DataFrame, here: Cohort, there: Cohort) -> dict[tuple[Any, ...], Found]:
    """What both cohorts say of the lead variants of `here`, by contig, position, ref and alt."""
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
            np.array([own["pair"] in ("A/T", "C/G")]),
            2,
        )
        # Aligned to each other; then to the terms of the loci, which are those of `here`.
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
    """1 where a row has the effect allele that the loci have, -1 where it has the other."""
    return 1 if row["effect_first"] == asked["effect_first"] else -1


def _results(rows: DataFrame, asked: DataFrame) -> pd.DataFrame:
    """The results of a cohort at some variants, a row a variant and phenotype."""
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
    """The rows of the table replication of one method's loci."""
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
    """The test of a locus there, or why there is none; `expected` is its z were the effect here
    the true one."""
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
    """The weights R⁻¹ z [k] of the combination of phenotypes that has the largest z-score.

    Directions in which the phenotypes do not vary are left out.
    """
    values, vectors = np.linalg.eigh(correlation)
    held = values > _SINGULAR * values.max()
    own = vectors[:, held]
    return np.asarray(own @ ((own.T @ z) / values[held]))


def along(weights: Reals, z: Reals, correlation: Reals) -> Reals:
    """The z-scores w'z / √(w'Rw) of a combination of phenotypes, of z-scores [..., k] of each."""
    return np.asarray(z @ weights / np.sqrt(weights @ correlation @ weights))


def shrunk(z: Reals | float, passed: float) -> Reals:
    """The most probable true z-score of estimates z that had to be beyond ± `passed`, of which all
    are.

    It solves E(Z | |Z| > c; μ) = z, whose left side rises with μ, by bisection; of the sign of z,
    or 0.
    """
    z = np.asarray(z, float)
    low, high = np.zeros_like(z), np.abs(z)
    for _ in range(60):
        middle = (low + high) / 2
        above = _mean_beyond(middle, passed) > np.abs(z)
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    return np.asarray(np.sign(z) * (low + high) / 2)


def _mean_beyond(mean: Reals, limit: float) -> Reals:
    """E(Z | |Z| > limit) of a normal Z of some mean and variance 1."""
    log_p = np.logaddexp(log_ndtr(mean - limit), log_ndtr(-mean - limit))
    densities = [-((limit - mean) ** 2) / 2, -((limit + mean) ** 2) / 2]
    upper, lower = (np.exp(one - 0.5 * np.log(2 * np.pi) - log_p) for one in densities)
    return np.asarray(mean + upper - lower)
