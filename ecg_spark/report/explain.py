"""What the model says in millivolts: traversals of its latents, and the effect of a locus on the
beat.

Latents are those of the table `latents`, in its order. A GWAS tests them after a
rank-inverse-normal transformation, so that a beta of 1 is one standard deviation of the latent
over participants.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ecg_spark.genetics.testing.p_values import WITHIN
from ecg_spark.report.evidence import MIN_GROUP_SIZE

Array = NDArray[np.float64]
Decode = Callable[[Array], NDArray[np.floating]]
"""Latents [n, k] to beats [n, 12, 600] in mV."""

STEPS = (-2.0, -1.0, 0.0, 1.0, 2.0)


@dataclass(frozen=True)
class LocusEffect:
    """The effect of a locus on the beat.

    Attributes:
        more: the beat with more effect alleles, [12, 600] in mV.
        less: the beat with fewer effect alleles, [12, 600] in mV.
        change_uv: the difference per allele, and its lower and upper 95 % limit, [3, 12, 600] in
            µV.
        alleles: how many alleles `more` and `less` are away from the mean beat.
    """

    more: Array
    less: Array
    change_uv: Array
    alleles: float


class Explainer:
    """A decoder centred at the mean of a population's latents.

    Args:
        decode: the decoder.
        scores: the latents of the population, [participants, k].
    """

    def __init__(self, decode: Decode, scores: Array) -> None:
        self._decode = decode
        self.mean = scores.mean(axis=0)
        self.sd = scores.std(axis=0)
        around = np.concatenate([np.diag(self.sd), -np.diag(self.sd)]) * 0.5
        decoded = self._beats(around)
        k = len(self.mean)
        self._slopes_mv = decoded[:k] - decoded[k:]  # [k, 12, 600] for one SD of each latent

    @property
    def mean_beat(self) -> Array:
        """The beat of the mean latents, [12, 600] in mV."""
        return np.asarray(self._beats(np.zeros((1, len(self.mean))))[0])

    def beat(self, sds: Array) -> Array:
        """The beat [12, 600] in mV of latents that are `sds` [k] standard deviations from
        their mean.
        """
        return np.asarray(self._beats((sds * self.sd)[None])[0])

    def traversal(self, latent: int) -> Array:
        """The beats as one latent moves through `STEPS` standard deviations, [5, 12, 600] in
        mV.
        """
        shifts = np.zeros((len(STEPS), len(self.mean)))
        shifts[:, latent] = np.multiply(STEPS, self.sd[latent])
        return self._beats(shifts)

    def locus_effect(self, beta: Array, se: Array, visible_mv: float = 0.3) -> LocusEffect:
        """The effect of one more effect allele on the beat, through all latents at once.

        The limits follow from the standard errors, treating the latents as independent and the
        decoder as linear over so small a step.

        Args:
            beta: the effect per allele on every latent [k], in standard deviations; a latent that
                was not tested is NaN and stays at its mean.
            se: the standard errors of `beta`.
            visible_mv: the two beats are drawn 1, 2, 5 or 10 alleles from the mean, the fewest
                that move a sample by this much.
        """
        step, error = self._step(beta, se)
        plus, minus = self._beats(np.array([step, -step]))
        change = (plus - minus) / 2
        largest = np.abs(change).max()
        alleles = next((a for a in (1.0, 2.0, 5.0) if a * largest >= visible_mv), 10.0)
        more, less = self._beats(np.array([alleles * step, -alleles * step]))
        limits = np.array([change, change - WITHIN * error, change + WITHIN * error])
        return LocusEffect(more, less, 1000 * limits, alleles)

    def genotypes(
        self, beta: Array, se: Array, frequency: float, times: float = 1.0
    ) -> tuple[Array, Array]:
        """The beats with 0, 1 and 2 effect alleles.

        Args:
            beta: as in `locus_effect`.
            se: as in `locus_effect`.
            frequency: of the effect allele; the mean number of alleles has the mean beat.
            times: by how much the effect is exaggerated.

        Returns:
            The beats [3, 12, 600] in mV, and half the width of their 95 % bands, in the same
            shape.
        """
        step, error = self._step(beta, se)
        doses = times * (np.arange(3) - 2 * frequency)
        return self._beats(doses[:, None] * step), np.abs(doses)[:, None, None] * WITHIN * error

    def _step(self, beta: Array, se: Array) -> tuple[Array, Array]:
        """How far an effect allele moves the latents [k], and the standard error of what that
        does to the beat, [12, 600] in mV.
        """
        known = np.isfinite(beta) & np.isfinite(se)
        error = np.sqrt(np.tensordot(np.where(known, se, 0) ** 2, self._slopes_mv**2, axes=(0, 0)))
        return np.where(known, beta, 0) * self.sd, error

    def _beats(self, shifts: Array) -> Array:
        return np.asarray(self._decode(self.mean + shifts), dtype=np.float64)


@dataclass(frozen=True)
class Reconstruction:
    """Measured and reconstructed beats of people whom the model has not seen.

    Attributes:
        n: how many people.
        groups: label, mean measured beat [12, 600], and mean reconstructed beat by model, in mV.
        errors_uv: the mean absolute error of every sample by model, [12, 600].
    """

    n: int
    groups: list[tuple[str, Array, dict[str, Array]]]
    errors_uv: dict[str, Array]  # mean absolute error of every sample, [12, 600]


def reconstruct(
    signals: NDArray[np.float32],
    rebuilders: dict[str, Callable[[NDArray[np.float32]], NDArray[np.floating]]],
) -> Reconstruction | None:
    """Reconstruct held-out beats with each model.

    The groups are all people, and the tenths (but at least `MIN_GROUP_SIZE` people) with the
    flattest and the tallest T wave in V5.

    Args:
        signals: one beat per person, [n, 12, 600] in mV.
        rebuilders: by model, a function from beats to reconstructed beats.

    Returns:
        None if there are fewer than twice `MIN_GROUP_SIZE` people.
    """
    if len(signals) < 2 * MIN_GROUP_SIZE:
        return None
    rebuilt = {name: np.asarray(rebuild(signals)) for name, rebuild in rebuilders.items()}
    t_wave = signals[:, 10, 330:450].mean(axis=1)
    order = np.argsort(t_wave)
    size = max(MIN_GROUP_SIZE, len(order) // 10)
    chosen = {
        "all": order,
        "flattest T, a tenth": order[:size],
        "tallest T, a tenth": order[-size:],
    }
    groups = [
        (
            label,
            signals[part].mean(axis=0, dtype=np.float64),
            {name: beats[part].mean(axis=0, dtype=np.float64) for name, beats in rebuilt.items()},
        )
        for label, part in chosen.items()
    ]
    errors = {
        name: 1000 * np.abs(beats - signals).mean(axis=0, dtype=np.float64)
        for name, beats in rebuilt.items()
    }
    return Reconstruction(len(signals), groups, errors)
