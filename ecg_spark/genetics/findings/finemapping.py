"""Fine-mapping: the signals of a region, their credible sets, and their effects next to each
other.

SuSiE (see `susie`) is fitted to every phenotype of a locus, and to each other phenotype whose best
test in the region passes `SUGGESTIVE`, since a locus may share its cause with it. For an omnibus
test it is fitted to the decorrelated phenotypes jointly. Everything is computed in the task that
reads the genotypes.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ecg_spark.genetics.findings.region import Products
from ecg_spark.genetics.findings.susie import CredibleSet, fit
from ecg_spark.genetics.outputs.tables import FEWEST_TOGETHER
from ecg_spark.genetics.testing.omnibus import Together, omnibus
from ecg_spark.genetics.testing.p_values import neg_log10_p_of_t
from ecg_spark.tables import TOGETHER

Reals = NDArray[np.float64]
Whole = NDArray[np.int64]

SUGGESTIVE = 5.0
"""A phenotype without a locus is fine-mapped if the -log10 p of its best test in the region is at
least this."""


@dataclass(frozen=True)
class Signal:
    """A signal of one phenotype, or of a group tested jointly.

    Attributes:
        number: of the signal among those of the phenotype in the region, from 1, the strongest
            first.
        places: the places of the region's variants in the excerpt, [p].
        found: the credible set; its variants are numbers within `places`.
        pip: the posterior inclusion probability of each variant over all signals of the phenotype,
            [p].
        beta: the effect of the most probable variant, in a regression with those of the other
            signals; NaN for a group.
        se: its standard error; NaN for a group.
        neg_log10_p: -log10 p in that regression; NaN if the variants are collinear.
        alone: beta, se and -log10 p of each variant by itself, [3, p]; for a group only -log10 p,
            the others NaN.
        af: allele frequencies, [p].
    """

    phenotype: str
    number: int
    places: Whole
    found: CredibleSet
    pip: Reals
    beta: float
    se: float
    neg_log10_p: float
    alone: Reals
    af: Reals

    @property
    def likeliest(self) -> int:
        """The place in the excerpt of the variant that is most probably causal."""
        return int(self.places[self.found.variants[0]])


def signals_of(
    products: Products,
    names: Sequence[str],
    wanted: Sequence[str],
    together: Mapping[str, tuple[Whole, Together]],
) -> Iterator[Signal]:
    """Find the signals of phenotypes in a region.

    Args:
        products: the region's variants and one pattern of phenotypes.
        names: the phenotypes of the products, [k].
        wanted: the phenotypes and omnibus tests (as in `vae omnibus`) that have a locus here.
        together: for each group tested jointly in these people, the columns of its phenotypes and
            how the tests are combined (see `omnibus.together`).
    """
    if not len(products.variants):
        return
    beta, se, t = products.alone()
    log_p = neg_log10_p_of_t(t, products.df)
    r, z, m = products.r(), products.z(), products.n - 1
    every = np.arange(len(products.variants))
    for k, name in enumerate(names):
        if name not in wanted and log_p[:, k].max() < SUGGESTIVE:
            continue
        found = fit(r, z[:, [k]] / products.factors[k], m, products.n)
        tops = [int(one.variants[0]) for one in found.sets]
        own_beta, own_se, own_t, df = products.together(tops) if tops else (beta, se, t, 0)
        alone = np.stack([beta[:, k], se[:, k], log_p[:, k]])
        for i, one in enumerate(found.sets):
            p = float(neg_log10_p_of_t(own_t[i, k], df))
            yield Signal(
                name, i + 1, products.variants, one, found.pip, own_beta[i, k], own_se[i, k], p,
                alone, products.af,
            )  # fmt: skip
    people = products.people
    minor = 2 * people * np.minimum(products.af, 1 - products.af)
    enough = every[minor >= FEWEST_TOGETHER]
    for key, (columns, weights) in together.items():
        if f"{key}{TOGETHER}" not in wanted or not len(enough):
            continue
        rank = len(weights.related)
        joint = z[np.ix_(enough, columns)] @ weights.related.T
        found = fit(r[np.ix_(enough, enough)], joint, m * rank, products.n)
        tops = [int(enough[one.variants[0]]) for one in found.sets]
        wider = products.factors[columns]  # the omnibus test takes t as among independent people
        p_alone = omnibus(t[np.ix_(enough, columns)] * wider, weights, products.df)[1]
        unknown = np.full(len(enough), np.nan)
        _, _, own_t, df = products.together(tops) if tops else (beta, se, t, 0)
        for i, one in enumerate(found.sets):
            p = float(omnibus(own_t[[i]][:, columns] * wider, weights, df)[1][0])
            yield Signal(
                f"{key}{TOGETHER}", i + 1, products.variants[enough], one, found.pip, np.nan,
                np.nan, p, np.stack([unknown, unknown, p_alone]), products.af[enough],
            )  # fmt: skip


About = Sequence[tuple[list[str], list[str]]]
"""For each variant, the genes that contain it, and its consequences."""


def rows_of_signals(
    signals: Sequence[Signal], sites: pd.DataFrame, about: About, stretch: tuple[int, int]
) -> list[dict[str, Any]]:
    """The rows of the table signals.

    Args:
        sites: the variants of the excerpt.
        about: the genes and consequences of each variant of the excerpt.
        stretch: start and end of the region.
    """
    rows = []
    for one in signals:
        top = one.found.variants[0]
        within = [about[place] for place in one.places[one.found.variants].tolist()]
        genes, does = ([name for own in within for name in own[k]] for k in range(2))
        rows.append(
            {
                **_place(one, stretch),
                **sites.iloc[one.likeliest].to_dict(),
                "probability": one.found.alpha[top],
                "n_variants": len(one.found.variants),
                "min_r2": one.found.min_abs_r**2,
                "log10_bf": one.found.log_bf_of_set / np.log(10),
                "beta": one.beta,
                "se": one.se,
                "neg_log10_p": one.neg_log10_p,
                "genes": list(dict.fromkeys(genes)),
                "consequences": list(dict.fromkeys(does)),
            }
        )
    return rows


def rows_of_sets(
    signals: Sequence[Signal], sites: pd.DataFrame, about: About, stretch: tuple[int, int]
) -> list[dict[str, Any]]:
    """The rows of the table credible_sets; the arguments are those of `rows_of_signals`."""
    rows = []
    for one in signals:
        for variant in one.found.variants.tolist():
            beta, se, neg_log10_p = one.alone[:, variant]
            rows.append(
                {
                    **_place(one, stretch),
                    **sites.iloc[int(one.places[variant])].to_dict(),
                    "probability": one.found.alpha[variant],
                    "pip": one.pip[variant],
                    "beta": beta,
                    "se": se,
                    "neg_log10_p": neg_log10_p,
                    "af": one.af[variant],
                    "genes": about[int(one.places[variant])][0],
                    "consequences": about[int(one.places[variant])][1],
                }
            )
    return rows


def _place(one: Signal, stretch: tuple[int, int]) -> dict[str, Any]:
    return {
        "phenotype": one.phenotype,
        "signal": one.number,
        "region_start": stretch[0],
        "region_end": stretch[1],
    }
