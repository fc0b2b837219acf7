from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import torch

from recmind.config import Config
from recmind.data.dataset import Dataset
from recmind.data.splitting import split_dataset
from recmind.language.training import TrainableTexts


@pytest.fixture(params=["tiny_bert", "tiny_qwen", "tiny_llama"])
def folder(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
def texts_of(texts, tmp_path):
    """The texts of 40 items, of which two read the same and one has none, and of ten users."""
    titles: list[str | None] = [*texts[:38], texts[0], None]
    items = pl.DataFrame({"item_id": [f"i{k:02}" for k in range(40)], "title": titles})
    rows = [(f"u{u}", f"i{(5 * u + k) % 40:02}", k) for u in range(10) for k in range(5)]
    events = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")
    dataset = Dataset.from_frames(events, items)

    def make(folder, *, view: str = "titles", dtype: str = "float32", cache: str = "tables", **adapters):
        config = Config.model_validate(
            {
                "text": {"user_view": view},
                "language": {
                    "encoder": str(folder),
                    "device": "cpu",
                    "dtype": dtype,
                    "adapters": {"rank": 2, "alpha": 8, "dropout": 0.0, "micro_tokens": 64} | adapters,
                },
            }
        )
        split = split_dataset(dataset, config.split)
        return TrainableTexts(dataset, split, config, tmp_path / cache, show_progress=False)

    return make


ITEMS, USERS = torch.tensor([7, 3, 38, 0, 21, 12, 30]), torch.tensor([4, 1, 9])


def contrast(vectors: dict[str, torch.Tensor]) -> torch.Tensor:
    both = torch.cat([vectors["items"], 3 * vectors["users"]])
    return torch.logsumexp(5 * both @ both.T + torch.arange(10.0), dim=1).sum()


def gradients(trainable: TrainableTexts) -> list[torch.Tensor]:
    for p in trainable.adapters.parameters.values():
        p.grad = None
    torch.manual_seed(1)
    trainable.backward({"items": ITEMS, "users": USERS}, contrast)
    return [p.grad.clone() for p in trainable.adapters.parameters.values()]


def stir(trainable: TrainableTexts, size: float = 0.3) -> None:
    """Adapters as after some training: B is not zero."""
    generator = torch.Generator().manual_seed(2)
    state = trainable.adapters.state()
    trainable.adapters.set({k: size * torch.randn(v.shape, generator=generator) for k, v in state.items()})


class TestGradient:
    @pytest.mark.parametrize("dropout", [0.0, 0.3])
    def test_small_parts_give_what_one_batch_gives(self, folder, texts_of, dropout: float):
        found = []
        for micro_tokens in (100_000, 64):
            trainable = texts_of(folder, micro_tokens=micro_tokens, dropout=dropout)
            stir(trainable)
            found.append((len(trainable.parts({"items": ITEMS, "users": USERS})), gradients(trainable)))
        (one, whole), (several, parts) = found
        assert one == 1 < several
        if not dropout:  # which numbers are dropped depends on what is encoded together
            torch.testing.assert_close(parts, whole, rtol=1e-4, atol=1e-5)
        assert all(gradient.abs().max() > 1e-6 for gradient in parts)

    def test_of_packed_texts_is_that_of_padded_ones(self, folder, texts_of, monkeypatch):
        from recmind.language.encoder import TextEncoder

        trainable = texts_of(folder)
        stir(trainable)
        assert trainable.encoder.packs
        packed = gradients(trainable)
        monkeypatch.setattr(TextEncoder, "packs", False)
        padded = texts_of(folder)
        stir(padded)
        torch.testing.assert_close(packed, gradients(padded), rtol=1e-3, atol=2e-5)

    def test_is_the_slope_of_the_loss(self, tiny_bert, texts_of):
        trainable = texts_of(tiny_bert)
        stir(trainable)
        slope = gradients(trainable)[0]
        name, at = next(iter(trainable.adapters.parameters)), tuple((slope.abs() == slope.abs().max()).nonzero()[0])
        losses = []
        for sign in (1, -1):
            state = trainable.adapters.state()
            moved = {k: v.clone() for k, v in state.items()}
            moved[name][at] += sign * 1e-3
            trainable.adapters.set(moved)
            losses.append(float(contrast(trainable.vectors({"items": ITEMS, "users": USERS}))))
            trainable.adapters.set(state)
        assert (losses[0] - losses[1]) / 2e-3 == pytest.approx(float(slope[at]), rel=0.02)

    def test_checkpoints_change_memory_and_not_the_gradient(self, folder, texts_of):
        results, saved = [], []
        for checkpointing in (False, True):
            trainable = texts_of(folder, gradient_checkpointing=checkpointing, micro_tokens=100_000, dropout=0.2)
            stir(trainable)
            sizes = []

            def pack(tensor: torch.Tensor, sizes: list[int] = sizes) -> torch.Tensor:
                sizes.append(tensor.numel())
                return tensor

            with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
                results.append(gradients(trainable))
            saved.append(sum(sizes))
        torch.testing.assert_close(results[1], results[0], rtol=1e-5, atol=1e-6)
        assert saved[1] < 0.7 * saved[0]


class TestParts:
    def test_hold_every_row_once_within_the_budget(self, tiny_bert, texts_of):
        trainable = texts_of(tiny_bert, micro_tokens=64)
        parts = trainable.parts({"items": ITEMS, "users": USERS})
        assert sorted(row for part in parts for row in part.rows) == list(range(10))
        assert all(len(part.rows) == 1 or part.n_tokens <= 64 for part in parts)

    def test_vectors_come_in_the_order_of_the_nodes(self, folder, texts_of):
        trainable = texts_of(folder)
        stir(trainable)
        found = trainable.vectors({"items": ITEMS, "users": USERS})
        for side, nodes in (("items", ITEMS), ("users", USERS)):
            np.testing.assert_allclose(found[side].numpy(), trainable.table(side)[nodes], atol=2e-6)


class TestSides:
    def test_equal_texts_are_one_group(self, tiny_bert, texts_of):
        side = texts_of(tiny_bert).sides["items"]
        assert side.groups[38] == side.groups[0]
        assert len(set(side.groups[:38].tolist())) == 38
        assert (side.groups[39], side.known[39]) == (-1, False)

    def test_users_without_texts_are_no_side(self, tiny_bert, texts_of):
        assert list(texts_of(tiny_bert, view="items").sides) == ["items"]


class TestTables:
    def test_follow_the_adapters_and_are_read_again(self, tiny_bert, texts_of, monkeypatch):
        trainable = texts_of(tiny_bert)
        fresh = trainable.table("items")
        stir(trainable)
        learnt = trainable.table("items")
        assert np.abs(fresh[:39] - learnt[:39]).max() > 0.01
        assert not learnt[39].any()
        monkeypatch.setattr(type(trainable.encoder), "_forward", None)  # nothing is encoded again
        np.testing.assert_array_equal(trainable.table("items"), learnt)

    def test_of_adapters_that_are_not_needed_any_more_are_deleted(self, tiny_bert, texts_of, tmp_path):
        trainable = texts_of(tiny_bert, cache="own")
        trainable.table("items")
        stir(trainable)
        trainable.table("items")
        folders = list((tmp_path / "own" / "embeddings").iterdir())
        assert len(folders) == 2
        trainable.forget({trainable.adapters.sha256})
        assert [entry for entry in folders if entry.exists()] == [
            tmp_path / "own" / "embeddings" / trainable.encoder.fingerprint
        ]


def test_a_bfloat16_model_learns_with_float32_adapters(folder, texts_of):
    trainable = texts_of(folder, dtype="bfloat16")
    stir(trainable, 0.1)
    found = gradients(trainable)
    exact = texts_of(folder)
    stir(exact, 0.1)
    flat, expected = (torch.cat([g.flatten() for g in gradient]) for gradient in (found, gradients(exact)))
    assert flat.dtype == torch.float32
    assert torch.nn.functional.cosine_similarity(flat, expected, dim=0) > 0.95
