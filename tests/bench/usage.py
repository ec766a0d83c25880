"""What this process and all that it has started take of the machine: memory and processor time."""

import os
import threading
import time

import psutil

KINDS = ("driver_python", "driver_jvm", "executor_jvms", "workers", "largest_worker", "all")
"""What is told apart: this process; its Java process (without a cluster it is the executor as
well); the Java processes of a cluster's executors; the Python processes below Java, their sum and
the largest; everything."""

INTERVAL_S = 0.3


class Usage(threading.Thread):
    """Samples resident memory until the process ends; `peaks` holds the highest sums, in MB.

    Workers are forks of one process and share its pages, which are counted in each of them.
    """

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._lock = threading.Lock()
        self.reset()

    def reset(self) -> None:
        """Forget the peaks, and begin with what is held now."""
        with self._lock:
            self.peaks = dict.fromkeys(KINDS, 0.0)
        self._sample()

    def run(self) -> None:
        while True:
            self._sample()
            time.sleep(INTERVAL_S)

    def _sample(self) -> None:
        held = dict.fromkeys(KINDS, 0.0)
        here = psutil.Process()
        for process in (here, *here.children(recursive=True)):
            try:
                with process.oneshot():
                    name, parent = process.name(), process.ppid()
                    megabytes = process.memory_info().rss / 1e6
            except psutil.NoSuchProcess:
                continue
            held["all"] += megabytes
            if process.pid == here.pid:
                held["driver_python"] += megabytes
            elif name == "java":
                held["driver_jvm" if parent == here.pid else "executor_jvms"] += megabytes
            elif name.startswith("python"):
                held["workers"] += megabytes
                held["largest_worker"] = max(held["largest_worker"], megabytes)
        with self._lock:
            self.peaks = {kind: max(self.peaks[kind], held[kind]) for kind in KINDS}


def cpu_seconds() -> float:
    """Seconds of processor time of this process and all that it has started, ended ones included:
    their time is their parent's once it has waited for them."""
    here = psutil.Process()
    total = 0.0
    for process in (here, *here.children(recursive=True)):
        try:
            total += sum(process.cpu_times()[:4])  # user, system, and those of ended children
        except psutil.NoSuchProcess:
            continue
    return total


def bytes_in(folder: str) -> int:
    """The size of the files in a folder, without hidden folders, which are a stage's scratch."""
    total = 0
    for place, inner, files in os.walk(folder):
        inner[:] = [name for name in inner if not name.startswith(".")]
        for name in files:
            total += os.lstat(os.path.join(place, name)).st_size
    return total
