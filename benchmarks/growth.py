"""How the training step grows with the graph: time and memory from a table and as a plot.

    python benchmarks/growth.py                          0.3, 1 and 3 million edges: a minute or two
    python benchmarks/growth.py --millions 1 3 10 30 --plot docs/growth.svg

Generated power-law graphs with as many interactions a node at every size, each
trained in a process of its own. Memory is the peak of that process while it
builds and while it trains, less what it holds before there is any data. One more
graph of the largest size with half the nodes tells bytes per interaction from
bytes per node (least squares over all rows, with a constant), and from these
follows the largest graph for the memory given.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from pathlib import Path
from typing import Any

import numpy as np
from peers.environment import BENCH
from peers.process import Contender
from peers.turns import processor, take_turns
from peers.workload import Workload, generated_file
from scipy.optimize import nnls

# The graph of the other benchmarks: 30,000 users and 40,000 items for 1.35 million interactions.
USERS, ITEMS, EDGES = 30_000, 40_000, 1_350_000


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--millions", type=float, nargs="+", default=[0.3, 1, 3], help="million training interactions")
    parser.add_argument("--model", choices=["lightgcn", "recmind"], default="lightgcn")
    parser.add_argument("--without-kernel", action="store_true", help="without the compiled kernel")
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--batch", type=int, default=2048)
    parser.add_argument("--set", action="append", default=[], help="key=value, a setting of the model")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0, help="length of one reading, one step at least")
    parser.add_argument("--memory-gb", type=float, default=24.0, help="memory to find the largest graph for")
    parser.add_argument("--plot", type=Path, default=BENCH / "growth.png", help="file of the plot")
    parser.add_argument("--json", type=Path, help="write the result to this file too")
    return parser.parse_args()


def main() -> None:
    args = arguments()
    print(f"{processor()}, {args.threads} threads; {args.model}, d {args.dim}, L {args.layers}, batch {args.batch}")
    columns = (
        "interactions",
        "nodes",
        "step ms",
        "cpu ms",
        "ns an edge",
        "build MB",
        "train MB",
        "graph B/edge",
        "sampler B/edge",
    )
    print("".join(f"{column:>15}" for column in columns))
    sizes = [(million, 1) for million in args.millions]
    rows = [measure(args, *size) for size in [*sizes, (max(args.millions), 0.5)]]
    found = {stage: memory_of(rows, stage, args.memory_gb) for stage in ("built", "trained")}
    for stage, fit in found.items():
        print(
            f"memory, {'building' if stage == 'built' else 'training'}: {fit['bytes_per_edge']:.0f} bytes an "
            f"interaction and {fit['bytes_per_node']:.0f} a node on top of {fit['constant'] / 1e6:.0f} MB; "
            f"{args.memory_gb:g} GB hold {fit['largest'] / 1e6:.0f} million interactions "
            f"of {fit['largest_nodes'] / 1e6:.1f} million nodes"
        )
    plot(rows[: len(sizes)], args)
    print(f"plot: {args.plot}")
    if args.json:
        args.json.write_text(json.dumps({"rows": rows, "memory": found}, indent=2) + "\n")


def measure(args: argparse.Namespace, million: float, spread: float) -> dict[str, Any]:
    """Time and memory at one size, with ``spread`` times the usual number of nodes."""
    share = million * 1e6 / EDGES * spread
    path = generated_file(round(USERS * share), round(ITEMS * share), round(million * 1e6))
    settings = {"data": str(path), "threads": args.threads, "model": args.model, "set": args.set, "negatives": 1}
    settings |= {"dim": args.dim, "layers": args.layers, "batch": args.batch}
    settings |= {"learning_rate": 1e-3, "weight_decay": 1e-4}
    environment = {"RECMIND_KERNELS": "0"} if args.without_kernel else {}
    contender = Contender("RecMind", Path(sys.executable), "peers.ours_worker", settings, environment)
    taken = take_turns([contender], "step", rounds=args.rounds, seconds=args.seconds)["RecMind"]
    memory = contender.do("memory").extra
    contender.close()
    workload = Workload.load(path)
    wall, cpu = (
        statistics.median(getattr(reading, clock) / reading.n for reading in taken) for clock in ("wall", "cpu")
    )
    row = {"edges": len(workload), "nodes": workload.n_users + workload.n_items, "wall": wall, "cpu": cpu, **memory}
    cells = (
        f"{row['edges']:,}",
        f"{row['nodes']:,}",
        f"{wall * 1e3:.1f}",
        f"{cpu * 1e3:.1f}",
        f"{wall / row['edges'] * 1e9:.1f}",
        f"{(memory['built'] - memory['empty']) / 1e6:.0f}",
        f"{(memory['trained'] - memory['empty']) / 1e6:.0f}",
        f"{memory['graph'] / row['edges']:.1f}",
        f"{memory['sampler'] / row['edges']:.1f}",
    )
    print("".join(f"{cell:>15}" for cell in cells), flush=True)
    return row


def memory_of(rows: list[dict[str, Any]], stage: str, gigabytes: float) -> dict[str, float]:
    """Bytes per edge and per node of one stage's peaks, and the largest graph as dense as the first row's."""
    sizes = np.array([[row["edges"], row["nodes"], 1.0] for row in rows])
    peaks = np.array([row[stage] for row in rows], dtype=float)
    # Relative errors, so that the largest row does not decide alone; nothing takes less than no memory.
    (edge, node, constant), _ = nnls(sizes / peaks[:, None], np.ones(len(rows)))
    density = rows[0]["nodes"] / rows[0]["edges"]
    largest = (gigabytes * 1e9 - constant) / (edge + node * density)
    return {
        "bytes_per_edge": float(edge),
        "bytes_per_node": float(node),
        "constant": float(constant),
        "largest": float(largest),
        "largest_nodes": float(largest * density),
    }


def plot(rows: list[dict[str, Any]], args: argparse.Namespace) -> None:
    """Step time and peak memory over the number of interactions, both axes logarithmic."""
    os.environ.setdefault("MPLBACKEND", "Agg")
    import matplotlib.pyplot as plt

    edges = [row["edges"] for row in rows]
    figure, panels = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    memory = [(max(row["built"], row["trained"]) - row["empty"]) / 1e9 for row in rows]
    series = (("step, ms", [row["wall"] * 1e3 for row in rows]), ("peak memory, GB", memory))
    for panel, (label, values) in zip(panels, series, strict=True):
        panel.loglog(edges, values, "o-", color="#1f5fa8", label="measured")
        linear = [values[0] * edge / edges[0] for edge in edges]
        panel.loglog(edges, linear, "--", color="#999999", label="in proportion to the first")
        panel.set(xlabel="training interactions", ylabel=label)
        panel.grid(True, which="both", alpha=0.2)
        panel.legend(frameon=False)
    figure.suptitle(f"{args.model}, d {args.dim}, L {args.layers}, batch {args.batch}, {args.threads} threads")
    args.plot.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(args.plot)
    plt.close(figure)


if __name__ == "__main__":
    main()
