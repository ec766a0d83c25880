"""Whether a variant moves any of a model's latents, over several cohorts.

The estimates b_i of k latents in cohort i have the covariance S_i = D_i R_i D_i, where D_i holds
their standard errors and R_i is the correlation of the latents in the people of that cohort: that
of their z-scores at variants that do nothing (Zhu et al., Am J Hum Genet 2015; 96:21). By
multivariate fixed effects (Becker and Wu, Stat Sci 2007; 22:414)

    b = A⁻¹ Σ S_i⁻¹ b_i    with    A = Σ S_i⁻¹,    χ² = b'A b

is chi-squared with k degrees of freedom where the variant does nothing, and
Q = Σ b_i'S_i⁻¹ b_i - χ² with k for each cohort but one where its effects are the same in all. Of
one cohort χ² = z'R⁻¹z, as the omnibus test of a study for many people.

R_i is reckoned from the sample of all variants that `sampled` draws. In n independent variants it
is known to 1 / √n, by which χ² is on average too large by the factor n / (n - k - 1): latents are
tested together where every cohort has `FEWEST_NULL` variants for each.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from pyspark.sql import functions as F

from ecg_spark.genetics.cohorts.fixed_effects import heterogeneity
from ecg_spark.genetics.cohorts.joint import Gathered, Joined
from ecg_spark.genetics.cohorts.reading import Cohort
from ecg_spark.genetics.outputs.tables import FEWEST_TOGETHER
from ecg_spark.genetics.testing.p_values import neg_log10_p_of_chi2

Reals = NDArray[np.float64]

SAMPLE_BYTES = 64 << 20
"""Of the smallest cohort's files: some 100,000 variants of 20 phenotypes."""

FEWEST_NULL = 100

_SINGULAR = 1e-6
_AT_ONCE = 2_048
"""Variants, with a matrix of k x k each."""


@dataclass(frozen=True)
class Together:
    """What a group of phenotypes is tested together by.

    `columns` are their places among all phenotypes, `precision` [cohorts, k, k] is R_i⁻¹.
    """

    columns: tuple[int, ...]
    precision: Reals


@dataclass(frozen=True)
class Joint:
    """The tests of a group [variants], NaN where there is none: see the module.

    `n` and `af` are over the cohorts that take part, by their numbers in `cohorts`.
    """

    chi2: Reals
    neg_log10_p: Reals
    df: int
    n: Reals
    af: Reals
    cohorts: NDArray[np.int64]
    q: Reals
    i2_percent: Reals
    het_neg_log10_p: Reals


def sampled(cohorts: Sequence[Cohort]) -> list[Cohort]:
    """The cohorts with a sample of their variants, the same places in all."""
    every = max(1, min(one.bytes for one in cohorts) // SAMPLE_BYTES)
    if every == 1:
        return list(cohorts)
    chosen = F.pmod(F.xxhash64("chromosome", "position"), F.lit(every)) == 0
    return [replace(one, rows=one.rows.filter(chosen), bytes=one.bytes // every) for one in cohorts]


def groups_together(
    groups: Mapping[str, Sequence[str]], phenotypes: Sequence[str], gathered: Gathered
) -> tuple[dict[str, Together], dict[str, str]]:
    """The groups that are tested together, and why others of several latents are not.

    `gathered`: of a pass that takes the z-scores of each cohort for a set (`joint.looking_only`).
    """
    found, not_tested = {}, {}
    fewest = int(gathered.variants.diagonal().min())
    for key, members in groups.items():
        k, columns = len(members), tuple(phenotypes.index(name) for name in members)
        if k < 2:
            continue
        correlations = gathered.correlation[:, columns][:, :, columns]
        values = np.linalg.eigvalsh(correlations)
        if fewest < FEWEST_NULL * k:
            not_tested[key] = (
                f"their correlation is not known well enough from {fewest} variants "
                f"({FEWEST_NULL * k} are needed in each cohort)"
            )
        elif (values[:, 0] < _SINGULAR * values[:, -1]).any():
            not_tested[key] = "in one cohort some of them say what others say already"
        else:
            found[key] = Together(columns, np.asarray(np.linalg.inv(correlations), float))
    return found, not_tested


def joint_test(joined: Joined, se: Reals, terms: Together) -> Joint:
    """The tests of a group at some variants; `se` are the standard errors as they are used.

    A cohort takes part in a variant where it has a result of every phenotype of the group. There is
    no test where the alleles of all that take part are not `FEWEST_TOGETHER` of the rarer one.
    """
    own, k = list(terms.columns), len(terms.columns)
    beta, se = joined.beta[:, own], se[:, own]
    part = np.asarray((np.isfinite(beta) & np.isfinite(se)).all(axis=1))
    n = np.where(part, joined.n[:, own[0]], 0.0)
    with np.errstate(invalid="ignore"):
        af = np.where(part, n * joined.af[:, own[0]], 0.0).sum(axis=1) / n.sum(axis=1)
    rarer = 2 * n.sum(axis=1) * np.minimum(af, 1 - af)  # NaN where a frequency is not known
    tested = np.flatnonzero(rarer >= FEWEST_TOGETHER)
    chi2, q = np.full((2, len(beta)), np.nan)
    for some in np.array_split(tested, max(1, -(-len(tested) // _AT_ONCE))):
        chi2[some], q[some] = _statistics(beta[some], se[some], part[some], terms.precision)
    cohorts = part.sum(axis=1)
    told = heterogeneity(q, cohorts, k)
    return Joint(chi2, neg_log10_p_of_chi2(chi2, k), k, n.sum(axis=1), af, cohorts, *told)


def _statistics(
    beta: Reals, se: Reals, part: NDArray[np.bool_], precision: Reals
) -> tuple[Reals, Reals]:
    """χ² and Q [variants] of effects [variants, k, cohorts]."""
    m, k, cohorts = beta.shape
    information, score, alone = np.zeros((m, k, k)), np.zeros((m, k)), np.zeros(m)
    for i in range(cohorts):
        own = part[:, i, None]
        weight = np.where(own, 1 / np.where(own, se[:, :, i], 1.0), 0.0)
        z = np.where(own, beta[:, :, i], 0.0) * weight
        half = z @ precision[i]
        information += weight[:, :, None] * precision[i] * weight[:, None, :]
        score += weight * half
        alone += (z * half).sum(axis=1)
    # In units in which the diagonal is 1, whatever the phenotypes' are.
    scale = 1 / np.sqrt(np.einsum("mkk->mk", information))
    information *= scale[:, :, None] * scale[:, None, :]
    score *= scale
    chi2 = (score * np.linalg.solve(information, score[:, :, None])[:, :, 0]).sum(axis=1)
    return chi2, np.maximum(alone - chi2, 0.0)
