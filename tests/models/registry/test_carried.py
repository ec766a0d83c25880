"""A model as one folder or archive: read as it was written, and refused where it was altered."""

import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

from ecg_spark.ecg import BEAT_VERSION, derive_leads
from ecg_spark.errors import DataError, UsageError
from models.encoding.encoder import Encoder
from models.encoding.fold_encoder import FoldEncoder
from models.registry.carried import (
    ABOUT,
    CHECK,
    SUMS,
    read_carried,
    require_same_beats,
    write_carried,
)
from tests.builders.encoders import untrained_encoder

FIGURES = {
    f"test/{key}": 1.0
    for key in ("pearson_r", "mae_uv", *(f"mae_uv/part_{part}" for part in ("p", "qrs", "st_t")))
}
HOME = {"study": "home", "figures": FIGURES, "icc": [0.9, 0.8]}


@pytest.fixture
def signal(beats):
    return derive_leads(beats)


@pytest.fixture
def encoder(signal):
    made = {"beat_version": BEAT_VERSION, "beat_source": "computed"}
    own = untrained_encoder(signal, 2)
    return Encoder([FoldEncoder(one.weights, one.config | made) for one in own.folds], own.match)


@pytest.fixture
def folder(encoder, signal, tmp_path):
    write_carried(encoder, HOME, "the card", signal[:2], str(tmp_path / "model"))
    return tmp_path / "model"


def rewrite_sums(folder):
    """Checksums as somebody would write them who has altered a file."""
    import hashlib

    names = [line.split("  ")[1] for line in (folder / SUMS).read_text().splitlines()]
    sums = [f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}" for name in names]
    (folder / SUMS).write_text("\n".join(sums) + "\n")


@pytest.mark.parametrize("name", ["model", "model.zip"])
def test_carried_model_gives_the_mean_over_the_networks_that_were_trained(
    name, encoder, signal, tmp_path
):
    write_carried(encoder, HOME, "the card", signal[:2], str(tmp_path / "at" / name))
    found = read_carried(str(tmp_path / "at" / name))
    assert found.home.study == "home"
    assert found.home.icc == [0.9, 0.8]
    assert found.home.digest == encoder.digest == found.encoder.digest
    hashes = np.arange(len(signal), dtype=np.int64)
    expected = encoder.encode(signal).z
    np.testing.assert_allclose(found.encoder.encode(signal, hashes).z, expected, atol=1e-6)
    assert found.encoder.held_out(hashes).all()
    assert not found.encoder.fold_of(hashes).any()


def test_no_file_is_unpickled_and_each_has_its_checksum(folder):
    files = {path.name for path in folder.rglob("*") if path.is_file()}
    assert {Path(name).suffix for name in files - {SUMS}} == {".safetensors", ".json", ".md"}
    assert len((folder / SUMS).read_text().splitlines()) == len(list(folder.rglob("*.*")))


@pytest.mark.parametrize("name", ["about.json", "card.md", CHECK, "encoder/fold_1/model.json"])
def test_altered_file_is_refused(folder, name):
    body = bytearray((folder / name).read_bytes())
    body[len(body) // 2] ^= 1
    (folder / name).write_bytes(bytes(body))
    with pytest.raises(DataError, match="the checksum of"):
        read_carried(str(folder))


@pytest.mark.parametrize("name", ["encoder/fold_0/weights.safetensors", SUMS])
def test_missing_file_is_refused(folder, name):
    (folder / name).unlink()
    with pytest.raises(DataError, match="damaged or altered"):
        read_carried(str(folder))


def test_file_that_is_none_of_a_model_is_refused(folder):
    (folder / "encoder" / "code.py").write_text("print()")
    with pytest.raises(DataError, match="other files than"):
        read_carried(str(folder))


@pytest.mark.parametrize("name", ["../outside.json", "/outside.json", "encoder/fold_0/x/../y.json"])
def test_archive_with_a_name_that_leads_out_of_it_writes_nothing(folder, name, tmp_path):
    (folder / SUMS).write_text((folder / SUMS).read_text() + f"{'0' * 64}  {name}\n")
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        for path in folder.rglob("*"):
            if path.is_file():
                archive.write(path, str(path.relative_to(folder)))
        archive.writestr(name, "{}")
    before = set(tmp_path.rglob("*"))
    with pytest.raises(DataError, match="damaged or altered"):
        read_carried(str(tmp_path / "bad.zip"))
    assert set(tmp_path.rglob("*")) == before


def test_model_of_another_form_or_of_other_leads_is_refused(folder):
    about = json.loads((folder / ABOUT).read_text())
    for change, says in (({"form": 99}, "form 99"), ({"leads": ["I"]}, "other leads")):
        (folder / ABOUT).write_text(json.dumps(about | change))
        rewrite_sums(folder)
        with pytest.raises(DataError, match=says):
            read_carried(str(folder))


def test_weights_of_another_model_are_refused_though_every_checksum_holds(folder, signal, tmp_path):
    other = untrained_encoder(signal[::-1] * 1.1, 2)
    (folder / "encoder/fold_0/weights.safetensors").write_bytes(other.folds[0].weights)
    rewrite_sums(folder)
    with pytest.raises(DataError, match="of another model"):
        read_carried(str(folder))


def test_factors_other_than_at_home_are_refused(encoder, signal, tmp_path, monkeypatch):
    write_carried(encoder, HOME, "", signal[:1], str(tmp_path / "m"))
    honest = FoldEncoder.encode

    def off(self, beats):
        encoding = honest(self, beats)
        encoding.z[:] += 0.02
        return encoding

    monkeypatch.setattr(FoldEncoder, "encode", off)
    with pytest.raises(DataError, match=r"0\.02 standard deviations off"):
        read_carried(str(tmp_path / "m"))


@pytest.mark.parametrize(
    ("config", "source", "says"),
    [
        ({"beat_version": BEAT_VERSION - 1}, None, f"version {BEAT_VERSION - 1}"),
        ({"beat_version": None}, None, "version unknown"),
        ({"beat_version": BEAT_VERSION, "beat_source": "vendor"}, "computed", "beats.source"),
    ],
)
def test_model_of_other_beats_is_refused(encoder, config, source, says):
    folds = [FoldEncoder(one.weights, one.config | config) for one in encoder.folds]
    with pytest.raises(DataError, match=says):
        require_same_beats(Encoder(folds, encoder.match), source)


def test_export_never_writes_into_what_is_there(encoder, signal, folder):
    with pytest.raises(UsageError, match="exists already"):
        write_carried(encoder, HOME, "", signal[:1], str(folder))


def test_no_such_model_is_one_sentence(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        read_carried(str(tmp_path / "nothing"))
    (tmp_path / "text.zip").write_text("no archive")
    with pytest.raises(DataError, match="damaged or altered"):
        read_carried(str(tmp_path / "text.zip"))
    shutil.rmtree(tmp_path, ignore_errors=True)
