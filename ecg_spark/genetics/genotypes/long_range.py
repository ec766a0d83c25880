"""Regions of long-range linkage disequilibrium, as one list for both builds.

They are inversions, centromeres and traces of selection. Left in, such a region makes a principal
component of its own that has nothing to do with ancestry (Price et al. 2008, Am J Hum Genet
83:132; Anderson et al. 2010, Nat Protoc 5:1564; with the inversion of 17q21.31, Stefansson et al.
2005, Nat Genet 37:129). The positions on GRCh38 are those of the same genes.
"""

import numpy as np
from numpy.typing import NDArray

from ecg_spark.genetics.genotypes.packed import Packed

LONG_RANGE_LD = (
    ("1", (48.22, 52.23), (47.76, 51.77)),
    ("2", (86.14, 101.14), (85.91, 100.52)),
    ("2", (134.78, 138.29), (134.02, 137.53)),  # LCT
    ("2", (183.29, 190.30), (182.42, 189.43)),
    ("3", (47.52, 50.03), (47.48, 49.99)),
    ("3", (83.41, 86.92), (83.36, 86.87)),
    ("3", (88.91, 96.02), (88.86, 96.30)),
    ("5", (44.46, 50.47), (44.46, 51.17)),
    ("5", (97.97, 100.48), (98.63, 101.14)),
    ("5", (128.97, 131.98), (129.63, 132.64)),
    ("5", (135.47, 138.48), (136.13, 139.14)),
    ("6", (25.39, 33.40), (25.39, 33.43)),  # the major histocompatibility complex
    ("6", (56.89, 63.95), (57.02, 63.24)),
    ("6", (139.95, 142.46), (139.63, 142.14)),
    ("7", (55.03, 66.37), (54.96, 66.90)),
    ("8", (7.96, 11.97), (8.10, 12.11)),  # an inversion
    ("8", (42.88, 49.84), (43.02, 48.93)),
    ("8", (111.93, 114.94), (110.91, 113.92)),
    ("10", (36.95, 43.68), (36.67, 43.19)),
    ("11", (46.04, 57.25), (46.02, 57.48)),
    ("11", (87.86, 90.87), (88.12, 91.13)),
    ("12", (33.10, 41.72), (32.95, 41.32)),
    ("12", (111.01, 113.52), (110.57, 113.08)),
    ("17", (43.38, 44.92), (45.30, 46.84)),  # an inversion
    ("20", (32.53, 35.07), (33.94, 36.44)),
)
"""Each region's chromosome, its start and end in Mb on GRCh37, and the same on GRCh38."""

MHC = ("6", 25_000_000, 34_000_000)
"""Chromosome, start and end in bp of the major histocompatibility complex with the variants that
are linked to it, wide enough for both builds."""


def long_range_ld(reference_genome: str) -> list[tuple[str, float, float]]:
    """The regions on a build: chromosome, start and end in bp.

    Example:
        >>> long_range_ld("GRCh38")[0]
        ('1', 47760000.0, 51770000.0)
    """
    build = ("GRCh37", "GRCh38").index(reference_genome)
    return [(name, own[build][0] * 1e6, own[build][1] * 1e6) for name, *own in LONG_RANGE_LD]


def outside_long_range(packed: Packed, reference_genome: str) -> NDArray[np.bool_]:
    """Which variants of a set lie outside the long-range LD regions, [variants]."""
    outside = np.ones(len(packed.sites), bool)
    for name, start, end in long_range_ld(reference_genome):
        within = packed.sites["position"].between(start, end).to_numpy()
        outside &= ~(packed.on([name]) & within)
    return outside
