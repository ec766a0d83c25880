"""The epochs of training: a network, its optimiser, and the state from which it can be resumed.

How the factors come to be independent and to follow the heart's traits in straight lines, each part
chosen by measurement (tests/bench/bench_vae.py compares with PCA):

- The decoder is linear amplitudes on a linearly warped time axis; models/network/vae.py says what
  convolutions in it gain and lose.
- The network starts as a PCA, so that the factors start uncorrelated.
- The weight of the KL term rises from zero; otherwise many latents would never become active.
- Weights are averaged over the last steps (EMA), and those of the epoch with the lowest validation
  loss are kept: on 2,000 simulated people they lose 0.06 % of the last ones' loss on other people,
  on as many beats of a network trained on real ECGs they gain 0.09 %, and training ends earlier.
- The correlation that is left between the active latents is removed by the whitening that changes
  them least (models/encoding/factors.py).
- Of all uncorrelated factors, those are chosen that act on as little of the beat as possible
  (varimax, in the same module): more of them describe one part of the heart's work, whose variants
  are then found one by one.

"Loss" always means the same: the negative evidence lower bound (ELBO) in nats per beat, with one
draw from each posterior and the full weight `model.kl_weight` on its KL term.
"""

import copy
import math
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib.util import find_spec
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ecg_spark.errors import DataError, InfrastructureError
from ecg_spark.study import Model
from models.data.loader import Beats
from models.distributed import all_reduce_sum, data_parallel
from models.encoding.evaluation import MAX_SAMPLE_BEATS, Metrics, evaluate
from models.encoding.fold_encoder import FoldEncoder
from models.network.loss import draw, gaussian_nll, kl_divergence
from models.network.vae import VAE
from models.training.checkpoint import State

WARMED_UP = 0.3
"""The fraction of the steps over which the KL weight rises to its full value."""
MAX_GRADIENT = 0.02
"""Norm to which the gradient of the loss (in nats per sample of the beat) is clipped."""
AVERAGED = 0.01
"""The fraction of the steps whose weights are averaged: a larger one lags in short trainings."""


class Loss(torch.nn.Module):
    """The two terms of the loss of a batch, as one forward pass.

    Args:
        network: the network.
        device: where it is; on a GPU it is compiled.
    """

    def __init__(self, network: VAE, device: torch.device) -> None:
        super().__init__()
        self.network, self.device = network, device
        self.encode, self.decode = (
            compiled(part, device) for part in (network.encode, network.decode)
        )

    def forward(self, beats: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Return negative log likelihood and KL divergence in nats, each summed over the beats.

        Args:
            beats: [n, 8, 600] in mV.
            noise: standard normal [n, latents], for the draws from the posteriors.
        """
        with mixed_precision(self.device):
            mean, log_variance = self.encode(beats)
        rebuilt = self.decode(draw(mean, log_variance, noise))
        nll = gaussian_nll(beats, rebuilt, self.network.noise).sum()
        return nll, kl_divergence(mean, log_variance).sum()


class Trainer:
    """The network in training: everything that an epoch changes, and nothing else.

    Args:
        training: the beats to train on.
        settings: the section `model` of the study file.
        seed: decides initial weights, order and noise.
        device: where to train.
        before: the state from which to resume; None starts anew.
        start: a network to train further; None starts as a PCA.

    Raises:
        DataError: a batch has fewer beats than there are processes.
    """

    def __init__(
        self,
        training: Beats,
        settings: Model,
        seed: int,
        device: torch.device,
        before: State | None,
        start: FoldEncoder | None = None,
    ) -> None:
        if settings.batch_size < training.shard.world:
            raise DataError(
                f"A batch of {settings.batch_size} beats cannot be divided among the "
                f"{training.shard.world} training processes: raise model.batch_size or start fewer."
            )
        self.training, self.settings, self.seed, self.device = training, settings, seed, device
        torch.manual_seed(seed)
        network = VAE(settings.latents, settings.channels)
        if start is None:
            network.start_from(training.sample(MAX_SAMPLE_BEATS))
        else:
            network.load_state_dict(start.network_state())
        self.network = network.to(device)
        self.loss = data_parallel(Loss(self.network, device), device)
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(), lr=settings.learning_rate, fused=device.type == "cuda"
        )
        steps = training.steps(settings.batch_size)
        self.steps = settings.epochs * steps
        decay = 1 - 1 / max(AVERAGED * self.steps, 1)
        self.average = AveragedModel(self.network, multi_avg_fn=get_ema_multi_avg_fn(decay))
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimiser,
            settings.learning_rate,
            total_steps=max(self.steps, 20),  # the warm-up (pct_start) needs two steps or more
            pct_start=0.1,
        )
        self.best = copy.deepcopy(self.averaged.state_dict())
        self.history: list[Metrics] = []
        self.step = 0
        if before is not None:
            for name, part in self._parts().items():
                part.load_state_dict(before.parts[name])
            self.best = before.parts["best"]
            self.history = list(before.history)
            # Counted in steps of the present processes: their number may have changed since.
            self.step = self.schedule.last_epoch = len(self.history) * steps

    def _parts(self) -> dict[str, Any]:
        return {
            "network": self.network,
            "average": self.average,
            "optimiser": self.optimiser,
        }

    def state(self, identity: str, run_id: str, whole_run_id: str, fold: int) -> State:
        """Return the state from which another process can resume.

        Args:
            identity: what is trained on what.
            run_id: the fold's own run in MLflow.
            whole_run_id: the run of the model.
            fold: the number of the fold.
        """
        parts = {name: part.state_dict() for name, part in self._parts().items()}
        parts["best"] = self.best
        return State(identity, run_id, whole_run_id, fold, self.step, list(self.history), parts)

    def result(self) -> VAE:
        """Return the trained network on the CPU, with the averaged weights of the best epoch."""
        network = self.averaged.cpu().eval()
        network.load_state_dict(self.best)
        return network

    @property
    def averaged(self) -> VAE:
        """The network with the average of its last weights."""
        return cast(VAE, self.average.module)

    @property
    def best_epoch(self) -> int:
        """The epoch with the lowest validation loss so far, from 1; 0 before the first."""
        losses = [entry["val/loss"] for entry in self.history]
        return int(np.argmin(losses)) + 1 if losses else 0

    @property
    def done(self) -> bool:
        """Whether all epochs are done, or `patience` epochs have passed without a lower loss."""
        epochs, patience = len(self.history), self.settings.patience
        waited = patience is not None and epochs - self.best_epoch >= patience
        return epochs >= self.settings.epochs or waited

    def epochs(self, held_out: Beats) -> Iterator[Metrics]:
        """Train the remaining epochs, and yield the metrics of each when it is done.

        Args:
            held_out: the beats for validation.

        Raises:
            DataError: the loss is not finite.
            InfrastructureError: memory runs out, or the GPU fails.
        """
        while not self.done:
            epoch = len(self.history) + 1
            with enough_memory():
                metrics = self._train(epoch) | evaluate(self.averaged, held_out, self.settings)
            self.history.append({"epoch": epoch, **metrics})
            if self.best_epoch == epoch:
                self.best = copy.deepcopy(self.averaged.state_dict())
            yield metrics

    def _train(self, epoch: int) -> Metrics:
        """One epoch. Raises `DataError` where the loss is not finite."""
        shard, size = self.training.shard, self.settings.batch_size
        # Seeded for each epoch, so that its noise is the same whether or not training was
        # interrupted; every process draws the noise of the whole batch, so that the number of
        # processes changes nothing.
        mixed = np.random.SeedSequence([self.seed, epoch])
        random = torch.Generator(self.device).manual_seed(int(mixed.generate_state(1)[0]))
        sums = torch.zeros(3, device=self.device)
        for beats in self.training.epoch(epoch, size):
            weight = kl_weight(self.settings, self.step / self.steps)
            every = torch.randn((size, self.settings.latents), generator=random, device=self.device)
            nll, kl = self.loss(beats, shard.own(every)[: len(beats)])
            terms = torch.stack([nll, kl, torch.full_like(kl, len(beats))])
            n = all_reduce_sum(terms[2].detach().clone())
            self.optimiser.zero_grad()
            # DDP averages gradients over the processes; times world / n it is the batch's mean.
            values = n * math.prod(beats.shape[1:])
            ((terms[0] + weight * terms[1]) * shard.world / values).backward()
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), MAX_GRADIENT)
            self.optimiser.step()
            self.schedule.step()
            self.average.update_parameters(self.network)
            sums += terms.detach()
            self.step += 1
        nll, kl, n = all_reduce_sum(sums).tolist()
        if not math.isfinite(nll + kl):
            raise DataError(
                f"Training diverged in epoch {epoch} (the loss is not finite): "
                f"lower model.learning_rate, or look for extreme beats in the beats table."
            )
        return {"train/loss": (nll + self.settings.kl_weight * kl) / n, "train/kl": kl / n}


def mixed_precision(device: torch.device) -> AbstractContextManager[Any]:
    """Return a context with bfloat16 on a GPU, where it is fast; a CPU stays repeatable.

    Only the encoder's layers run in it: a beat in bfloat16 would be off by some µV.
    """
    if device.type == "cuda":
        return torch.autocast("cuda", torch.bfloat16)
    return nullcontext()


def compiled(function: Callable[..., Any], device: torch.device) -> Callable[..., Any]:
    """Return a function compiled for a GPU; unchanged on a CPU, or if compiling is not possible.

    It is compiled to CUDA graphs: a batch of 64 keeps a GPU busy for less time than it takes to
    launch its hundreds of kernels one by one. On an H200, 7,000 beats per second become 13,600;
    with batches of 512, 64,000 become 86,000; with the same losses.
    """
    can = find_spec("triton") is not None and (shutil.which("cc") or shutil.which("gcc"))
    if device.type != "cuda" or not can:
        return function
    return torch.compile(function, mode="reduce-overhead")


def kl_weight(settings: Model, progress: float) -> float:
    """Return the weight of the KL term during training: it rises linearly and then stays.

    Args:
        settings: its `kl_weight` is the final weight.
        progress: the fraction of all steps that is done.
    """
    return settings.kl_weight * min(progress / WARMED_UP, 1.0)


@contextmanager
def enough_memory() -> Iterator[None]:
    """Turn errors of memory or of the GPU within the block into sentences that say what to do.

    Raises:
        InfrastructureError: memory runs out, or the GPU fails.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:  # torch's own is a RuntimeError
        if isinstance(error, RuntimeError) and not _says_memory(error):
            if not isinstance(error, torch.AcceleratorError):
                raise
            raise InfrastructureError(
                f"The GPU failed while training ({str(error).splitlines()[0]}): look at "
                f"nvidia-smi, then run the same command again, which resumes after the last saved "
                f"epoch."
            ) from error
        raise InfrastructureError(
            "There is not enough memory for training: lower model.batch_size or model.channels."
        ) from error


def _says_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
