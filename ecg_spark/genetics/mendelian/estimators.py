"""Estimators of the causal effect of an exposure on an outcome from a few independent variants.

Each variant has an effect on the exposure and one on the outcome, estimated in different people.
Their ratio estimates the effect of the exposure if the variant affects the outcome only through
it. The methods differ in what they assume about variants for which this does not hold
(pleiotropy).

- Inverse variance (Burgess, Butterworth & Thompson 2013, Genet Epidemiol 37:658): the effects on
  the outcome are regressed on those on the exposure, through the origin, weighted by the precision
  of the outcome. Fixed effects: all variants are valid. Random effects: pleiotropic effects cancel
  out on average, and the standard error is multiplied by the residual one if that is above 1.
- Egger (Bowden, Davey Smith & Burgess 2015, Int J Epidemiol 44:512): the same with an intercept,
  after making all effects on the exposure positive. The intercept is the mean pleiotropic effect;
  pleiotropic effects must be independent of the effects on the exposure.
- Weighted median (Bowden et al. 2016, Genet Epidemiol 40:304): at least half of the weight comes
  from valid variants. The standard error is by parametric bootstrap.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ecg_spark.genetics.testing.p_values import WITHIN, neg_log10_p_of_chi2, neg_log10_p_of_z

Reals = NDArray[np.float64]

FEWEST = 3
"""With fewer variants nothing is estimated: Egger's line has two parameters."""

BOOTSTRAPS = 10_000
SEED = 1
"""The seed of the bootstrap, so that the same effects give the same standard error."""

IVW_FIXED, IVW_RANDOM = "inverse variance, fixed", "inverse variance, random"
EGGER, MEDIAN = "Egger", "weighted median"


@dataclass(frozen=True)
class Effects:
    """The effects of k variants on exposure and outcome, of the same allele, with their
    standard errors; each [k].
    """

    exposure: Reals
    exposure_se: Reals
    outcome: Reals
    outcome_se: Reals

    def without(self, number: int) -> "Effects":
        """The effects of all variants but one, given by its number."""
        return Effects(*(np.delete(one, number) for one in vars(self).values()))

    @property
    def mean_f(self) -> float:
        """The mean F statistic on the exposure, (effect / standard error)²; below 10,
        instruments are weak.

        Example:
            >>> Effects(np.array([0.1]), np.array([0.02]), np.zeros(1), np.ones(1)).mean_f
            25.0
        """
        return float(np.mean((self.exposure / self.exposure_se) ** 2))


@dataclass(frozen=True)
class Estimate:
    """The effect on the outcome of one unit of the exposure, by one method.

    Attributes:
        low: lower limit of the 95 % confidence interval.
        high: upper limit of the 95 % confidence interval.
        q: heterogeneity of the variants, chi-squared with `q_df` degrees of freedom (Cochran's Q;
            Rücker's Q' for Egger); None where the method has none.
        intercept: of Egger; None for other methods.
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
    """The estimates by all methods, from at least `FEWEST` variants."""
    return [inverse_variance(effects, IVW_FIXED), inverse_variance(effects, IVW_RANDOM),
            egger(effects), weighted_median(effects)]  # fmt: skip


def inverse_variance(effects: Effects, method: str) -> Estimate:
    """The inverse-variance weighted estimate.

    Args:
        method: `IVW_FIXED` or `IVW_RANDOM`.

    Example:
        >>> found = inverse_variance(
        ...     Effects(*np.array([[0.1, 0.2], [0.01, 0.01], [0.05, 0.1], [0.01, 0.01]])), IVW_FIXED
        ... )
        >>> round(found.estimate, 6), round(found.se, 6)
        (0.5, 0.044721)
    """
    x, y, w = effects.exposure, effects.outcome, effects.outcome_se**-2
    information = float((w * x * x).sum())
    slope = float((w * x * y).sum()) / information
    q, df = float((w * (y - slope * x) ** 2).sum()), len(x) - 1
    spread = max(1.0, np.sqrt(q / df)) if method == IVW_RANDOM else 1.0
    return _estimate(method, slope, spread / np.sqrt(information), q, df)


def egger(effects: Effects) -> Estimate:
    """The MR-Egger estimate, with random effects as in `IVW_RANDOM`."""
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
    # Sorted, and with positive effects on the exposure, so that the bootstrap gives the same result
    # whatever the order of the variants and the choice of their alleles.
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
    """The random-effects inverse-variance estimates without each variant in turn."""
    return [inverse_variance(effects.without(k), IVW_RANDOM) for k in range(len(effects.exposure))]


def _median(ratios: Reals, weights: Reals) -> Reals:
    """Weighted medians of rows of ratios, by linear interpolation.

    Half of a ratio's own weight counts as lying below it.
    """
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
