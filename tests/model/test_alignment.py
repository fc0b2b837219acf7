from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck

from recmind.model.alignment import ViewQueue, info_nce, symmetric_info_nce

# Unit vectors with round cosines: a·p is .6, .8, 0 and so on.
ANCHORS = torch.tensor([[1.0, 0.0], [0.0, 2.0]], dtype=torch.float64)
POSITIVES = torch.tensor([[0.6, 0.8], [-3.0, 4.0]], dtype=torch.float64)
# cosines: [[.6, -.6], [.8, .8]]
QUEUE = torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.8, 0.6]], dtype=torch.float64)
# cosines of the anchors to the queue: [[0, 1, .8], [1, 0, .6]]
ANY = torch.randn(140, 5, generator=torch.Generator().manual_seed(3))


def cross_entropy(*rows: tuple[float, list[float]], temperature: float = 1.0) -> float:
    """Mean over the rows of -log(exp(p/τ) / Σ exp(all/τ)); a row is (positive, negatives)."""
    losses = []
    for positive, negatives in rows:
        exponentials = np.exp(np.array([positive, *negatives]) / temperature)
        losses.append(-np.log(exponentials[0] / exponentials.sum()))
    return float(np.mean(losses))


class TestInfoNCE:
    @pytest.mark.parametrize("temperature", [1.0, 0.2])
    def test_by_hand(self, temperature: float):
        expected = cross_entropy((0.6, [-0.6]), (0.8, [0.8]), temperature=temperature)
        assert float(info_nce(ANCHORS, POSITIVES, temperature=temperature)) == pytest.approx(expected, rel=1e-12)

    def test_length_of_the_vectors_does_not_matter(self):
        loss = info_nce(ANCHORS * 7, POSITIVES * 0.01, temperature=0.5)
        assert float(loss) == pytest.approx(cross_entropy((0.6, [-0.6]), (0.8, [0.8]), temperature=0.5), rel=1e-12)

    def test_a_single_row_gives_zero(self):
        assert float(info_nce(ANCHORS[:1], POSITIVES[:1], temperature=0.2)) == 0

    def test_rows_of_the_same_node_are_no_negatives(self):
        anchors = torch.cat([ANCHORS, ANCHORS[:1]])
        positives = torch.cat([POSITIVES, POSITIVES[:1]])
        loss = info_nce(anchors, positives, temperature=1.0, nodes=torch.tensor([5, 9, 5]))
        expected = cross_entropy((0.6, [-0.6]), (0.8, [0.8, 0.8]), (0.6, [-0.6]))
        assert float(loss) == pytest.approx(expected, rel=1e-12)

    def test_queue_adds_negatives(self):
        loss = info_nce(ANCHORS, POSITIVES, temperature=1.0, queue=QUEUE)
        expected = cross_entropy((0.6, [-0.6, 0, 1, 0.8]), (0.8, [0.8, 1, 0, 0.6]))
        assert float(loss) == pytest.approx(expected, rel=1e-12)

    def test_queue_entries_of_the_same_node_and_empty_ones_do_not_count(self):
        loss = info_nce(
            ANCHORS,
            POSITIVES,
            temperature=1.0,
            nodes=torch.tensor([3, 4]),
            queue=QUEUE,
            queue_nodes=torch.tensor([3, -1, 8]),
        )
        expected = cross_entropy((0.6, [-0.6, 0.8]), (0.8, [0.8, 1, 0.6]))
        assert float(loss) == pytest.approx(expected, rel=1e-12)

    def test_a_single_row_with_a_queue_of_its_own_node_gives_zero(self):
        loss = info_nce(
            ANCHORS[:1],
            POSITIVES[:1],
            temperature=1.0,
            nodes=torch.tensor([3]),
            queue=QUEUE,
            queue_nodes=torch.tensor([3, 3, -1]),
            hard_negatives=2,
        )
        assert float(loss) == 0

    def test_hard_negatives_count_twice(self):
        loss = info_nce(ANCHORS, POSITIVES, temperature=0.5, queue=QUEUE, hard_negatives=2)
        expected = cross_entropy((0.6, [-0.6, 0, 1, 0.8, 1, 0.8]), (0.8, [0.8, 1, 0, 0.6, 1, 0.8]), temperature=0.5)
        assert float(loss) == pytest.approx(expected, rel=1e-12)

    def test_more_hard_negatives_than_negatives(self):
        loss = info_nce(ANCHORS, POSITIVES, temperature=1.0, hard_negatives=10)
        expected = cross_entropy((0.6, [-0.6, -0.6]), (0.8, [0.8, 0.8]))
        assert float(loss) == pytest.approx(expected, rel=1e-12)

    def test_no_gradient_reaches_a_left_out_pair(self, randn):
        anchors, positives = randn(3, 2, grad=True), randn(3, 2, grad=True)
        nodes = torch.tensor([1, 1, 1])
        info_nce(anchors, positives, temperature=0.1, nodes=nodes, hard_negatives=1).backward()
        assert torch.equal(anchors.grad, torch.zeros(3, 2))
        assert torch.equal(positives.grad, torch.zeros(3, 2))

    @pytest.mark.parametrize("hard", [0, 2])
    def test_gradient(self, randn, hard: int):
        queue = torch.nn.functional.normalize(randn(4, 3), dim=1)
        nodes, queue_nodes = torch.tensor([0, 1, 2, 3]), torch.tensor([0, -1, 7, 8])

        def loss(a, p):
            return info_nce(
                a, p, temperature=0.3, nodes=nodes, queue=queue, queue_nodes=queue_nodes, hard_negatives=hard
            )

        assert gradcheck(loss, (randn(4, 3, grad=True), randn(4, 3, grad=True)))

    def test_without_anything_else_the_gradient_is_its_own(self, randn):
        def loss(a, p):
            return 3 * info_nce(a, p, temperature=0.3)

        assert gradcheck(loss, (randn(4, 3, grad=True), randn(4, 3, grad=True)))

    @pytest.mark.parametrize("n", [1, 2, 33, 70])
    def test_in_single_precision_value_and_gradient_are_those_of_different_nodes(self, n: int):
        results = []
        for dtype, nodes in ((torch.float32, None), (torch.float64, torch.arange(n))):
            a, p = (x.to(dtype).requires_grad_() for x in (ANY[:n], ANY[70 : 70 + n]))
            loss = info_nce(a, p, temperature=0.2, nodes=nodes)
            loss.backward()
            results.append([x.detach().double().numpy() for x in (loss, a.grad, p.grad) if x is not None])
        for found, expected in zip(*results, strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=2e-6)


class TestSymmetric:
    def test_is_the_mean_of_both_directions(self):
        forward = cross_entropy((0.6, [-0.6]), (0.8, [0.8]), temperature=0.5)
        backward = cross_entropy((0.6, [0.8]), (0.8, [-0.6]), temperature=0.5)
        loss = symmetric_info_nce(ANCHORS, POSITIVES, temperature=0.5)
        assert float(loss) == pytest.approx((forward + backward) / 2, rel=1e-12)
        assert float(symmetric_info_nce(POSITIVES, ANCHORS, temperature=0.5)) == pytest.approx(float(loss), rel=1e-12)

    def test_each_direction_has_the_queue_of_the_other_view(self):
        # Graph anchors meet the language queue, language anchors the graph queue.
        loss = symmetric_info_nce(
            ANCHORS[:1],
            POSITIVES[:1],
            temperature=1.0,
            nodes=torch.tensor([0]),
            graph_queue=torch.tensor([[-1.0, 0.0]], dtype=torch.float64),
            language_queue=torch.tensor([[0.0, 1.0]], dtype=torch.float64),
            queue_nodes=torch.tensor([9]),
        )
        expected = (cross_entropy((0.6, [0.0])) + cross_entropy((0.6, [-0.6]))) / 2
        assert float(loss) == pytest.approx(expected, rel=1e-12)


class TestViewQueue:
    def push(self, queue: ViewQueue, *nodes: int) -> None:
        values = torch.tensor([[float(node), 0.0] for node in nodes])
        queue.push(values, values.flip(1), torch.tensor(nodes))

    def test_starts_empty(self):
        assert ViewQueue(3, 2).nodes.tolist() == [-1, -1, -1]

    def test_first_in_first_out_around_the_end(self):
        queue = ViewQueue(4, 2)
        self.push(queue, 1, 2, 3)
        assert queue.nodes.tolist() == [1, 2, 3, -1]
        self.push(queue, 4, 5)
        assert queue.nodes.tolist() == [5, 2, 3, 4]
        self.push(queue, 6, 7)
        assert queue.nodes.tolist() == [5, 6, 7, 4]

    def test_of_too_many_the_last_stay(self):
        queue = ViewQueue(3, 2)
        self.push(queue, 9)
        self.push(queue, 1, 2, 3, 4, 5)
        assert sorted(queue.nodes.tolist()) == [3, 4, 5]
        self.push(queue, 6)
        assert sorted(queue.nodes.tolist()) == [4, 5, 6]

    def test_views_are_normalised_and_detached(self):
        queue = ViewQueue(2, 2)
        graph = torch.tensor([[3.0, 4.0]], requires_grad=True)
        language = torch.tensor([[0.0, -2.0]], requires_grad=True)
        queue.push(graph, language, torch.tensor([0]))
        np.testing.assert_allclose(queue.graph[0].numpy(), [0.6, 0.8], rtol=1e-6)
        assert queue.language[0].tolist() == [0, -1]
        assert not queue.graph.requires_grad
        assert not queue.language.requires_grad

    def test_state_restores_in_place(self):
        first, second = ViewQueue(3, 2), ViewQueue(3, 2)
        self.push(first, 1, 2)
        for name, tensor in second.state().items():
            tensor.copy_(first.state()[name])
        self.push(first, 3, 4)
        self.push(second, 3, 4)
        for name, tensor in second.state().items():
            assert torch.equal(tensor, first.state()[name])
