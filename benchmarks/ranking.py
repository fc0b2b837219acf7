"""Time full ranking against the matrix product that it cannot avoid, and against peers.

    python benchmarks/ranking.py --users 30000 --items 40000 --dim 64 --k 40
    python benchmarks/ranking.py --peers recbole implicit --threads 2
    python benchmarks/ranking.py --users 22000 --items 12000 --followers 50 --threads 1

Ranks every user over the whole catalogue with the training items masked, and
times next to it the product of the two matrices alone (the floor; once in the
blocks asked for and once in blocks that stay in the cache, as top_k takes them
on a CPU), the product with torch.topk on whole rows (the plain way) and the
ranking of one target per user as validation does it, with ``--followers`` also
where the model counts what came next. Peers rank the same
vectors with the same items masked, in processes of their own: RecBole through
the full-sort evaluation of its Trainer (metrics included, as it has no other
way), implicit through its recommend(). The ways take turns, so that other load
on the machine falls on all of them; the best and the median wall time of the
repeats are shown, and the best processor time, which other load disturbs least
(use --threads 1). Ratios are medians over the rounds: against the product (the
cheaper one of the round) and against top_k.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peers.environment import DEFAULT, ensure
from peers.process import Contender, Reading
from peers.turns import print_machine, processor
from peers.workload import Workload, generated_file
from scipy.sparse import coo_array, csr_array

from recmind.evaluation.ranking import Seen, rank_targets, top_k
from recmind.model.transitions import ComesNext
from recmind.model.views import VectorScorer

OURS = "top_k"
PRODUCT = "product alone"


@dataclass(frozen=True)
class Pairs:
    users: np.ndarray
    items: np.ndarray


def product(scorer: VectorScorer, block: int) -> None:
    buffer = torch.empty(block, scorer.n_items, device=scorer.users.device)  # allocated once: the floor is the product
    for start in range(0, scorer.n_users, block):
        users = scorer.users[start : start + block]
        torch.mm(users, scorer.items.T, out=buffer[: len(users)])


def plain(scorer: VectorScorer, seen: Seen, k: int, block: int) -> None:
    for start in range(0, scorer.n_users, block):
        users = torch.arange(start, min(start + block, scorer.n_users))
        scores = scorer.scores(users)
        seen.mask_(scores, users)
        torch.topk(scores, k, dim=1)


def timed(call: Callable[[], object], device: str) -> Reading:
    """Wall and processor seconds of one call."""
    start, start_cpu = time.perf_counter(), time.process_time()
    call()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return Reading(1, time.perf_counter() - start, time.process_time() - start_cpu)


def our_ways(args: argparse.Namespace, workload: Workload, scorer: VectorScorer) -> dict[str, Callable[[], object]]:
    everyone = np.arange(scorer.n_users)
    known = Pairs(workload.users, workload.items)
    targets = Pairs(workload.valid_users, workload.valid_items)
    seen = Seen.from_parts(scorer.n_users, scorer.n_items, known)
    validated = partial(rank_targets, targets=targets, k=args.k, seen=seen, block_users=args.block, lists=False)
    ways = {
        PRODUCT: lambda: product(scorer, args.block),
        f"{PRODUCT}, small blocks": lambda: product(scorer, args.small_block),
        "product, mask, torch.topk": lambda: plain(scorer, seen, args.k, args.block),
        OURS: lambda: top_k(scorer, everyone, args.k, seen, block_users=args.block),
        "rank_targets without lists": lambda: validated(scorer),
    }
    if args.followers:
        raising = VectorScorer(scorer.users, scorer.items, followed(scorer.n_users, scorer.n_items, args.followers))
        ways["the same with what came next"] = lambda: validated(raising)
    return ways


def followed(n_users: int, n_items: int, followers: int) -> ComesNext:
    """Generated: ten latest items a user, and so many items that came after each."""
    rng = np.random.default_rng(0)

    def rows_of(n: int, entries: int) -> csr_array:
        columns = rng.integers(0, n_items, n * entries)
        where = np.repeat(np.arange(n), entries), columns
        return coo_array((np.full(n * entries, 1 / entries, np.float32), where), shape=(n, n_items)).tocsr()

    return ComesNext(rows_of(n_users, 10), rows_of(n_items, followers), 16.0)


def peers(args: argparse.Namespace, data: Path, factors: Path) -> list[Contender]:
    """The peers that were asked for, started and warmed up."""
    if "none" in args.peers:
        return []
    python = ensure(args.env.absolute())
    common: dict[str, Any] = {"data": str(data), "factors": str(factors), "threads": torch.get_num_threads()}
    common |= {"dim": args.dim, "k": args.k, "block": args.peer_block, "model": "bpr"}
    # What a model to train needs; nothing is trained here.
    common |= {"layers": 1, "batch": 2048, "negatives": 1, "learning_rate": 1e-3, "weight_decay": 1e-4}
    labels = {"recbole": "RecBole full-sort evaluation", "implicit": "implicit recommend"}
    return [Contender(labels[name], python, f"peers.{name}_worker", common) for name in args.peers]


def measure(args: argparse.Namespace, ways: dict[str, Callable[[], Reading]]) -> dict[str, list[Reading]]:
    """Every way once to warm up, then in turns."""
    for call in ways.values():
        call()
    readings: dict[str, list[Reading]] = {name: [] for name in ways}
    for _ in range(args.repeats):
        for name, call in ways.items():
            readings[name].append(call())
    return readings


def rows_of(readings: dict[str, list[Reading]], device: str) -> dict[str, dict[str, float]]:
    """Times of every way, and the medians of its ratios to the product and to top_k."""
    clock = (lambda reading: reading.cpu) if device == "cpu" else (lambda reading: reading.wall)
    floors = [names for names in readings if names.startswith(PRODUCT)]
    rows = {}
    for name, taken in readings.items():
        rounds = range(len(taken))
        floor = [min((readings[f][r] for f in floors), key=clock) for r in rounds]
        rows[name] = {
            "best": min(reading.wall for reading in taken),
            "median": statistics.median(reading.wall for reading in taken),
            "cpu": min(reading.cpu for reading in taken),
            "to_product": statistics.median(taken[r].wall / floor[r].wall for r in rounds),
            "to_product_cpu": statistics.median(clock(taken[r]) / clock(floor[r]) for r in rounds),
            "to_top_k": statistics.median(taken[r].wall / readings[OURS][r].wall for r in rounds),
        }
    return rows


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=30_000)
    parser.add_argument("--items", type=int, default=40_000)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--k", type=int, default=40)
    parser.add_argument("--seen", type=int, default=45, help="masked items per user, on average")
    parser.add_argument("--followers", type=int, default=0, help="rank with what came next too: so many after an item")
    parser.add_argument("--block", type=int, default=1024, help="users ranked at once")
    parser.add_argument("--small-block", type=int, default=64, help="users per product whose scores stay in the cache")
    parser.add_argument("--peers", nargs="+", choices=["none", "recbole", "implicit"], default=["none"])
    parser.add_argument("--peer-block", type=int, default=128, help="users that RecBole ranks at once")
    parser.add_argument("--env", type=Path, default=DEFAULT, help="environment of the peers")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=0, help="0: what torch takes")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def main() -> None:
    args = arguments()
    if args.threads:
        torch.set_num_threads(args.threads)
    data = generated_file(args.users, args.items, args.users * args.seen)
    workload = Workload.load(data)
    torch.manual_seed(0)
    vectors = {"users": torch.randn(args.users, args.dim), "items": torch.randn(args.items, args.dim)}
    scorer = VectorScorer(*(table.to(args.device) for table in vectors.values()))
    ways = {
        name: (lambda call=call: timed(call, args.device)) for name, call in our_ways(args, workload, scorer).items()
    }
    with tempfile.TemporaryDirectory() as folder:
        factors = Path(folder) / "factors.npz"
        np.savez(factors, users=vectors["users"].numpy(), items=vectors["items"].numpy())
        contenders = peers(args, data, factors)
        for contender in contenders:
            _ = contender.about  # built, so the file of factors has been read
    ways |= {contender.label: (lambda c=contender: c.do("rank")) for contender in contenders}
    rows = rows_of(measure(args, ways), args.device)
    for contender in contenders:
        contender.close()
    if args.json:
        settings = {key: str(value) if isinstance(value, Path) else value for key, value in vars(args).items()}
        about = {contender.label: contender.about for contender in contenders}
        print(json.dumps({"settings": settings, "processor": processor(), "seconds": rows, "peers": about}))
        return
    print(f"{args.users} users x {args.items} items, d {args.dim}, K {args.k}, {torch.get_num_threads()} threads")
    print_machine(contenders)
    for name, row in rows.items():
        times = "  ".join(f"{key} {row[key]:6.2f} s" for key in ("best", "median", "cpu"))
        print(
            f"{name:<28} {times}   x{row['to_product']:.2f} the product (cpu x{row['to_product_cpu']:.2f}), "
            f"x{row['to_top_k']:.2f} top_k"
        )


if __name__ == "__main__":
    main()
