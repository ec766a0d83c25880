"""A folder of recordings that serve as the participants' hearts: whose each is, and what can serve.

    FOLDER/...               recordings in any format that ecg-spark reads, at any depth
    FOLDER/manifest.csv      may say whose they are: uri (below FOLDER), participant_id

Without a manifest a recording is of whom its file names, and where it names nobody, of somebody
else. A person's recordings are that person's visits.
"""

import csv
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ecg_spark.ecg import RecordingError, average_beat, read_recording
from ecg_spark.errors import UsageError
from ecg_spark.simulate.genome import Stream, stream
from ecg_spark.simulate.visits import VISITS

MANIFEST = "manifest.csv"
FILES_PER_TASK = 64
_COLUMNS = {"uri", "participant_id"}


def recordings_in(folder: Path) -> tuple[list[str], list[str | None]]:
    """Files below a folder that may be recordings, in order, and whose the manifest says they are.

    Raises `UsageError` for a folder without files and for a manifest that is not one.
    """
    manifest = folder / MANIFEST
    if manifest.is_file():
        owners = _owners(manifest)
        return list(owners), list(owners.values())
    found = [
        os.path.relpath(os.path.join(place, name), folder)
        for place, _, names in os.walk(folder)
        for name in names
        if not name.startswith(".")
    ]
    if not found:
        raise UsageError(f"There are no recordings in {folder}: name the folder that holds them.")
    return sorted(found), [None] * len(found)


def _owners(manifest: Path) -> dict[str, str | None]:
    with manifest.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file)
        if not set(rows.fieldnames or ()) >= _COLUMNS:
            raise UsageError(f"{manifest} needs the columns uri and participant_id.")
        owners: dict[str, str | None] = {}
        for line, row in enumerate(rows, 2):
            uri = os.path.normpath(row["uri"] or "")
            if os.path.isabs(uri) or uri.startswith("..") or not row["participant_id"]:
                raise UsageError(
                    f"{manifest}, line {line}: uri must be a file below that folder, and "
                    f"participant_id must not be empty."
                )
            owners[uri] = row["participant_id"]
    return owners


def survey(folder: Path, paths: Sequence[str]) -> dict[str, Any]:
    """Which of some files can serve, by their places in `paths`, and whom their files name.

    A person is a digest: no id goes from file to file. What cannot be read or averaged cannot
    serve.
    """
    usable, named = [], []
    for place, path in enumerate(paths):
        try:
            recording = read_recording(folder / path)
            average_beat(recording)
        except (RecordingError, OSError):
            continue
        usable.append(place)
        owner = recording.participant_id
        named.append(None if owner is None else hashlib.sha256(owner.encode()).hexdigest())
    return {"usable": usable, "named": named}


def assign(
    folder: Path,
    paths: Sequence[str],
    owners: Sequence[str | None],
    surveys: Sequence[dict[str, Any]],
    participants: int,
    seed: int,
) -> list[list[str]]:
    """The files of each participant's recordings, of people drawn without order.

    `surveys` are of `FILES_PER_TASK` paths each. Raises `UsageError` for fewer people than
    participants.
    """
    people: dict[tuple[str, str | int], list[str]] = {}
    for task, found in enumerate(surveys):
        for place, named in zip(found["usable"], found["named"], strict=True):
            index = task * FILES_PER_TASK + place
            said = owners[index]
            key = ("said", said) if said else ("named", named) if named else ("alone", index)
            people.setdefault(key, []).append(paths[index])
    if len(people) < participants:
        raise UsageError(
            f"{folder} holds usable recordings of {len(people)} people, and {participants} "
            f"participants were asked for: ask for fewer, or add recordings."
        )
    order = stream(seed, Stream.HEARTS).permutation(len(people))[:participants]
    hearts = list(people.values())
    return [hearts[place][:VISITS] for place in order.tolist()]
