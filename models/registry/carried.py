"""A model that is carried to another study: one folder or .zip, read without MLflow.

    SHA256SUMS                     the checksum of every other file, for `sha256sum -c`
    about.json                     what the model is, and its metrics where it was trained
    card.md                        the model card
    check.safetensors              mean beats, and the factors that the model must give them
    encoder/                       the model, as `Encoder.save` writes it

Nothing in it is unpickled, and nothing in it is about one person: metrics are counts, means and
correlations over a study; a mean beat is of at least 20 people, or of the decoder. What the
networks themselves contain of the training (their weights, the mean beat and the axes of the
components) is in `encoder/`. The files are not trusted: they must have known names and bounded
sizes, and each must match its checksum.
"""

import hashlib
import io
import json
import re
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import fsspec
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from ecg_spark.ecg import BEAT_SAMPLES, BEAT_VERSION, LEADS, derive_leads
from ecg_spark.errors import DataError, UsageError
from ecg_spark.store import atomic_write
from models.data.loader import beats_of_the_test
from models.data.petastorm_compat import Table
from models.data.split import Split
from models.encoding.encoder import FOLDER, Encoder, read_encoder
from models.encoding.evaluation import MAX_SAMPLE_BEATS, SEGMENTS_MS, TESTED, Metrics
from models.encoding.fold_encoder import Signals

FORM = 1
ABOUT, CARD, CHECK, SUMS = "about.json", "card.md", "check.safetensors", "SHA256SUMS"
MIN_GROUP_SIZE = 20
"""The fewest people whose mean beat may leave the study."""
CHECK_GROUPS = 5

_NAMES = re.compile(
    rf"{ABOUT}|{CARD}|{CHECK}|{FOLDER}/(folds\.json|fold_\d{{1,2}}/(weights\.safetensors|model\.json))"
)
_SHOWN = [f"{TESTED}/{key}" for key in ("pearson_r", "mae_uv")]
_SHOWN += [f"{TESTED}/mae_uv/part_{part}" for part in SEGMENTS_MS]
_MAX_BYTES = {".safetensors": 1 << 30, ".json": 1 << 24, ".md": 1 << 20}
_MAX_DIFFERENCE = 0.01
"""How far, in standard deviations, factors of the check may differ from those where the model was
trained: another version of PyTorch or another processor changes them by about 1e-5."""


@dataclass(frozen=True)
class Home:
    """How good a model was in the study in which it was trained.

    Attributes:
        study: the name of that study.
        digest: `Encoder.digest`.
        figures: its held-out metrics, `test/...` and `test_pca/...`.
        factors: `mean` and `sd` of each factor over the people there, and the share `outside` three
            SD; None, as the following, if they were not encoded.
        icc: the agreement of two ECGs of a person, by factor.
        trait_r: the correlation of each factor with each trait.
    """

    study: str
    digest: str
    figures: Metrics
    factors: dict[str, list[float]] | None = None
    icc: list[float] | None = None
    trait_r: dict[str, list[float | None]] | None = None


@dataclass(frozen=True)
class Carried:
    """A model that was trained elsewhere, and how good it was there."""

    encoder: Encoder
    home: Home


def held_out_means(beats_path: Table, encoder: Encoder, leave_out: Sequence[str]) -> Signals:
    """Return mean beats of people on whom nothing about the model depends, for its check.

    One beat per person is used. They are ordered by the first factor and divided into at most five
    groups of at least 20 people.

    Args:
        beats_path: the table of beats.
        encoder: the model.
        leave_out: beats with one of these flags are not used.

    Returns:
        [m, 12, 600] in mV; m is 0 if there are fewer than 20 people.

    Raises:
        DataError: nobody was held out.
    """
    config = encoder.config
    split = Split(int(config["seed"]), 0.5, test_share=float(config["test_share"]))
    beats, hashes = beats_of_the_test(beats_path, split, MAX_SAMPLE_BEATS, leave_out)
    signal = derive_leads(beats[np.unique(hashes, return_index=True)[1]])
    first = encoder.encode(signal).z[:, 0]
    signal = signal[np.argsort(first)][: np.isfinite(first).sum()]
    groups = min(CHECK_GROUPS, len(signal) // MIN_GROUP_SIZE)
    if not groups:
        return signal[:0]
    return np.stack([group.mean(axis=0) for group in np.array_split(signal, groups)])


def write_carried(
    encoder: Encoder, home: Mapping[str, Any], card: str, means: Signals, target: str
) -> list[str]:
    """Write a model into a new folder or .zip, and return the names of its files.

    Args:
        encoder: the model.
        home: the fields of `Home`, except the digest.
        card: the model card.
        means: mean beats [m, 12, 600] in mV, each of at least 20 people. With the decoder's own
            mean beat they become the check.
        target: the path or URI of a folder, or of a .zip if it ends so.

    Raises:
        UsageError: the target exists.
    """
    fs, base = fsspec.core.url_to_fs(target)
    if fs.exists(base):
        raise UsageError("The folder or file named by --to exists already: name a new one.")
    beats = np.concatenate([encoder.decode(np.zeros((1, encoder.n_active))), means])
    about = {
        "form": FORM,
        "ecg_spark": version("ecg-spark"),
        "leads": list(LEADS),
        "samples": BEAT_SAMPLES,
        "digest": encoder.digest,
        **home,
    }
    with TemporaryDirectory() as scratch:
        folder = Path(scratch) / FOLDER
        folder.mkdir()
        encoder.save(folder)
        files = {
            str(path.relative_to(scratch)): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
    factors = encoder.encode(beats).z.astype(np.float32)
    files |= {
        ABOUT: json.dumps(about, indent=1).encode(),
        CARD: card.encode(),
        CHECK: save({"beats": np.ascontiguousarray(beats), "factors": factors}),
    }
    sums = "".join(f"{_sha256(body)}  {name}\n" for name, body in sorted(files.items()))
    if target.endswith(".zip"):
        body = io.BytesIO()
        with zipfile.ZipFile(body, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in {**files, SUMS: sums.encode()}.items():
                archive.writestr(name, content)
        atomic_write(target, body.getvalue())
    else:
        for name, content in files.items():
            atomic_write(f"{target}/{name}", content)
        atomic_write(f"{target}/{SUMS}", sums.encode())  # last: it makes the model complete
    return [*sorted(files), SUMS]


def read_carried(source: str, device: str = "cpu") -> Carried:
    """Return the model in a folder or .zip that `write_carried` wrote.

    Args:
        source: the path or URI.
        device: where it will work: `cpu`, `cuda` or `auto`.

    Raises:
        DataError: it does not exist, is damaged or altered, is for other leads or another version
            of the average beat, or gives other factors here than where it was trained.
    """
    try:
        files = _checked(*_opened(source))
        about = json.loads(files[ABOUT])
        _require_form(about)
        with TemporaryDirectory() as scratch:
            for name, body in files.items():
                if name.startswith(f"{FOLDER}/"):
                    path = Path(scratch) / name
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(body)
            read = read_encoder(Path(scratch) / FOLDER, device)
        encoder = Encoder(read.folds, read.match, carried=True)
        require_same_beats(encoder)
        if encoder.digest != about["digest"]:
            raise _damaged("about.json is of another model")
        home = Home(**{key: about[key] for key in Home.__dataclass_fields__ if key in about})
        if not all(isinstance(home.figures[key], float) for key in _SHOWN):
            raise _damaged("about.json lacks figures")
        check = load(files[CHECK])
    except (ValueError, KeyError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise _damaged(type(error).__name__) from None
    except SafetensorError:
        raise _damaged(CHECK) from None
    _require_same_factors(encoder, check)
    return Carried(encoder, home)


def require_same_beats(encoder: Encoder, beat_source: str | None = None) -> None:
    """Check that a model was trained on beats that are averaged as this study's are.

    Args:
        encoder: the model.
        beat_source: the study's beats.source; None does not check it.

    Raises:
        DataError: it was not.
    """
    config = encoder.config
    made = config.get("beat_version")
    if made != BEAT_VERSION:
        raise DataError(
            f"The model (model.source) was trained on average beats of version "
            f"{made or 'unknown'}, and this ecg-spark makes version {BEAT_VERSION}: train it again "
            f"with this version, or use the ecg-spark that trained it."
        )
    if beat_source is not None and config.get("beat_source") != beat_source:
        raise DataError(
            f"The model (model.source) was trained on beats with beats.source "
            f"{config.get('beat_source')}, and the study's is {beat_source}: set the same."
        )


def _require_form(about: Mapping[str, Any]) -> None:
    if about["form"] != FORM:
        raise DataError(
            f"The model (model.source) is of form {about['form']}, this ecg-spark reads form "
            f"{FORM}: export it again with this version."
        )
    if about["leads"] != list(LEADS) or about["samples"] != BEAT_SAMPLES:
        raise DataError(
            "The model (model.source) is of other leads or samples than ecg-spark's average beats: "
            "it cannot be used."
        )


def _require_same_factors(encoder: Encoder, check: Mapping[str, NDArray[Any]]) -> None:
    beats, expected = check["beats"], check["factors"]
    shape = (len(beats), encoder.n_active)
    if beats.shape[1:] != (len(LEADS), BEAT_SAMPLES) or expected.shape != shape:
        raise _damaged(CHECK)
    off = float(np.abs(encoder.encode(np.asarray(beats, np.float32)).z - expected).max())
    if not off <= _MAX_DIFFERENCE:
        raise DataError(
            f"The model (model.source) gives its check beats factors that are {off:.2g} standard "
            f"deviations off those where it was trained: install the versions of requirements.lock."
        )


Reader = Callable[[str, int], bytes]


def _opened(source: str) -> tuple[list[str], Reader]:
    """Return the names in a folder or archive, and a function that reads one up to a size."""
    fs, base = fsspec.core.url_to_fs(source)
    if not fs.exists(base):
        raise DataError("The model (model.source) does not exist: correct its path.")
    if not fs.isdir(base):
        archive = zipfile.ZipFile(fs.open(base, "rb"))
        return archive.namelist(), lambda name, most: _bounded(archive.open(name), most, name)
    names = [path.removeprefix(f"{base.rstrip('/')}/") for path in fs.find(base)]
    return names, lambda name, most: _bounded(fs.open(f"{base}/{name}", "rb"), most, name)


def _checked(names: list[str], read: Reader) -> dict[str, bytes]:
    """Return the content of every file by name, after comparing it with its checksum."""
    if SUMS not in names:
        raise _damaged(f"{SUMS} is missing")
    lines = read(SUMS, 1 << 20).decode().splitlines()
    sums = {name: digest for digest, name in (line.split("  ", 1) for line in lines)}
    if set(names) != {*sums, SUMS} or len(names) != len(set(names)):
        raise _damaged("other files than SHA256SUMS names")
    files = {}
    for name, digest in sums.items():
        if not _NAMES.fullmatch(name):
            raise _damaged("a file that does not belong to a model")
        files[name] = read(name, _MAX_BYTES[Path(name).suffix])
        if _sha256(files[name]) != digest:
            raise _damaged(f"the checksum of {Path(name).name}")
    return files


def _bounded(file: Any, most: int, name: str) -> bytes:
    with file:
        body: bytes = file.read(most + 1)
    if len(body) > most:
        raise _damaged(f"the size of {Path(name).name}")
    return body


def _sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def _damaged(what: str) -> DataError:
    return DataError(
        f"The model (model.source) is damaged or altered ({what}): export it again with "
        f"'ecg-spark model export', or fetch it again."
    )
