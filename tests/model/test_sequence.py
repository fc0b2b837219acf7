"""The sequence encoder as a part of RecMind; its equations are checked with SASRec, which is nothing else."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from recmind.config import ModelConfig
from recmind.errors import ConfigError
from recmind.model import sequence
from recmind.model.graph import BipartiteGraph, NodeSubset, build_graph
from recmind.model.language_view import TextInputs
from recmind.model.recmind import RecMind
from recmind.model.registry import build_model
from recmind.model.sequence import SequenceEncoder, kept, pieces
from recmind.model.views import Reading, score_space

HISTORIES = [[3, 0, 5, 1], [4, 2], [], [1, 3, 0, 2, 5, 4]]
N_ITEMS = 7


def graph_of(histories: list[list[int]]) -> BipartiteGraph:
    users = [user for user, items in enumerate(histories) for _ in items]
    items = [item for items in histories for item in items]
    return build_graph(np.array(users, np.int32), np.array(items, np.int32), len(histories), N_ITEMS)


def model_of(histories: list[list[int]], *, score: str = "cosine", popularity: bool = True, **sequence) -> RecMind:
    texts = TextInputs.from_arrays(
        np.random.default_rng(0).normal(size=(N_ITEMS, 5)).astype(np.float32), np.ones(7, bool)
    )
    config = ModelConfig.model_validate(
        {
            "dim": 4,
            "initial": "free+text",
            "init_std": 0.5,
            "score": score,
            "popularity": popularity,
            "sequence": {"weight": 1.5, "dropout": 0.0, "length": 5, **sequence},
        }
    )
    model = build_model(graph_of(histories), texts, config, seed=0)
    assert isinstance(model, RecMind)
    if model.popularity is not None:
        with torch.no_grad():
            model.popularity.fill_(0.7)
    return model


def readings(model: RecMind, users: list[int]) -> list[Reading]:
    wanted = NodeSubset.of(model.graph.n_nodes, torch.arange(model.graph.n_nodes))
    h = model.final(model(None, wanted))
    return model.readings(h, wanted, torch.tensor(users), torch.Generator().manual_seed(0))


@pytest.mark.parametrize("score", ["cosine", "dot"])
@pytest.mark.parametrize("popularity", [True, False])
def test_what_the_loss_reads_of_a_user(score: str, popularity: bool):
    model = model_of(HISTORIES, score=score, popularity=popularity)
    users = [3] * 6 + [0] * 4
    of_graph, of_order = readings(model, users)
    h = model.final(model())
    torch.testing.assert_close(of_graph.users, h[users])
    torch.testing.assert_close(of_graph.items, h)
    torch.testing.assert_close(of_order.items, h)
    assert isinstance(model.sequence, SequenceEncoder)
    states = model.sequence.before(torch.tensor(users), lambda codes: h[4 + codes, :4])
    torch.testing.assert_close(
        of_order.users[:, :4], functional.normalize(states, dim=1) if score == "cosine" else states
    )
    # The popularity of an item counts for a state as for a user.
    assert of_order.users.shape[1] == 4 + popularity
    assert bool((of_order.users[:, 4:] == 1).all())


@pytest.mark.parametrize("score", ["cosine", "dot"])
@pytest.mark.parametrize("places", ["start", "end"])
def test_the_state_after_the_history_is_a_part_of_h(score: str, places: str):
    model = model_of(HISTORIES, score=score, places=places)
    assert model.sequence is not None and model.sequence.from_end == (places == "end")
    h, used = model.final(model()), model.vectors()
    assert isinstance(model.sequence, SequenceEncoder)
    states = model.sequence.after(torch.arange(4), lambda codes: h[4 + codes, :4])
    expected = h[:4, :4] + 1.5 * (functional.normalize(states, dim=1) if score == "cosine" else states)
    torch.testing.assert_close(used[:4, :4], functional.normalize(expected, dim=1) if score == "cosine" else expected)
    torch.testing.assert_close(used[4:], h[4:])
    torch.testing.assert_close(used[:4, 4], torch.ones(4))


@pytest.mark.parametrize("score", ["cosine", "dot"])
@pytest.mark.parametrize("popularity", [True, False])
@pytest.mark.parametrize("recent", [0.0, 0.7])
def test_an_encoder_with_items_of_its_own(score: str, popularity: bool, recent: float):
    """What is trained, ⟨h_u, h_i⟩ and ⟨s_u, m_i⟩ apart, is what is scored: ⟨h_u, h_i⟩ + ρ_S ⟨s_u, m_i⟩."""
    model = model_of(HISTORIES, score=score, popularity=popularity, own_items=True)
    assert model.own is not None and model.sequence is not None
    # Item 6 has never been sold: it stays where h is.
    assert not model.own[6].any() and model.own[:6].all()
    h = model.final(model())
    m = score_space(h[4:, :4] + model.own, score)
    torch.testing.assert_close(m[6], h[10, :4])
    users = [3] * 6 + [0] * 4
    of_graph, of_order = readings(model, users)
    torch.testing.assert_close(of_graph.items, h)
    torch.testing.assert_close(of_order.items[4:], torch.cat([m, h[4:, 4:]], dim=1))
    before = score_space(model.sequence.before(torch.tensor(users), lambda codes: m[codes]), score)
    torch.testing.assert_close(of_order.users[:, :4], before)

    model.keep_weight("recent").fill_(recent)
    states = score_space(model.sequence.after(torch.arange(4), lambda codes: m[codes]), score)
    scorer = model.scorer()
    assert scorer.items.shape == (N_ITEMS, 8 + popularity)
    terms = 0.7 * model.popularities() if popularity else 0.0

    def scaled(vector: torch.Tensor, read: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        length = vector.norm() if score == "cosine" else 1
        return vector / length, read / length

    for user, items in enumerate(HISTORIES):
        vector, read = scaled(h[user, :4] + 1.5 * states[user], 1.5 * states[user])
        latest = items[::-1][: model.config.recent.items]
        if recent and latest:
            shares = model.config.recent.decay ** torch.arange(len(latest))
            added = recent * (shares / shares.sum()) @ h[[4 + item for item in latest], :4]
            vector, read = scaled(vector + added, read)
        expected = h[4:, :4] @ vector + (m - h[4:, :4]) @ read + terms
        torch.testing.assert_close(scorer.scores(torch.tensor([user]))[0], expected)


def test_a_weight_of_0_leaves_the_state_out_and_any_other_can_be_chosen():
    model = model_of(HISTORIES)
    without = model_of(HISTORIES, weight=0.0)
    model.keep_weight("sequence").fill_(0.0)
    torch.testing.assert_close(model.vectors(), without.vectors())
    model.keep_weight("sequence").fill_(3.0)
    torch.testing.assert_close(model.vectors(), model_of(HISTORIES, weight=3.0).vectors())


def test_runs_of_before_the_weight_was_a_part_of_the_model_keep_the_recipes():
    model = model_of(HISTORIES)
    before = {name: value for name, value in model.state_dict().items() if name != "rho_s"}
    model.keep_weight("sequence").fill_(0.0)
    model.load_state_dict({**before, "rho_s": torch.tensor(0.5)})
    assert model.weight_of("sequence") == 0.5
    fresh = model_of(HISTORIES)
    fresh.load_state_dict(before)
    assert fresh.weight_of("sequence") == 1.5


def test_a_state_knows_nothing_of_what_comes_later():
    """Items from the fourth on are exchanged; the states before them stay, given the same vectors of the items."""
    other = [*HISTORIES[:3], [1, 3, 0, 4, 2, 5]]
    vectors = torch.randn(N_ITEMS, 4, generator=torch.Generator().manual_seed(1))
    found = []
    for histories in (HISTORIES, other):
        encoder = model_of(histories).sequence
        assert encoder is not None
        found.append(encoder.before(torch.full((6,), 3), lambda codes: vectors[codes]))
    torch.testing.assert_close(found[0][:4], found[1][:4])
    assert bool(((found[0][4] - found[1][4]).abs() > 1e-3).any())


def test_without_a_weight_there_is_no_encoder():
    model = model_of(HISTORIES, weight=0.0)
    assert model.sequence is None
    assert not model.reads_order
    assert len(readings(model, [0, 3, 0])) == 1
    assert not any(name.startswith("sequence") for name in model.state_dict())


def test_parameters_of_the_rest_are_the_same_with_it_and_without():
    """One seed gives one start, so that a study with and without differs in nothing else."""
    without = model_of(HISTORIES, weight=0.0).state_dict()
    within = model_of(HISTORIES).state_dict()
    assert without
    for name, tensor in without.items():
        torch.testing.assert_close(within[name], tensor, rtol=0, atol=0)


def test_heads_that_do_not_divide_the_dimensions_are_refused():
    with pytest.raises(ConfigError, match=r"model\.sequence\.heads(.|\n)*3(.|\n)*a divisor of model\.dim = 4"):
        model_of(HISTORIES, heads=3)


@given(st.lists(st.integers(1, 40), min_size=1, max_size=12), st.integers(1, 12))
def test_pieces_hold_everything_once(counts: list[int], longest: int):
    whose, first, lengths = pieces(torch.tensor(counts), longest)
    places = [
        (user, place)
        for user, begin, length in zip(whose.tolist(), first.tolist(), lengths.tolist(), strict=True)
        for place in range(begin, begin + length)
    ]
    assert places == [(user, place) for user, count in enumerate(counts) for place in range(count)]
    assert lengths.min() >= 1 and lengths.max() <= longest
    # Only the first piece of a history may be short.
    assert all(length == longest for begin, length in zip(first.tolist(), lengths.tolist(), strict=True) if begin)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_dropout_keeps_its_share_and_the_mean(rate: float):
    factors = kept(torch.zeros(301, 333), rate, torch.Generator().manual_seed(0))
    zero = factors == 0
    assert float(zero.double().mean()) == pytest.approx(rate, abs=5 * (rate * (1 - rate) / zero.numel()) ** 0.5)
    torch.testing.assert_close(factors[~zero], torch.full_like(factors[~zero], 1 / (1 - rate)), rtol=1e-4, atol=0)
    # Of the four numbers that share a draw each is dropped as often as the others, and whatever happened to these.
    of_draw = zero.flatten()[: zero.numel() // 4 * 4].view(-1, 4).double()
    torch.testing.assert_close(of_draw.mean(0), torch.full((4,), rate, dtype=torch.float64), rtol=0, atol=0.02)
    assert float((torch.corrcoef(of_draw.T) - torch.eye(4)).abs().max()) < 0.03


def test_dropout_is_drawn_from_the_seed_alone():
    drawn = [kept(torch.zeros(3, 3), 0.5, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert kept(torch.zeros(0, 4), 0.5, None).shape == (0, 4)
    assert kept(torch.zeros(2, 2, dtype=torch.float64), 1 - 1e-9, None).isfinite().all()


@pytest.mark.parametrize("together", [1, 7, 2**16])
def test_in_use_histories_are_read_some_at_a_time(together: int, monkeypatch):
    """Those of all users would not fit into memory at once."""
    encoder = model_of(HISTORIES).sequence
    assert encoder is not None
    vectors = torch.randn(N_ITEMS, 4, generator=torch.Generator().manual_seed(1))
    users = torch.tensor([2, 3, 0, 3, 1])
    expected = torch.cat([encoder.after(users[[k]], lambda codes: vectors[codes]) for k in range(5)])
    monkeypatch.setattr(sequence, "_TOGETHER", together)
    torch.testing.assert_close(encoder.after(users, lambda codes: vectors[codes]), expected)
    assert encoder.after(users[:0], lambda codes: vectors[codes]).shape == (0, 4)
