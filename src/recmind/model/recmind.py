"""RecMind: a gated LightGCN and a language view, mixed per node (Xue et al. 2025, arXiv 2509.06286)."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn

from recmind.config import ModelConfig
from recmind.model.gating import Gate, late_gate, propagate_gated
from recmind.model.graph import BipartiteGraph, NodeSubset
from recmind.model.language_view import LanguageView, TextInputs
from recmind.model.propagation import gather_rows, propagate
from recmind.model.sequence import SequenceEncoder, checked_heads
from recmind.model.text_links import TextLinks, near_by_text, text_links
from recmind.model.views import GraphModel, Reading, Views, Weighed, score_space, storage_of


class RecMind(GraphModel):
    """h_v = α z^G_v + (1-α) z^L_v with gated propagation.

    ====================  =====================================================
    graph view            z^G = mean over l of E^(l), E^(l+1) = Â Ê^(l)
    gate                  Ê^(l) = γ^(l) E^(l) + (1-γ^(l)) z^L
    language view         z^L = W_proj z̃^L; without text a trained guess or the free vector
    start                 E^(0) free; + z^L and + S E_free of items alike by text, if so set
    final                 h = α z^G + (1-α) z^L, α by how much of z^L is text if so set
    late fusion           γ of the two views in place of the gates and of α, if so set
    sequence              h_u + ρ_S s_u, s_u read off h_i of the user's items in order, if so set
    score                 ⟨h_u, h_i⟩, or their cosine; + w max(d̃_i, d̃ of f interactions) if so set
    ====================  =====================================================

    Switches of the configuration turn each part back to the paper or off:
    ``model.initial`` (E^(0) free, or free plus z^L), ``model.text_links`` (S), ``model.missing_text``,
    ``model.gate.kind``, ``model.score``, ``model.popularity``,
    ``model.projection``, ``model.alpha``, ``model.alpha_by_text``, ``model.sequence``.
    """

    chosen: ClassVar[tuple[str, ...]] = (*GraphModel.chosen, "popularity_floor")
    popularity_floor: Tensor
    """f, a scalar: an item with fewer interactions counts as popular as one with so many."""

    def __init__(self, graph: BipartiteGraph, texts: TextInputs, config: ModelConfig) -> None:
        super().__init__()
        self.graph, self.config = graph, config
        self.n_users, self.n_items = graph.n_users, graph.n_items
        self.free = _free_part(graph.degrees, config, everywhere=config.initial == "free")
        self.language = LanguageView(texts, graph, config, self.free)
        gated = config.gate.kind == "node-layer" and config.layers > 0
        self.gate = Gate(config.layers, config.dim, config.gate.init_bias) if gated else None
        self.fusion = Gate(1, config.dim, config.gate.init_bias) if config.gate.kind == "late" else None
        self.links = self._links(texts)
        self.log_degree = graph.normalised_log_degree()
        self.popularity = nn.Parameter(torch.zeros(())) if config.popularity else None
        if config.popularity:
            self.register_buffer("popularity_floor", torch.zeros(()))
        self.ones = torch.ones(self.n_users, device=self.log_degree.device, dtype=self.log_degree.dtype)
        self.sequence = self._encoder() if config.sequence.weight else None
        reads_own = config.sequence.weight and config.sequence.own_items
        self.own = _free_part(graph.degrees[self.n_users :], config) if reads_own else None

    def _encoder(self) -> SequenceEncoder:
        settings, dim = self.config.sequence, self.config.dim
        # A row of length 1 has numbers of this size; places should be heard beside them.
        std = dim**-0.5 if self.config.score == "cosine" else self.config.init_std
        return SequenceEncoder(
            self.graph,
            dim=dim,
            blocks=settings.blocks,
            heads=checked_heads(settings.heads, dim, "model.sequence.heads"),
            length=settings.length,
            dropout=settings.dropout,
            init_std=std,
            precision=self.config.precision,
            from_end=settings.places == "end",
        )

    @property
    def reads_order(self) -> bool:
        """Whether there is a sequence encoder."""
        return self.sequence is not None

    @property
    def own_items(self) -> bool:
        """Whether the encoder has item vectors of its own, and counts."""
        return self.own is not None and bool(self.weight_of("sequence"))

    def readings(self, h: Tensor, wanted: NodeSubset, users: Tensor, generator: torch.Generator) -> list[Reading]:
        """h of the users against h, and s, right before each interaction, against what is read of the items."""
        found, d = super().readings(h, wanted, users, generator), self.config.dim
        if self.sequence is None:
            return found
        n = int(torch.searchsorted(wanted.nodes, self.n_users))
        read = self.read_items(h[n:, :d], wanted.nodes[n:] - self.n_users)
        rows = h if read is None else torch.cat([h[:n], torch.cat([read, h[n:, d:]], dim=1)])
        vectors = rows[:, :d]

        def items(codes: Tensor) -> Tensor:
            return gather_rows(vectors, wanted.locate(codes + self.n_users))

        states = score_space(self.sequence.before(users, items, generator), self.config.score)
        return [*found, Reading(torch.cat([states, found[0].users[:, d:]], dim=1), rows)]

    def read_items(self, items: Tensor, codes: Tensor) -> Tensor | None:
        """m_i = h_i + e_i, brought to length 1 where scores are cosines."""
        if self.own is None:
            return None
        return score_space(items + gather_rows(self.own, codes), self.config.score)

    def states(self, items: Tensor) -> Tensor | None:
        """s of all users, ``(n_users, d)``."""
        if self.sequence is None:
            return None
        users = torch.arange(self.n_users, device=items.device)
        return score_space(self.sequence.after(users, lambda codes: items[codes]), self.config.score)

    @property
    def weighed(self) -> tuple[Weighed, ...]:
        """With the sequence encoder, if there is one."""
        return super().weighed if self.sequence is None else (*super().weighed, "sequence")

    @property
    def bias_columns(self) -> int:
        """1 with a popularity term."""
        return int(self.popularity is not None)

    def terms(self) -> Tensor | None:
        """1 for a user, w max(d̃_i, d̃ of f interactions) for an item: their product is the term of the score."""
        if self.popularity is None:
            return None
        return torch.cat([self.ones, self.popularity * self.popularities()])[:, None]

    def popularities(self) -> Tensor:
        """What w multiplies, ``(n_items,)``: d̃ of the items, and no less than that of f interactions."""
        logs, largest = self.log_degree[self.n_users :], torch.log1p(self.graph.degrees[self.n_users :].max())
        return torch.maximum(logs, (torch.log1p(self.popularity_floor) / largest.clamp_min(1e-12)).clamp_max(1))

    def forward(self, generator: torch.Generator | None = None, wanted: NodeSubset | None = None) -> Views:
        """Views of the wanted nodes, or of all."""
        projected = self.language(generator)
        initial = self.start(projected)
        free = self.free if wanted is None else gather_rows(self.free, wanted.nodes)
        storage = storage_of(self.config)
        if self.gate is None:
            graph, _ = propagate(initial, self.graph, self.config.layers, wanted, storage)
            language = projected if wanted is None else gather_rows(projected, wanted.nodes)
            return Views(graph, language, free, wanted=wanted)
        graph, language, gates = propagate_gated(
            initial, projected, self.log_degree, self.graph, self.gate, wanted, storage
        )
        return Views(graph, language, free, gates, wanted)

    def start(self, language: Tensor) -> Tensor:
        """E^(0) from z^L ``(n_nodes, d)``: free vectors, those of items with S of them, and z^L, as set."""
        plus = language if self.config.initial == "free+text" else None
        if self.links is not None:
            return self.links.spread(self.free, self.n_users, plus)
        return self.free if plus is None else self.free + plus

    def replace_texts(self, texts: TextInputs) -> None:
        """Read other text vectors of the same nodes from now on; the parameters stay."""
        self.language.replace_texts(texts)
        self.links = self._links(texts)

    def _links(self, texts: TextInputs) -> TextLinks | None:
        k = self.config.text_links
        if k and texts.near is not None and texts.shares is not None:
            return TextLinks.of(texts.near, texts.shares.to(self.graph.degrees.dtype))
        return text_links(texts, self.graph, k) if k else None

    def with_links(self, texts: TextInputs) -> TextInputs:
        """``texts`` of this model with the links that were found for them."""
        return texts if self.links is None else replace(texts, near=self.links.near, shares=self.links.shares)

    @torch.no_grad()
    def new_items(self, vectors: Tensor, known: Tensor) -> Tensor:
        """h of items without an edge: their free part is zero and nothing flows to them.

        With text links, z^G of an item with a text is that of the items it
        would be linked to, Σ_j S_ij z^G_j: what the graph says about the items
        most like it. The mean of their texts' views would say less than its
        own text does; what they were bought with is new.

        For the popularity term they count as the average item that has been
        bought: it is unknown how popular they will be, which is another thing
        than being known to be unpopular.

        The encoder reads h of them: they have no vector of its own.
        """
        language = self.language.project(vectors, known)
        initial = language if self.config.initial == "free+text" else torch.zeros_like(language)
        graph, alpha = initial / (self.config.layers + 1), self.config.alpha
        if self.links is not None:
            codes, shares = near_by_text(self.language.texts, self.graph, vectors, self.config.text_links)
            heard = torch.einsum("nk,nkd->nd", shares.to(graph.dtype), self().graph[self.n_users :][codes])
            graph = torch.where((known & (shares.sum(1) > 0))[:, None], heard, graph)
        if self.fusion is not None:
            nothing, items = language.new_zeros(len(language)), torch.ones_like(known, dtype=torch.bool)
            alpha = late_gate(graph, language, nothing, self.fusion, items)
        if self.config.alpha_by_text:
            alpha = 1 - (1 - alpha) * known[:, None].to(language.dtype)
        h = self._mix(graph, language, alpha)
        if self.own_items:
            h = torch.cat([h, torch.zeros_like(h)], dim=1)
        if self.popularity is None:
            return h
        bought = self.log_degree[self.n_users :] > 0
        expected = self.popularity * (self.popularities() * bought).sum() / bought.sum().clamp_min(1)
        return torch.cat([h, expected.expand(len(h), 1)], dim=1)

    def final(self, views: Views) -> Tensor:
        """h = α_v z^G + (1-α_v) z^L, ``(k, d)``, one column more with a popularity term."""
        assert views.language is not None
        alpha = self.alpha_of(views.wanted) if self.fusion is None else self._late(views, self.fusion)
        h, terms = self._mix(views.graph, views.language, alpha), self.terms()
        if terms is None:
            return h
        return torch.cat([h, terms if views.wanted is None else gather_rows(terms, views.wanted.nodes)], dim=1)

    def alpha_of(self, wanted: NodeSubset | None) -> float | Tensor:
        """α, or with ``model.alpha_by_text`` α_v = 1 - (1-α) k_v of the wanted nodes, ``(k, 1)``."""
        return self._by_text(self.config.alpha, wanted)

    def _late(self, views: Views, gate: Gate) -> Tensor:
        """γ of the views' nodes in place of α, ``(k, 1)``."""
        assert views.language is not None
        nodes = torch.arange(len(self.log_degree), device=self.log_degree.device)
        nodes = nodes if views.wanted is None else views.wanted.nodes
        gamma = late_gate(views.graph, views.language, self.log_degree[nodes], gate, nodes >= self.n_users)
        return torch.as_tensor(self._by_text(gamma, views.wanted))

    def _by_text(self, alpha: float | Tensor, wanted: NodeSubset | None) -> float | Tensor:
        read = self.language.read
        if not self.config.alpha_by_text or read is None:
            return alpha
        return 1 - (1 - alpha) * (read if wanted is None else read[wanted.nodes])

    def _mix(self, graph: Tensor, language: Tensor, alpha: float | Tensor) -> Tensor:
        return score_space(torch.lerp(language, graph, alpha), self.config.score)


def _free_part(degrees: Tensor, config: ModelConfig, *, everywhere: bool = False) -> nn.Parameter:
    """Free vectors of nodes; of one without an edge nothing is known but its text, so its own is zero and stays so,
    unless they are ``everywhere``."""
    free = nn.Parameter(torch.randn(len(degrees), config.dim) * config.init_std)
    lonely = torch.nonzero(degrees == 0).squeeze(1)  # on the device of the graph, where the gradient will be
    if len(lonely) and not everywhere:
        with torch.no_grad():
            free.index_fill_(0, lonely.cpu(), 0)
        free.register_post_accumulate_grad_hook(partial(_without_gradient, nodes=lonely))
    return free


def _without_gradient(table: Tensor, nodes: Tensor) -> None:
    # Once accumulated, the gradient belongs to this table alone and may be changed in place.
    assert table.grad is not None
    table.grad.index_fill_(0, nodes, 0)
