from __future__ import annotations

import numpy as np
import pytest
import torch

from recmind.model.alignment import symmetric_info_nce
from recmind.training.text_alignment import TextAlignment, first_distinct, project, triangle


@pytest.fixture
def alignment_of(language_world):
    """A text alignment that has begun, and the parts that it works on."""

    def make(**changes) -> TextAlignment:
        world = language_world(**changes)
        alignment = TextAlignment(world.model, world.texts, world.config)
        alignment.begin()
        return alignment

    return make


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class TestBatch:
    def test_holds_distinct_nodes_that_can_be_aligned(self, alignment_of):
        alignment = alignment_of(adapters__batch_size=6, adapters__text_neighbours=1)
        degrees = alignment.model.graph.degrees
        for seed in range(5):
            batch = alignment.batch(seeded(seed))
            assert set(batch) == {"items", "users"}
            for side, nodes in batch.items():
                assert len(set(nodes.tolist())) == len(nodes) == 6
                assert alignment.texts.sides[side].known[nodes.numpy()].all()
                assert (degrees[nodes + (alignment.model.n_users if side == "items" else 0)] > 0).all()

    def test_brings_the_texts_nearest_to_those_that_are_drawn(self, alignment_of):
        alignment = alignment_of(adapters__batch_size=4, adapters__text_neighbours=3)
        groups, table = alignment.texts.sides["items"].groups, alignment.model.language.texts.items.numpy()
        among = alignment.candidates["items"].numpy()
        for seed in range(5):
            first, *others = alignment.batch(seeded(seed))["items"].tolist()
            rivals = [node for node in among if groups[node] != groups[first]]
            nearest = sorted(rivals, key=lambda node: -float(table[first] @ table[node]))[:3]
            assert others == nearest

    def test_is_random_without_neighbours(self, alignment_of):
        alignment = alignment_of(adapters__batch_size=4, adapters__text_neighbours=0)
        batches = {tuple(alignment.batch(seeded(seed))["items"].tolist()) for seed in range(6)}
        assert len(batches) > 3

    @pytest.mark.parametrize("side", ["items", "users"])
    def test_only_the_sides_that_are_aligned(self, alignment_of, side: str):
        assert list(alignment_of(alignment__sides=side).batch(seeded())) == [side]


class TestStep:
    def test_loss_is_that_of_the_alignment(self, alignment_of):
        alignment = alignment_of(alignment__hard_negatives=2)
        nodes = {"items": torch.tensor([0, 1, 2, 4]), "users": torch.tensor([3, 5, 1])}
        vectors = alignment.texts.vectors(nodes)
        graph = alignment.model().graph
        expected = sum(
            symmetric_info_nce(
                graph[rows + (alignment.model.n_users if side == "items" else 0)],
                alignment.model.language.projection(vectors[side]),
                temperature=alignment.config.alignment.temperature,
                nodes=torch.from_numpy(alignment.texts.sides[side].groups)[rows],
                hard_negatives=2,
            )
            for side, rows in nodes.items()
        )
        torch.testing.assert_close(alignment.loss(nodes, vectors), expected)

    def test_learns(self, alignment_of):
        alignment = alignment_of(adapters__dropout=0.0)
        nodes = alignment.batch(seeded(99))
        before = alignment.loss(nodes, alignment.texts.vectors(nodes)).item()
        for step in range(30):
            alignment.step(step, 30, seeded(step))
        assert alignment.loss(nodes, alignment.texts.vectors(nodes)).item() < before - 0.3

    def test_moves_adapters_and_projection_and_nothing_else(self, alignment_of):
        alignment = alignment_of()
        base = {name: value.clone() for name, value in alignment.texts.encoder.model.state_dict().items()}
        model = {name: value.clone() for name, value in alignment.model.state_dict().items()}
        for step in range(2):
            alignment.step(step, 2, seeded(step))
        for before, now in ((base, alignment.texts.encoder.model.state_dict()), (model, alignment.model.state_dict())):
            moved = {name for name, value in now.items() if not torch.equal(value, before[name])}
            assert moved
            assert all("lora_" in name or name.startswith("language.projection") for name in moved)
        assert all(value.grad is None for value in alignment.model.parameters())

    def test_does_not_touch_the_global_generator(self, alignment_of):
        alignment = alignment_of(adapters__dropout=0.3)
        torch.manual_seed(4)
        before = torch.get_rng_state()
        alignment.step(0, 2, seeded())
        assert torch.equal(torch.get_rng_state(), before)

    def test_equal_texts_are_no_negatives_of_each_other(self, alignment_of):
        alignment = alignment_of()
        groups = alignment.texts.sides["items"].groups
        twins = torch.tensor([0, 8])
        assert groups[0] == groups[8]
        vectors = alignment.texts.vectors({"items": twins})
        assert alignment.loss({"items": twins}, vectors).item() == pytest.approx(0, abs=1e-6)


class TestMomentum:
    def test_follows_slowly_and_fills_the_queue(self, alignment_of):
        alignment = alignment_of(alignment__queue_size=9, alignment__queue_momentum=0.75, adapters__dropout=0.0)
        start = alignment.texts.adapters.state()
        projection = [value.detach().clone() for value in alignment.projection.parameters()]
        nodes = alignment.batch(seeded(3))
        keys = project(alignment.model.language, alignment.texts.vectors(nodes)["items"])
        alignment.step(1, 3, seeded(3))
        queue, n = alignment.queues["items"], len(nodes["items"])
        groups = torch.from_numpy(alignment.texts.sides["items"].groups)[nodes["items"]]
        assert torch.equal(queue.nodes[:n], groups)
        assert (queue.nodes[n:] == -1).all()
        torch.testing.assert_close(queue.language[:n], torch.nn.functional.normalize(keys, dim=1).detach())
        for name, learnt in alignment.texts.adapters.state().items():
            torch.testing.assert_close(alignment.momentum[name], 0.75 * start[name] + 0.25 * learnt)
        for key, first, learnt in zip(
            alignment.momentum_view.projection.parameters(), projection, alignment.projection.parameters(), strict=True
        ):
            torch.testing.assert_close(key, (0.75 * first + 0.25 * learnt).detach())

    def test_the_queue_holds_what_the_copy_sees_not_what_is_learnt(self, alignment_of):
        alignment = alignment_of(alignment__queue_size=40, alignment__queue_momentum=0.99, adapters__dropout=0.0)
        for step in range(6):
            alignment.step(step, 6, seeded(step))
        nodes = alignment.batch(seeded(5))["items"]  # of the last step
        places = torch.arange(5 * len(nodes), 6 * len(nodes)) % 40
        queued = alignment.queues["items"].language[places]
        learnt = project(alignment.model.language, alignment.texts.vectors({"items": nodes})["items"])
        assert (torch.nn.functional.cosine_similarity(queued, learnt, dim=1) < 0.9999).any()


class TestState:
    def test_training_goes_on_as_if_nothing_had_happened(self, alignment_of):
        settings = {"alignment__queue_size": 20, "alignment__hard_negatives": 1, "adapters__dropout": 0.2}
        undisturbed, killed, resumed = (alignment_of(**settings) for _ in range(3))
        losses = [undisturbed.step(step, 6, seeded(step)) for step in range(6)]
        for step in range(3):
            killed.step(step, 6, seeded(step))
        state = {name: value.clone() for name, value in killed.state().items()}
        resumed.model.load_state_dict(killed.model.state_dict())
        resumed.end()
        resumed.restore(state)
        assert [resumed.step(step, 6, seeded(step)) for step in range(3, 6)] == losses[3:]
        expected = undisturbed.state()
        assert expected.keys() == resumed.state().keys()
        assert all(torch.equal(value, expected[name]) for name, value in resumed.state().items())

    def test_between_two_trainings_there_are_no_targets_to_keep(self, alignment_of):
        alignment = alignment_of(alignment__queue_size=20)
        alignment.step(0, 1, seeded())
        alignment.end()
        kinds = {name.partition(".")[0] for name in alignment.state()}
        assert kinds == {"adapters", "optimizer"}


def test_triangle_rises_for_a_tenth_and_falls():
    assert [triangle(step, 20) for step in (0, 1, 2, 10, 19)] == pytest.approx([1 / 2, 1, 18 / 19, 10 / 19, 1 / 19])
    assert triangle(0, 1) == 1
    assert np.mean([triangle(step, 1000) for step in range(1000)]) == pytest.approx(0.5, abs=0.01)


def test_first_distinct():
    assert first_distinct(torch.tensor([3, 1, 3, 0, 1, 7])).tolist() == [3, 1, 0, 7]
