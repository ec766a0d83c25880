"""The state of a training run between two epochs: files written whole or not at all."""

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
"""Epochs of a small study take a second: they are not all kept."""


@dataclass(frozen=True)
class State:
    """What training goes on from: the parts' state dictionaries, and where it stands.

    `identity` says what is trained on what: another run's state is not gone on from. `run_id` is
    the fold's own run in MLflow, `whole_run_id` that of the model, the same where there is one
    fold only.
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
    """The states of one study's training, a file a fold, in a folder: a path or URI.

    Nothing in them is unpickled but tensors.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self._saved_at = 0.0

    def load(self, fold: int) -> State | None:
        """The state that a fold saved last; None where there is none that can be read."""
        files, path = fsspec.core.url_to_fs(self._file(fold))
        try:
            content = files.cat_file(path)
        except FileNotFoundError:
            return None
        try:
            return State(**torch.load(io.BytesIO(content), map_location="cpu", weights_only=True))
        except Exception as error:  # whatever a damaged file makes of the reader
            log.warning("train: the checkpoint cannot be read (%s): from the start", type(error))
            return None

    def save(self, state: State, *, now: bool = False) -> None:
        """Replace the fold's state, at most every `SECONDS_APART` unless `now`."""
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
