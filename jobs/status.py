"""What a study has published, what a run would redo and why, and what can be removed."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import fsspec

from ecg_spark.display import words
from ecg_spark.locations import spelled_like
from ecg_spark.steps import steps_of
from ecg_spark.store import Publication, Store
from ecg_spark.study import COMBINED, POPULATIONS, Study
from jobs.step import Step, needs_of, settings_of, steps_named

_UNITS = ("B", "kB", "MB", "GB", "TB")
_WHY = {
    "settings": "other settings in the study file, or another version of the step",
    "files": "its input files have changed",
}


@dataclass(frozen=True)
class StepStatus:
    """The state of a step.

    Attributes:
        published: what it has published, if anything.
        bytes: the size of that.
        why: why a run would redo it; empty if it would be skipped.
        at_work: by which process it is being run now; empty if by none.
    """

    step: str
    published: Publication | None
    bytes: int
    why: str
    at_work: str


def status_of(study: Study) -> list[StepStatus]:
    """The state of each step of a study, in the order of the pipeline; nothing is changed."""
    store = Store(study.output_path)
    runs: dict[str, str | None] = {}  # the run that later steps would use; None: to be redone
    found = []
    for step in steps_named(steps_of(study)):
        name = step.name
        published = store.published(name)
        why = _why(step, study, published, runs)
        runs[name] = published.run if published is not None and not why else None
        size = store.size_of(name, published.run) if published else 0
        found.append(StepStatus(name, published, size, why, store.at_work(name)))
    return found


def _why(
    step: Step, study: Study, published: Publication | None, runs: dict[str, str | None]
) -> str:
    """Why a step would be run; empty if it would be skipped."""
    if published is None:
        return "not published"
    needs, used = needs_of(step, study), published.provenance["inputs"]
    for need in needs:
        if runs[need.name] is None:
            return f"{need.name} is to be run"
        if used.get(need.name) != runs[need.name]:
            return f"{need.name} has been run again"
    if used.keys() != {need.name for need in needs}:
        return _WHY["settings"]
    now = settings_of(step, study)
    return "; ".join(text for part, text in _WHY.items() if published.provenance[part] != now[part])


def status_lines(study: Study) -> Iterator[str]:
    """One line per step: when and by which version it was published, its size, and what a run
    would do.
    """
    rows = [("step", "published", "by", "size", "made from", "next run")]
    for one in status_of(study):
        when = by = size = source = "–"
        if one.published is not None:
            when, by = one.published.published_at[:16].replace("T", " "), one.published.version
            size, source = size_words(one.bytes), _source(one.published)
        told = f"at work: {one.at_work}" if one.at_work else one.why or "skips it"
        rows.append((one.step, when, by or "–", size, source, told))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = zip(row, widths, strict=True)
        yield "  ".join(cell.ljust(width) for cell, width in cells).rstrip()


def _source(published: Publication) -> str:
    """A few words on what a publication was made from."""
    inputs = published.provenance.get("inputs", {})
    counts = [published.summary.get(key) for key in ("n_in", "participants", "samples")]
    known = next((f"{words(value)} in" for value in counts if value is not None), "")
    return ", ".join([*inputs, known] if known else inputs) or "files"


def clean(folder: str) -> dict[str, Any]:
    """Remove what interrupted runs have left in an output folder; what is published stays.

    In a study's folder that includes replications, its populations and their meta-analysis. Runs of
    a step that is being run now stay, and so do checkpoints from which training with the present
    settings would resume.

    Returns:
        The summary: how many runs were removed per step, and the space freed.
    """
    runs: Counter[str] = Counter()
    freed = 0
    for store in map(Store, [folder, *_below(folder)]):
        for name in store.steps():
            count, size = store.remove_leftovers(name)
            runs[name] += count
            freed += size
    return {"step": "clean", "removed_runs": dict(+runs), "freed": size_words(freed)}


def _below(folder: str) -> list[str]:
    """The folders within an output folder that receive results of their own."""
    files, base = fsspec.core.url_to_fs(folder.rstrip("/"))
    own = f"{base}/{POPULATIONS}"
    found = [f"{base}/{COMBINED}", *(files.ls(own, detail=False) if files.exists(own) else [])]
    paths = [path.rstrip("/") for path in found]
    return spelled_like(folder, [path for path in paths if files.exists(f"{path}/runs")])


def size_words(size: float) -> str:
    """A size in bytes in words.

    Example:
        >>> size_words(1_234_567), size_words(512)
        ('1.2 MB', '512 B')
    """
    for unit in _UNITS[:-1]:
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" or size >= 10 else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} {_UNITS[-1]}"
