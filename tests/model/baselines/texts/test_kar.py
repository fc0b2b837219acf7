from __future__ import annotations

import pytest
import torch
from torch import Tensor

from recmind.config import load_config
from recmind.errors import ConfigError
from recmind.model.graph import NodeSubset

OWN = {"shared_experts": 2, "own_experts": 3, "hidden": 6, "size": 2}


def expert(x: Tensor, p: dict[str, Tensor], name: str) -> Tensor:
    hidden = torch.clamp(x @ p[f"{name}.0.weight"].T + p[f"{name}.0.bias"], min=0)
    return hidden @ p[f"{name}.2.weight"].T + p[f"{name}.2.bias"]


def adapted(x: Tensor, p: dict[str, Tensor], side: int) -> Tensor:
    """Row by row, expert by expert."""
    names = [f"adaptor.shared.{k}" for k in range(2)] + [f"adaptor.own.{side}.{k}" for k in range(3)]
    rows = []
    for row in x:
        logits = p[f"adaptor.gates.{side}.weight"] @ row + p[f"adaptor.gates.{side}.bias"]
        weights = torch.exp(logits) / torch.exp(logits).sum()
        rows.append(sum(w * expert(row, p, name) for w, name in zip(weights, names, strict=True)))
    return torch.stack(rows)


@pytest.mark.parametrize("wanted", [None, [0, 3, 5, 7, 8, 12], [1, 2]], ids=["all", "both sides", "users alone"])
def test_values_and_gradients(dense, built, texts, same_gradients, wanted: list[int] | None):
    model = built("kar", own=OWN)
    p, x = dict(model.named_parameters()), dense.vectors(texts.items)
    text = torch.cat([adapted(x[:6], p, 0), adapted(x[6:], p, 1)])
    text = torch.stack([torch.zeros(2, dtype=torch.float64) if v in (3, 6 + 2) else text[v] for v in range(13)])
    expected = torch.cat([dense.mean_of_layers(model.backbone.free, 2), text], dim=1)
    subset = None if wanted is None else NodeSubset.of(13, torch.tensor(wanted))
    views = model(None, subset)
    found, expected = model.final(views), expected if wanted is None else expected[wanted]
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(
        views.regularised, model.backbone.free if wanted is None else model.backbone.free[wanted]
    )
    weights = torch.linspace(-1, 2, found.numel(), dtype=torch.float64).view_as(found)
    same_gradients(model, (found * weights).sum(), (expected * weights).sum())


def test_scores_are_the_sum_of_both_parts(built):
    model = built("kar", own=OWN)
    h = model.final(model())
    graph, text = model.backbone().graph, h[:, 4:]
    torch.testing.assert_close(h[:6] @ h[6:].T, graph[:6] @ graph[6:].T + text[:6] @ text[6:].T)


def test_a_fallback_reads_the_neighbours(built, texts):
    model = built("kar", own=OWN, missing_text="fallback")
    context = (texts.items[[0, 1]].mean(0) + texts.items[4]) / 2
    expected = adapted((context / context.norm())[None], dict(model.named_parameters()), 1)[0]
    torch.testing.assert_close(model().graph[6 + 2, 4:], expected, rtol=1e-5, atol=1e-7)
    assert not model().graph[3, 4:].any()


def test_wrong_settings_are_refused():
    for name in ("shared_experts", "own_experts", "hidden", "size"):
        with pytest.raises(ConfigError, match=rf"kar\.{name}: got 0"):
            load_config("default", overrides=[f"model.baselines.kar.{name}=0"])
