"""The joint test of a variant against all latents of a model, over several cohorts.

The estimates b_i of k latents in cohort i have covariance S_i = D_i R_i D_i, where D_i holds their
standard errors and R_i is the correlation of the latents among the people of that cohort,
estimated by the correlation of their z-scores at variants without effect (Zhu et al. 2015, Am J
Hum Genet 96:21). By multivariate fixed effects (Becker & Wu 2007, Stat Sci 22:414),

    b = A⁻¹ Σ S_i⁻¹ b_i    with    A = Σ S_i⁻¹,    χ² = b'A b

is chi-squared with k degrees of freedom if the variant has no effect, and Q = Σ b_i'S_i⁻¹ b_i - χ²
with k for each cohort but one if its effects are the same in all. With one cohort, χ² = z'R⁻¹z, as
in a study's own omnibus test for many people.

R_i is estimated from the sample of variants that `sampled` draws. From n independent variants it
is known to 1 / √n, which makes χ² on average too large by the factor n / (n - k - 1). Latents are
therefore tested jointly only if every cohort has `FEWEST_NULL` variants for each.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from pyspark.sql import functions as F

from ecg_spark.genetics.cohorts.fixed_effects import heterogeneity
from ecg_spark.genetics.cohorts.joint import Gathered, Joined
from ecg_spark.genetics.outputs.reading import Cohort
from ecg_spark.genetics.outputs.tables import FEWEST_TOGETHER
from ecg_spark.genetics.testing.p_values import neg_log10_p_of_chi2

Reals = NDArray[np.float64]

SAMPLE_BYTES = 64 << 20
"""How many bytes of the smallest cohort are sampled: some 100,000 variants of 20 phenotypes."""

FEWEST_NULL = 100

_SINGULAR = 1e-6
_AT_ONCE = 2_048
"""How many variants are tested at a time, with a k x k matrix each."""


@dataclass(frozen=True)
class Together:
    """How a group of phenotypes is tested jointly.

    Attributes:
        columns: their places among all phenotypes.
        precision: R_i⁻¹, [cohorts, k, k].
    """

    columns: tuple[int, ...]
    precision: Reals


@dataclass(frozen=True)
class Joint:
    """The joint tests of a group (see the module); each [variants], NaN where there is none.

    `n` and `af` are over the cohorts that take part, and `cohorts` is their number.
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
    """The cohorts with a sample of their variants, the same positions in all."""
    every = max(1, min(one.bytes for one in cohorts) // SAMPLE_BYTES)
    if every == 1:
        return list(cohorts)
    chosen = F.pmod(F.xxhash64("chromosome", "position"), F.lit(every)) == 0
    return [replace(one, rows=one.rows.filter(chosen), bytes=one.bytes // every) for one in cohorts]


def groups_together(
    groups: Mapping[str, Sequence[str]], phenotypes: Sequence[str], gathered: Gathered
) -> tuple[dict[str, Together], dict[str, str]]:
    """The groups that are tested jointly, and why other groups of several latents are not.

    Args:
        groups: phenotypes by group.
        phenotypes: all phenotypes, in their order.
        gathered: of a pass with `joint.looking_only`.
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
            not_tested[key] = "in one cohort some of them follow from others"
        else:
            found[key] = Together(columns, np.asarray(np.linalg.inv(correlations), float))
    return found, not_tested


def joint_test(joined: Joined, se: Reals, terms: Together) -> Joint:
    """The joint tests of a group at some variants.

    A cohort takes part if it has a result for every phenotype of the group. There is no test if
    the cohorts that take part have fewer than `FEWEST_TOGETHER` minor alleles, or do not know the
    frequency.

    Args:
        se: the standard errors, [variants, phenotypes, cohorts], after genomic control if there is
            any.
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
    # Scaled to a diagonal of 1, since the units of the phenotypes may differ by orders.
    scale = 1 / np.sqrt(np.einsum("mkk->mk", information))
    information *= scale[:, :, None] * scale[:, None, :]
    score *= scale
    chi2 = (score * np.linalg.solve(information, score[:, :, None])[:, :, 0]).sum(axis=1)
    return chi2, np.maximum(alone - chi2, 0.0)
