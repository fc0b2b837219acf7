"""Search for one user in catalogues of growing size: exact, IVF and HNSW; time, recall@20 and memory.

    python benchmarks/serving_index.py
    python benchmarks/serving_index.py --sizes 100000 1000000 --kinds exact ivf hnsw
    python benchmarks/serving_index.py --bundle bundles/shop

Without a bundle the vectors are generated: items around 2,000 directions on the
unit sphere in 64 dimensions, a popularity column like d̃ of a long-tailed
catalogue, users as means of three items. Every search is one query on one
thread, timed one by one after a warm-up, the kinds in turn.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch

from recmind.schema import BundleTensors
from recmind.serving import index as indexes
from recmind.serving.bundle import Bundle
from recmind.serving.index import Built, Kind, build_index, open_search
from recmind.serving.search import ExactSearch, Search

DIM, CENTRES, NOISE, POPULARITY = 64, 2000, 0.6, 0.8


def generated(n: int, n_users: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Items ``(n, 65)`` and queries ``(n_users, 65)``."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((CENTRES, DIM), dtype=np.float32)
    of = rng.zipf(1.3, n) % CENTRES
    items = centres[of] + NOISE * rng.standard_normal((n, DIM), dtype=np.float32) * np.sqrt(2)
    items /= np.linalg.norm(items, axis=1, keepdims=True)
    degrees = np.log1p(rng.pareto(1.0, n).clip(max=1e5))
    items = np.hstack([items, (degrees / degrees.max())[:, None]]).astype(np.float32)
    users = items[rng.integers(0, n, (n_users, 3)), :DIM].mean(axis=1)
    users /= np.linalg.norm(users, axis=1, keepdims=True)
    return items, np.hstack([users, np.full((n_users, 1), POPULARITY)]).astype(np.float32)


def timed(search: Search, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Milliseconds of each query: by the clock, and of the processor, which other programs disturb less."""
    nothing = [np.empty(0, dtype=np.int32)]
    for query in queries[:20]:
        search(query[None], k, nothing)
    wall, busy = np.empty(len(queries)), np.empty(len(queries))
    for row, query in enumerate(queries):
        started, used = time.perf_counter(), time.thread_time()
        search(query[None], k, nothing)
        wall[row], busy[row] = time.perf_counter() - started, time.thread_time() - used
    return 1000 * wall, 1000 * busy


def recall(search: Search, exact: Search, queries: np.ndarray, k: int) -> float:
    nothing = [np.empty(0, dtype=np.int32)] * len(queries)
    found, best = search(queries, k, nothing)[1], exact(queries, k, nothing)[1]
    return float((found[:, :, None] == best[:, None, :]).any(2).mean())


def measure(items: np.ndarray, queries: np.ndarray, tuned_with: np.ndarray, kinds: list[Kind], k: int) -> None:
    exact = ExactSearch(items)
    for kind in kinds:
        started = time.perf_counter()
        built: Built = build_index(items, tuned_with, kind)
        seconds = time.perf_counter() - started
        search = open_search(items, built.content, built.about)
        wall, busy = timed(search, queries, k)
        found = recall(search, exact, queries, k)
        size = 0 if built.content is None else len(built.content) / 2**20
        label = kind if built.about["kind"] == kind else f"{kind} (gave up: {built.about.get('measured')})"
        print(
            f"{len(items):>9,}  {label:6}  width {built.about.get('width', '-')!s:>4}  "
            f"median {np.median(wall):7.3f} ms  p99 {np.percentile(wall, 99):7.3f} ms  cpu {np.median(busy):7.3f} ms  "
            f"recall@{k} {found:.4f}  build and tuning {seconds:6.1f} s  {size:6.0f} MiB",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 50_000, 100_000, 200_000, 500_000, 1_000_000])
    parser.add_argument("--kinds", nargs="+", default=["exact", "ivf", "hnsw"], choices=["exact", "ivf", "hnsw"])
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--k", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bundle", type=Path, help="measure a bundle's own items and users instead")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(f"target recall {indexes.TARGET_RECALL}, auto is exact up to {indexes.EXACT_BELOW:,} items")
    if arguments.bundle:
        bundle = Bundle.load(arguments.bundle)
        users = bundle.vectors[BundleTensors.USERS]
        column = np.full((len(users), 1), bundle.equations.popularity, dtype=np.float32)
        shuffled = np.random.default_rng(arguments.seed).permutation(np.hstack([users, column]))
        items = bundle.vectors[BundleTensors.ITEMS]
        measure(items, shuffled[: arguments.queries], shuffled[-arguments.queries :], arguments.kinds, arguments.k)
        return
    for size in arguments.sizes:
        items, users = generated(size, 2 * arguments.queries, arguments.seed)
        measure(items, users[: arguments.queries], users[arguments.queries :], arguments.kinds, arguments.k)


if __name__ == "__main__":
    main()
