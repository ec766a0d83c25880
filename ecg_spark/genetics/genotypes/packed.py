"""Hard calls packed at two bits each, as in PLINK's .bed, for computation with NumPy.

They lie in one .bed or in the .bed files of a set in parts (see `parts`), and any task can read
some of them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import pairwise
from typing import Any

import fsspec
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ecg_spark.genetics.genotypes.contigs import CONTIGS
from ecg_spark.genetics.genotypes.files import side_by_side
from ecg_spark.tables import VARIANT

NAMES = [*VARIANT, "rsid"]
"""The columns that name a variant; `rsid` may be missing."""

MISSING = 3
"""The code of a missing call in a matrix of calls (0, 1, 2 alternate alleles)."""

_HEADER = 3
_CODES = np.array([2, MISSING, 1, 0], np.int8)  # of PLINK's two bits; A1 is the alternate
BY_BYTE = _CODES[(np.arange(256)[:, None] >> np.array([0, 2, 4, 6])) & 3]
"""The four calls in each value of a byte [256, 4]."""


@dataclass(frozen=True)
class Calls:
    """Where the hard calls of a genotype set are stored: small enough to be sent to every task.

    Attributes:
        path: a .bed file, or the folder of a set in parts.
        n_samples: how many samples the set has.
        parts: the number of each part and how many variants it holds; empty for a single .bed.
        at: the places of the variants among those of all parts, or None for all variants in their
            order.
    """

    path: str
    n_samples: int
    parts: tuple[tuple[int, int], ...] = ()
    at: NDArray[np.int32] | None = None

    def only(self, variants: NDArray[np.int64]) -> "Calls":
        """The calls of some variants, given their places in this set, in that order."""
        own = variants if self.at is None else self.at[variants]
        return replace(self, at=np.asarray(own, np.int32))

    def read(
        self, variants: NDArray[np.int64], samples: NDArray[np.int64] | None = None
    ) -> NDArray[np.int8]:
        """Read the calls of some variants.

        Args:
            variants: their places in the set.
            samples: the places of samples; None for all.

        Returns:
            The number of alternate alleles, int8 [variants, samples]; `MISSING` where unknown.
        """
        rows = self.packed(variants)
        calls = BY_BYTE[rows].reshape(len(rows), 4 * rows.shape[1])
        return calls[:, : self.n_samples] if samples is None else calls[:, samples]

    def packed(self, variants: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Read the packed bytes of some variants, [variants, ceil(samples / 4)] (see
        `decode`).
        """
        rows = np.empty((len(variants), -(-self.n_samples // 4)), np.uint8)
        part, places = self.located(variants)
        cuts = np.flatnonzero(np.diff(part, prepend=-1, append=-1))
        for start, stop in pairwise(cuts if len(places) else []):
            path = self.path
            if self.parts:
                path += f"/part-{self.parts[part[start]][0]:05d}.bed"
            self._fill(rows[start:stop], path, places[start:stop])
        return rows

    def located(self, variants: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Which part holds each variant, and its place there.

        Args:
            variants: places in the set, [variants].

        Returns:
            The index into `parts` (0 if the set is a single .bed) and the place in that part, each
            [variants].
        """
        places = np.asarray(variants if self.at is None else self.at[variants], np.int64)
        if not self.parts:
            return np.zeros(len(places), np.int64), places
        counts = np.array([count for _, count in self.parts])
        ends = np.cumsum(counts)
        part = np.searchsorted(ends, places, side="right")
        return part, places - (ends - counts)[part]

    def _fill(self, rows: NDArray[np.uint8], path: str, places: NDArray[Any]) -> None:
        """Read the variants at some places of a .bed, consecutive ones at once."""
        ends = np.flatnonzero(np.diff(places, prepend=-2, append=-2) != 1)
        width = rows.shape[1]
        with fsspec.open(path, "rb") as file:
            for start, stop in pairwise(ends):
                file.seek(_HEADER + int(places[start]) * width)
                content = file.read(int(stop - start) * width)
                rows[start:stop] = np.frombuffer(content, np.uint8).reshape(-1, width)


@dataclass(frozen=True)
class Packed:
    """A genotype set with packed calls: its samples, and its variants in the order of the genome.

    The names of millions of variants would take gigabytes, so they stay on disk.

    Attributes:
        samples: the sample ids.
        sites: one row per variant: contig (categorical), position, and the further columns that
            were asked for.
        names: reads `NAMES` of the variants at some places of a part (see `Calls.located`).
    """

    calls: Calls
    samples: pd.Index
    sites: pd.DataFrame
    names: Callable[[int, NDArray[np.int64]], pd.DataFrame]

    def places(self, samples: Sequence[str]) -> NDArray[np.int64]:
        """The places of samples in the set; -1 where the set does not have the sample."""
        return np.asarray(self.samples.get_indexer(pd.Index(samples)), np.int64)

    def rows(self, variants: pd.DataFrame) -> NDArray[np.int64]:
        """The places of the given variants in the set, in the order of the set.

        Names are read only of variants whose position is among the given ones.

        Args:
            variants: a table with contig, position, ref and alt. Variants that are not in the set
                are ignored.
        """
        near = np.flatnonzero(self.sites["position"].isin(variants["position"]))
        lies = self.sites.iloc[near].astype({"contig": str})
        near = near[_are_among(lies, variants, ["contig", "position"])]
        return near[_are_among(self.named(near), variants, VARIANT)]

    def within(self, contig: str, start: int, end: int) -> NDArray[np.int64]:
        """The places of the variants of a contig from `start` to `end`, both included.

        Relies on the order of the sites, which is that of the genome (see `view.packed_view`).
        """
        first, last = self._bounds.get(contig, (0, 0))
        here = self.sites["position"].to_numpy()[first:last]
        kind = here.dtype.type  # with another type, searchsorted would copy all positions
        left = np.searchsorted(here, kind(start), "left")
        return np.arange(first + left, first + np.searchsorted(here, kind(end), "right"))

    @cached_property
    def _bounds(self) -> dict[str, tuple[int, int]]:
        """The first place of each contig, and the place after its last."""
        codes, names = self.sites["contig"].cat.codes.to_numpy(), self.sites["contig"].cat
        ends = np.searchsorted(codes, np.arange(len(names.categories) + 1, dtype=codes.dtype))
        return dict(zip(names.categories, pairwise(ends.tolist()), strict=True))

    def named(self, places: NDArray[np.int64]) -> pd.DataFrame:
        """Read `NAMES` of the variants at some places, one row each, in their order."""
        if not len(places):
            return pd.DataFrame(columns=NAMES)
        part, own = self.calls.located(places)
        held = np.unique(part).tolist()
        found = side_by_side(lambda one: self.names(one, own[part == one]), held)
        together = pd.concat(found, ignore_index=True)
        back = np.argsort(np.argsort(part, kind="stable"))
        return together[NAMES].iloc[back].reset_index(drop=True)

    def on(self, chromosomes: Sequence[str]) -> NDArray[np.bool_]:
        """Which variants lie on the given chromosomes (1 to 22, X, Y, MT), whatever the build."""
        contig = self.sites["contig"].cat
        wanted = [CONTIGS.get(name) in chromosomes for name in contig.categories]
        return np.array(wanted, bool)[contig.codes]


def read_packed(stem: str) -> Packed:
    """Open the PLINK set `stem`.bed, .bim and .fam."""
    samples = pd.read_csv(f"{stem}.fam", sep=r"\s+", header=None, dtype=str, usecols=[1])[1]
    sites = _bim(stem, ["contig", "position"]).astype({"contig": "category"})
    names = partial(_names, stem)
    return Packed(Calls(f"{stem}.bed", len(samples)), pd.Index(samples), sites, names)


def _names(stem: str, _: int, places: NDArray[np.int64]) -> pd.DataFrame:
    return _bim(stem, NAMES).iloc[places]


def _bim(stem: str, columns: list[str]) -> pd.DataFrame:
    table = pd.read_csv(
        f"{stem}.bim",
        sep=r"\s+",
        header=None,
        names=["contig", "rsid", "cm", "position", "alt", "ref"],
        usecols=columns,
        dtype={"contig": str, "rsid": str, "alt": str, "ref": str, "position": np.int32},
        keep_default_na=False,
    )
    return table[columns]


def _are_among(
    sites: pd.DataFrame, variants: pd.DataFrame, columns: list[str]
) -> NDArray[np.bool_]:
    """Whether each row of `sites` equals some row of `variants` in the given columns."""
    wanted = pd.MultiIndex.from_frame(variants[columns])
    return np.asarray(pd.MultiIndex.from_frame(sites[columns]).isin(wanted))


def decode(rows: NDArray[np.uint8], samples: NDArray[np.int64]) -> NDArray[np.int8]:
    """Unpack calls, int8 [variants, samples], of some samples from the packed bytes of variants.

    Args:
        rows: packed calls, [variants, ceil(samples of the set / 4)].
        samples: places of the wanted samples in the set.
    """
    shifts = (2 * (samples & 3)).astype(np.uint8)
    return np.asarray(_CODES[(rows[:, samples >> 2] >> shifts) & 3])


def centred(
    calls: NDArray[np.int8], mean: NDArray[np.float64] | None = None
) -> NDArray[np.float32]:
    """Each variant minus its mean; missing calls become 0, which is the mean.

    Args:
        calls: [variants, samples], `MISSING` where unknown.
        mean: the mean of each variant [variants]; None for the mean over these samples.

    Example:
        >>> centred(np.array([[0, 2, MISSING]], np.int8)).tolist()
        [[-1.0, 1.0, 0.0]]
    """
    known = calls != MISSING
    if mean is None:
        count = np.maximum(known.sum(axis=1), 1)
        mean = np.where(known, calls, 0).sum(axis=1, dtype=np.float32) / count
    return np.where(known, calls - mean[:, None].astype(np.float32), np.float32(0))


def standardised(calls: NDArray[np.int8]) -> NDArray[np.float32]:
    """Each variant centred and scaled to Euclidean length 1, so that products are correlations.

    Missing calls count as the mean. A variant that does not vary is all zero.
    """
    values = centred(calls)
    length = np.linalg.norm(values, axis=1, keepdims=True)
    return np.asarray(np.divide(values, length, out=values, where=length > 0))
