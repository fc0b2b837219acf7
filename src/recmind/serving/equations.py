"""What a trained graph model leaves for serving: the constants of its equations and what its items send."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from recmind import kernels
from recmind.model.baselines.text import TextGraph
from recmind.model.recmind import RecMind
from recmind.model.views import GraphModel, Views
from recmind.serving.folding import Folding
from recmind.serving.sequence import PREFIX
from recmind.serving.tastes import Equations

Array = np.ndarray

_AGREES = 2e-3
"""Largest difference between a user's h and the fold of the training history that is rounding (hops in bfloat16)."""
_CHECKED = 1000


@dataclass(frozen=True)
class Leaves:
    """Tables of a trained model, users first where they hold both sides.

    Attributes
    ----------
    equations:
        Its constants.
    language:
        z^L of all nodes ``(n_nodes, d)``, ``None`` for a model without texts.
    known:
        How much of z^L is text, ``(n_nodes,)``.
    free:
        The free part of E^(0) of the users ``(n_users, d)``, ``None`` for a model without.
    messages:
        m of the items ``(n_items, d)``, ``None`` for a model that cannot fold.
    gates:
        γ, ``(n_nodes, layers)``, ``None`` without a gate.
    parameters:
        What places new items.
    lengths:
        ‖v‖ of all nodes ``(n_nodes,)``, ``None`` where scores are no cosines.
    popularities:
        d̃ of the items as the score takes it ``(n_items,)``, ``None`` where it has no such term.
    deviation:
        Largest difference between h of a trained user and the fold of the training history, ``None`` without.
    """

    equations: Equations
    language: Array | None = None
    known: Array | None = None
    free: Array | None = None
    messages: Array | None = None
    gates: Array | None = None
    parameters: dict[str, Array] | None = None
    lengths: Array | None = None
    popularities: Array | None = None
    deviation: float | None = None


@torch.no_grad()
def leaves_of(model: GraphModel, own_text: bool, cosine: bool) -> Leaves:
    """Take a trained model apart.

    Parameters
    ----------
    own_text:
        Whether users have texts of their own.
    cosine:
        Whether the model's scores are cosines.
    """
    views = model()
    h = model.vectors()
    dim = (h.shape[1] - model.bias_columns) // (2 if model.own_items else 1)
    for leaves in _readings(model, views, dim, own_text, cosine):
        deviation = _deviation(leaves, model, h)
        if deviation <= _AGREES:
            return replace(leaves, deviation=deviation)
    # Vectors are there all the same: users who were trained on can be served.
    unfolded = _readings(model, views, dim, own_text, cosine)[0]
    return replace(unfolded, equations=replace(unfolded.equations, folds=False), messages=None)


def _readings(model: GraphModel, views: Views, dim: int, own_text: bool, cosine: bool) -> list[Leaves]:
    """How the model's h may be made of layers; the check against h tells which of them is so."""
    layers = int(getattr(getattr(model, "config", None), "layers", 0))
    recent = model.config.recent
    base = Equations(
        dim,
        cosine,
        layers=layers,
        recent_weight=model.weight_of("recent"),
        recent_decay=recent.decay,
        recent_items=recent.items,
        sequence_weight=model.weight_of("sequence"),
        sequence_heads=model.config.sequence.heads,
        sequence_from_end=model.config.sequence.places == "end",
        sequence_own_items=model.own_items,
        transition_weight=model.weight_of("transitions"),
        transition_recency=model.config.transitions.recency,
        transition_items=model.config.transitions.items,
        folds=True,
    )
    share = 1 / (layers + 1)
    if isinstance(model, RecMind):
        return [_of_recmind(model, views, replace(base, first=share, others=share, own_text=own_text))]
    if isinstance(model, TextGraph):
        # h is z^G alone, and E^(0) is z^L.
        equations = replace(base, first=share, others=share, starts_with_text=True, own_text=own_text, reads=True)
        language = model.language()
        messages = _messages(model, language, language, None, layers)
        return [_with_texts(model, equations, language, messages, views.graph)]
    free = getattr(model, "free", None)
    if not layers or not isinstance(free, Tensor) or free.shape != (model.graph.n_nodes, dim):
        return [Leaves(replace(base, folds=False))]
    messages = _messages(model, free, None, None, layers)
    means = ((share, share), (0.0, 1 / layers))  # with and without E^(0)
    return [
        Leaves(
            replace(base, first=c0, others=c1),
            free=free[: model.n_users].numpy(),
            messages=messages,
        )
        for c0, c1 in means
    ]


def _of_recmind(model: RecMind, views: Views, equations: Equations) -> Leaves:
    assert views.language is not None
    config = model.config
    equations = replace(
        equations,
        alpha=config.alpha,
        alpha_by_text=config.alpha_by_text,
        starts_with_text=config.initial == "free+text",
        popularity=0.0 if model.popularity is None else float(model.popularity),
        text_links=config.text_links,
        reads=True,
    )
    initial = model.start(views.language)
    messages = _messages(model, initial, views.language, views.gates, equations.layers)
    read = model.language.read
    alpha = config.alpha if read is None or not config.alpha_by_text else 1 - (1 - config.alpha) * read
    v = torch.lerp(views.language, views.graph, alpha)
    leaves = _with_texts(model, equations, views.language, messages, v)
    gates = None if views.gates is None else views.gates.T.contiguous().numpy()
    if gates is not None:
        assert model.gate is not None and leaves.parameters is not None
        leaves.parameters.update({f"gate.{name}": value.numpy() for name, value in model.gate.state_dict().items()})
    popularities = None if model.popularity is None else model.popularities().numpy()
    return replace(leaves, free=model.free[: model.n_users].numpy(), gates=gates, popularities=popularities)


def _with_texts(
    model: RecMind | TextGraph, equations: Equations, language: Tensor, messages: Array, v: Tensor
) -> Leaves:
    read = model.language.read
    known = torch.ones(len(language)) if read is None else read[:, 0]
    parameters = {name: value.numpy() for name, value in model.language.state_dict().items()}
    if isinstance(model, RecMind) and model.sequence is not None and equations.sequence_weight:
        parameters |= {f"{PREFIX}{name}": value.numpy() for name, value in model.sequence.state_dict().items()}
    lengths = v.norm(dim=1).numpy() if equations.cosine else None
    return Leaves(equations, language.numpy(), known.numpy(), messages=messages, parameters=parameters, lengths=lengths)


def _messages(model: GraphModel, current: Tensor, language: Tensor | None, gates: Tensor | None, layers: int) -> Array:
    """m_i = Σ_{l<L} Ê_i^(l) / √max(degree_i, 1), ``(n_items, d)``."""
    graph = model.graph
    total = torch.zeros_like(current[graph.n_users :])
    for layer in range(layers):
        sent = current
        if gates is not None:
            assert language is not None
            sent = torch.lerp(language, current, gates[layer][:, None])
        total += sent[graph.n_users :]
        if layer < layers - 1:
            current = kernels.product(graph, sent.contiguous())
    return (total * graph.degrees[graph.n_users :, None].clamp_min(1).rsqrt()).numpy()


def _deviation(leaves: Leaves, model: GraphModel, h: Tensor) -> float:
    """Largest difference between h and the fold, over users spread through the table."""
    if not leaves.equations.folds or leaves.messages is None:
        return float("inf")
    graph, dim = model.graph, leaves.equations.dim
    folding = Folding(leaves.equations, leaves.parameters or {})
    language, known, n = leaves.language, leaves.known, graph.n_users
    some = np.unique(np.linspace(0, n - 1, min(_CHECKED, n)).astype(np.int64))
    largest = 0.0
    for user in some[graph.degrees[some].numpy() > 0]:
        items = graph.in_time[graph.offsets[user] : graph.offsets[user + 1]].numpy().astype(np.int64)
        zero = np.zeros((len(items), dim), dtype=np.float32)
        taste = folding.fold(
            items,
            leaves.messages[items],
            zero if language is None else language[n + items],
            zero[:, 0] if known is None else known[n + items],
            free=None if leaves.free is None else leaves.free[user],
            view=None
            if language is None or known is None or not leaves.equations.own_text
            else (language[user], bool(known[user])),
        )
        if folding.looks_back:
            taste = folding.with_sequence(taste, leaves.equations.read_of(h[n + items[-folding.looks_back :]].numpy()))
        latest = items[-leaves.equations.recent_items :]
        # Which part of h is language does not matter here.
        taste = folding.with_latest(taste, h[n + latest, :dim].numpy(), np.zeros((len(latest), dim), np.float32))
        row = taste.row(leaves.equations)
        largest = max(largest, float(np.abs(row - h[user, : len(row)].numpy()).max()))
    return largest
