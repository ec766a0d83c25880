"""How much memory this machine or container has."""

from pathlib import Path

import psutil

LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
"""Where Linux tells how much memory a container may use (cgroup v2, v1)."""


def memory() -> int:
    """Return the memory in bytes of this machine, or of the container that this process runs in."""
    whole = [psutil.virtual_memory().total]
    for limit in map(Path, LIMITS):
        if limit.exists() and (found := limit.read_text().strip()).isdigit():
            whole.append(int(found))
    return min(whole)


def free_memory() -> int:
    """Return the memory in bytes that processes can still use."""
    return min(int(psutil.virtual_memory().available), memory())
