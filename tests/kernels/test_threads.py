"""The pool behind the compiled kernels: the same bits whoever does the work, callers at once, forks, bad shapes."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from recmind import kernels
from recmind.kernels import binding
from recmind.model.graph import NodeSubset

pytestmark = pytest.mark.usefixtures("compiled")


def everything(graph, normal, d: int = 37) -> list[torch.Tensor]:
    """Every operation once, on tables large enough for several chunks."""
    n = graph.n_nodes
    x, base = normal(n, d, seed=1), normal(n, d, seed=2)
    some = NodeSubset.of(n, torch.arange(0, n, 3))
    means, weight = torch.empty(graph.n_users, d), normal(2, 2 * d + 1, seed=3) / d
    kernels.mean_of_items(graph, x[graph.n_users :], means)
    mixed, gamma = kernels.mix(graph, x, base, graph.normalised_log_degree(), weight, torch.zeros(2))
    tables = (base, x, base, graph.normalised_log_degree(), gamma, weight, None, x[some.nodes], some)
    return [
        kernels.product(graph, x, base=base, alpha=0.5),
        kernels.product(graph, x.bfloat16(), wanted=some, base=base[some.nodes]),
        kernels.product(graph, kernels.operand(graph, x[some.nodes], at=some), base=base[some.nodes], base_at=some),
        kernels.hop(graph, kernels.operand(graph, x)).tiles,
        means,
        kernels.shares_of_users(graph, x[: graph.n_users], base[graph.n_users :]),
        mixed.tiles,
        gamma,
        *kernels.mix_backward(graph, *tables, further=False),
    ]


def equal(first: list[torch.Tensor], second: list[torch.Tensor]) -> bool:
    return all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


def test_the_same_bits_with_any_number_of_threads_and_every_time(hub, normal, with_threads):
    with_threads(1)
    expected = everything(hub, normal)
    for threads in (2, 5, 2, 1):
        with_threads(threads)
        for _ in range(5):
            assert equal(everything(hub, normal), expected), threads


def test_callers_at_once(hub, normal, with_threads):
    with_threads(3)
    expected = everything(hub, normal)

    def work(_) -> bool:
        torch.set_num_threads(3)
        return all(equal(everything(hub, normal), expected) for _ in range(8))

    with ThreadPoolExecutor(4) as callers:
        assert list(callers.map(work, range(4))) == [True] * 4


FORK = """
import os, sys, threading, time
import numpy as np, torch
from recmind import kernels
from recmind.kernels import binding
from recmind.model.graph import build_graph

binding.cpu.use(sys.argv[1])
torch.set_num_threads(2)
n = 3000
graph = build_graph(np.arange(n, dtype=np.int32), np.arange(n, dtype=np.int32), n, n)
x = torch.arange(2 * n * 8, dtype=torch.float32).view(-1, 8)
run = lambda: kernels.product(graph, x).numpy().tobytes()
expected = run()
busy = threading.Thread(target=lambda: [run() for _ in range(300)], daemon=True)
for background in (False, True):
    if background:
        busy.start()
    child = os.fork()
    if child == 0:
        os._exit(0 if all(run() == expected for _ in range(20)) else 7)
    until = time.monotonic() + 60
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        if time.monotonic() > until:
            os.kill(child, 9)
            sys.exit("the child hangs")
        time.sleep(0.01)
    assert os.waitstatus_to_exitcode(status) == 0, status
    assert run() == expected
busy.join()
print("well")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
def test_a_forked_child_computes_too(compiled):
    done = subprocess.run([sys.executable, "-c", FORK, compiled], capture_output=True, text=True, timeout=200)
    assert done.stdout == "well\n", done.stderr


class TestShapes:
    def test_of_a_product(self, hub, normal, subset):
        n, d = hub.n_nodes, 5
        x, some = normal(n, d), subset(hub, "some")
        with pytest.raises(ValueError, match=f"x has {n - 1} rows, not {n}"):
            kernels.product(hub, x[1:])
        with pytest.raises(ValueError, match=f"x has {n} rows, not {len(some)}"):
            kernels.operand(hub, x, at=some)
        with pytest.raises(ValueError, match=f"base has {n} rows, not {len(some)}"):
            kernels.product(hub, x, base=x, base_at=some)
        for base, wanted, rows in ((x[1:], None, n), (x, some, len(some))):
            with pytest.raises(ValueError, match=f"base has {len(base)} rows, not {rows}"):
                kernels.product(hub, x, base=base, wanted=wanted)
        with pytest.raises(ValueError, match="base and out differ in shape"):
            kernels.product(hub, x, base=x[:, 1:])
        with pytest.raises(ValueError, match="x_at and base_at are one row a node"):
            kernels.product(hub, kernels.Operand(x[None, :2], NodeSubset.of(n - 1, torch.arange(2)), scaled=True))

    def test_of_means(self, hub, normal):
        items, users = normal(hub.n_items, 5), normal(hub.n_users, 5)
        with pytest.raises(ValueError, match="items has 300 rows, not 1200"):
            kernels.mean_of_items(hub, users, users)
        with pytest.raises(ValueError, match="out has 299 rows, not 300"):
            kernels.mean_of_items(hub, items, users[1:])
        with pytest.raises(ValueError, match="x and out differ in columns"):
            kernels.mean_of_items(hub, items, torch.empty(hub.n_users, 4))
        with pytest.raises(ValueError, match="base has 1199 rows, not 1200"):
            kernels.shares_of_users(hub, users, items[1:])
        with pytest.raises(ValueError, match="differ in columns"):
            kernels.shares_of_users(hub, users, items[:, 1:])

    def test_of_a_gate(self, normal, make):
        n, d, graph = 6, 5, make([(0, 0), (1, 1), (2, 2)], 3, 3)
        good = [normal(n, d), normal(n, d), normal(n), normal(2, 2 * d + 1), normal(2)]
        kernels.mix(graph, *good)
        bad = {
            0: (normal(n + 1, d), "e, z and mixed differ in shape"),
            1: (normal(n + 1, d), "language has 7 rows, not 6"),
            2: (normal(n - 1), "log_degree, scale and gamma are one value a node"),
            3: (normal(2, 2 * d), r"weight is \(2, 2 d \+ 1\)"),
            4: (normal(1), r"bias \(2\)"),
        }
        for at, (value, message) in bad.items():
            with pytest.raises(ValueError, match=message):
                kernels.mix(graph, *good[:at], value, *good[at + 1 :])

    def test_of_the_gradient_of_a_gate(self, normal, make):
        n, weight, graph = 6, normal(2, 11), make([(0, 0), (1, 1), (2, 2)], 3, 3)
        x = normal(n, 5)
        at = NodeSubset.of(n, torch.tensor([1, 4]))
        good = [x, x, x, normal(n), normal(n), weight, None, x, None]
        kernels.mix_backward(graph, *good, further=True)
        bad = {
            0: (x[1:], "the tables differ in shape"),
            2: (x[:, 1:], "the tables differ in shape"),
            4: (normal(n + 1), "one value a node"),
            5: (weight[:, 1:], r"weight is \(2, 2 d \+ 1\)"),
            6: (x[1:], "the tables differ in shape"),
            7: (x[1:], "plus and e differ in shape"),
            8: (at, "plus has 6 rows, not 2"),
        }
        for position, (value, message) in bad.items():
            with pytest.raises(ValueError, match=message):
                kernels.mix_backward(graph, *good[:position], value, *good[position + 1 :], further=True)

    def test_of_tiles(self, hub):
        # Half a register wide: not even a cache line.
        tiles, n = torch.zeros(4, hub.n_nodes, 8), hub.n_nodes
        with pytest.raises(ValueError, match="tiles are a multiple of 16 columns wide"):
            binding.cpu.arrange(tiles, None, torch.zeros(n, 32), threads=1)
        with pytest.raises(ValueError, match="x and out differ in shape"):
            binding.cpu.arrange(torch.zeros(n, 32), None, torch.zeros(2, n, 32), threads=1)

    def test_other_numbers_than_floats(self, hub):
        out = torch.zeros(hub.n_nodes, 3, dtype=torch.int64)
        with pytest.raises(ValueError, match="expected float32 or bfloat16"):
            binding.cpu.gather_sum(hub.offsets, hub.neighbours, out, out)

    def test_an_instruction_set_that_is_not_there(self, compiled):
        with pytest.raises(ValueError, match="no kernels named sse9"):
            binding.cpu.use("sse9")
        assert kernels.instruction_set() == compiled


class TestMixedPrecision:
    """What the compiled kernels do not take goes to plain torch instead of failing."""

    def test_bfloat16_between_hops_of_a_double_graph(self, hub, normal):
        x, double = normal(hub.n_nodes, 4), hub.to("cpu", torch.float64)
        found = kernels.product(double, kernels.operand(double, x, dtype=torch.bfloat16), base=x.double())
        expected = kernels.product(hub, kernels.operand(hub, x, dtype=torch.bfloat16), base=x)
        assert found.dtype == torch.float64
        torch.testing.assert_close(found.float(), expected, rtol=1e-2, atol=1e-2)

    def test_a_base_in_double(self, hub, normal):
        x = normal(hub.n_nodes, 4)
        found = kernels.product(hub, kernels.operand(hub, x), base=x.double())
        torch.testing.assert_close(found.float(), kernels.product(hub, x, base=x), rtol=1e-4, atol=1e-4)

    def test_a_gate_on_bfloat16(self, normal, make):
        graph = make([(0, 0), (1, 1), (2, 2)], 3, 3)
        tables = [normal(6, 5), normal(6, 5), normal(6), normal(2, 11), normal(2)]
        exact, _ = kernels.mix(graph, *tables)
        low, _ = kernels.mix(graph, *(table.bfloat16() for table in tables))
        assert low.tiles.dtype == torch.bfloat16
        torch.testing.assert_close(low.tiles.float(), exact.tiles, rtol=0.1, atol=0.1)
