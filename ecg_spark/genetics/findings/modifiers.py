"""Whether sex and age modify the effect of a lead variant.

Women and men are analysed in separate regressions, each with covariates of their own; the
difference of the two effects is the interaction in a model where sex also interacts with every
covariate. The model of the interaction with age includes the product of age with every covariate:
otherwise the interaction of age with a covariate that is correlated with the variant would be
taken for one (Keller 2014, Biol Psychiatry 75:18). Standard errors are robust (HC3: MacKinnon &
White 1985, J Econom 29:305), because the variance of a phenotype differs by age and sex, which
ordinary standard errors would mistake for an interaction. They assume independent people, so
relatives are left out.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ecg_spark.genetics.findings.region import centred
from ecg_spark.genetics.genotypes.excerpt import Excerpt
from ecg_spark.genetics.genotypes.thresholds import tally
from ecg_spark.genetics.null_model.cohort import Cohort
from ecg_spark.genetics.testing.kernel import Pattern
from ecg_spark.genetics.testing.p_values import neg_log10_p_of_t
from ecg_spark.genetics.testing.results import Question
from ecg_spark.tables import TOGETHER

Reals = NDArray[np.float64]
Truths = NDArray[np.bool_]

FEWEST_MINOR = 20
"""A regression needs at least this many minor alleles among its people."""

YEARS = 10.0
"""The effect of age is reported per this many years."""

_RANK = 1e-8


@dataclass(frozen=True)
class People:
    """What may modify an effect in the people analysed, [n].

    Attributes:
        is_male: 1 or 0; NaN where unknown.
        age: in years; NaN where unknown.
        unrelated: whether each is in the set without relatives.
    """

    is_male: Reals
    age: Reals
    unrelated: Truths


@dataclass(frozen=True)
class Estimate:
    """An effect with its robust standard error and the residual degrees of freedom."""

    beta: float
    se: float
    df: int

    @property
    def neg_log10_p(self) -> float:
        """-log10 p of the test against no effect."""
        return float(neg_log10_p_of_t(self.beta / self.se, self.df))


def robust(y: Reals, x: Reals, covariates: Reals) -> list[Estimate] | None:
    """The effects of the columns of x on y with robust standard errors (HC3).

    Args:
        y: [n].
        x: [n, q].
        covariates: [n, c], without the intercept; they may be collinear.

    Returns:
        None if the columns of x are collinear with each other or with the covariates, or if there
        are too few people.
    """
    design = np.column_stack([np.ones(len(y)), covariates])
    basis, sizes, _ = np.linalg.svd(design, full_matrices=False)
    basis = basis[:, sizes > _RANK * sizes[0]]
    df = len(y) - basis.shape[1] - x.shape[1]
    left = x - basis @ (basis.T @ x)
    gram = left.T @ left
    scale = np.sqrt((x**2).sum(axis=0))
    if df < 1 or np.linalg.eigvalsh(gram / scale / scale[:, None])[0] < _RANK:
        return None
    inverse = np.linalg.inv(gram)
    beta = inverse @ (left.T @ y)
    residual = y - basis @ (basis.T @ y) - left @ beta
    leverage = (basis**2).sum(axis=1) + np.einsum("ij,ij->i", left @ inverse, left)
    weighted = left * (residual / np.maximum(1 - leverage, _RANK))[:, None]
    spread = inverse @ (weighted.T @ weighted) @ inverse
    errors = np.sqrt(np.diag(spread))
    return [Estimate(float(b), float(e), df) for b, e in zip(beta, errors, strict=True)]


def modified(y: Reals, x: Reals, covariates: Reals, people: People) -> dict[str, Any]:
    """The columns of the table interactions for one variant and one phenotype.

    Args:
        y: the phenotype, [n].
        x: the dosages of the variant, [n].
        covariates: [n, c].
    """
    told: dict[str, Any] = {"n": len(y)}
    by_sex = []
    for name, value in (("women", 0), ("men", 1)):
        own = people.is_male == value
        found = _enough(x[own]) and robust(y[own], x[own, None], covariates[own])
        told[f"n_{name}"] = int(own.sum())
        told[f"beta_{name}"], told[f"se_{name}"] = (
            (found[0].beta, found[0].se) if found else (None, None)
        )
        by_sex.append(found[0] if found else None)
    women, men = by_sex
    difference = None
    if women and men:
        difference = Estimate(
            men.beta - women.beta, float(np.hypot(men.se, women.se)), men.df + women.df
        )
    known = np.isfinite(people.age)
    x, y, covariates, age = x[known], y[known], covariates[known], people.age[known]
    of_age = None
    if _enough(x) and np.ptp(age):
        decades = (age - age.mean()) / YEARS
        beside = np.column_stack([decades, covariates, covariates * decades[:, None]])
        found = robust(y, np.column_stack([x * decades, x]), beside)
        of_age = found[0] if found else None
    for name, one in (("sex", difference), ("age", of_age)):
        told[f"{name}_beta"], told[f"{name}_se"], told[f"{name}_neg_log10_p"] = (
            (one.beta, one.se, one.neg_log10_p) if one else (None, None, None)
        )
    return told


def rows_of_interactions(
    excerpt: Excerpt,
    patterns: Sequence[Pattern],
    asked: Question,
    leads: Sequence[tuple[int, Sequence[str]]],
    people: People,
) -> Iterator[dict[str, Any]]:
    """The rows of the table interactions of the lead variants of a region.

    Args:
        leads: the place of each lead variant in the excerpt, and the phenotypes that have a locus
            there. An omnibus test stands for the phenotype of its group on which the variant has
            the largest effect.
        people: the people of the patterns.
    """
    groups = {key: f"{group}{TOGETHER}" for group, own in asked.together.items() for key in own}
    for place, wanted in leads:
        rows = excerpt.variant(place)
        strongest: dict[str, tuple[float, str]] = {}
        found: dict[str, tuple[Pattern, Reals, Reals]] = {}
        for each in patterns:
            mean = tally(rows, each.known).mean
            x = centred(rows, mean, len(each.known))[0] + mean[0]
            for k, number in enumerate(each.places.tolist()):
                y, name = each.left[:, k], asked.names[number]
                group = groups.get(number)
                if group is not None and group in wanted:
                    moved = abs(float(x @ y)) / float(np.sqrt(y @ y))  # y sums to 0
                    strongest[group] = max(strongest.get(group, (0.0, "")), (moved, name))
                found[name] = (each, y, x)
        chosen = [one for one in wanted if one in found]
        chosen += [name for _, name in strongest.values() if name]
        for name in dict.fromkeys(chosen):
            each, y, x = found[name]
            own = each.known & people.unrelated
            among = People(people.is_male[own], people.age[own], people.unrelated[own])
            yield {
                "phenotype": name,
                **excerpt.sites.iloc[place].to_dict(),
                **modified(y[own], x[own], each.basis[own], among),
            }


def modifiers_of(cohort: Cohort) -> pd.DataFrame:
    """is_male, age and unrelated of everybody analysed, by sample."""
    return pd.DataFrame({key: getattr(cohort, key) for key in ("is_male", "age", "unrelated")})


def people_of(modifiers: pd.DataFrame, samples: pd.Index) -> People:
    """What may modify an effect, for some samples of the table of `modifiers_of`."""
    own = modifiers.loc[samples]
    return People(
        own["is_male"].to_numpy(float), own["age"].to_numpy(float), own["unrelated"].to_numpy(bool)
    )


def _enough(x: Reals) -> bool:
    """Whether people with dosages x have enough minor alleles."""
    return float(min(x.sum(), (2 - x).sum())) >= FEWEST_MINOR
