"""The processes that train one model together, as torchrun starts them; one alone is 0 of 1.

A batch is divided among them: each takes its own part, and PyTorch's `DistributedDataParallel`
averages the gradients, so that the number of processes decides how fast a model is trained and not
what it becomes.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from ecg_spark.errors import InfrastructureError

PATIENCE = timedelta(minutes=10)


@dataclass(frozen=True)
class Shard:
    """One process's part of the work: the number `rank` of `world`."""

    rank: int = 0
    world: int = 1

    def part(self, size: int) -> int:
        """How many of `size` beats are this process's; the first ones take what is left over."""
        return size // self.world + (self.rank < size % self.world)

    def own(self, rows: Tensor) -> Tensor:
        """This process's rows of a batch that all of them have."""
        return rows[self.rank :: self.world]


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
        if device.type == "cuda":  # before NCCL starts, which else takes the first GPU for all
            torch.cuda.set_device(device)
        dist.init_process_group(
            "nccl" if device.type == "cuda" else "gloo",
            timeout=PATIENCE,
            device_id=device if device.type == "cuda" else None,
        )
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


def broadcast_from_rank0(value: Any) -> Any:
    """What the first process has, for all."""
    if not dist.is_initialized():
        return value
    holder = [value]
    dist.broadcast_object_list(holder)
    return holder[0]


def data_parallel(module: torch.nn.Module, device: torch.device) -> torch.nn.Module:
    """The module with the first process's parameters and buffers, its gradients averaged."""
    if not dist.is_initialized():
        return module
    own = [device] if device.type == "cuda" else None
    return DistributedDataParallel(module, own, forward_sync_buffers=False)


def processes_of_this_machine(shard: Shard) -> int:
    """How many of the processes share this machine's memory, as torchrun says."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", shard.world)) if shard.world > 1 else 1


def all_reduce_sum(values: Tensor) -> Tensor:
    """The sum over the processes."""
    if dist.is_initialized():
        dist.all_reduce(values)
    return values


def all_reduce_max(number: int, device: torch.device) -> int:
    """The largest over the processes."""
    if not dist.is_initialized():
        return number
    value = torch.tensor(number, device=device)
    dist.all_reduce(value, dist.ReduceOp.MAX)
    return int(value)
