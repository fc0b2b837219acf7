"""Graphs of some of the interactions, for models that leave some out in training."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from recmind.model.graph import BipartiteGraph, build_graph


def subgraph(graph: BipartiteGraph, kept: Tensor) -> BipartiteGraph:
    """The graph of the kept interactions over the same nodes, with degrees of its own.

    Linear in the interactions; made on the CPU.

    Parameters
    ----------
    kept:
        Which interactions stay, in the order of the users' lists, bool ``(n_interactions,)`` on the CPU.
    """
    users, items = interactions(graph)
    part = build_graph(users[kept].numpy(), items[kept].numpy(), graph.n_users, graph.n_items)
    return part.to(graph.degrees.device, graph.degrees.dtype)


def thinned(graph: BipartiteGraph, ratio: float, generator: torch.Generator) -> BipartiteGraph:
    """The graph without a share ``ratio`` of the interactions, each left out or not, with the degrees of the whole.

    Â has the same entries as before where it has any.
    """
    if not ratio:
        return graph
    return replace(subgraph(graph, keep_interactions(graph, ratio, generator)), degrees=graph.degrees)


def interactions(graph: BipartiteGraph) -> tuple[Tensor, Tensor]:
    """User and item of each interaction in the order of the users' lists, int32 ``(n_interactions,)`` on the CPU."""
    counts = graph.offsets[: graph.n_users + 1].diff().cpu()
    users = torch.repeat_interleave(torch.arange(graph.n_users, dtype=torch.int32), counts)
    return users, graph.neighbours[: graph.n_interactions].cpu() - graph.n_users


def keep_interactions(graph: BipartiteGraph, ratio: float, generator: torch.Generator) -> Tensor:
    """Each interaction stays with probability 1 - ``ratio``, bool ``(n_interactions,)``."""
    return torch.rand(graph.n_interactions, generator=generator) >= ratio


def keep_nodes(graph: BipartiteGraph, ratio: float, generator: torch.Generator) -> Tensor:
    """Each user and item stays with probability 1 - ``ratio``, an interaction with both of its ends.

    Returns
    -------
    Tensor
        Which interactions stay, bool ``(n_interactions,)``.
    """
    nodes = torch.rand(graph.n_nodes, generator=generator) >= ratio
    users, items = interactions(graph)
    return nodes[users] & nodes[items + graph.n_users]
