"""Estimates of the effect of an exposure on an outcome from a few independent variants.

Each variant has an effect on the exposure and one on the outcome, found in different people. Their
ratio is the effect of the exposure, where the variant acts on the outcome through it alone. The
methods differ in what they need of variants that do not.

- Inverse variance (Burgess, Butterworth, Thompson 2013, Genet Epidemiol 37:658): the outcome's
  effects regressed on the exposure's, through the origin, by the outcome's precision. Fixed: all
  variants are valid. Random: their other effects cancel out, and the standard error is multiplied
  by the residual one where that is above 1.
- Egger (Bowden, Davey Smith, Burgess 2015, Int J Epidemiol 44:512): the same with an intercept, all
  exposure's effects being positive. The intercept is the mean of the other effects, which must not
  go with those on the exposure.
- Weighted median (Bowden et al. 2016, Genet Epidemiol 40:304): at least half of the weight belongs
  to valid variants. Its standard error is by the parametric bootstrap.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ecg_spark.genetics.testing.p_values import WITHIN, neg_log10_p_of_chi2, neg_log10_p_of_z

Reals = NDArray[np.float64]

FEWEST = 3
"""Variants, with fewer of which nothing is estimated: Egger's line has two parameters."""

BOOTSTRAPS = 10_000
SEED = 1
"""Of the bootstrap: the same effects give the same standard error."""

IVW_FIXED, IVW_RANDOM = "inverse variance, fixed", "inverse variance, random"
EGGER, MEDIAN = "Egger", "weighted median"


@dataclass(frozen=True)
class Effects:
    """Of each variant the effects on the exposure and on the outcome with their standard errors, of
    the same allele, [k]."""

    exposure: Reals
    exposure_se: Reals
    outcome: Reals
    outcome_se: Reals

    def without(self, number: int) -> "Effects":
        """All variants but one."""
        return Effects(*(np.delete(one, number) for one in vars(self).values()))

    @property
    def mean_f(self) -> float:
        """The mean of (effect / standard error)² on the exposure: below 10, variants are weak."""
        return float(np.mean((self.exposure / self.exposure_se) ** 2))


@dataclass(frozen=True)
class Estimate:
    """The effect on the outcome of one unit of the exposure, by a method.

    `q`: how far the variants are from the method's line, chi-squared with `q_df` degrees of freedom
    (Cochran's; Rücker's of Egger), None where the method has none. `intercept`: Egger's.
    """

    method: str
    estimate: float
    se: float
    low: float
    high: float
    neg_log10_p: float
    q: float | None = None
    q_df: int | None = None
    q_neg_log10_p: float | None = None
    intercept: float | None = None
    intercept_se: float | None = None
    intercept_neg_log10_p: float | None = None


def estimates(effects: Effects) -> list[Estimate]:
    """The estimates of all methods from at least `FEWEST` variants."""
    return [inverse_variance(effects, IVW_FIXED), inverse_variance(effects, IVW_RANDOM),
            egger(effects), weighted_median(effects)]  # fmt: skip


def inverse_variance(effects: Effects, method: str) -> Estimate:
    """The inverse-variance estimate, `IVW_FIXED` or `IVW_RANDOM`."""
    x, y, w = effects.exposure, effects.outcome, effects.outcome_se**-2
    information = float((w * x * x).sum())
    slope = float((w * x * y).sum()) / information
    q, df = float((w * (y - slope * x) ** 2).sum()), len(x) - 1
    spread = max(1.0, np.sqrt(q / df)) if method == IVW_RANDOM else 1.0
    return _estimate(method, slope, spread / np.sqrt(information), q, df)


def egger(effects: Effects) -> Estimate:
    """Egger's estimate, with random effects as in `IVW_RANDOM`."""
    sign = np.where(effects.exposure < 0, -1, 1)
    x, y, w = sign * effects.exposure, sign * effects.outcome, effects.outcome_se**-2
    centre = (w * x).sum() / w.sum()
    information = float((w * (x - centre) ** 2).sum())
    slope = float((w * (x - centre) * y).sum()) / information
    intercept = float((w * (y - slope * x)).sum() / w.sum())
    q, df = float((w * (y - intercept - slope * x) ** 2).sum()), len(x) - 2
    spread = max(1.0, np.sqrt(q / df))
    own = spread * np.sqrt(1 / w.sum() + centre**2 / information)
    told = _estimate(EGGER, slope, spread / np.sqrt(information), q, df)
    return Estimate(
        **vars(told)
        | {
            "intercept": intercept,
            "intercept_se": float(own),
            "intercept_neg_log10_p": float(neg_log10_p_of_z(intercept / own)),
        }
    )


def weighted_median(effects: Effects) -> Estimate:
    """The weighted median of the variants' ratios."""
    # In one order and of one allele each: the bootstrap draws the same for the same effects.
    sign = np.where(effects.exposure < 0, -1, 1)
    columns = np.stack(
        [sign * effects.exposure, effects.exposure_se, sign * effects.outcome, effects.outcome_se]
    )
    exposure, exposure_se, outcome, outcome_se = columns[:, np.lexsort(columns)]
    weights = (exposure / outcome_se) ** 2
    shape = (BOOTSTRAPS, len(weights))
    rng = np.random.default_rng(SEED)
    ratios = rng.normal(outcome, outcome_se, shape) / rng.normal(exposure, exposure_se, shape)
    drawn = _median(ratios, np.broadcast_to(weights, shape))
    middle = float(_median((outcome / exposure)[None], weights[None])[0])
    return _estimate(MEDIAN, middle, float(drawn.std(ddof=1)))


def leave_one_out(effects: Effects) -> list[Estimate]:
    """The inverse-variance estimates, random, without each variant."""
    return [inverse_variance(effects.without(k), IVW_RANDOM) for k in range(len(effects.exposure))]


def _median(ratios: Reals, weights: Reals) -> Reals:
    """Weighted medians of rows of ratios: half of the weight lies below, half of a ratio's own
    weight counting as below it, with a straight line in between."""
    order = np.argsort(ratios, axis=1)
    ratios, weights = (np.take_along_axis(one, order, axis=1) for one in (ratios, weights))
    below = (np.cumsum(weights, axis=1) - weights / 2) / weights.sum(axis=1, keepdims=True)
    after = np.clip((below < 0.5).sum(axis=1), 1, ratios.shape[1] - 1)[:, None]
    x0, x1 = (np.take_along_axis(below, after - k, axis=1)[:, 0] for k in (1, 0))
    y0, y1 = (np.take_along_axis(ratios, after - k, axis=1)[:, 0] for k in (1, 0))
    return np.asarray(y0 + np.clip((0.5 - x0) / (x1 - x0), 0, 1) * (y1 - y0))


def _estimate(
    method: str, estimate: float, se: float, q: float | None = None, df: int | None = None
) -> Estimate:
    told = (
        method, estimate, float(se), float(estimate - WITHIN * se), float(estimate + WITHIN * se),
        float(neg_log10_p_of_z(estimate / se)),
    )  # fmt: skip
    if q is None or df is None:
        return Estimate(*told)
    return Estimate(*told, q, df, float(neg_log10_p_of_chi2(q, df)))
