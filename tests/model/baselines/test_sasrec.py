"""SASRec against torch's own Transformer layers, one prefix of one user at a time, in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from recmind.config import BaselinesConfig, ModelConfig, load_config
from recmind.errors import ConfigError
from recmind.model.baselines.sasrec import SASRec
from recmind.model.graph import BipartiteGraph, NodeSubset, build_graph
from recmind.model.registry import build_model
from recmind.model.sequence import Block

HISTORIES = [[3, 0, 5, 1, 2], [4], [], [1, 3], [6, 5, 4, 3, 2, 1, 0]]
N_ITEMS = 8


@pytest.fixture
def graph() -> BipartiteGraph:
    users = [user for user, items in enumerate(HISTORIES) for _ in items]
    items = [item for items in HISTORIES for item in items]
    return build_graph(np.array(users, np.int32), np.array(items, np.int32), len(HISTORIES), N_ITEMS)


def model_of(graph: BipartiteGraph, *, score: str = "dot", layers: int = 2, **own) -> SASRec:
    config = ModelConfig(
        name="sasrec",
        dim=4,
        layers=layers,
        init_std=1.0,
        score=score,  # type: ignore[arg-type]
        baselines=BaselinesConfig.model_validate({"sasrec": {"dropout": 0.0, **own}}),
    )
    model = build_model(graph.to("cpu", torch.float64), None, config, seed=0).double()
    assert isinstance(model, SASRec)
    with torch.no_grad():
        # Biases and norms begin with zeros and ones, with which much could be wrong unseen.
        for number, parameter in enumerate(model.parameters()):
            generator = torch.Generator().manual_seed(number)
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return model


def by_torch(model: SASRec, read: list[int | None]) -> Tensor:
    """The last state of torch's own layers over some items, ``(4,)``; the parameters are the model's."""
    encoder, heads = model.sequence, model.config.baselines.sasrec.heads
    items = model.items / model.items.norm(dim=1, keepdim=True) if model.config.score == "cosine" else model.items
    rows = [torch.zeros(4, dtype=torch.float64) if item is None else items[item] for item in read]
    counted = range(len(rows)) if model.config.baselines.sasrec.places == "start" else reversed(range(len(rows)))
    x = torch.stack([row + encoder.places[place] for place, row in zip(counted, rows, strict=True)])[None]
    for block in encoder.blocks:
        assert isinstance(block, Block)
        layer = nn.TransformerEncoderLayer(4, heads, 4, 0.0, batch_first=True, norm_first=True).double()
        theirs = {
            "self_attn.in_proj_weight": block.attend.weight,
            "self_attn.in_proj_bias": block.attend.bias,
            "self_attn.out_proj.weight": block.project.weight,
            "self_attn.out_proj.bias": block.project.bias,
            "linear1.weight": block.inner.weight,
            "linear1.bias": block.inner.bias,
            "linear2.weight": block.outer.weight,
            "linear2.bias": block.outer.bias,
            "norm1.weight": block.before_attention.weight,
            "norm1.bias": block.before_attention.bias,
            "norm2.weight": block.before_layers.weight,
            "norm2.bias": block.before_layers.bias,
        }
        mask = nn.Transformer.generate_square_subsequent_mask(len(read), dtype=torch.float64)
        x = torch.func.functional_call(layer, theirs, (x, mask))
    state = nn.functional.layer_norm(x[0, -1], (4,), encoder.norm.weight, encoder.norm.bias)
    return state / state.norm() if model.config.score == "cosine" else state


def before(model: SASRec, users: Tensor, seed: int = 0) -> Tensor:
    """What the loss takes for a batch of whole users."""
    generator = torch.Generator().manual_seed(seed)
    wanted = NodeSubset.of(model.graph.n_nodes, torch.arange(model.graph.n_nodes))
    (found,) = model.readings(model.final(model(generator, wanted)), wanted, users, generator)
    return found.users


@pytest.mark.parametrize("score", ["dot", "cosine"])
@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize("places", ["start", "end"])
def test_users_and_items_in_use(graph, score: str, heads: int, places: str):
    model = model_of(graph, score=score, heads=heads, length=4, places=places)
    h = model.final(model())
    for user, items in enumerate(HISTORIES):
        torch.testing.assert_close(h[user], by_torch(model, [None, *items][-4:]))
    items = model.items / model.items.norm(dim=1, keepdim=True) if score == "cosine" else model.items
    torch.testing.assert_close(h[len(HISTORIES) :], items)


def test_some_nodes_are_as_among_all(graph):
    model = model_of(graph)
    wanted = NodeSubset.of(graph.n_nodes, torch.tensor([1, 4, 6, 12]))
    torch.testing.assert_close(model(None, wanted).graph, model().graph[wanted.nodes])
    items_alone = NodeSubset.of(graph.n_nodes, torch.tensor([5, 9]))
    torch.testing.assert_close(model(None, items_alone).graph, model.items[[0, 4]])


@pytest.mark.parametrize("score", ["dot", "cosine"])
def test_before_each_interaction_a_user_is_what_the_prefix_says(graph, score: str):
    """Nothing of the item that is looked for, or of later ones, is in the state from which it is looked for."""
    model = model_of(graph, score=score)
    users = torch.tensor([4] * 7 + [1] + [0] * 5)
    found = before(model, users)
    prefixes = [HISTORIES[user][:place] for user in (4, 1, 0) for place in range(len(HISTORIES[user]))]
    expected = torch.stack([by_torch(model, [None, *had]) for had in prefixes])
    torch.testing.assert_close(found, expected)
    target = torch.randn(found.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    parameters = list(model.parameters())
    ours = torch.autograd.grad((found * target).sum(), parameters)
    theirs = torch.autograd.grad((expected * target).sum(), parameters)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other)


def test_a_long_history_is_learnt_from_in_pieces(graph):
    model = model_of(graph, length=3)
    found = before(model, torch.full((7,), 4))
    # Seven interactions are one, three and three; what is read begins with the item before them.
    rows = [None, *HISTORIES[4]]
    expected = [by_torch(model, rows[begin : place + 1]) for place, begin in enumerate([0, 1, 1, 1, 4, 4, 4])]
    torch.testing.assert_close(found, torch.stack(expected))


def test_places_from_the_end_are_those_of_the_whole_piece(graph):
    """As in the paper: a state in the middle of a piece has the place that is left when later items are hidden."""
    model = model_of(graph, length=4, places="end")
    found = before(model, torch.tensor([4] * 7 + [3] * 2))
    rows = [[None, *HISTORIES[4]], [None, *HISTORIES[3]]]
    pieces = [(0, 0, 3), (0, 3, 4), (1, 0, 2)]  # whose, where it begins, how many are looked for
    places, expected = model.sequence.places.detach().clone(), []
    for whose, begin, long in pieces:
        for k in range(long):
            # The last place that is read is the one that the piece's end leaves for it.
            with torch.no_grad():
                model.sequence.places.copy_(places.roll(-(long - 1 - k), 0))
            expected.append(by_torch(model, rows[whose][begin : begin + k + 1]).detach())
    with torch.no_grad():
        model.sequence.places.copy_(places)
    torch.testing.assert_close(found.detach(), torch.stack(expected))


def test_dropout_is_drawn_in_training_alone(graph):
    model = model_of(graph, dropout=0.5)
    users = torch.tensor([0] * 5 + [1])
    drawn = [before(model, users, seed) for seed in (0, 0, 1)]
    torch.testing.assert_close(drawn[0], drawn[1], rtol=0, atol=0)
    assert (drawn[0] - drawn[2]).abs().max() > 0.01
    torch.testing.assert_close(model().graph[0], by_torch(model, [None, *HISTORIES[0]]))


def test_heads_that_do_not_divide_the_dimensions_are_refused(graph):
    with pytest.raises(ConfigError, match=r"sasrec\.heads(.|\n)*3(.|\n)*a divisor of model\.dim = 4"):
        model_of(graph, heads=3)


def test_the_recipe_counts_places_as_the_paper_does_and_older_runs_as_they_did():
    assert load_config("default", model="sasrec").model.baselines.sasrec.places == "end"
    assert ModelConfig(name="sasrec").baselines.sasrec.places == "start"
