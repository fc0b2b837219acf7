"""Time one hop over the graph where its table fits into the cache and where it does not.

    python benchmarks/hop.py --threads 1

The product Â x alone, for graphs with as many edges over fewer and over more
nodes: what is lost between the first and the last row is waiting for memory.
Tables are cut into tiles where that pays (:mod:`recmind.kernels.tiles`).
The graphs take turns; the median and the range of the rounds are shown.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
from peers.turns import processor
from peers.workload import generate

from recmind import kernels
from recmind.model.graph import build_graph


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, nargs="+", default=[3500, 17_500, 70_000], help="nodes of each graph")
    parser.add_argument("--interactions", type=int, default=1_350_000)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--threads", type=int, default=0, help="0: what torch takes")
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    ways = {}
    for n in args.nodes:
        n_users = 3 * n // 7
        data = generate(n_users, n - n_users, args.interactions)
        graph = build_graph(data.users, data.items, data.n_users, data.n_items)
        for dtype in (torch.float32, torch.bfloat16):
            x = kernels.operand(graph, torch.randn(graph.n_nodes, args.dim), dtype=dtype)
            kernels.hop(graph, x)
            ways[n, dtype] = graph, x, []
    for _ in range(args.rounds):
        for graph, x, seconds in ways.values():
            start = time.perf_counter()
            kernels.hop(graph, x)
            seconds.append(time.perf_counter() - start)
    body = kernels.instruction_set() or kernels.missing
    print(f"{processor()}; d {args.dim}, {torch.get_num_threads()} threads, kernels: {body}")
    print(f"{'nodes':>9} {'edges':>10} {'storage':>9} {'MB':>6} {'tiles':>5} {'ms':>7} {'ns an edge':>11}  range, ms")
    for (n, dtype), (graph, x, seconds) in ways.items():
        edges, middle = len(graph.neighbours), statistics.median(seconds)
        print(
            f"{n:>9,} {edges:>10,} {str(dtype)[6:]:>9} {x.tiles.nbytes / 1e6:>6.1f} {len(x.tiles):>5}"
            f" {middle * 1e3:>7.1f} {middle * 1e9 / edges:>11.1f}  {min(seconds) * 1e3:.1f} to {max(seconds) * 1e3:.1f}"
        )


if __name__ == "__main__":
    main()
