"""What the gates of a finished run let through: γ by degree, and how much of the final vectors is language.

γ multiplies the graph's E^(l) and 1-γ the language view (:mod:`recmind.model.gating`), so a
node gets more language where γ is small. The paper's claim, that nodes with few
interactions lean on language, is a positive rank correlation of γ with the degree.

Where E^(0) contains the language view (``model.initial = "free+text"``), γ E^(l) is
language too, and γ alone says little about how much of a vector is language. With the
gates held fixed, h before its normalisation is linear in the free vectors and the language
views, h = h_F + h_L, and ⟨h_L, h⟩ / ⟨h, h⟩ is the share of the language; the two shares
of a node add up to 1. That is h of the two views; what the order of a user's history adds
(``model.sequence``, ``model.recent``) comes after it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from recmind import kernels
from recmind.errors import ConfigError
from recmind.evaluation.significance import bootstrap_intervals
from recmind.model.recmind import RecMind
from recmind.serving.recommender import Recommender
from recmind.studies.correlation import spearman

_SIDES = ("users", "items")
GROUPS = 10


@dataclass(frozen=True)
class GatesOfRun:
    """The gates of one run.

    Attributes
    ----------
    groups:
        A row per quantity, side and decile of degree: ``what`` (``gate``, ``language``,
        ``alpha``), ``side``, ``layer`` (from 1 with ``gate``, else 0), ``decile`` (from 1),
        ``degree_low``, ``degree_high``, ``n``, ``mean``, ``low``, ``high``.
    correlations:
        A row per quantity and side: ``what``, ``side``, ``layer``, ``n``, ``mean``,
        ``spearman`` with its bounds ``low`` and ``high``; null where one of the two
        is the same for all nodes.

    All bounds are 95% percentile bootstrap intervals over the nodes. Nodes without a
    training edge are in neither: nothing of them flows.
    """

    groups: pl.DataFrame
    correlations: pl.DataFrame


def gates_of_run(run: str | Path, *, bootstrap: int = 1000, seed: int = 0) -> GatesOfRun:
    """The gates of a finished run folder of the model `recmind`.

    Parameters
    ----------
    bootstrap:
        Resamples of the nodes; 0 leaves the intervals out.
    seed:
        Of the resamples.

    Raises
    ------
    RunError
        If there is no finished run.
    ConfigError
        If its model has no gates.
    """
    recommender = Recommender.load(run)
    model = recommender.trained.built()
    if not isinstance(model, RecMind) or model.gate is None:
        raise ConfigError(
            "the run has no gates",
            where=run,
            got=f"model {recommender.config.model.name!r}, gate {recommender.config.model.gate.kind!r}",
            accepted="the model recmind with model.gate.kind = node-layer and a layer",
        )
    return gates_of(model, bootstrap=bootstrap, seed=seed)


def gates_of(model: RecMind, *, bootstrap: int = 1000, seed: int = 0) -> GatesOfRun:
    """The gates of a trained model; see :func:`gates_of_run`."""
    degrees = model.graph.degrees.cpu().numpy().astype(np.int64)
    groups, correlations = [], []
    for what, layer, values in _quantities(model):
        for side, nodes in zip(_SIDES, (slice(0, model.n_users), slice(model.n_users, None)), strict=True):
            connected = degrees[nodes] > 0
            x, degree = values[nodes][connected], degrees[nodes][connected]
            about = {"what": what, "side": side, "layer": layer}
            groups += [about | group for group in _by_degree(x, degree, bootstrap, seed)]
            found = spearman(x, degree, n=bootstrap, seed=seed)
            correlations.append(about | {"n": len(x), "mean": float(x.mean()) if len(x) else None} | found)
    tables = (pl.DataFrame(rows, infer_schema_length=None) for rows in (groups, correlations))
    return GatesOfRun(*tables)


def deciles(degrees: np.ndarray, n: int = GROUPS) -> np.ndarray:
    """Group of each node, from 0: at most ``n`` groups of about equal size, ascending by degree.

    Nodes of the same degree are in the same group, so with many of them there
    are fewer and larger groups.
    """
    if not len(degrees):
        return np.zeros(0, dtype=np.int64)
    # The degree at which each of the first n - 1 groups is full.
    last = -(-np.arange(1, n) * len(degrees) // n) - 1
    edges = np.unique(np.sort(degrees)[last])
    return np.unique(np.searchsorted(edges, degrees, side="left"), return_inverse=True)[1]


@torch.no_grad()
def language_shares(model: RecMind) -> Tensor:
    """⟨h_L, h⟩ / ⟨h, h⟩ of every node, ``(n_nodes,)``; 0 where h is zero.

    What stands for the text of a node without one counts as language where it is
    guessed from texts, and as free where it is the node's own vector.
    """
    language, read = model.language(), model.language.of_texts()
    gates = model().gates
    assert gates is not None
    free = model.free.new_zeros(model.free.shape)
    starts_with_text = model.config.initial == "free+text"
    of_language = _final(model, read if starts_with_text else free, read, gates)
    h = _final(model, model.free + language if starts_with_text else model.free, language, gates)
    length = (h * h).sum(1)
    return torch.where(length > 0, (of_language * h).sum(1) / length.clamp_min(1e-30), 0.0)


def _quantities(model: RecMind) -> Iterator[tuple[str, int, np.ndarray]]:
    """Name, layer and values ``(n_nodes,)`` of everything that is looked at."""
    with torch.no_grad():
        gates = model().gates
    assert gates is not None
    for layer, values in enumerate(gates, 1):
        yield "gate", layer, values.double().cpu().numpy()
    yield "language", 0, language_shares(model).double().cpu().numpy()
    yield "alpha", 0, _alphas(model).double().cpu().numpy()


def _alphas(model: RecMind) -> Tensor:
    """α_v, ``(n_nodes,)``."""
    alpha = model.alpha_of(None)
    return alpha[:, 0] if isinstance(alpha, Tensor) else model.log_degree.new_full((model.graph.n_nodes,), alpha)


def _final(model: RecMind, embeddings: Tensor, language: Tensor, gates: Tensor) -> Tensor:
    """h before its normalisation with the given gates ``(layers, n_nodes)``, ``(n_nodes, d)``."""
    total = embeddings.clone()
    for gamma in gates:
        embeddings = kernels.product(model.graph, torch.lerp(language, embeddings, gamma[:, None]))
        total += embeddings
    return torch.lerp(language, total / (model.config.layers + 1), model.alpha_of(None))


def _by_degree(values: np.ndarray, degrees: np.ndarray, bootstrap: int, seed: int) -> Iterator[dict[str, Any]]:
    """Mean and interval of each decile."""
    group = deciles(degrees)
    for number in range(int(group.max(initial=-1)) + 1):
        inside = group == number
        low, high = bootstrap_intervals({"mean": values[inside]}, n=bootstrap, seed=seed).get("mean", (None, None))
        yield {
            "decile": number + 1,
            "degree_low": int(degrees[inside].min()),
            "degree_high": int(degrees[inside].max()),
            "n": int(inside.sum()),
            "mean": float(values[inside].mean()),
            "low": low,
            "high": high,
        }
