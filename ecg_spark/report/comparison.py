"""Planted against found: which planted variants of a simulated biobank each method finds.

A planted variant is **found** by a method if a locus of that method lies within `FOUND_BP` of it
on the same contig, measured from the nearer end of the locus. A locus is **false** if no planted
variant of any size lies within `FALSE_BP` of it; false loci of a method within that distance of
each other count once.

The methods, each with its own loci and all at the study-wide threshold, are: the single latents of
the VAE, the omnibus test over all of them, the same two for as many principal components of the
beat and for the study's own phenotypes, and the conventional traits. A study has those methods
whose phenotypes it has.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import fsspec
import pandas as pd

from ecg_spark.errors import DataError
from ecg_spark.tables import OWN, PEER, TOGETHER

FOUND_BP = 500_000
FALSE_BP = 1_000_000
LARGE = 0.05
"""A planted variant is large if it explains at least this share of its parameter's variance."""

METHODS = ("vae", "vae omnibus", PEER, f"{PEER}{TOGETHER}", "traits", OWN, f"{OWN}{TOGETHER}")


@dataclass(frozen=True)
class Planted:
    """A planted variant.

    Attributes:
        parameter: the parameter of the heart that it changes.
        kind: `interval` if a conventional interval or rate measures the parameter, else
            `morphology`.
        variance_explained: the share of the parameter's variance that it explains.
        found: the methods that found it.
    """

    contig: str
    position: int
    parameter: str
    kind: str
    variance_explained: float
    found: tuple[str, ...] = ()

    @property
    def is_large(self) -> bool:
        """Whether it explains at least `LARGE` of its parameter's variance."""
        # A share of exactly 5 % may be a sum of rounded numbers, slightly below.
        return self.variance_explained >= LARGE - 1e-9

    def found_by(self, *methods: str) -> bool:
        """Whether any of the methods has found it."""
        return any(method in self.found for method in methods)


@dataclass(frozen=True)
class Comparison:
    """A comparison of planted variants with loci.

    Attributes:
        planted: the planted variants, the largest first.
        false_loci: the number of false loci by method.
        methods: the methods of the study.
    """

    planted: tuple[Planted, ...]
    false_loci: dict[str, int]
    methods: tuple[str, ...]

    @property
    def pairs(self) -> dict[str, tuple[str, ...]]:
        """For each group of phenotypes that is also tested jointly, its two methods."""
        return {
            name.removesuffix(TOGETHER): (name.removesuffix(TOGETHER), name)
            for name in self.methods
            if name.endswith(TOGETHER)
        }

    def found(self, *methods: str, large: bool = True) -> tuple[int, int]:
        """How many planted variants any of the methods found, and out of how many.

        Args:
            large: count only large variants.
        """
        considered = [item for item in self.planted if item.is_large or not large]
        return sum(item.found_by(*methods) for item in considered), len(considered)

    def missed_by_traits(self, method: str = "vae") -> list[Planted]:
        """Planted variants that the latents of a model found and the conventional traits did
        not.
        """
        return [
            item
            for item in self.planted
            if item.found_by(method, f"{method}{TOGETHER}") and not item.found_by("traits")
        ]

    def summary(self) -> dict[str, Any]:
        """The counts for the summary of the step: large planted variants found, and false
        loci.
        """
        large = sum(item.is_large for item in self.planted)
        counts: dict[str, Any] = {"planted": len(self.planted), "planted_large": large}
        for group, methods in self.pairs.items():
            found, _ = self.found(*methods)
            counts |= {
                f"found_large_{group}": found,
                f"found_large_{group}_share": _share(found, large),
            }
        counts |= {
            "found_large_by_method": {name: self.found(name)[0] for name in self.methods},
            "found_by_method": {name: self.found(name, large=False)[0] for name in self.methods},
            "false_loci": self.false_loci,
        }
        if "traits" in self.methods:
            counts |= {
                f"missed_by_traits_found_by_{group}": len(self.missed_by_traits(group))
                for group in self.pairs
            }
        return counts


def read_truth(path: str) -> dict[str, Any]:
    """Read the `truth.json` of a simulated biobank.

    Raises:
        DataError: if the file does not exist or is not such a truth.
    """
    try:
        with fsspec.open(path, "rt", encoding="utf-8") as file:
            truth = json.load(file)
    except FileNotFoundError:
        raise DataError(
            f"The truth {path} does not exist: correct truth in the study file."
        ) from None
    except ValueError:
        raise no_truth(path) from None
    if not isinstance(truth, dict):
        raise no_truth(path)
    return truth


def read_planted(path: str) -> list[Planted]:
    """Read the planted variants of a `truth.json`.

    Raises:
        DataError: if the file does not exist or is not such a truth.
    """
    try:
        return [
            Planted(
                str(one["contig"]),
                int(one["position"]),
                str(one["parameter"]),
                str(one["class"]),
                float(one["variance_explained"]),
            )
            for one in read_truth(path)["planted"]
        ]
    except (ValueError, KeyError, TypeError):
        raise no_truth(path) from None


def no_truth(path: str) -> DataError:
    """What is said of a file that is no truth."""
    return DataError(
        f"The truth {path} is not one that 'ecg-spark simulate' writes: "
        f"simulate the biobank again, or set truth to null in the study file."
    )


def planted_together(truths: Sequence[Sequence[Planted]]) -> list[Planted]:
    """The planted variants of several cohorts together.

    The variance that a variant explains is averaged over the cohorts, with 0 where it was not
    planted.
    """
    of_each: dict[tuple[str, int, str], list[Planted]] = {}
    for item in (one for truth in truths for one in truth):
        of_each.setdefault((_bare(item.contig), item.position, item.parameter), []).append(item)
    return [
        replace(own[0], variance_explained=sum(x.variance_explained for x in own) / len(truths))
        for own in of_each.values()
    ]


def acting_at(planted: Sequence[Planted], contig: str, start: int, end: int) -> list[str]:
    """The parameters of the planted variants that a locus from `start` to `end` would find."""
    return [
        item.parameter
        for item in planted
        if _bare(item.contig) == _bare(contig)
        and start - FOUND_BP <= item.position <= end + FOUND_BP
    ]


def compare(planted: Sequence[Planted], loci: pd.DataFrame, methods: Sequence[str]) -> Comparison:
    """Match planted variants with loci.

    Args:
        loci: columns method, contig, start and end, in bp.
        methods: the methods of the study, among `METHODS`.
    """
    matched = []
    for item in sorted(planted, key=lambda one: -one.variance_explained):
        near = loci[_distance(loci, item.contig, item.position) <= FOUND_BP]
        found = tuple(name for name in methods if name in set(near["method"]))
        matched.append(replace(item, found=found))
    false = pd.Series(True, index=loci.index)
    for item in planted:
        false &= _distance(loci, item.contig, item.position) > FALSE_BP
    counts = {name: _regions(loci[false & (loci["method"] == name)]) for name in methods}
    compared = Comparison(tuple(matched), counts, tuple(methods))
    for group, names in compared.pairs.items():
        counts[f"{group} or omnibus"] = _regions(loci[false & loci["method"].isin(names)])
    return compared


def _distance(loci: pd.DataFrame, contig: str, position: int) -> pd.Series:
    """The distance in bp from each locus to a position; infinite on another contig."""
    outside = pd.concat([loci["start"] - position, position - loci["end"]], axis=1).max(axis=1)
    same = loci["contig"].map(_bare) == _bare(contig)
    return outside.astype(float).clip(lower=0).where(same, float("inf"))


def _regions(loci: pd.DataFrame) -> int:
    """How many loci remain when those within `FALSE_BP` of each other count once."""
    count = 0
    for _, part in loci.groupby(loci["contig"].map(_bare)):
        end = float("-inf")
        for start, stop in sorted(zip(part["start"], part["end"], strict=True)):
            count += start - end > FALSE_BP
            end = max(end, stop)
    return count


def _bare(contig: str) -> str:
    return str(contig).removeprefix("chr")


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 3) if whole else None
