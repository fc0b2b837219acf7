"""Optimiser steps of the trainer against a second implementation in numpy.

The second implementation shares no line with the first: loops and dense
matrices in place of sparse products, and gradients by complex steps: for an
analytic f, Im f(x + ih) / h is the derivative to the last bit, without the
cancellation of central differences.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.special import erf

from recmind.data.splitting import Split
from recmind.training.trainer import Trainer

Parameters = dict[str, np.ndarray]
STEP = 1e-40


def gradients(loss: Callable[[Parameters], complex], parameters: Parameters) -> Parameters:
    found = {}
    for name, value in parameters.items():
        grad = np.zeros(value.shape)
        for at in np.ndindex(value.shape):
            nudged = value.astype(complex)
            nudged[at] += 1j * STEP
            grad[at] = loss({**parameters, name: nudged}).imag / STEP
        found[name] = grad
    return found


class Adam:
    """Kingma & Ba 2015, algorithm 1."""

    def __init__(self, parameters: Parameters, rate: float) -> None:
        self.rate, self.t = rate, 0
        self.m = {name: np.zeros(value.shape) for name, value in parameters.items()}
        self.v = {name: np.zeros(value.shape) for name, value in parameters.items()}

    def step(self, parameters: Parameters, grads: Parameters) -> Parameters:
        self.t += 1
        moved = {}
        for name, grad in grads.items():
            self.m[name] = 0.9 * self.m[name] + 0.1 * grad
            self.v[name] = 0.999 * self.v[name] + 0.001 * grad**2
            m, v = self.m[name] / (1 - 0.9**self.t), self.v[name] / (1 - 0.999**self.t)
            moved[name] = parameters[name] - self.rate * m / (np.sqrt(v) + 1e-8)
        return moved


def adjacency_of(split: Split) -> np.ndarray:
    dense = np.zeros((split.n_users, split.n_items))
    dense[split.train.users, split.train.items] = 1
    return dense


def normalised(adjacency: np.ndarray) -> np.ndarray:
    """Â of all nodes, straight from the definition."""
    n_users, n_items = adjacency.shape
    whole = np.zeros((n_users + n_items, n_users + n_items))
    for u, i in zip(*np.nonzero(adjacency), strict=True):
        weight = 1 / np.sqrt(adjacency[u].sum() * adjacency[:, i].sum())
        whole[u, n_users + i] = whole[n_users + i, u] = weight
    return whole


def unit(rows: np.ndarray) -> np.ndarray:
    """Rows of length 1, analytic (no conjugate); zero rows stay."""
    length = np.sqrt((rows * rows).sum(1, keepdims=True))
    return rows / np.where(length == 0, 1, length)


def log_sum_exp(x: list[complex]) -> complex:
    top = max(np.real(x))
    return top + np.log(sum(np.exp(value - top) for value in x))


def softplus(x: complex) -> complex:
    return np.log(1 + np.exp(x))


def mlp(x: np.ndarray, p: Parameters, prefix: str) -> np.ndarray:
    hidden = x @ p[f"{prefix}.0.weight"].T + p[f"{prefix}.0.bias"]
    hidden = 0.5 * hidden * (1 + erf(hidden / np.sqrt(2)))
    return hidden @ p[f"{prefix}.2.weight"].T + p[f"{prefix}.2.bias"]


def log_degrees(adjacency: np.ndarray) -> np.ndarray:
    sides = [np.log(1 + adjacency.sum(1)), np.log(1 + adjacency.sum(0))]
    return np.concatenate([side / side.max() for side in sides])


def context(vectors: np.ndarray, adjacency: np.ndarray) -> np.ndarray:
    """Mean text around every node without its own, and the log degree."""
    n_users, n_items = adjacency.shape
    rows = np.zeros((n_users + n_items, vectors.shape[1]))
    for u in range(n_users):
        if adjacency[u].any():
            rows[u] = vectors[adjacency[u] > 0].mean(0)
    for i in range(n_items):
        means = []
        for u in np.flatnonzero(adjacency[:, i]):
            others = [j for j in np.flatnonzero(adjacency[u]) if j != i]
            means.append(vectors[others].mean(0) if others else np.zeros(vectors.shape[1]))
        if means:
            rows[n_users + i] = np.mean(means, 0)
    return np.concatenate([unit(rows), log_degrees(adjacency)[:, None]], axis=1)


class Reference:
    """RecMind as in the table of the design: gate on, linear projection, users as means of their items."""

    def __init__(self, split, texts, config) -> None:
        self.adjacency, self.config = adjacency_of(split), config
        self.n_users = split.n_users
        self.hat = normalised(self.adjacency)
        self.vectors, self.known = texts.items.numpy().astype(float), texts.items_known.numpy()
        self.context = context(self.vectors, self.adjacency)
        self.log_degree = log_degrees(self.adjacency)
        self.queue: dict[str, list[tuple[int, np.ndarray, np.ndarray]]] = {"users": [], "items": []}

    def language(self, p: Parameters) -> np.ndarray:
        items = self.vectors @ p["language.projection.weight"].T
        fallback = mlp(self.context, p, "language.fallback")
        items = np.where(self.known[:, None], items, fallback[self.n_users :])
        users = []
        for u in range(self.n_users):
            own = np.flatnonzero(self.adjacency[u])
            users.append(items[own].sum(0) / len(own) if len(own) else fallback[u])
        return np.concatenate([np.array(users), items])

    def graph(self, p: Parameters, language: np.ndarray) -> np.ndarray:
        current = total = p["free"]
        d = current.shape[1]
        for layer in range(self.config.model.layers):
            mixed = []
            for v in range(len(current)):
                side = 0 if v < self.n_users else 1
                w, b = p["gate.weight"][layer, side], p["gate.bias"][layer, side]
                logit = current[v] @ w[:d] + language[v] @ w[d : 2 * d] + self.log_degree[v] * w[2 * d] + b
                gamma = 1 / (1 + np.exp(-logit))
                mixed.append(gamma * current[v] + (1 - gamma) * language[v])
            current = self.hat @ np.array(mixed)
            total = total + current
        return total / (self.config.model.layers + 1)

    def info_nce(self, anchors, positives, nodes, queue) -> complex:
        a, settings = unit(anchors), self.config.alignment
        b, losses = unit(positives), []
        for row in range(len(nodes)):
            own = (a[row] @ b[row]) / settings.temperature
            others = [(a[row] @ b[k]) / settings.temperature for k in range(len(nodes)) if k != row]
            others += [(a[row] @ view) / settings.temperature for node, view in queue if node != nodes[row]]
            hardest = sorted(others, key=np.real)[::-1][: settings.hard_negatives]
            losses.append(log_sum_exp([own, *others, *hardest]) - own)
        return sum(losses) / len(losses)

    def sides(self, users: np.ndarray, items: np.ndarray) -> list[tuple[str, np.ndarray]]:
        return [("users", np.unique(users)), ("items", np.unique(items) + self.n_users)]

    def loss(self, p: Parameters, users: np.ndarray, items: np.ndarray, negatives: np.ndarray) -> complex:
        settings = self.config.training
        language = self.language(p)
        graph = self.graph(p, language)
        alpha = self.config.model.alpha
        h = alpha * graph + (1 - alpha) * language
        terms = []
        for u, i, row in zip(users, items, negatives, strict=True):
            score = h[u] @ h[self.n_users + i]
            terms += [softplus((h[u] @ h[self.n_users + j] - score) / settings.temperature) for j in row]
        total = sum(terms) / len(terms)
        for side, nodes in self.sides(users, items):
            queue = self.queue[side]
            forward = self.info_nce(graph[nodes], language[nodes], nodes, [(n, lang) for n, _, lang in queue])
            backward = self.info_nce(language[nodes], graph[nodes], nodes, [(n, view) for n, view, _ in queue])
            total = total + self.config.alignment.weight * 0.5 * (forward + backward)
        free = p["free"]
        rows = [*users, *(items + self.n_users), *(negatives.ravel() + self.n_users)]
        omega = sum((free[row] * free[row]).sum() for row in rows) / (2 * len(users))
        return total + settings.weight_decay * omega

    def push(self, p: Parameters, momentum: Parameters, users: np.ndarray, items: np.ndarray) -> None:
        graph = self.graph(p, self.language(p))
        language = self.language({**p, **momentum})
        for side, nodes in self.sides(users, items):
            entries = [(int(n), unit(graph[[n]])[0], unit(language[[n]])[0]) for n in nodes]
            self.queue[side] = (self.queue[side] + entries)[-self.config.alignment.queue_size :]


class LightGCNReference:
    def __init__(self, split, texts, config) -> None:
        self.config, self.n_users = config, split.n_users
        self.hat = normalised(adjacency_of(split))

    def loss(self, p: Parameters, users: np.ndarray, items: np.ndarray, negatives: np.ndarray) -> complex:
        layers, settings = self.config.model.layers, self.config.training
        h = sum(np.linalg.matrix_power(self.hat, k) for k in range(layers + 1)) @ p["free"] / (layers + 1)
        terms = []
        for u, i, row in zip(users, items, negatives, strict=True):
            score = h[u] @ h[self.n_users + i]
            terms += [softplus((h[u] @ h[self.n_users + j] - score) / settings.temperature) for j in row]
        rows = [*users, *(items + self.n_users), *(negatives.ravel() + self.n_users)]
        omega = sum((p["free"][row] * p["free"][row]).sum() for row in rows) / (2 * len(users))
        return sum(terms) / len(terms) + settings.weight_decay * omega


def copy_of(model: torch.nn.Module) -> Parameters:
    return {name: value.detach().numpy().copy() for name, value in model.named_parameters()}


def trained(trainer: Trainer) -> tuple[list[tuple[np.ndarray, ...]], list[Parameters], list[Parameters]]:
    """Train, and note each step's batch (users, items, negatives), gradients and parameters after it."""
    batches, negatives, grads, after = [], [], [], []
    sampler, optimizer = trainer.sampler, trainer.optimizer
    real = sampler.batches, sampler.negatives, optimizer.step

    def noted_batches(*arguments):
        for users, items in real[0](*arguments):
            batches.append((users.numpy().copy(), items.numpy().copy()))
            yield users, items

    def noted_negatives(*arguments):
        negatives.append(real[1](*arguments))
        return negatives[-1]

    def noted_step():
        grads.append({name: p.grad.numpy().copy() for name, p in trainer.model.named_parameters()})
        real[2]()
        after.append(copy_of(trainer.model))

    sampler.batches, sampler.negatives, optimizer.step = noted_batches, noted_negatives, noted_step
    trainer.fit()
    steps = [(users, items, drawn.numpy()) for (users, items), drawn in zip(batches, negatives, strict=True)]
    return steps, grads, after


@pytest.fixture
def tiny_split(split_of, monkeypatch: pytest.MonkeyPatch) -> Split:
    """Five users (the last without an edge) and six items (the last without an edge)."""
    monkeypatch.setattr("recmind.training.trainer._MIN_STEPS", 1)
    train = [(0, 0), (0, 1), (0, 3), (1, 1), (1, 2), (2, 0), (2, 4), (3, 2), (3, 3), (3, 4)]
    return split_of(train, 5, 6)


@pytest.fixture
def tiny_texts(text_inputs):
    return type(text_inputs)(text_inputs.items[:6], text_inputs.items_known[:6])


def test_two_steps_of_recmind(tiny_split, tiny_texts, settings, model_of):
    config = settings(
        model__dim=3,
        model__init_std=0.5,
        model__alpha=0.4,
        model__fallback_mask=0.0,
        model__text_dropout=0.0,
        training__n_negatives=2,
        training__negatives="uniform",
        training__hard_candidates=1,
        training__temperature=0.7,
        training__weight_decay=0.01,
        training__batch_size=5,
        training__max_epochs=1,
        training__learning_rate=0.01,
        alignment__weight=0.3,
        alignment__temperature=0.5,
        alignment__sides="both",
        alignment__batch_size=16,
        alignment__queue_size=4,
        alignment__queue_momentum=0.9,
        alignment__hard_negatives=2,
    )
    assert (config.model.projection, config.model.gate.kind, config.model.initial) == ("linear", "node-layer", "free")
    assert (config.model.score, config.training.loss) == ("dot", "bpr")
    model = model_of(tiny_split, tiny_texts, config, torch.float64)
    with torch.no_grad():
        model.gate.weight.normal_(generator=torch.Generator().manual_seed(2))
    trainer = Trainer(model, tiny_split, config, validate=None, show_progress=False)
    parameters = copy_of(model)
    momentum = {name: value for name, value in parameters.items() if name.startswith("language.")}
    reference, adam = Reference(tiny_split, tiny_texts, config), Adam(parameters, 0.01)

    steps, grads, after = trained(trainer)
    assert len(steps) == 2
    for (users, items, negatives), found, moved in zip(steps, grads, after, strict=True):
        expected = gradients(lambda p, u=users, i=items, j=negatives: reference.loss(p, u, i, j), parameters)
        for name in parameters:
            np.testing.assert_allclose(found[name], expected[name], rtol=1e-9, atol=1e-12, err_msg=name)
        reference.push(parameters, momentum, users, items)
        parameters = adam.step(parameters, expected)
        momentum = {name: 0.9 * value + 0.1 * parameters[name] for name, value in momentum.items()}
        for name in parameters:
            np.testing.assert_allclose(moved[name], parameters[name], rtol=0, atol=1e-10, err_msg=name)
    for name, value in trainer.objective.momentum.named_parameters():
        np.testing.assert_allclose(value.numpy(), momentum[f"language.{name}"], rtol=0, atol=1e-10)
    for side, entries in reference.queue.items():
        queue = trainer.objective.queues[side]
        order = [(int(queue.head) + k) % 4 for k in range(4)]
        assert queue.nodes[order].tolist() == [node for node, _, _ in entries]
        np.testing.assert_allclose(queue.graph[order].numpy(), [view for _, view, _ in entries], atol=1e-10)
        np.testing.assert_allclose(queue.language[order].numpy(), [lang for _, _, lang in entries], atol=1e-10)


def test_two_steps_of_lightgcn(tiny_split, settings, model_of):
    config = settings(
        model__name="lightgcn",
        model__dim=3,
        model__layers=3,
        model__init_std=0.5,
        model__score="dot",
        training__loss="bpr",
        training__negatives="uniform",
        training__hard_candidates=1,
        training__n_negatives=1,
        training__temperature=1.0,
        training__weight_decay=0.05,
        training__batch_size=5,
        training__max_epochs=1,
        training__learning_rate=0.02,
    )
    model = model_of(tiny_split, None, config, torch.float64)
    trainer = Trainer(model, tiny_split, config, validate=None, show_progress=False)
    parameters = copy_of(model)
    reference, adam = LightGCNReference(tiny_split, None, config), Adam(parameters, 0.02)
    steps, grads, after = trained(trainer)
    assert len(steps) == 2
    for (users, items, negatives), found, moved in zip(steps, grads, after, strict=True):
        expected = gradients(lambda p, u=users, i=items, j=negatives: reference.loss(p, u, i, j), parameters)
        np.testing.assert_allclose(found["free"], expected["free"], rtol=1e-9, atol=1e-12)
        parameters = adam.step(parameters, expected)
        np.testing.assert_allclose(moved["free"], parameters["free"], rtol=0, atol=1e-10)
