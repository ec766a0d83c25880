"""The state of a training run between two epochs, in files that are replaced atomically."""

import io
import logging
import time
from dataclasses import asdict, dataclass
from typing import Any

import fsspec
import torch

from ecg_spark.store import atomic_write, remove_folder

log = logging.getLogger(__name__)

SECONDS_APART = 20.0
"""The shortest time between two saves: epochs of a small study take a second."""


@dataclass(frozen=True)
class State:
    """Everything from which training can be resumed.

    Attributes:
        identity: what is trained on what; the state of another training is not resumed.
        run_id: the fold's own run in MLflow.
        whole_run_id: the run of the model; the same if there is only one fold.
        fold: the number of the fold.
        step: how many steps are done.
        history: the metrics of each epoch that is done.
        parts: the state dictionaries of network, average and optimiser, and the best weights.
    """

    identity: str
    run_id: str
    whole_run_id: str
    fold: int
    step: int
    history: list[dict[str, float]]
    parts: dict[str, Any]

    @property
    def epoch(self) -> int:
        """How many epochs are done."""
        return len(self.history)


class Checkpoints:
    """The states of one study's training, one file per fold. Only tensors are unpickled.

    Args:
        folder: a path or URI.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self._saved_at = 0.0

    def load(self, fold: int) -> State | None:
        """Return the state that a fold saved last; None if there is none that can be read."""
        files, path = fsspec.core.url_to_fs(self._file(fold))
        try:
            content = files.cat_file(path)
        except FileNotFoundError:
            return None
        try:
            return State(**torch.load(io.BytesIO(content), map_location="cpu", weights_only=True))
        except Exception as error:  # whatever a damaged file makes of the reader
            kind = type(error).__name__
            log.warning("train: the checkpoint cannot be read (%s); training starts anew", kind)
            return None

    def save(self, state: State, *, now: bool = False) -> None:
        """Replace the fold's state.

        Args:
            state: the new state.
            now: save even if less than `SECONDS_APART` have passed since the last save.
        """
        if now or time.monotonic() - self._saved_at > SECONDS_APART:
            content = io.BytesIO()
            torch.save(asdict(state), content)
            atomic_write(self._file(state.fold), content.getvalue())
            self._saved_at = time.monotonic()

    def remove(self) -> None:
        """Remove the saved states, if there are any."""
        remove_folder(self.folder)

    def _file(self, fold: int) -> str:
        return f"{self.folder}/fold_{fold}.pt"
