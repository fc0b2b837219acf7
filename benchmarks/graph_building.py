"""From a dataset folder to all that training needs: time and memory of each stage, and how they grow.

    python benchmarks/graph_building.py                               1, 3 and 10 million interactions
    python benchmarks/graph_building.py --millions 1 10 30 100 --threads 2

Folders with power-law users and items, text ids and times are generated one row
group at a time, in random order unless asked for otherwise: that is the dearest
order to read. ``--order time`` is a log, ``--order user`` what `recmind prepare`
writes. Each is then read in a process of its own: ids to codes, hash,
split, graph, sampler. A folder takes about 25 bytes of disk an interaction and
is removed after its measurement.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

PER_USER, PER_ITEM = 13, 40  # interactions a user and an item in the mean
EXPONENT = 0.7  # the k-th most active user or item is drawn in proportion to k^-0.7
ROW_GROUP = 2**20
START, YEARS = 1_262_304_000, 10  # times from 2010 on
DIGITS = np.frombuffer(b"0123456789ABCDEFGHJKMNPQRSTVWXYZ", dtype="S1")
DISK_BYTES = 25


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--millions", type=float, nargs="+", default=[1, 3, 10], help="million interactions")
    parser.add_argument("--order", choices=["random", "time", "user"], default="random", help="order of the rows")
    parser.add_argument("--repeats", type=int, default=1, help="processes per size; the median is told")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--folder", type=Path, help="where the generated folders are put (default: a temporary one)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the result to this file too")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    args = arguments()
    if args.measure:
        print(json.dumps(measure(args.measure)))
        return
    disk = max(args.millions) * DISK_BYTES / 1e3
    print(f"disk: up to {disk:.1f} GB; {args.threads} threads, rows in {args.order} order")
    rows = []
    for million in args.millions:
        with tempfile.TemporaryDirectory(prefix="graph-building-", dir=args.folder) as folder:
            began = time.perf_counter()
            size = generate(Path(folder), round(million * 1e6), args.order, args.seed)
            seconds = time.perf_counter() - began
            print(f"\n{million:g} million interactions: generated {size / 1e9:.2f} GB in {seconds:.0f} s")
            taken = [in_new_process(Path(folder), args.threads) for _ in range(args.repeats)]
        # The run in the middle by total wall time.
        rows.append(sorted(taken, key=lambda run: run["total"]["wall"])[len(taken) // 2] | {"asked": million})
        tell(rows[-1])
    growth(rows)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2) + "\n")


def generate(folder: Path, n: int, order: str, seed: int) -> int:
    """Write ``interactions.parquet``, one row group at a time.

    Returns
    -------
    int
        Size of the file in bytes.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([("user_id", pa.string()), ("item_id", pa.string()), ("timestamp", pa.int64())])
    path = folder / "interactions.parquet"
    n_users, n_items = max(1, n // PER_USER), max(1, n // PER_ITEM)
    rng = np.random.default_rng(seed)
    with pq.ParquetWriter(path, schema, compression="zstd", compression_level=1) as writer:
        for begin in range(0, n, ROW_GROUP):
            size = min(ROW_GROUP, n - begin)
            share = begin / n, (begin + size) / n
            drawn, times = rng.random(size), rng.random(size)
            if order == "user":
                drawn = np.linspace(*share, size, endpoint=False)
            if order != "random":
                times = np.linspace(*share, size, endpoint=False)
            users = power_law(drawn, n_users)
            seconds = START + (times * YEARS * 365 * 86_400).astype(np.int64)
            items = power_law(rng.random(size), n_items)
            columns = [ids(users, b"A", 13, mixed=order != "user"), ids(items, b"B0", 8), seconds]
            writer.write_table(pa.table(columns, schema=schema))
    return path.stat().st_size


def power_law(uniform: np.ndarray, n: int) -> np.ndarray:
    """Numbers below ``n``, drawn in proportion to (k + 1)^-EXPONENT, int64: the inverse of the integral."""
    power = 1 - EXPONENT
    ranks = (uniform * ((n + 1) ** power - 1) + 1) ** (1 / power)
    return np.minimum(ranks.astype(np.int64) - 1, n - 1)


def ids(codes: np.ndarray, prefix: bytes, n_digits: int, *, mixed: bool = True) -> Any:
    """Text ids in the manner of a shop, all of one length, in the order of the codes or in none."""
    import pyarrow as pa

    bits = 5 * min(n_digits, 12)
    numbers = codes.astype(np.uint64)
    if mixed:
        # Multiplication by an odd number permutes the numbers below a power of two.
        numbers = (numbers * np.uint64(0x9E3779B97F4A7C15)) & np.uint64(2**bits - 1)
    width = len(prefix) + n_digits
    text = np.empty((len(codes), width), dtype="S1")
    text[:, : len(prefix)] = np.frombuffer(prefix, dtype="S1")
    for digit in range(n_digits):
        text[:, width - 1 - digit] = DIGITS[(numbers >> np.uint64(5 * digit)) & np.uint64(31)]
    offsets = np.arange(0, (len(codes) + 1) * width, width, dtype=np.int32)
    return pa.StringArray.from_buffers(len(codes), pa.py_buffer(offsets), pa.py_buffer(text))


def in_new_process(folder: Path, threads: int) -> dict[str, Any]:
    """What :func:`measure` finds in a process that has read nothing yet."""
    environment = {**os.environ, "POLARS_MAX_THREADS": str(threads), "OMP_NUM_THREADS": str(threads)}
    command = [sys.executable, __file__, "--measure", str(folder)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environment).stdout)


def measure(folder: Path) -> dict[str, Any]:
    """Wall and CPU seconds and memory of each stage, and what is held in the end."""
    from recmind.config import SplitConfig
    from recmind.data.dataset import Dataset
    from recmind.data.splitting import split_dataset
    from recmind.model.graph import build_graph
    from recmind.training.sampling import InteractionSampler, epoch_generator

    stages: dict[str, dict[str, float]] = {"imports": {"wall": 0.0, "cpu": 0.0, "peak": peak(), "held": held()}}
    dataset = stage(stages, "load", lambda: Dataset.load(folder))
    stage(stages, "hash", lambda: dataset.hash)
    split = stage(stages, "split", lambda: split_dataset(dataset, SplitConfig()))
    train = split.train
    graph = stage(stages, "graph", lambda: build_graph(train.users, train.items, split.n_users, split.n_items))
    sampler = stage(stages, "sampler", lambda: InteractionSampler(split, graph=graph))

    def first_batch() -> None:
        generator = epoch_generator(0, "joint", 0)
        users, _ = next(sampler.batches(2048, generator))
        sampler.negatives(users, 1, generator)

    stage(stages, "first batch", first_batch)
    timed = [numbers for name, numbers in stages.items() if name != "imports"]
    return {
        "interactions": dataset.n_interactions,
        "repeats": dataset.info["repeats_removed_at_load"],
        "users": dataset.n_users,
        "items": dataset.n_items,
        "edges": graph.n_interactions,
        "graph_bytes": sum(t.nbytes for t in (graph.offsets, graph.neighbours, graph.degrees)),
        "stages": stages,
        "total": {
            "wall": sum(numbers["wall"] for numbers in timed),
            "cpu": sum(numbers["cpu"] for numbers in timed),
            "peak": max(numbers["peak"] for numbers in timed),
            "held": held(),
        },
    }


def stage(stages: dict[str, dict[str, float]], name: str, work: Callable[[], Any]) -> Any:
    """The result of ``work``, with its time and memory noted."""
    forget_peak()
    wall, cpu = time.perf_counter(), cpu_seconds()
    result = work()
    stages[name] = {
        "wall": time.perf_counter() - wall,
        "cpu": cpu_seconds() - cpu,
        "peak": peak(),
        "held": held(),
    }
    return result


def cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def forget_peak() -> None:
    """Start the peak of this process anew, where the system can."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def peak() -> float:
    """Largest resident memory since :func:`forget_peak`, in bytes."""
    return _of_status("VmHWM") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def held() -> float:
    """Resident memory now, in bytes; 0 where the system does not tell."""
    return _of_status("VmRSS") or 0.0


def _of_status(name: str) -> float | None:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((float(line.split()[1]) * 1024 for line in lines if line.startswith(name)), None)


def tell(row: dict[str, Any]) -> None:
    """Print the stages of one size."""
    print(
        f"{row['interactions']:,} distinct pairs, {row['repeats']:,} repeats, "
        f"{row['users']:,} users, {row['items']:,} items, {row['edges']:,} to train on"
    )
    print("".join(f"{title:>14}" for title in ("stage", "wall s", "cpu s", "peak GB", "held GB")))
    for name, numbers in {**row["stages"], "total": row["total"]}.items():
        cells = [f"{numbers['wall']:.2f}", f"{numbers['cpu']:.2f}", f"{numbers['peak'] / 1e9:.2f}"]
        print("".join(f"{cell:>14}" for cell in (name, *cells, f"{numbers['held'] / 1e9:.2f}")), flush=True)


def growth(rows: list[dict[str, Any]]) -> None:
    """Print time and memory per interaction at every size: flat lines are linear growth."""
    titles = ("million rows", "wall s", "cpu s", "us a row", "peak GB", "bytes a row", "held B a row", "graph B/edge")
    print("\n" + "".join(f"{title:>14}" for title in titles))
    for row in rows:
        n, empty, total = row["asked"] * 1e6, row["stages"]["imports"]["held"], row["total"]
        cells = (
            f"{row['asked']:g}",
            f"{total['wall']:.1f}",
            f"{total['cpu']:.1f}",
            f"{total['wall'] / n * 1e6:.3f}",
            f"{total['peak'] / 1e9:.2f}",
            f"{(total['peak'] - empty) / n:.0f}",
            f"{(total['held'] - empty) / n:.0f}",
            f"{row['graph_bytes'] / row['edges']:.1f}",
        )
        print("".join(f"{cell:>14}" for cell in cells))


if __name__ == "__main__":
    main()
