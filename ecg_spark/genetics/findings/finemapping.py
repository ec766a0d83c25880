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
    """A signal of a phenotype, or of a group together.

    `places` [p]: where in the excerpt the variants of the region are; `found`: its credible set,
    whose numbers are places among these; `pip` [p]: of all signals of the phenotype;
    `has_converged`: whether their fit did, else they are provisional; `beta`, `se`: of its
    likeliest variant beside those of the other signals, NaN for a group, `neg_log10_p` the same,
    NaN where the variants follow from each other; `alone`: beta, se and -log10 p of each of the
    variants by itself [3, p], of a group -log10 p alone; `af` [p].
    """

    phenotype: str
    number: int
    places: Whole
    found: CredibleSet
    pip: Reals
    has_converged: bool
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
    r, z, tests = products.r(), products.z(), products.alone()
    yield from _of_phenotypes(products, r, z, tests, names, wanted)
    minor = 2 * products.people * np.minimum(products.af, 1 - products.af)
    enough = np.flatnonzero(minor >= FEWEST_TOGETHER)
    for key, (columns, weights) in together.items():
        if f"{key}{TOGETHER}" in wanted and len(enough):
            yield from _of_group(products, r, z, tests[2], enough, f"{key}{TOGETHER}",
                                 columns, weights)  # fmt: skip


def _of_phenotypes(
    products: Products,
    r: Reals,
    z: Reals,
    tests: tuple[Reals, Reals, Reals],
    names: Sequence[str],
    wanted: Sequence[str],
) -> Iterator[Signal]:
    beta, se, t = tests
    log_p = neg_log10_p_of_t(t, products.df)
    for k, name in enumerate(names):
        if name not in wanted and log_p[:, k].max() < SUGGESTIVE:
            continue
        found = fit(r, z[:, [k]] / products.factors[k], products.n - 1, products.n)
        if not found.sets:
            continue
        tops = [int(one.variants[0]) for one in found.sets]
        own_beta, own_se, own_t, df = products.together(tops)
        alone = np.stack([beta[:, k], se[:, k], log_p[:, k]])
        for i, one in enumerate(found.sets):
            p = float(neg_log10_p_of_t(own_t[i, k], df))
            yield Signal(
                name, i + 1, products.variants, one, found.pip, found.has_converged,
                own_beta[i, k], own_se[i, k], p, alone, products.af,
            )  # fmt: skip


def _of_group(
    products: Products,
    r: Reals,
    z: Reals,
    t: Reals,
    enough: Whole,
    name: str,
    columns: Whole,
    weights: Together,
) -> Iterator[Signal]:
    """The signals of a group together, among the variants at the places `enough`."""
    joint = z[np.ix_(enough, columns)] @ weights.related.T
    total = (products.n - 1) * len(weights.related)
    found = fit(r[np.ix_(enough, enough)], joint, total, products.n)
    if not found.sets:
        return
    wider = products.factors[columns]  # tests together are judged as among independent people
    p_alone = omnibus(t[np.ix_(enough, columns)] * wider, weights, products.df)[1]
    unknown = np.full(len(enough), np.nan)
    tops = [int(enough[one.variants[0]]) for one in found.sets]
    _, _, own_t, df = products.together(tops)
    p_beside = omnibus(own_t[:, columns] * wider, weights, df)[1]
    for i, one in enumerate(found.sets):
        yield Signal(
            name, i + 1, products.variants[enough], one, found.pip, found.has_converged, np.nan,
            np.nan, float(p_beside[i]), np.stack([unknown, unknown, p_alone]), products.af[enough],
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
                "has_converged": one.has_converged,
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
