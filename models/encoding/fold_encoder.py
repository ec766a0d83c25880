"""One trained network: beats to active latents and back, with a PCA beside it.

It is stored in two files, neither of which is unpickled: `weights.safetensors` (the network, the
rotation of its latents to factors, the components) and `model.json` (shapes and how it was made).
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save
from torch import Tensor

from ecg_spark.ecg import INDEPENDENT_ROWS, LEADS, derive_leads
from ecg_spark.errors import DataError
from models.distributed import choose_device
from models.encoding.factors import Factors
from models.encoding.posterior import BATCH, posteriors
from models.network.pca import Components
from models.network.vae import MAX_WARP, VAE

FORM = 3
"""The version of the form of a model's files. 3: the arrays have other names. 2: people are held
out for the test, and z is the mode; before, it was one step from a guess."""
WEIGHTS, CONFIG = "weights.safetensors", "model.json"
Array = NDArray[np.float64]
Signals = NDArray[np.float32]


@dataclass(frozen=True)
class Encoding:
    """Latents of beats, with the uncertainty of each; NaN for a beat whose mode was not found.

    Attributes:
        z: the mode of the posterior, [n, k].
        z_sd: its SD by Laplace's approximation, [n, k]: what the noise of one beat leaves open, not
            how much a second ECG of the person would differ.
    """

    z: Array
    z_sd: Array


@dataclass(frozen=True)
class Formula:
    """A decoder as arrays: the formula that makes a beat of factors z [k].

    The eight independent leads are template + z @ amplitudes, in mV, read at the times t + shift in
    samples, linearly and within the beat; shift is `furthest` tanh((bend_start + bends @ z) / 3) at
    the knots, interpolated to every sample by `knots`.
    """

    template: Array
    """[8, 600]"""
    amplitudes: Array
    """[k, 8, 600]"""
    bend_start: Array
    """[knots]"""
    bends: Array
    """[knots, k]"""
    knots: Array
    """[knots, 600]"""
    furthest: float


class FoldEncoder:
    """A trained network as bytes; small, and it can be pickled and broadcast to Spark's workers.

    Latents are the active ones only, in falling order of their KL, in units of their standard
    deviation over the training beats. The network is built at the first call in each process. In a
    process that unpickled it, such as a Spark worker, PyTorch uses one thread: other tasks use the
    other cores.

    Args:
        weights: the content of `weights.safetensors`.
        config: the content of `model.json`.
        device: where it works: `cpu`, `cuda` or `auto` (a GPU if there is one).
    """

    def __init__(self, weights: bytes, config: dict[str, Any], device: str = "cpu") -> None:
        self.weights, self.config, self.device = weights, config, device
        self._built: tuple[VAE, Factors, Components] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {"weights": self.weights, "config": self.config, "device": self.device}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _built=None)
        torch.set_num_threads(1)

    @property
    def n_active(self) -> int:
        """The number of active latents, and of components in the PCA."""
        return int(self.config["n_active"])

    @property
    def kl(self) -> list[float]:
        """The mean KL of each active latent over training beats, in nats, in falling order."""
        return list(self.config["kl"])

    def encode(self, signal: Signals) -> Encoding:
        """Return the active latents of beats, float32 [n, 12, 600] in mV."""
        network, factors, _ = self._build()
        parts = [
            factors.of_posterior(own.mean.numpy(), own.covariance.numpy())
            for own in posteriors(network, torch.from_numpy(independent_leads(signal)))
        ]
        z, z_sd = (np.concatenate(part).astype(np.float64) for part in zip(*parts, strict=True))
        return Encoding(z, z_sd)

    def encode_pca(self, signal: Signals) -> Encoding:
        """Return the scores of beats [n, 12, 600] on the principal components: see `encode_by`."""
        return encode_by(self._build()[2], signal)

    def decode(self, z: NDArray[np.floating[Any]]) -> Signals:
        """Return the beats [n, 12, 600] in mV that active latents [n, k] describe."""
        network, factors, _ = self._build()
        latents = torch.from_numpy(factors.to_latents(np.asarray(z, np.float32)))
        with torch.inference_mode():
            parts = latents.to(network.noise.device).split(BATCH)
            return derive_leads(torch.cat([network.decode(rows).cpu() for rows in parts]).numpy())

    def formula(self) -> "Formula":
        """Return the decoder written out as arrays, for readers without PyTorch."""
        network, factors, _ = self._build()
        with torch.inference_mode():
            loadings = (network.amplitude.weight.T @ network.axes).cpu().double().numpy()
            template = network.template.flatten().cpu().double().numpy()
            bends = network.warp.weight.cpu().double().numpy()
            start = network.warp.bias.cpu().double().numpy()
        back, offset = factors.inverse.astype(float), factors.offset.astype(float)
        shape = network.template.shape
        return Formula(
            (template + offset @ loadings).reshape(shape),
            (back.T @ loadings).reshape(-1, *shape),
            start + bends @ offset,
            bends @ back,
            network.knots.cpu().double().numpy(),
            MAX_WARP,
        )

    def decode_pca(self, z: NDArray[np.floating[Any]]) -> Signals:
        """Return the beats [n, 12, 600] in mV of scores [n, k] on the principal components."""
        return decode_by(self._build()[2], z)

    def rotated(self, rotation: Array, peer_rotation: Array, kl: Array) -> "FoldEncoder":
        """Return the same network with other factors, z @ rotation.

        Args:
            rotation: of the factors, [n_active, m], with orthonormal columns.
            peer_rotation: of the components, [n_active, m], with orthonormal columns.
            kl: the mean KL of the new factors, [m].
        """
        network, factors, components = self._build()
        mapped = Factors(rotation.T @ factors.rotation, factors.inverse @ rotation, factors.offset)
        peer = replace(
            components, rotation=np.asarray(components.rotation @ peer_rotation, np.float32)
        )
        config = self.config | {"n_active": len(kl), "kl": [round(float(x), 4) for x in kl]}
        return pack(network, mapped, peer, config, self.device)

    def network_state(self) -> dict[str, Tensor]:
        """Return the network's own weights, as `VAE.load_state_dict` takes them."""
        own = _group(load(self.weights), "vae")
        return {name: torch.from_numpy(value) for name, value in own.items()}

    def save(self, folder: Path) -> None:
        """Write the model's two files into a folder."""
        (folder / WEIGHTS).write_bytes(self.weights)
        (folder / CONFIG).write_text(json.dumps(self.config, indent=1), encoding="utf-8")

    def _build(self) -> tuple[VAE, Factors, Components]:
        if self._built is None:
            arrays = load(self.weights)
            network = VAE(self.config["latents"], self.config["channels"])
            network.load_state_dict(self.network_state())
            components = _group(arrays, "pca")
            noise_sd = float(components.pop("noise_sd")[0])
            self._built = (
                network.eval().to(choose_device(self.device)),
                Factors(**_group(arrays, "factors")),
                Components(**components, noise_sd=noise_sd),
            )
        return self._built


def encode_by(components: Components, signal: Signals) -> Encoding:
    """Return the scores of beats on principal components, in standard deviations.

    `z_sd` is the posterior SD under probabilistic PCA (Tipping and Bishop, J R Stat Soc B 1999;
    61:611): the SD of the noise divided by that of the component.

    Args:
        components: the PCA.
        signal: float32 [n, 12, 600] in mV.
    """
    z = np.asarray(components.scores(independent_leads(signal)), np.float64)
    return Encoding(z, np.tile(components.score_sd.astype(np.float64), (len(z), 1)))


def decode_by(components: Components, z: NDArray[np.floating[Any]]) -> Signals:
    """Return the beats [n, 12, 600] in mV that scores on principal components describe.

    Args:
        components: the PCA.
        z: scores in standard deviations, [n, k].
    """
    flat = components.rebuild(np.asarray(z, np.float32))
    return derive_leads(flat.reshape(len(flat), len(INDEPENDENT_ROWS), -1))


def pack(
    network: VAE,
    factors: Factors,
    components: Components,
    config: dict[str, Any],
    device: str = "cpu",
) -> FoldEncoder:
    """Return the encoder of a trained network with its factors and its PCA.

    Args:
        network: the trained network.
        factors: the map from its latents to factors.
        components: the PCA with as many components.
        config: what `model.json` will hold.
        device: where the encoder works.
    """
    state = network.state_dict()
    arrays = {f"vae.{name}": value.cpu().numpy().copy() for name, value in state.items()}
    arrays |= {f"factors.{name}": value for name, value in vars(factors).items()}
    arrays |= {f"pca.{name}": np.atleast_1d(value) for name, value in vars(components).items()}
    arrays = {name: np.array(value, np.float32, order="C") for name, value in arrays.items()}
    return FoldEncoder(save(arrays), config, device)


def read_fold(folder: Path, device: str) -> FoldEncoder:
    """Return the encoder that `FoldEncoder.save` wrote into a folder.

    Args:
        folder: a local folder.
        device: where it will work: `cpu`, `cuda` or `auto`.

    Raises:
        DataError: the files are damaged or of another form.
    """
    try:
        config = json.loads((folder / CONFIG).read_text("utf-8"))
        form = config.get("form", 1)
        if form != FORM:
            raise DataError(
                f"The model's files have form {form}, and this ecg-spark reads form {FORM}: train "
                f"it again, or load it with the version that made it."
            )
        weights = (folder / WEIGHTS).read_bytes()
        FoldEncoder(weights, config)._build()
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise damaged(folder, error) from None
    return FoldEncoder(weights, config, device)


def damaged(folder: Path, error: Exception) -> DataError:
    """Return the error for a model whose files cannot be read."""
    return DataError(
        f"The model in {folder} is damaged or not one of ecg-spark "
        f"({type(error).__name__}): train it again."
    )


def _group(arrays: dict[str, NDArray[Any]], prefix: str) -> dict[str, NDArray[Any]]:
    start = f"{prefix}."
    return {k.removeprefix(start): v for k, v in arrays.items() if k.startswith(start)}


def independent_leads(signal: Signals) -> Signals:
    """Return the eight independent leads, float32 [n, 8, 600], of beats [n, 12, 600]."""
    signal = np.asarray(signal, np.float32)
    return np.ascontiguousarray(signal.reshape(len(signal), len(LEADS), -1)[:, INDEPENDENT_ROWS])
