"""Damaged and hostile files of every format and archive: nothing but a reason may come out.

    python tests/bench/fuzz_formats.py --inputs 100000 --seed 1

Each input is a sound file with random damage: bytes changed, cut out, put in, repeated, taken from
another format, numbers made extreme; in archives also before they are packed. It must be read, or
refused with a `RecordingError`, within `SECONDS` and `MEMORY_MIB`, without a socket, a process, or
a file outside of the temporary folder. Prints one line of JSON; the exit code is 1 where an input
broke a rule: its seed and number make it again. Seconds are of CPU, which another's work on the
machine does not change.
"""

import argparse
import binascii
import bz2
import contextlib
import gzip
import io
import json
import lzma
import re
import resource
import struct
import sys
import tarfile
import tempfile
import time
import zipfile
from collections import Counter
from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

from ecg_spark.ecg import Recording, RecordingError, read_recording
from ecg_spark.ecg.formats import archives
from ecg_spark.ecg.formats.hdf5 import Tracings
from tests.builders.ecg_files import DESCRIBED, hdf5, heart, small_files

SECONDS, MEMORY_MIB = 10.0, 1024
ARCHIVES = ("a.tar", "a.tar.gz", "a.tar.xz", "a.tar.bz2", "a.zip")
SEVERAL = "hdf5 of several"
EXTREMES = (b"0", b"-1", b"1e308", b"NaN", b"65535", b"2147483648", b"1000000000", b"99999999999")
FORBIDDEN = ("socket.connect", "socket.getaddrinfo", "subprocess.Popen", "os.system", "os.exec")

events: list[str] = []


def audit(event: str, arguments: tuple) -> None:
    """Note what no reader may do; modules and the temporary folder may be opened."""
    if event in FORBIDDEN:
        events.append(event)
    elif event == "open" and isinstance(arguments[0], str):
        allowed = (tempfile.gettempdir(), sys.prefix, sys.base_prefix, "/proc/", "/usr/")
        if not arguments[0].startswith(allowed):
            events.append(f"open {arguments[0]}")


def damaged(random: Random, content: bytes, others: list[bytes]) -> bytes:
    """One to four damages, mostly in the first part of the file, where its structure is."""
    data = bytearray(content)
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        if not data:
            break
        at = int(len(data) * random.random() ** random.choice((1, 3)))
        length = random.choice((1, 1, 2, 4, 8, 64, 1024))
        match random.randrange(9):
            case 0:
                data[at] ^= 1 << random.randrange(8)
            case 1:
                data[at : at + length] = random.randbytes(length)
            case 2:
                del data[at : at + length]
            case 3:
                data[at:at] = random.randbytes(length)
            case 4:
                data[at:at] = data[at : at + length] * random.choice((1, 2, 50))
            case 5:
                del data[at:]
            case 6:
                other = random.choice(others)
                start = random.randrange(len(other))
                data[at : at + length] = other[start : start + length]
            case 7:
                numbers = list(re.finditer(rb"\d+", bytes(data[at : at + 4000])))
                if numbers:
                    found = random.choice(numbers)
                    data[at + found.start() : at + found.end()] = random.choice(EXTREMES)
            case 8:
                data[at : at + 4] = random.choice((b"\xff" * 4, bytes(4), b"\xff\xff\xff\x7f"))
    return bytes(data)


def repaired(data: bytes) -> bytes:
    """An SCP-ECG record with the CRCs that its damaged sections should have."""
    whole = bytearray(data)
    end = 6 + int.from_bytes(data[10:14], "little")
    for at in range(22, min(end, 142, len(data)) - 9, 10):
        number, length, start = struct.unpack_from("<HII", data, at)
        if 1 <= number <= 12 and 16 <= length <= len(data) and 0 < start <= len(data) - length + 1:
            crc = binascii.crc_hqx(bytes(whole[start + 1 : start - 1 + length]), 0xFFFF)
            whole[start - 1 : start + 1] = crc.to_bytes(2, "little")
    return bytes(whole)


def packed(name: str, files: dict[str, bytes]) -> bytes:
    """The files in an archive of the kind that its name says."""
    whole = io.BytesIO()
    if name.endswith(".zip"):
        with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED) as archive:
            for member, content in files.items():
                archive.writestr(member, content)
        return whole.getvalue()
    with tarfile.open(fileobj=whole, mode="w") as archive:
        for member, content in files.items():
            item = tarfile.TarInfo(member)
            item.size = len(content)
            archive.addfile(item, io.BytesIO(content))
    return compressed(name, whole.getvalue())


def compressed(name: str, content: bytes) -> bytes:
    """The content, compressed as the ending of the name says."""
    kind = name.rpartition(".")[2]
    if kind == "gz":
        return gzip.compress(content, 1)
    if kind == "xz":
        return lzma.compress(content, preset=0)
    return bz2.compress(content) if kind == "bz2" else content


def several() -> bytes:
    """An HDF5 file of three recordings with their ids, as CODE-15 % has them."""
    return hdf5(
        {"tracings": np.stack([heart().T] * 3), "exam_id": np.arange(3)}, chunks=True,
        compression="lzf",
    )  # fmt: skip


def recordings_of(content: bytes) -> str:
    """Read every recording of such a file."""
    described = replace(DESCRIBED, dataset="tracings", ids="exam_id")
    with contextlib.closing(Tracings(io.BytesIO(content), described)) as tracings:
        found = [item for _, item in tracings.recordings(0, len(tracings.ids))]
    return "read" if any(isinstance(item, Recording) for item in found) else "none is read"


def outcome(name: str, content: bytes, companions: dict[str, bytes]) -> str:
    """What came of an input: `read`, or the reason why not."""
    try:
        if archives.is_archive(name):
            n = sum(1 for _ in archives.recordings(io.BytesIO(content), name))
            return f"{n} members"
        if name == SEVERAL:
            return recordings_of(content)
        read_recording(content, companions=companions, samples=DESCRIBED)
    except RecordingError as error:
        return error.reason.value
    return "read"


def peak_mib() -> int:
    """The most memory that this process has had at any time."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


def main() -> int:
    """Run the fuzz and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    samples = small_files()
    header, companions = samples["wfdb"]
    pair = {"r.hea": header, **companions, "x.scp": samples["scp"][0]}
    samples |= {name: (packed(name, pair), {}) for name in ARCHIVES}
    samples[SEVERAL] = (several(), {})
    samples["xml.gz"] = (compressed("xml.gz", samples["muse"][0]), {})
    halves = samples["muse"][0][:5000], samples["muse"][0][5000:], b""
    samples["members"] = (b"".join(map(gzip.compress, halves)), {})
    contents = [content for content, _ in samples.values()]
    for name, (content, beside) in samples.items():
        outcome(name, content, beside)  # whatever is imported late is imported now
    sys.addaudithook(audit)

    counts: dict[str, Counter[str]] = {name: Counter() for name in samples}
    slowest, peak, broken = 0.0, 0, []
    names = sorted(samples)
    started = time.perf_counter()
    for number in range(options.inputs):
        random = Random(f"{options.seed} {number}")
        name = names[number % len(names)]
        content, beside = samples[name]
        if beside and random.random() < 0.5:
            chosen = random.choice(sorted(beside))
            beside = beside | {chosen: damaged(random, beside[chosen], contents)}
        else:
            inside = random.random()
            if name in ARCHIVES and inside < 0.4:
                chosen = random.choice(sorted(pair))
                content = packed(name, pair | {chosen: damaged(random, pair[chosen], contents)})
            elif name in ARCHIVES and inside < 0.8:
                content = compressed(name, damaged(random, packed("a.tar", pair), contents))
            elif name == "xml.gz" and inside < 0.7:
                content = compressed(name, damaged(random, samples["muse"][0], contents))
            else:
                content = damaged(random, content, contents)
            if name.startswith("scp") and random.random() < 0.8:
                content = repaired(content)
        events.clear()
        before = time.process_time()
        try:
            counts[name][outcome(name, content, beside)] += 1
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            broken.append(f"{name} {number}: {type(error).__name__} {error}")
        seconds = time.process_time() - before
        slowest = max(slowest, seconds)
        if seconds > SECONDS:
            broken.append(f"{name} {number}: {seconds:.1f} s")
        if peak_mib() > max(MEMORY_MIB, peak):
            peak = peak_mib()
            broken.append(f"{name} {number}: {peak} MiB")
        if events:
            broken.append(f"{name} {number}: {events[0]}")
    summary = {
        "inputs": options.inputs,
        "seconds": round(time.perf_counter() - started),
        "slowest_seconds": round(slowest, 2),
        "peak_mib": peak_mib(),
        "read": sum(count["read"] for count in counts.values()),
        "outcomes": {name: dict(count.most_common(4)) for name, count in counts.items()},
        "broken": broken[:20],
        "n_broken": len(broken),
    }
    print(json.dumps(summary))
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
