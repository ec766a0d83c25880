"""Core-hours, disk and price of the GWAS at sizes that were not run, from runs of `bench_scale`.

The processor time of a stage is taken as a sum of terms, each a number of operations times a rate
(see `TERMS`); the rates, none negative, are those that fit the runs best, each run's error being
held against its own time. Of the terms of a stage only the first are used, fewer than the sizes in
which it ran, so that the error says something. The bytes that a stage leaves are reckoned in the
same way.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import nnls

PRICE, PRICE_SOURCE = (
    0.048,
    (
        "US$ 0.048 a vCPU-hour: a quarter of the on-demand price of Amazon's m6i.xlarge (4 vCPU, "
        "16 GiB, Linux, us-east-1), US$ 0.192 an hour as told in 2026 by "
        "c3x.dev/blog/m5-vs-m6i-vs-m7i-cost-performance"
    ),
)
GENOME_MEGABASES = 2_875


@dataclass(frozen=True)
class Size:
    """The size of a study: `megabases` over which its variants lie."""

    people: float
    variants: float
    phenotypes: float
    covariates: float
    megabases: float

    @property
    def name(self) -> str:
        return f"{self.people:,.0f} x {self.variants:,.0f} x {self.phenotypes:.0f}"


TARGETS = [
    Size(people, variants, 47, 17, GENOME_MEGABASES)
    for people, variants in ((31_000, 10e6), (100_000, 10e6), (500_000, 40e6))
]

Terms = dict[str, Callable[[Size], float]]
CALLS: Terms = {"people x variants": lambda s: s.people * s.variants}
RESULTS: Terms = {"variants x phenotypes": lambda s: s.variants * s.phenotypes}
SITES: Terms = {"variants": lambda s: s.variants}
CONSTANT: Terms = {"a run": lambda s: 1.0}
VALUES: Terms = {"people x phenotypes": lambda s: s.people * s.phenotypes}

TERMS: dict[str, Terms] = {
    "import": CALLS | SITES,
    "structure": {
        "people x variants (at most 200,000)": lambda s: s.people * min(s.variants, 2e5),
        "people² x variants for relatives (at most 8,000 and 2 GB)": lambda s: (
            s.people**2 * min(s.variants, 8_000, 2**31 / s.people)
        ),
    },
    "cohort": VALUES,
    "null_model": {
        "people x variants (at most 150,000)": lambda s: s.people * min(s.variants, 150e3),
        **VALUES,
    },
    "associations": {
        "people x variants x (phenotypes + covariates)": lambda s: (
            s.people * s.variants * (s.phenotypes + s.covariates)
        ),
        **RESULTS,
    },
    "findings": {
        **RESULTS,
        "people (at most 5,000) x pairs of variants (at most 1,000,000) within 1 Mb": lambda s: (
            min(s.people, 5_000) * min(s.variants, 1e6) ** 2 / s.megabases
        ),
    },
}
"""What the processor time of each stage grows with, the greatest at large sizes first; all have
something that does not grow besides."""

BYTES: dict[str, Terms] = {
    "import": CALLS | SITES,
    "structure": {"people": lambda s: s.people},
    "cohort": VALUES,
    "null_model": VALUES,
    "associations": RESULTS,
    "findings": RESULTS,
}


@dataclass(frozen=True)
class Fit:
    """The rates of terms, and the largest error of a run as a share of what was measured."""

    terms: Terms
    rates: np.ndarray
    error: float
    runs: int

    def at(self, size: Size) -> float:
        return float(sum(r * f(size) for r, f in zip(self.rates, self.terms.values(), strict=True)))


def fitted(terms: Terms, runs: list[tuple[Size, float]]) -> Fit:
    """The rates at which terms grow, from sizes with what was measured at them."""
    sizes = {size for size, _ in runs}
    used = dict(list((terms | CONSTANT).items())[: max(1, len(sizes) - 1)])
    measured = np.array([max(value, 1e-9) for _, value in runs])
    x = np.array([[f(size) for f in used.values()] for size, _ in runs]) / measured[:, None]
    scale = x.max(axis=0)
    rates = nnls(x / scale, np.ones(len(runs)))[0] / scale
    error = float(np.abs(x @ rates - 1).max())
    return Fit(used, rates, error, len(runs))


def print_tables(files: list[str]) -> None:
    """Print what the runs measured, and what follows from those without a cluster, in Markdown."""
    lines = [line for file in files for line in _lines(file) if "failed" not in line]
    _print_measured(lines)
    alone = [line for line in lines if not line["cluster"]] or lines
    print("\n**Measured** rates, fitted to the runs above" + (
        "" if alone is lines else " without a cluster"
    ))  # fmt: skip
    print(
        "\n| stage | processor seconds | largest error of a run | runs |\n| --- | --- | --- | --- |"
    )
    seconds, size_on_disk = {}, {}
    for stage, terms in TERMS.items():
        runs = [(_size(line), line) for line in alone if line["stage"] == stage]
        if not runs:
            continue
        own = fitted(terms, [(size, line["cpu_s"]) for size, line in runs])
        seconds[stage] = own
        size_on_disk[stage] = fitted(BYTES[stage], [(size, line["bytes"]) for size, line in runs])
        told = " + ".join(f"{r:.3g} x {n}" for r, n in zip(own.rates, own.terms, strict=True) if r)
        print(f"| {stage} | {told} | {own.error:.0%} | {own.runs} |")
    print("\n**Reckoned** from these rates: core-hours, and GB that stay on disk\n")
    print("| stage | " + " | ".join(size.name for size in TARGETS) + " |")
    print("| --- |" + " --- |" * len(TARGETS))
    for stage in seconds:
        cells = [
            f"{seconds[stage].at(size) / 3600:,.1f} h, {size_on_disk[stage].at(size) / 1e9:,.1f} GB"
            for size in TARGETS
        ]
        print(f"| {stage} | " + " | ".join(cells) + " |")
    hours = [sum(fit.at(size) for fit in seconds.values()) / 3600 for size in TARGETS]
    disk = [sum(fit.at(size) for fit in size_on_disk.values()) / 1e9 for size in TARGETS]
    totals = zip(hours, disk, strict=True)
    print("| all | " + " | ".join(f"{h:,.0f} h, {d:,.0f} GB" for h, d in totals) + " |")
    print("| price | " + " | ".join(f"US$ {h * PRICE:,.0f}" for h in hours) + " |")
    print(f"\nThe price is that of cores which are all busy, without disk: {PRICE_SOURCE}.")
    if missing := [stage for stage in TERMS if stage not in seconds]:
        print(f"Not measured, and not in the sums: {', '.join(missing)}.")


def _print_measured(lines: list[dict[str, Any]]) -> None:
    print("**Measured**: people x variants x phenotypes; peaks of resident memory in GB\n")
    print("| run | stage | seconds | processor seconds | driver: Python, JVM | executors' JVMs "
          "| workers, the largest | GB on disk |\n|" + " --- |" * 8)  # fmt: skip
    for line in lines:
        gb = {kind: f"{value / 1e3:.2f}" for kind, value in line["peak_mb"].items()}
        name = line["scale"] + (", cluster" if line["cluster"] else "")
        cells = [
            f"{name}: {_size(line).name}", line["stage"], f"{line['wall_s']:,.0f}",
            f"{line['cpu_s']:,.0f}", f"{gb['driver_python']}, {gb['driver_jvm']}",
            gb["executor_jvms"], f"{gb['workers']}, {gb['largest_worker']}",
            f"{line['bytes'] / 1e9:.2f}",
        ]  # fmt: skip
        print("| " + " | ".join(cells) + " |")


def _lines(file: str) -> list[dict[str, Any]]:
    with open(file, encoding="utf-8") as content:
        return [json.loads(line) for line in content if line.startswith("{")]


def _size(line: dict[str, Any]) -> Size:
    keys = ("people", "variants", "phenotypes", "covariates", "megabases")
    return Size(*(line[key] for key in keys))
