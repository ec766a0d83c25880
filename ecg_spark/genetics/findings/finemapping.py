"""Fine-mapping: the signals of a region, their credible sets, and what they do beside each other.

Every phenotype of a locus is fitted by SuSiE (see `susie`), and so is each other whose best test in
the region passes `SUGGESTIVE`, with which a locus may share its cause. Behind an omnibus test the
decorrelated phenotypes are fitted together. All is computed in the task that reads the genotypes.
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
"""-log10 p of a phenotype's best test in a region, from which on its signals are looked for."""


@dataclass(frozen=True)
class Signal:
    """A signal of a phenotype, or of a group together.

    `places` [p]: where in the excerpt the variants of the region are; `found`: its credible set,
    whose numbers are places among these; `pip` [p]: of all signals of the phenotype; `beta`, `se`:
    of its likeliest variant beside those of the other signals, NaN for a group, `neg_log10_p` the
    same, NaN where the variants follow from each other; `alone`: beta, se and -log10 p of each of
    the variants by itself [3, p], of a group -log10 p alone; `af` [p].
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
        """The place in the excerpt of the variant that is likeliest to act."""
        return int(self.places[self.found.variants[0]])


def signals_of(
    products: Products,
    names: Sequence[str],
    wanted: Sequence[str],
    together: Mapping[str, tuple[Whole, Together]],
) -> Iterator[Signal]:
    """The signals of phenotypes in a region, from its products with those of one group of people.

    `names` [k]: the phenotypes of the products; `wanted`: the phenotypes and the groups, as in
    `vae omnibus`, that have a locus here; `together`: of each group among these people, the columns
    of its phenotypes and how they are judged together (see `omnibus.together`).
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
        wider = products.factors[columns]  # tests together are judged as among independent people
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
"""Of each variant, the genes in which it lies, and what it does to which."""


def rows_of_signals(
    signals: Sequence[Signal], sites: pd.DataFrame, about: About, stretch: tuple[int, int]
) -> list[dict[str, Any]]:
    """The rows of the table signals."""
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
    """The rows of the table credible_sets."""
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
