from __future__ import annotations

import pytest
import torch

from recmind.config import BaselinesConfig, ModelConfig
from recmind.model.node_texts import in_precision
from recmind.model.registry import build_model
from recmind.model.views import GraphModel

OWN = BaselinesConfig.model_validate({"dropoutnet": {"hidden": [8]}, "kar": {"hidden": 8}})


@pytest.mark.parametrize("name", ["alpharec", "kar", "dropoutnet"])
def test_products_in_bfloat16_are_near_those_in_float32(example, texts, name: str):
    found = []
    for precision in ("float32", "bfloat16"):
        config = ModelConfig.model_validate({"name": name, "dim": 4, "precision": precision, "baselines": OWN})
        model = build_model(example.graph, texts.to("cpu"), config, seed=0)
        assert isinstance(model, GraphModel)
        h = model.final(model())
        h.square().sum().backward()
        assert h.dtype == torch.float32
        assert all(p.grad is None or p.grad.dtype == torch.float32 for p in model.parameters())
        found.append(h.detach())
    assert not torch.equal(*found)
    torch.testing.assert_close(*found, rtol=0.05, atol=0.02)


def test_other_numbers_than_float32_are_multiplied_as_they_are():
    x = torch.ones(2, 2, dtype=torch.float64)
    with in_precision("bfloat16", x):
        assert (x @ x).dtype == torch.float64
