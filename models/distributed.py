"""The processes that train one model together, as torchrun starts them; a lone process is 0 of 1.

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
"""How long a process waits for the others before it fails."""


@dataclass(frozen=True)
class Shard:
    """One process's part of the work.

    Attributes:
        rank: the number of the process, from 0.
        world: how many processes there are.
    """

    rank: int = 0
    world: int = 1

    def part(self, size: int) -> int:
        """Return how many of `size` beats this process takes; the first ones share the remainder.

        Example:
            >>> [Shard(rank, 3).part(10) for rank in range(3)]
            [4, 3, 3]
        """
        return size // self.world + (self.rank < size % self.world)

    def own(self, rows: Tensor) -> Tensor:
        """Return this process's rows of a batch that all processes have."""
        return rows[self.rank :: self.world]


@contextmanager
def processes(device: torch.device) -> Iterator[Shard]:
    """Join the processes that torchrun started, by NCCL on GPUs and Gloo on CPUs.

    Inside another `processes` block it only returns this process's part.

    Args:
        device: the device of this process.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Shard()
        return
    outermost = not dist.is_initialized()
    if outermost:
        if device.type == "cuda":  # before NCCL starts: otherwise all processes use the first GPU
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
    """Return the device to work on; if the machine has several GPUs, the one of this process.

    Args:
        wanted: `auto`, `cpu` or `cuda`.

    Raises:
        InfrastructureError: CUDA is wanted but not available.
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
    """Return the value that the first process has, in all processes."""
    if not dist.is_initialized():
        return value
    holder = [value]
    dist.broadcast_object_list(holder)
    return holder[0]


def data_parallel(module: torch.nn.Module, device: torch.device) -> torch.nn.Module:
    """Return a module whose gradients are averaged over all processes.

    It has the first process's parameters and buffers.
    """
    if not dist.is_initialized():
        return module
    own = [device] if device.type == "cuda" else None
    return DistributedDataParallel(module, own, forward_sync_buffers=False)


def processes_of_this_machine(shard: Shard) -> int:
    """Return how many of the processes share this machine's memory, as torchrun says."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", shard.world)) if shard.world > 1 else 1


def all_reduce_sum(values: Tensor) -> Tensor:
    """Return the sum over all processes."""
    if dist.is_initialized():
        dist.all_reduce(values)
    return values


def all_reduce_max(number: int, device: torch.device) -> int:
    """Return the maximum over all processes."""
    if not dist.is_initialized():
        return number
    value = torch.tensor(number, device=device)
    dist.all_reduce(value, dist.ReduceOp.MAX)
    return int(value)
