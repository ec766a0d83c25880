"""The archives on whose published beats a study trains one model together.

Each archive is a study of its own, with its own secret for pseudonyms. Two people of different
archives are therefore never taken for one, and whether a person is in two archives cannot be
known.
"""

from collections.abc import Mapping
from functools import lru_cache

from ecg_spark.errors import UsageError
from ecg_spark.store import Publication, Store, file_stamp, fingerprint
from ecg_spark.study import Study, load_study
from jobs.average import STEP as AVERAGE
from jobs.step import present


def averages_of(study: Study) -> dict[str, Publication]:
    """What the step `average` of each archive has published, sorted by the archives' names.

    Raises:
        UsageError: if an archive has not published it for its present study file and this version
            of the average beat, or has another `beats.source` than the study.
        EcgSparkError: as `load_study` does.
    """
    found = {}
    for name, archive in _studies(study).items():
        try:
            found[name] = present(AVERAGE, archive, Store(archive.output_path))
        except UsageError as error:
            raise UsageError(f"The archive {name}: {error}") from None
        if archive.beats.source != study.beats.source:
            raise UsageError(
                f"The archive {name} has average beats with beats.source {archive.beats.source}, "
                f"and the study's is {study.beats.source}: set the same."
            )
    return found


def version_of(averages: Mapping[str, Publication]) -> str:
    """A digest that identifies the beats of these archives together."""
    return fingerprint({name: one.run for name, one in averages.items()})


def runs_of(study: Study) -> dict[str, str | None]:
    """The run of `average` that each archive has published, or None.

    Raises:
        UsageError: if two archives have the same name.
        EcgSparkError: as `load_study` does.
    """
    averages = {
        name: Store(archive.output_path).published(AVERAGE.name)
        for name, archive in _studies(study).items()
    }
    return {name: None if one is None else one.run for name, one in averages.items()}


def _studies(study: Study) -> dict[str, Study]:
    """The archives by name, sorted."""
    found: dict[str, Study] = {}
    for path in study.archives:
        place = study.locate(path)
        archive = _loaded(place, fingerprint(file_stamp(place)))
        if archive.name in found:
            raise UsageError(
                f"Two of the archives are called {archive.name}, by which their figures are told "
                f"apart: change the name in one of their study files."
            )
        found[archive.name] = archive
    return dict(sorted(found.items()))


@lru_cache(maxsize=100)
def _loaded(place: str, stamp: str) -> Study:
    """Load an archive's study file; cached, since a run asks several times. `stamp` changes
    with the file.
    """
    return load_study(place)
