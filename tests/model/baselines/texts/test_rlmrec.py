from __future__ import annotations

import pytest
import torch

from recmind.config import load_config
from recmind.errors import ConfigError
from recmind.model.graph import NodeSubset
from recmind.model.language_view import TextInputs

USERS, ITEMS, NEGATIVES = torch.tensor([0, 1, 0, 4]), torch.tensor([0, 3, 2, 4]), torch.tensor([[6], [5], [3], [2]])
WANTED = NodeSubset.of(13, USERS, ITEMS + 6, NEGATIVES.flatten() + 6)


def generator(seed: int = 5) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def contrast(model, views, seed: int = 5) -> torch.Tensor:
    return model.contrast(views, USERS, ITEMS, NEGATIVES, generator(seed))


BLANK = TextInputs(torch.zeros(7, 5, dtype=torch.float64), torch.zeros(7, dtype=torch.bool))


CON = {"weight": 0.7, "temperature": 0.25, "edge_dropout": 0.0}
GEN = {**CON, "mask": 0.35}


class TestCon:
    @pytest.mark.parametrize("ratio", [0.0, 0.4])
    def test_values_and_gradients_of_the_papers_loss(self, dense, built, texts, same_gradients, ratio: float):
        model = built("rlmrec-con", own={**CON, "edge_dropout": ratio})
        views = model(generator())
        dense.leave_out(ratio, generator())
        graph, x = dense.mean_of_layers(model.free, 2), dense.vectors(texts.items)
        told = dense.leaky_mlp(x / x.norm(dim=1, keepdim=True).clamp_min(1e-12), dict(model.named_parameters()))
        torch.testing.assert_close(views.graph, graph)
        # Users, bought items and negatives, each once, and without item 2, which has no text.
        sides = ([0, 1, 4], [6 + 0, 6 + 3, 6 + 4], [6 + 3, 6 + 5, 6 + 6])
        expected = 0.7 * sum(dense.info_nce(graph[nodes], told[nodes], 0.25) for nodes in sides)
        same_gradients(model, contrast(model, views), expected)

    def test_the_mlp_is_the_authors(self, built):
        first, slope, last = built("rlmrec-con").mlp
        assert [tuple(layer.weight.shape) for layer in (first, last)] == [(4, 5), (4, 4)]
        assert slope.negative_slope == 0.01
        assert float(first.weight.detach().abs().max()) <= (6 / 9) ** 0.5

    def test_wanted_nodes_have_the_contrast_of_the_whole(self, built, same_gradients):
        model = built("rlmrec-con", own=CON)
        same_gradients(model, contrast(model, model(generator(), WANTED)), contrast(model, model(generator())))

    def test_a_batch_too_large_is_a_random_part(self, dense, built, texts):
        model = built("rlmrec-con", own={**CON, "batch_size": 2})
        values = {round(float(contrast(model, model(), seed).detach()), 9) for seed in range(20)}
        assert len(values) > 5
        assert contrast(model, model(), 3) == contrast(model, model(), 3)

    def test_without_texts_nothing_is_aligned(self, built):
        model = built("rlmrec-con", inputs=BLANK)
        assert float(contrast(model, model())) == 0


class TestGen:
    @staticmethod
    def masked(seed: int = 5) -> list[int]:
        """int(13 · 0.35) = 4 of the nodes."""
        return torch.randperm(13, generator=generator(seed)).tolist()[:4]

    def views(self, dense, model, seed: int) -> torch.Tensor:
        hidden = torch.zeros(13, 1, dtype=torch.float64)
        hidden[self.masked(seed)] = 1
        return dense.mean_of_layers(model.free * (1 - hidden) + model.token * hidden, 2)

    @pytest.mark.parametrize("wanted", [None, WANTED], ids=["all", "wanted"])
    @pytest.mark.parametrize("ratio", [0.0, 0.4])
    @pytest.mark.parametrize("seed", range(4))
    def test_values_and_gradients_of_the_papers_loss(
        self, dense, built, texts, same_gradients, seed: int, ratio: float, wanted
    ):
        model = built("rlmrec-gen", own={**GEN, "edge_dropout": ratio})
        after_the_mask = generator(seed)
        torch.randperm(13, generator=after_the_mask)
        dense.leave_out(ratio, after_the_mask)
        torch.nn.init.normal_(model.token, generator=generator(1))
        views, graph, x = model(generator(seed), wanted), self.views(dense, model, seed), dense.vectors(texts.items)
        torch.testing.assert_close(views.graph, graph if wanted is None else graph[wanted.nodes])
        told = [node for node in self.masked(seed) if node not in (3, 6 + 2)]
        given_back = dense.leaky_mlp(graph[told], dict(model.named_parameters()))
        expected = 0.7 * dense.info_nce(given_back, x[told], 0.25)
        # With a recommendation loss beside it: it sees the masked views too.
        rows = slice(None) if wanted is None else wanted.nodes
        same_gradients(
            model,
            contrast(model, views) + model.final(views).square().sum(),
            expected + graph[rows].square().sum(),
        )

    def test_without_a_generator_nothing_is_hidden(self, dense, built):
        model = built("rlmrec-gen", own=GEN)
        views = model()
        torch.testing.assert_close(views.graph, dense.mean_of_layers(model.free, 2))
        assert contrast(model, views) is None

    def test_a_masked_node_has_no_gradient_of_its_own(self, built):
        model = built("rlmrec-gen", own=GEN)
        model(generator()).graph.sum().backward()
        hidden = self.masked()
        assert not model.free.grad[hidden].any()
        assert model.token.grad.any()
        assert torch.equal(model.token, torch.zeros(4, dtype=torch.float64))

    def test_at_most_so_many_are_given_back(self, built):
        model = built("rlmrec-gen", own={**GEN, "mask": 0.9, "batch_size": 2})
        ((masked, vectors),) = model(generator()).pairs
        assert len(masked) == len(vectors) == 2

    def test_one_node_is_masked_at_least(self, built):
        model = built("rlmrec-gen", own={**GEN, "mask": 0.001})
        assert (model(generator()).graph != model().graph).any()

    def test_without_texts_nothing_is_given_back(self, built):
        model = built("rlmrec-gen", inputs=BLANK)
        assert contrast(model, model(generator())) is None


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("rlmrec_con.temperature", "0"),
        ("rlmrec_con.weight", "-1"),
        ("rlmrec_con.batch_size", "1"),
        ("rlmrec_gen.mask", "1.0"),
        ("rlmrec_gen.mask", "0"),
        ("rlmrec_gen.temperature", "0"),
    ],
)
def test_wrong_settings_are_refused(key: str, value: str):
    with pytest.raises(ConfigError, match=rf"{key}: got {value}"):
        load_config("default", overrides=[f"model.baselines.{key}={value}"])
