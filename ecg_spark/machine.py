"""How much memory there is, in a container too."""

from pathlib import Path

import psutil

LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
"""Where a container reads how much memory it may have."""


def memory() -> int:
    """The bytes of memory of this machine, or of the container that it is."""
    whole = [psutil.virtual_memory().total]
    for limit in map(Path, LIMITS):
        if limit.exists() and (found := limit.read_text().strip()).isdigit():
            whole.append(int(found))
    return min(whole)


def free_memory() -> int:
    """The bytes of it that processes can still take."""
    return min(int(psutil.virtual_memory().available), memory())
