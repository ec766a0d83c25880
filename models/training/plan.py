"""The plan of a training: what is trained on what, and where it is tracked."""

import hashlib
from dataclasses import dataclass, field
from typing import Any

from ecg_spark.ecg import BEAT_VERSION
from ecg_spark.store import fingerprint
from ecg_spark.study import Model
from models.data.petastorm_compat import Table
from models.data.split import Split
from models.encoding.fold_encoder import FoldEncoder


@dataclass(frozen=True)
class Archive:
    """One of several archives that a network is trained on.

    Attributes:
        name: the name of its study.
        beats_path: the path or URI of its table of beats.
        table_version: the run that published the table.
    """

    name: str
    beats_path: str
    table_version: str


@dataclass(frozen=True)
class Plan:
    """What is trained on what, where it is tracked, and the folder of its checkpoints."""

    beats: str | tuple[Archive, ...]
    """The folder of the table of beats, or the archives whose tables are read as one."""
    settings: Model
    seed: int
    table_version: str
    tracking_uri: str
    experiment: str
    checkpoints: str
    tags: dict[str, str] = field(default_factory=dict)
    leave_out: tuple[str, ...] = ()
    """Recordings with one of these flags are used neither for training nor for judging."""
    study: str = "study"
    archive: str = ""
    """What recordings the beats are of: formats and how many of each."""
    registry_uri: str | None = None
    """Where the model is registered; None: where runs are tracked."""
    beat_source: str = "computed"
    """The study's beats.source: computed averages, or the device's own median beats."""
    start: FoldEncoder | None = None
    """A network to be trained further; None starts as a PCA."""

    @property
    def archives(self) -> tuple[Archive, ...]:
        """The archives; empty if there is only one table."""
        return () if isinstance(self.beats, str) else self.beats

    @property
    def beats_path(self) -> Table:
        """The folder of the table of beats, or those of all archives."""
        if isinstance(self.beats, str):
            return self.beats
        return tuple(archive.beats_path for archive in self.beats)

    @property
    def identity(self) -> str:
        """A digest of everything that decides the result."""
        settings = self.settings.model_dump(exclude={"device", "source", "fine_tune"})
        start = self.start and hashlib.sha256(self.start.weights).hexdigest()
        return fingerprint(settings, self.seed, self.table_version, self.leave_out, start)

    @property
    def provenance(self) -> dict[str, Any]:
        """What the model's configuration says about the seed and the beats that it is made for."""
        return {
            "seed": self.seed,
            "table_version": self.table_version,
            "beat_version": BEAT_VERSION,
            "beat_source": self.beat_source,
        }

    def split(self, fold: int) -> Split:
        """Return who is held out of a fold's training."""
        settings = self.settings
        return Split(
            self.seed, settings.validation_share, settings.folds, fold, settings.test_share
        )
