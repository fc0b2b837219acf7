"""Time training steps of RecMind's models and of their peers in one run, taking turns.

    python benchmarks/training.py                              RecMind alone: nothing to install
    python benchmarks/training.py --peers recbole pyg implicit --threads 2 1
    python benchmarks/training.py --models recmind lightgcn --layers 2 --batch 8192

Every contender is a process of its own that trains on the same data with the
same dimensions, layers, batch and number of negatives: RecMind through its
Trainer, RecBole 1.2.1 through its own Trainer and loader, torch_geometric's
LightGCN as in that library's example but with its adjacency as CSR. implicit's
BPR and ALS, which know no graph, show what an epoch of something simpler costs.
Peers run in an environment of their own, which is made first (.bench/peers).

Ratios are of readings of the same round; shown are the median and the range
over the rounds. The limit of our LightGCN's step is what it must move, in
float32, over the rates at which this machine reads (peers/bandwidth.py).
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from peers.environment import DEFAULT, ensure
from peers.process import Contender
from peers.turns import Readings, document, print_machine, print_table, table, take_turns
from peers.workload import Workload, add_arguments, chosen_file

PEERS = ("recbole", "pyg", "implicit")
OURS = ("lightgcn", "recmind", "bfloat16")
LIGHTGCN = "RecMind LightGCN"
CONTENDERS: dict[str, tuple[str, str, dict[str, str], list[str]]] = {
    "lightgcn": (LIGHTGCN, "ours", {}, []),
    "bfloat16": (f"{LIGHTGCN}, bfloat16 storage", "ours", {}, ["model.storage=bfloat16"]),
    "plain": (f"{LIGHTGCN}, no kernel", "ours", {"RECMIND_KERNELS": "0"}, []),
    "recmind": ("RecMind", "ours", {}, []),
    "recbole": ("RecBole LightGCN", "recbole", {}, []),
    "pyg": ("torch_geometric LightGCN", "pyg", {}, []),
}
"""Label, worker, environment variables and settings on top."""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--peers", nargs="+", choices=["none", *PEERS], default=["none"])
    parser.add_argument("--models", nargs="+", choices=list(OURS), default=OURS[:2])
    parser.add_argument(
        "--without-kernel", action="store_true", help="measure LightGCN without the compiled kernel too"
    )
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--batch", type=int, default=2048)
    parser.add_argument("--negatives", type=int, default=1)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--weight-decay", type=float, default=1e-4)
    parser.add_argument("--set", action="append", default=[], help="key=value, a setting of RecMind's models")
    parser.add_argument("--threads", type=int, nargs="+", default=[2])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="length of one reading, one step at least")
    parser.add_argument("--env", type=Path, default=DEFAULT, help="environment of the peers")
    parser.add_argument("--json", type=Path, help="write the result to this file too")
    return parser.parse_args()


def main() -> None:
    args = arguments()
    path = chosen_file(args)
    workload = Workload.load(path)
    print(
        f"{workload.n_users} users, {workload.n_items} items, {len(workload)} training interactions; "
        f"d {args.dim}, L {args.layers}, batch {args.batch}, {args.negatives} negatives"
    )
    results = []
    stepping = [contender for n in args.threads for contender in graph_models(args, path, n)]
    print_machine(stepping)
    readings = take_turns(stepping, "step", rounds=args.rounds, seconds=args.seconds)
    for threads in args.threads:
        results.append(report(readings, stepping, threads, args))
        print_limit(readings, workload, threads, args)
    if len(args.threads) > 1:
        print_scaling(readings, args.threads)
    close(stepping)
    if "implicit" in args.peers:
        results += [report_epochs(args, path, readings, workload, threads) for threads in args.threads]
    if args.json:
        args.json.write_text(json.dumps(results, indent=2) + "\n")


def graph_models(args: argparse.Namespace, path: Path, threads: int) -> list[Contender]:
    """The contenders that train on the graph, started."""
    names = [*args.models, *(["plain"] if args.without_kernel else []), *(p for p in args.peers if p in PEERS[:2])]
    if "lightgcn" in names:
        names = ["lightgcn", *(name for name in names if name != "lightgcn")]  # the reference of the ratios
    started = []
    for name in names:
        label, module, environment, changes = CONTENDERS[name]
        python = Path(sys.executable) if module == "ours" else ensure(args.env.absolute())
        settings = settings_of(args, path, threads, "recmind" if name == "recmind" else "lightgcn")
        settings["set"] = [*args.set, *changes]
        started.append(Contender(f"{label} [{threads}]", python, f"peers.{module}_worker", settings, environment))
    return started


def settings_of(args: argparse.Namespace, path: Path, threads: int, model: str) -> dict[str, Any]:
    return {
        "data": str(path),
        "threads": threads,
        "model": model,
        "dim": args.dim,
        "layers": args.layers,
        "batch": args.batch,
        "negatives": args.negatives,
        "learning_rate": args.learning_rate,
        "weight_decay": args.weight_decay,
        "set": args.set,
    }


def report(readings: Readings, contenders: list[Contender], threads: int, args: argparse.Namespace) -> dict[str, Any]:
    """The table of one number of threads; the reference is our LightGCN, or what stands first."""
    chosen = [contender for contender in contenders if contender.settings["threads"] == threads]
    rows = table({c.label: readings[c.label] for c in chosen}, chosen[0].label)
    print()
    print_table(rows, f"step, {threads} threads")
    losses = {c.label: readings[c.label][-1].extra.get("loss") for c in chosen}
    return document(rows, chosen, vars(args)) | {"threads": threads, "last_loss": losses}


def print_limit(readings: Readings, workload: Workload, threads: int, args: argparse.Namespace) -> None:
    """What a LightGCN step cannot go below in float32, beside what it took."""
    from peers.bandwidth import step_limit

    label = f"{LIGHTGCN} [{threads}]"
    if label in readings:
        wall = table({label: readings[label]}, label)[0].wall
        for tiles, read in ((1, "whole rows"), (max(1, args.dim * 4 // 64), "tiles of a cache line")):
            limit = step_limit(workload, args.dim, args.layers, args.batch, args.negatives, threads, tiles=tiles)
            print(f"limit of {LIGHTGCN}, {read}: {limit}, {limit.seconds / wall:.0%} of it reached")


def print_scaling(readings: Readings, threads: list[int]) -> None:
    """What more threads gain, for every contender that was measured with several numbers of them."""
    few, many = min(threads), max(threads)
    print()
    for label in readings:
        if label.endswith(f"[{many}]") and (one := label.replace(f"[{many}]", f"[{few}]")) in readings:
            row = next(row for row in table({k: readings[k] for k in (label, one)}, label) if row.label == one)
            print(f"{label}: {many} threads {row.ratio:.2f} times as fast as {few} ({row.low:.2f} to {row.high:.2f})")


def report_epochs(
    args: argparse.Namespace, path: Path, readings: Readings, workload: Workload, threads: int
) -> dict[str, Any]:
    """Seconds of implicit's epochs, beside what our measured steps make of an epoch."""
    python = ensure(args.env.absolute())
    contenders = [
        Contender(f"implicit {model.upper()}", python, "peers.implicit_worker", settings_of(args, path, threads, model))
        for model in ("bpr", "als")
    ]
    measured = take_turns(contenders, "epoch", rounds=args.rounds, seconds=args.seconds)
    rows = table(measured, contenders[0].label)
    print()
    print_machine(contenders)
    print_table(rows, f"epoch, {threads} threads", "one pass over the interactions (ALS: both sides solved once)")
    steps = -(-len(workload) // args.batch)
    for label, taken in readings.items():
        if label.endswith(f"[{threads}]"):
            seconds = table({label: taken}, label)[0].wall * steps
            print(f"{label}: {steps} steps an epoch make {seconds:.1f} s, {seconds / rows[0].wall:.1f} times BPR's")
    close(contenders)
    return document(rows, contenders, vars(args)) | {"threads": threads, "unit": "epoch"}


def close(contenders: list[Contender]) -> None:
    for contender in contenders:
        contender.close()


if __name__ == "__main__":
    main()
