"""A user from a history and an item from a text, by the model's own equations and without training.

A node's h is v / ‖v‖ (v itself where scores are inner products), with

    v_u = a f + a c₁ |S|^-1/2 Σ_{i∈S} m_i + b z^L_u          z^L_u = 1/|S| Σ_{i∈S} z^L_i

where S are the user's items, a = α_u, f = c₀ E_free the user's own free part
(zero for somebody who was not there in training), and

    m_i = Σ_{l<L} Ê_i^(l) / √max(degree_i, 1)                 what item i sends to a user, all layers together
    b   = (1-a) + a c₀ s                                       s: 1 where E^(0) holds z^L, else 0

c₀ and c₁ are the shares of E^(0) and of the layers above in z^G: 1/(L+1) each,
0 and 1/L for XSimGCL. That is one step of propagation, Â Ê, from all of the
trained items' layers at once: for a user who was trained on, with S the
training items, it is the model's own h, up to rounding. For somebody new it is
what h would be if the items did not notice one user more. New users have no
free part, and neither the items' degrees nor their layers count them.

Where histories are read in order (``model.sequence``), the user's h is then brought
to length 1 again after it was given h_u + ρ_S s_u, with s_u the encoder's state
after the history (:mod:`recmind.serving.sequence`), of length 1 too for cosines. Where the encoder has
item vectors of its own, it reads these, m_i, and the score is ⟨h_u, h_i⟩ + ⟨r_u, m_i - h_i⟩ with r_u
the part of h_u that is the state.

Where the latest items count (``model.recent``), it is brought to length 1 once more
after it was given its share of theirs:

    h_u + ρ Σ_m ω_m h_{j_m}, j_0 the latest item and ω_m ∝ decay^m

An item without an edge has no neighbours to hear from: v_i = b z^L_i; or, where
the model links items by text, v_i = a Σ_j S_ij z^G_j + (1-a) z^L_i with j the
items of the most similar texts (:mod:`recmind.serving.neighbours`). It still
sends to the users who choose it, as a node of degree 1 with its own gate.

A wish in words is not folded: it is compared with the items' texts (:mod:`recmind.serving.wishes`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from recmind.serving.sequence import SequenceReader
from recmind.serving.tastes import Equations, Placed, Taste

Array = np.ndarray

NAMED = 10
"""How many of the latest items are told apart in the state after a history."""


class Folding:
    """The equations with the model's parameters, in numpy.

    Parameters
    ----------
    parameters:
        ``projection.*``, ``fallback.*``, ``gate.*`` and ``sequence.*`` as the model calls them, as far as it has them.
    """

    def __init__(self, equations: Equations, parameters: Mapping[str, Array]) -> None:
        self.equations = equations
        self._projection = _network(parameters, "projection")
        self._fallback = _network(parameters, "fallback")
        self._gate = (parameters["gate.weight"], parameters["gate.bias"]) if "gate.weight" in parameters else None
        self._sequence = self._reader(parameters) if equations.sequence_weight else None

    def _reader(self, parameters: Mapping[str, Array]) -> SequenceReader:
        equations = self.equations
        return SequenceReader(parameters, equations.sequence_heads, from_end=equations.sequence_from_end)

    def project(self, texts: Array, known: Array) -> Array:
        """z^L of nodes without an edge from z̃ ``(n, d_lm)`` and whether there is a text ``(n,)``: ``(n, d)``."""
        projected = _apply(self._projection, texts)
        if not self._fallback:
            return projected * known[:, None]
        nothing = np.zeros((1, texts.shape[1] + 1), dtype=np.float32)
        return np.where(known[:, None], projected, _apply(self._fallback, nothing))

    def place(self, texts: Array, known: Array, heard: Array | None = None) -> Placed:
        """Items without an edge.

        Parameters
        ----------
        texts, known:
            z̃ ``(n, d_lm)`` and whether there is a text ``(n,)``.
        heard:
            Σ_j S_ij z^G_j ``(n, d)`` of the items with similar texts, zero where there are none.
        """
        equations = self.equations
        language = self.project(texts, known)
        a = np.array([equations.share_of_graph(float(there)) for there in known], dtype=np.float32)
        b = (1 - a) + (a * equations.first if equations.starts_with_text else 0)
        graph = np.zeros_like(language)
        if heard is not None:
            linked = known & heard.any(axis=1)
            b = np.where(linked, 1 - a, b)
            graph[linked] = a[linked, None] * heard[linked]
        v = b[:, None] * language + graph
        length = self._to_length(v)
        vectors, scale = length[:, None] * v, (b * length).astype(np.float32)
        rows = np.zeros((len(language), equations.width + 1), dtype=np.float32)
        rows[:, : equations.dim], rows[:, -1] = vectors, equations.average_degree
        messages, gates = self._messages(language)
        return Placed(rows, language, scale, messages, gates)

    def fold(
        self,
        items: Array,
        messages: Array,
        language: Array,
        known: Array,
        *,
        texts: Array | None = None,
        free: Array | None = None,
        view: tuple[Array, bool] | None = None,
    ) -> Taste:
        """A user from a history.

        Parameters
        ----------
        items:
            Codes of the n items, for the answer.
        messages, language, known:
            m and z^L ``(n, d)`` and whether there is a text ``(n,)``.
        texts:
            z̃ ``(n, d_lm)``; needed where ``own_text`` holds and no ``view`` is given.
        free:
            The user's free part ``(d,)``, of somebody who was trained on.
        view:
            z^L ``(d,)`` and whether it is text, of a user with a text of its own.
        """
        equations = self.equations
        n = max(len(items), 1)
        shared = language * np.float32(1 / n)  # what each item adds to z^L
        share_known = float(known.sum()) / n
        if equations.own_text:
            view = view or self._read_together(texts, known)
            shared, share_known = np.zeros_like(shared), float(view[1])
        z = shared.sum(axis=0) if view is None else view[0]
        a = equations.share_of_graph(share_known)
        b = np.float32(equations.share_of_language(a))
        carried = np.float32(a * equations.others / np.sqrt(n)) * messages + b * shared
        v = carried.sum(axis=0) if view is None else carried.sum(axis=0) + b * z
        if free is not None:
            v = v + np.float32(a * equations.first) * free
        scale = self._to_length(v)
        return Taste(scale * v, scale * b * z, z, items, scale * carried)

    @property
    def looks_back(self) -> int:
        """How many of the latest items are read in order, 0 for a model that does not."""
        return 0 if self._sequence is None else self._sequence.length

    def with_sequence(self, taste: Taste, vectors: Array) -> Taste:
        """A taste with what its items say in their order.

        Parameters
        ----------
        vectors:
            What the encoder reads of the latest items (:meth:`Equations.read_of`), in the order of time, ``(n, d)``; n
            is the number of items, at most :attr:`looks_back`.
        """
        if self._sequence is None:
            return taste
        state = self._sequence.state(vectors)
        read = np.float32(self.equations.sequence_weight) * (unit(state) if self.equations.cosine else state)
        vector = taste.vector + read
        scale = self._to_length(vector)
        return Taste(
            scale * vector, scale * taste.language, taste.view, taste.items, scale * taste.carried, scale * read
        )

    def by_item(self, taste: Taste, vectors: Array) -> Taste:
        """A taste that knows what each of the latest items changes in the state after the history.

        That is the state as it is less the state without the item: what it says in its place, beside the others. The
        rest stays the user's own. A pass of the encoder for each of the latest :data:`NAMED` items.

        Parameters
        ----------
        vectors:
            As in :meth:`with_sequence`, and of the item before these, which is read in the place of one that is not.
        """
        if self._sequence is None or taste.read is None:
            return taste
        weight = np.linalg.norm(taste.read) if self.equations.cosine else np.float32(self.equations.sequence_weight)
        told = np.zeros_like(taste.carried)
        for back in range(1, min(NAMED, self.looks_back, len(vectors)) + 1):
            state = self._sequence.state(np.delete(vectors, len(vectors) - back, axis=0))
            told[-back] = taste.read - weight * (unit(state) if self.equations.cosine else state)
        return replace(taste, told=told)

    def with_latest(self, taste: Taste, vectors: Array, language: Array) -> Taste:
        """A taste with what its latest items add.

        Parameters
        ----------
        taste:
            Its items are in the order of time.
        vectors, language:
            h of the latest items and the part of it that is z^L, ``(m, d)``, in the order of time; m is the number of
            items, :attr:`Equations.recent_items` at most.
        """
        equations, m = self.equations, len(vectors)
        if not equations.recent_weight or not m:
            return taste
        shares = np.float32(equations.recent_decay) ** np.arange(m - 1, -1, -1, dtype=np.float32)
        shares = (equations.recent_weight * shares / shares.sum()).astype(np.float32)[:, None]
        carried = taste.carried.copy()
        carried[-m:] += shares * vectors
        vector = taste.vector + (shares * vectors).sum(axis=0)
        scale = self._to_length(vector)
        together = taste.language + (shares * language).sum(axis=0)
        read = None if taste.read is None else scale * taste.read
        return Taste(scale * vector, scale * together, taste.view, taste.items, scale * carried, read)

    def _read_together(self, texts: Array | None, known: Array) -> tuple[Array, bool]:
        """z^L of somebody without a text of its own: W of the normalised mean of the items' z̃."""
        dim = self.equations.dim
        if texts is None or not known.any():
            return np.zeros(dim, dtype=np.float32), False
        mean = (texts * known[:, None]).sum(axis=0)
        return _apply(self._projection, unit(mean)[None])[0], True

    def _messages(self, language: Array) -> tuple[Array, Array]:
        """m and γ of items without an edge: their free part is zero and E^(l) is from the first layer on."""
        n, equations = len(language), self.equations
        starts = language if equations.starts_with_text else np.zeros_like(language)
        if self._gate is None:
            sent = starts if equations.layers else np.zeros_like(language)
            return sent, np.empty((n, 0), dtype=np.float32)
        weight, bias = self._gate
        total, gates = np.zeros_like(language), np.empty((n, equations.layers), dtype=np.float32)
        for layer in range(equations.layers):
            embeddings = starts if layer == 0 else np.zeros_like(language)
            w = weight[layer, 1]  # (2 d + 1,): of items; their d̃ is 0
            logits = embeddings @ w[: equations.dim] + language @ w[equations.dim : -1] + bias[layer, 1]
            gamma = 1 / (1 + np.exp(-logits))
            gates[:, layer] = gamma
            total += gamma[:, None] * embeddings + (1 - gamma[:, None]) * language
        return total, gates

    def _to_length(self, v: Array) -> Any:
        """What rows are multiplied with to become h: 1 over their length for cosines, else 1."""
        if not self.equations.cosine:
            return np.ones(v.shape[:-1], dtype=np.float32)
        return (1 / np.maximum(np.linalg.norm(v, axis=-1), 1e-12)).astype(np.float32)


def unit(x: Array) -> Array:
    """``x`` at length 1, zero where it is zero."""
    return x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), np.float32(1e-12))


Layer = tuple[Array, Array | None]


def _network(parameters: Mapping[str, Array], name: str) -> list[Layer]:
    """Weights and biases of a linear layer or of an MLP with one hidden layer, in order."""
    if f"{name}.weight" in parameters:
        return [(parameters[f"{name}.weight"], None)]
    return [
        (parameters[f"{name}.{place}.weight"], parameters[f"{name}.{place}.bias"])
        for place in (0, 2)
        if f"{name}.{place}.weight" in parameters
    ]


def _apply(layers: list[Layer], x: Array) -> Array:
    """The layers one after the other, with GELU between them, ``(n, d_out)`` float32."""
    from scipy.special import erf

    for place, (weight, bias) in enumerate(layers):
        if place:
            x = 0.5 * x * (1 + erf(x * np.float32(np.sqrt(0.5))))
        x = x @ weight.T if bias is None else x @ weight.T + bias
    return x.astype(np.float32, copy=False)
