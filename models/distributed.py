"""The processes that train one model together, as torchrun starts them; one alone is 0 of 1.

Each takes its own part of every batch; gradients are averaged after every step. A process that has
fewer beats than another begins its part again, so that none waits for a batch that never comes.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from ecg_spark.errors import InfrastructureError

PATIENCE = timedelta(minutes=10)


@dataclass(frozen=True)
class Shard:
    """One process's part of the work: the number `rank` of `world`."""

    rank: int = 0
    world: int = 1


@contextmanager
def processes(device: torch.device) -> Iterator[Shard]:
    """Join the processes that torchrun started, by NCCL on GPUs and Gloo on CPUs.

    Within a `processes` that has joined them it does no more.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Shard()
        return
    outermost = not dist.is_initialized()
    if outermost:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
    try:
        yield Shard(dist.get_rank(), dist.get_world_size())
    finally:
        if outermost:
            dist.destroy_process_group()


def choose_device(wanted: str) -> torch.device:
    """The device to work on, of 'auto', 'cpu' and 'cuda'; of several GPUs this process's own.

    Raises `InfrastructureError` where CUDA is wanted and absent.
    """
    if wanted == "cuda" and not torch.cuda.is_available():
        raise InfrastructureError(
            "model.device is 'cuda', but PyTorch finds no usable NVIDIA GPU on this machine: "
            "set it to 'auto' or 'cpu', or install a GPU build of PyTorch."
        )
    if wanted == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))


def shared(value: Any) -> Any:
    """What the first process has, for all."""
    if not dist.is_initialized():
        return value
    holder = [value]
    dist.broadcast_object_list(holder)
    return holder[0]


def share_parameters(module: torch.nn.Module) -> None:
    """Give every process the first one's parameters and buffers."""
    if dist.is_initialized():
        for value in module.state_dict().values():
            dist.broadcast(value, 0)


def average_gradients(parameters: Iterable[torch.nn.Parameter]) -> None:
    """The mean of the processes' gradients, in one message."""
    if not dist.is_initialized():
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    for gradient, mean in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))


def total(values: Tensor) -> Tensor:
    """The sum over the processes."""
    if dist.is_initialized():
        dist.all_reduce(values)
    return values


def largest(number: int, device: torch.device) -> int:
    """The largest over the processes."""
    if not dist.is_initialized():
        return number
    value = torch.tensor(number, device=device)
    dist.all_reduce(value, dist.ReduceOp.MAX)
    return int(value)
