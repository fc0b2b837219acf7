"""Time full ranking against the matrix product that it cannot avoid.

    python benchmarks/ranking.py --users 30000 --items 40000 --dim 64 --k 40

Ranks every user over the whole catalogue with a share of items masked, and
times next to it the product of the two matrices alone (the floor; once in the
blocks asked for and once in blocks that stay in the cache, as top_k takes them
on a CPU), the product with torch.topk on whole rows (the plain way) and the
ranking of one target per user as validation does it. The ways take turns, so that other load on the
machine falls on all of them; the best and the median wall time of the repeats
are shown, and the best processor time, which other load disturbs least (use
--threads 1). The ratio is of processor times on a CPU, else of wall times.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from recmind.evaluation.ranking import Seen, rank_targets, top_k


@dataclass(frozen=True)
class Pairs:
    users: np.ndarray
    items: np.ndarray


class Factors:
    """Scores as inner products; ``buffer`` spares the allocation of each block."""

    def __init__(self, users: Tensor, items: Tensor) -> None:
        self.users, self.items = users, items
        self.buffer = torch.empty(0)

    @property
    def n_users(self) -> int:
        return len(self.users)

    @property
    def n_items(self) -> int:
        return len(self.items)

    def scores(self, users: Tensor) -> Tensor:
        if self.buffer.shape != (len(users), self.n_items):
            self.buffer = torch.empty(len(users), self.n_items, device=self.users.device)
        return torch.mm(self.users[users.to(self.users.device)], self.items.T, out=self.buffer)


def product(scorer: Factors, block: int) -> None:
    for start in range(0, scorer.n_users, block):
        scorer.scores(torch.arange(start, min(start + block, scorer.n_users)))


def plain(scorer: Factors, seen: Seen, k: int, block: int) -> None:
    for start in range(0, scorer.n_users, block):
        users = torch.arange(start, min(start + block, scorer.n_users))
        scores = scorer.scores(users)
        seen.mask_(scores, users)
        torch.topk(scores, k, dim=1)


def timed(call: Callable[[], object], device: str) -> tuple[float, float]:
    """Wall and processor seconds of one call."""
    start, start_cpu = time.perf_counter(), time.process_time()
    call()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter() - start, time.process_time() - start_cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=30_000)
    parser.add_argument("--items", type=int, default=40_000)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--k", type=int, default=40)
    parser.add_argument("--seen", type=int, default=10, help="masked items per user")
    parser.add_argument("--block", type=int, default=1024, help="users ranked at once")
    parser.add_argument("--small-block", type=int, default=64, help="users per product whose scores stay in the cache")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=0, help="0: what torch takes")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)

    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    scorer = Factors(*(torch.randn(n, args.dim, device=args.device) for n in (args.users, args.items)))
    everyone = np.arange(args.users)
    known = Pairs(np.repeat(everyone, args.seen), rng.integers(0, args.items, args.users * args.seen))
    targets = Pairs(everyone, rng.integers(0, args.items, args.users))
    seen = Seen.from_parts(args.users, args.items, known)
    ways = {
        "product alone": lambda: product(scorer, args.block),
        "product alone, small blocks": lambda: product(scorer, args.small_block),
        "product, mask, torch.topk": lambda: plain(scorer, seen, args.k, args.block),
        "top_k": lambda: top_k(scorer, everyone, args.k, seen, block_users=args.block),
        "rank_targets without lists": lambda: rank_targets(
            scorer, targets, args.k, seen, block_users=args.block, lists=False
        ),
    }
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(args.repeats):
        for name, call in ways.items():
            seconds[name].append(timed(call, args.device))
    rows = {}
    for name, times in seconds.items():
        wall, cpu = zip(*times, strict=True)
        rows[name] = {"best": min(wall), "median": statistics.median(wall), "cpu": min(cpu)}
    clock = "cpu" if args.device == "cpu" else "best"
    floor = min(row[clock] for name, row in rows.items() if name.startswith("product alone"))
    for row in rows.values():
        row["ratio"] = row[clock] / floor
    if args.json:
        print(json.dumps({"settings": vars(args), "threads": torch.get_num_threads(), "seconds": rows}))
        return
    print(f"{args.users} users x {args.items} items, d {args.dim}, K {args.k}, {torch.get_num_threads()} threads")
    for name, row in rows.items():
        times = "   ".join(f"{key} {row[key]:7.2f} s" for key in ("best", "median", "cpu"))
        print(f"{name:<28} {times}   x{row['ratio']:.2f}")


if __name__ == "__main__":
    main()
