"""The encoder of a registered model: one network, or one per fold, and which encodes whom."""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecg_spark.ecg import BEAT_SAMPLES, LEADS
from models.data.split import Hashes, fold_of, of_the_test
from models.encoding.fold_encoder import Array, Encoding, FoldEncoder, Signals, damaged, read_fold

FOLDER, MODEL = "encoder", "folds.json"


class Encoder:
    """The networks of a model, one per fold, whose factors have the same meaning in all.

    With the hashes of their participants, beats are encoded by the network of each person's fold,
    which was not trained on that person. Without hashes, or if the model is `carried`, no network
    was trained on these people, and they get the mean over all networks. It is small and can be
    pickled, so that it can be broadcast to Spark's workers.

    Args:
        folds: the networks.
        match: for each factor the mean absolute correlation of the other folds' with the first
            fold's.
        carried: whether the model was trained in another study, so that no network has seen anybody
            of this one.
    """

    def __init__(
        self, folds: Sequence[FoldEncoder], match: Sequence[float], carried: bool = False
    ) -> None:
        self.folds = tuple(folds)
        self.match = [float(value) for value in match]
        """Of each factor, the mean absolute correlation of the folds' with the first fold's."""
        self.carried = carried
        """Whether it was trained in another study: then no network has seen anybody of this one."""

    @property
    def config(self) -> dict[str, Any]:
        """The configuration of the first network."""
        return self.folds[0].config

    @property
    def n_active(self) -> int:
        """The number of active latents, and of components in the PCA."""
        return self.folds[0].n_active

    @property
    def kl(self) -> list[float]:
        """The mean KL of each active latent of the first network, in nats, in falling order."""
        return self.folds[0].kl

    @property
    def digest(self) -> str:
        """SHA-256 of the weights, factors and components of all networks.

        It shows that latents of two cohorts are the same, which no name or version of a model does.
        """
        each = (hashlib.sha256(fold.weights).digest() for fold in self.folds)
        return hashlib.sha256(b"".join(each)).hexdigest()

    def fold_of(self, hashes: Hashes) -> NDArray[np.int64]:
        """Return each participant's fold, whose network did not see them; 0 if it is carried."""
        if self.carried:
            return np.zeros(len(hashes), np.int64)
        return fold_of(hashes, int(self.config["seed"]), len(self.folds))

    @property
    def test_share(self) -> float:
        """The share of the participants on whom nothing about the model depends."""
        return 1.0 if self.carried else float(self.config["test_share"])

    def held_out(self, hashes: Hashes) -> NDArray[np.bool_]:
        """Return for each participant whether no network, choice or rotation depends on them.

        The published figures are of such people.
        """
        if self.carried:
            return np.ones(len(hashes), bool)
        return of_the_test(hashes, int(self.config["seed"]), self.test_share)

    def encode(self, signal: Signals, hashes: Hashes | None = None) -> Encoding:
        """Return the active latents of beats.

        Args:
            signal: float32 [n, 12, 600] in mV.
            hashes: the participants' hashes [n]; None if no network was trained on them.

        Returns:
            Latents [n, k] and their posterior SD; NaN for a beat for which none were found. Over
            several networks, both are averaged.
        """
        return self._encoding(FoldEncoder.encode, signal, hashes)

    def encode_pca(self, signal: Signals, hashes: Hashes | None = None) -> Encoding:
        """Return the scores of beats on the principal components, in standard deviations.

        Args:
            signal: float32 [n, 12, 600] in mV.
            hashes: as in `encode`.
        """
        return self._encoding(FoldEncoder.encode_pca, signal, hashes)

    def decode(self, z: NDArray[np.floating[Any]], hashes: Hashes | None = None) -> Signals:
        """Return the beats [n, 12, 600] in mV that active latents describe.

        Args:
            z: active latents, [n, k].
            hashes: as in `encode`.
        """
        return self._beats(FoldEncoder.decode, z, hashes)

    def decode_pca(self, z: NDArray[np.floating[Any]], hashes: Hashes | None = None) -> Signals:
        """Return the beats [n, 12, 600] in mV that scores on the principal components describe.

        Args:
            z: scores in standard deviations, [n, k].
            hashes: as in `encode`.
        """
        return self._beats(FoldEncoder.decode_pca, z, hashes)

    def traverse(self, latent: int, sds: NDArray[np.floating[Any]]) -> Signals:
        """Return the beats [m, 12, 600] in mV as one latent varies and the others stay zero.

        Args:
            latent: the number of the latent, from 0.
            sds: the values that it takes, [m].
        """
        z = np.zeros((len(sds), self.n_active), np.float32)
        z[:, latent] = sds
        return self.decode(z)

    def save(self, folder: Path) -> None:
        """Write the model: one folder per network, and a file with what they have in common."""
        for number, fold in enumerate(self.folds):
            own = folder / f"fold_{number}"
            own.mkdir()
            fold.save(own)
        common = {
            "folds": len(self.folds),
            "match": [round(value, 4) for value in self.match],
            "carried": self.carried,
        }
        (folder / MODEL).write_text(json.dumps(common, indent=1), encoding="utf-8")

    def _encoding(
        self,
        encode: Callable[[FoldEncoder, Signals], Encoding],
        signal: Signals,
        hashes: Hashes | None,
    ) -> Encoding:
        def both(fold: FoldEncoder, rows: Signals) -> Array:
            encoding = encode(fold, rows)
            return np.concatenate([encoding.z, encoding.z_sd], axis=1)

        z, z_sd = np.split(self._each(both, signal, hashes, (2 * self.n_active,)), 2, axis=1)
        return Encoding(z, z_sd)

    def _beats(
        self,
        decode: Callable[[FoldEncoder, Array], Signals],
        z: NDArray[np.floating[Any]],
        hashes: Hashes | None,
    ) -> Signals:
        shape = (len(LEADS), BEAT_SAMPLES)
        return self._each(decode, z, hashes, shape).astype(np.float32, copy=False)

    def _each(
        self,
        apply: Callable[[FoldEncoder, Any], NDArray[Any]],
        rows: NDArray[Any],
        hashes: Hashes | None,
        shape: tuple[int, ...],
    ) -> NDArray[Any]:
        """Return what the network of each row's fold makes of it, or the mean over all networks."""
        if len(self.folds) == 1:
            return apply(self.folds[0], rows)
        if hashes is None or self.carried:
            return np.mean([apply(fold, rows) for fold in self.folds], axis=0)
        folds = self.fold_of(hashes)
        made: NDArray[Any] = np.empty((len(rows), *shape))
        for number in np.unique(folds):
            made[folds == number] = apply(self.folds[number], rows[folds == number])
        return made


def read_encoder(folder: Path, device: str = "cpu") -> Encoder:
    """Return the Encoder in a folder that `Encoder.save` wrote.

    Args:
        folder: a local folder.
        device: where it will work: `cpu`, `cuda` or `auto`.

    Raises:
        DataError: the folder is damaged.
    """
    try:
        common = json.loads((folder / MODEL).read_text("utf-8"))
        names, match = [f"fold_{k}" for k in range(common["folds"])], common["match"]
        carried = bool(common.get("carried", False))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise damaged(folder, error) from None
    return Encoder([read_fold(folder / name, device) for name in names], match, carried)
