"""The training loader's stream against pyarrow.dataset, and the encoder against its network.

    python tests/bench/bench_loader.py [--beats 10000,50000] [--rounds 3]

Rows a second through Petastorm with shuffling into batches of 64, and through pyarrow.dataset into
NumPy, in turns on the same table; the ratio of the medians. Every row of every epoch is counted.
Memory is the process's after each epoch. On a GPU also the time of an epoch with the loader over
that from a tensor on the device, with a training step on each batch; how busy the GPU is meanwhile,
as NVML says (the package nvidia-ml-py); and the hours that 50 epochs of a million beats take at
that rate. The encoder's figures are of one thread: `Encoder.encode` of [n, 12, 600] beats over the
bare network's call, which guesses at what the encoder then looks for; on a GPU also there.
"""

import argparse
import json
import statistics
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import torch

from ecg_spark.study import Model
from models.data.loader import Resident, Streamed
from models.data.split import TRAINING, Split
from models.encoding.encoder import Encoder
from models.encoding.factors import Factors
from models.encoding.fold_encoder import FoldEncoder, independent_leads, pack
from models.network.pca import fit_components
from models.network.vae import VAE
from models.training.fitting import Trainer

BATCH, GROUP, FILES = 64, 290, 4  # row groups of 8 MiB, as the step `average` writes them
SPLIT = Split(1, 1e-12)  # nobody is held out


def write_table(folder, rows):
    """Noise as beats: a folder of Parquet files as Spark leaves it."""
    rng = np.random.default_rng(1)
    for part in np.array_split(np.arange(rows), FILES):
        schema = pa.schema({"participant_hash": pa.int64(), "signal": pa.list_(pa.float32())})
        with pq.ParquetWriter(folder / f"part-{part[0]}.parquet", schema) as file:
            for start in range(0, len(part), GROUP):
                own = part[start : start + GROUP]
                values = pa.array(rng.standard_normal(7200 * len(own), np.float32))
                offsets = pa.array(np.arange(0, 7200 * len(own) + 1, 7200, np.int32))
                signal = pa.ListArray.from_arrays(offsets, values)
                file.write_table(pa.table({"participant_hash": own, "signal": signal}, schema))


def by_pyarrow(folder):
    """Rows that pyarrow.dataset reads into NumPy, [n, 12, 600]."""
    rows = 0
    for batch in ds.dataset(folder).to_batches(columns=["signal", "participant_hash"]):
        values = batch["signal"].flatten().to_numpy()
        signal = np.ascontiguousarray(values.reshape(len(batch), 12, 600))
        batch["participant_hash"].to_numpy()
        rows += len(signal)
    return rows


def by_loader(folder, rows, epoch):
    """Rows of one shuffled epoch of the stream."""
    stream = Streamed(str(folder), SPLIT, TRAINING, rows, rows, torch.device("cpu"))
    return sum(len(batch) for batch in stream.epoch(epoch, BATCH))


def rate(read, rows):
    """Rows a second of one pass, which must give every row."""
    started = time.perf_counter()
    assert read() == rows
    return rows / (time.perf_counter() - started)


def loader_figures(rows, rounds):
    """Rates in turns, and the memory after each epoch."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_table(folder, rows)
        ours, theirs, memory = [], [], []
        for epoch in range(1, rounds + 1):
            theirs.append(rate(lambda: by_pyarrow(folder), rows))
            ours.append(rate(lambda e=epoch: by_loader(folder, rows, e), rows))
            memory.append(psutil.Process().memory_info().rss // 2**20)
        line = {"beats": rows, "loader": round(statistics.median(ours))}
        line |= {"pyarrow": round(statistics.median(theirs)), "mib_after_epochs": memory}
        line["ratio"] = round(statistics.median(ours) / statistics.median(theirs), 2)
        if torch.cuda.is_available():
            line |= on_gpu(folder, rows)
        print(json.dumps(line), flush=True)


def on_gpu(folder, rows):
    """Seconds of an epoch of training, streamed over from a tensor on the device."""
    device = torch.device("cuda")
    stream = Streamed(str(folder), SPLIT, TRAINING, rows, rows, device)
    whole = torch.cat(list(stream.once(512)))
    fitting = Trainer(Resident(whole, 1), Model(epochs=4, batch_size=512), 1, device, None)
    seconds = {}
    for name, beats in (
        ("warm", fitting.training),
        ("device", fitting.training),
        ("loader", stream),
    ):
        fitting.training = beats
        torch.cuda.synchronize()
        started = time.perf_counter()
        with busy_percent() as busy:
            fitting._train(1)
            torch.cuda.synchronize()
        seconds[name] = time.perf_counter() - started
    return {
        "epoch_over_device": round(seconds["loader"] / seconds["device"], 2),
        "gpu_beats_per_second": round(rows / seconds["loader"]),
        "gpu_busy_percent": round(statistics.mean(busy)) if busy else None,
        "hours_for_a_million_beats_50_epochs": round(5e7 * seconds["loader"] / rows / 3600, 2),
    }


@contextmanager
def busy_percent():
    """What NVML says of the GPU ten times a second, as a list that fills."""
    said, over = [], threading.Event()

    def ask():
        while not over.wait(0.1):
            said.append(torch.cuda.utilization())

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield said
    finally:
        over.set()
        thread.join()


def encoder_figures(rounds, n=2048):
    """Beats a second of the encoder, of the network alone, and their ratio."""
    torch.set_num_threads(1)
    rng = np.random.default_rng(1)
    beats = np.cumsum(rng.standard_normal((n, 12, 600)), axis=-1).astype(np.float32) / 50
    rows = torch.from_numpy(independent_leads(beats))
    network, turn = VAE(20, Model().channels), np.eye(20, dtype=np.float32)
    network.start_from(rows[:300].numpy())
    config = {"latents": 20, "channels": Model().channels, "n_active": 20, "kl": [1.0] * 20}
    components = fit_components(rows[:300].numpy(), 20)
    factors = Factors(turn, turn, np.zeros(20, np.float32))
    fold = pack(network, factors, components, config | {"seed": 1})
    encoder = Encoder([fold], [1.0] * 20)

    def bare():
        with torch.inference_mode():
            return sum(len(network.encode(part)[0]) for part in rows.split(256))

    def whole(encoder=encoder):
        return sum(len(encoder.encode(part).z) for part in np.split(beats, n // 256))

    whole(), bare()
    rates = [(rate(whole, n), rate(bare, n)) for _ in range(rounds)]
    ours, theirs = (statistics.median(column) for column in zip(*rates, strict=True))
    line = {"encoder": round(ours), "bare_network": round(theirs), "ratio": round(ours / theirs, 2)}
    if torch.cuda.is_available():
        there = Encoder([FoldEncoder(fold.weights, fold.config, "cuda")], [1.0] * 20)
        whole(there)
        rates = [rate(lambda: whole(there), n) for _ in range(rounds)]
        line["encoder_on_gpu"] = round(statistics.median(rates))
    print(json.dumps(line), flush=True)


def main():
    """Print a JSON line a size, and one of the encoder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--beats", default="10000,50000")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    for rows in map(int, options.beats.split(",")):
        loader_figures(rows, options.rounds)
    encoder_figures(options.rounds)
    if not torch.cuda.is_available():
        print("no GPU here: its epochs, how busy it is and its encoder were not measured")


if __name__ == "__main__":
    main()
