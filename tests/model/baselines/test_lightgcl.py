from __future__ import annotations

import numpy as np
import pytest
import torch

from recmind.config import load_config
from recmind.errors import ConfigError
from recmind.model.baselines.lightgcl import singular_vectors

SLOPE = 0.4
OWN = {"slope": SLOPE, "weight": 0.7, "temperature": 0.25}


def leaky(x: torch.Tensor) -> torch.Tensor:
    return torch.where(x > 0, x, SLOPE * x)


def low_rank(matrix: np.ndarray, rank: int) -> np.ndarray:
    """The closest matrix of that rank."""
    left, values, right = np.linalg.svd(matrix)
    return (left[:, :rank] * values[:rank]) @ right[:rank]


@pytest.mark.parametrize("dropout", [0.0, 0.2])
@pytest.mark.parametrize("layers", [1, 3])
def test_equations(built, example, dense, agrees, wanted, layers: int, dropout: float):
    model = built("lightgcl", layers=layers, rank=2, dropout=dropout, **OWN)
    block = torch.from_numpy(low_rank(example.normalised[:6, 6:], 2))

    def oracle(generator, nodes):
        matrix = dense
        if dropout:
            kept = (torch.rand(9, generator=generator) >= dropout).double() / (1 - dropout)
            thinned = torch.zeros(6, 7, dtype=torch.float64)
            thinned[example.users, example.items] = kept
            assert 0 < int((kept == 0).sum()) < 9
            whole = torch.zeros(13, 13, dtype=torch.float64)
            whole[:6, 6:], whole[6:, :6] = thinned, thinned.T
            matrix = dense * whole
        layered, pairs = [model.free], []
        for _ in range(layers):
            users, items = layered[-1][:6], layered[-1][6:]
            local = leaky(matrix @ layered[-1])
            pairs.append((local, leaky(torch.cat([block @ items, block.T @ users]))))
            layered.append(local + layered[-1])
        return torch.stack(layered).sum(0), pairs

    agrees(model, oracle, wanted, seed=4)


def test_of_full_rank_without_activation_the_global_view_is_the_local_one(built):
    views = built("lightgcl", rank=6, slope=1.0)(torch.Generator().manual_seed(0))
    assert len(views.pairs) == 3
    for local, broad in views.pairs:
        torch.testing.assert_close(local, broad, rtol=1e-8, atol=1e-10)


def test_in_use_nothing_is_left_out_and_no_pair_is_made(built):
    with_dropout, without = built("lightgcl", dropout=0.5), built("lightgcl", dropout=0.0)
    assert with_dropout().pairs == ()
    assert torch.equal(with_dropout().graph, without().graph)


class TestSingularVectors:
    @pytest.mark.parametrize("rank", [1, 3, 8])
    def test_give_the_closest_matrix_of_that_rank(self, make, rank: int):
        rng = np.random.default_rng(0)
        chosen = rng.random((90, 70)) < rng.random((90, 1)) * rng.random((1, 70)) * 0.5
        example = make([(int(u), int(i)) for u, i in zip(*np.nonzero(chosen), strict=True)], 90, 70)
        block = example.normalised[:90, 90:]
        with torch.random.fork_rng():
            torch.manual_seed(0)
            vectors, values = singular_vectors(example.double(), rank)
        np.testing.assert_allclose(values.numpy(), np.linalg.svd(block, compute_uv=False)[:rank], rtol=1e-6)
        ours = (vectors[:90] * values).numpy() @ vectors[90:].numpy().T
        # Vectors converge half as fast as values; the gap behind the eighth value is 1%.
        np.testing.assert_allclose(ours, low_rank(block, rank), atol=1e-3)
        for side in (vectors[:90], vectors[90:]):
            np.testing.assert_allclose((side.T @ side).numpy(), np.eye(rank), atol=1e-8)

    def test_the_first_value_is_one(self, example):
        # Of each connected part of a bipartite graph the largest singular value of R̂ is 1.
        vectors, values = singular_vectors(example.double(), 6)
        np.testing.assert_allclose(values[:2].numpy(), 1, rtol=1e-8)
        assert bool((values.diff() <= 1e-12).all())
        # Node 3 and node 11 have no edge.
        np.testing.assert_allclose(vectors[11, values > 1e-8].numpy(), 0, atol=1e-8)

    def test_come_from_the_seed_alone(self, built):
        assert torch.equal(built("lightgcl", rank=2).factors, built("lightgcl", rank=2).factors)


def test_a_rank_beyond_the_matrix_is_refused(built):
    with pytest.raises(ConfigError, match=r"model\.baselines\.lightgcl\.rank(.|\n)*7(.|\n)*1 to 6"):
        built("lightgcl", rank=7)


@pytest.mark.parametrize("setting", ["rank=0", "slope=-0.1", "dropout=1.0", "temperature=0"])
def test_settings_out_of_range_are_refused_by_their_key(setting: str):
    key = f"model.baselines.lightgcl.{setting}"
    with pytest.raises(ConfigError, match=key.partition("=")[0].replace(".", r"\.")):
        load_config(model="lightgcl", overrides=[key])
