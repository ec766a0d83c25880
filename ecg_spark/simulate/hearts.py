"""A folder of recordings that serve as hearts: to whom each belongs, and which can serve.

    FOLDER/...               recordings in any format that ecg-spark reads, at any depth
    FOLDER/manifest.csv      may say to whom they belong: uri (below FOLDER), participant_id

Without a manifest a recording belongs to the person that its file names; if it names nobody, to a
person of its own. All recordings of a person are that person's visits.
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
    """Return the files below a folder that may be recordings, and their persons by the manifest.

    Without a manifest, the persons are None.

    Raises:
        UsageError: the folder has no files, or the manifest lacks its columns or names a file
            outside.
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
    """Read some files and return which can serve, and the persons that they name.

    Files that cannot be read or averaged cannot serve. A person is named by a digest, so that no id
    passes from file to file.

    Args:
        folder: the folder.
        paths: files below it.

    Returns:
        `usable`, places in `paths`, and `named`, a digest or None for each of them.
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
    """Return the files of each participant's recordings, after drawing the persons at random.

    Args:
        folder: the folder, for messages.
        paths: files below it.
        owners: the persons by the manifest, or None.
        surveys: the results of `survey`, for `FILES_PER_TASK` paths each.
        participants: how many participants there are.
        seed: decides who is drawn.

    Raises:
        UsageError: there are fewer persons than participants.
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
