"""A dataset's texts behind a language model whose adapters learn: vectors with a gradient, and whole tables."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from recmind.config import Config
from recmind.data.dataset import Dataset
from recmind.data.splitting import Split
from recmind.language.encoder import TextEncoder
from recmind.language.features import encoded, encoder_manifest, load_encoder, node_texts
from recmind.language.gradient_cache import backward_in_parts
from recmind.language.store import EmbeddingStore
from recmind.language.windows import Piece, budgeted
from recmind.text.template import prompt_version


class Part(NamedTuple):
    """Texts that are encoded at once, the longest first, and their rows in the batch."""

    rows: list[int]
    texts: list[list[Piece]]

    @property
    def n_tokens(self) -> int:
        """Tokens of all of them together."""
        return sum(len(piece.ids) for text in self.texts for piece in text)


class SideTexts:
    """Texts of the items or of the users.

    Attributes
    ----------
    texts:
        A text per node, ``None`` where there is nothing to say.
    known:
        Where there is one, bool ``(n,)``.
    groups:
        Equal numbers for equal texts, int64 ``(n,)``; -1 without a text. Nodes
        of one text are no negatives of each other: no model could tell them apart.
    """

    def __init__(self, texts: Sequence[str | None], encoder: TextEncoder) -> None:
        self.texts = texts
        self.known = np.array([text is not None for text in texts], dtype=bool)
        numbers: dict[str, int] = {}
        groups = [-1 if text is None else numbers.setdefault(text, len(numbers)) for text in texts]
        self.groups = np.array(groups, dtype=np.int64)
        self._read = encoder.read(list(numbers))

    def pieces(self, nodes: Tensor) -> list[list[Piece]]:
        """What the model reads of the texts of ``nodes``, int64 ``(n,)``."""
        return [self._read[group] for group in self.groups[nodes.cpu().numpy()]]

    @property
    def n_tokens(self) -> int:
        """Tokens of all distinct texts together."""
        return sum(len(piece.ids) for text in self._read for piece in text)


class TrainableTexts:
    """The texts of a dataset, encoded by a frozen model with adapters that learn.

    Vectors come from the packed or padded batches that the frozen encoder uses,
    with the same attention and number format; the adapters are float32, and in
    bfloat16 models multiply under autocast.

    Parameters
    ----------
    folder:
        Where tables are kept, by the adapters that made them; of no use after
        the run.

    Attributes
    ----------
    sides:
        ``items``, and ``users`` where ``text.user_view`` gives them texts.
    adapters:
        What learns.
    """

    def __init__(
        self, dataset: Dataset, split: Split, config: Config, folder: Path, *, show_progress: bool = True
    ) -> None:
        self.folder, self.show_progress = folder, show_progress
        self.settings = config.language.adapters
        self.encoder, self._text = load_encoder(config.text, config.language)
        items, users = node_texts(dataset, split, self._text, self.encoder, show_progress=show_progress)
        self.sides = {"items": SideTexts(items, self.encoder)}
        if config.text.user_view != "items":
            self.sides["users"] = SideTexts(users, self.encoder)
        self.adapters = self.encoder.adapt(self.settings, seed=config.seed)
        self._folders: dict[str, Path] = {}

    def parts(self, nodes: Mapping[str, Tensor]) -> list[Part]:
        """The texts of ``nodes`` (int64 ``(n,)`` a side), longest first, at most ``micro_tokens`` tokens together."""
        read = [text for side, rows in nodes.items() for text in self.sides[side].pieces(rows)]
        lengths = [sum(len(piece.ids) for piece in text) for text in read]
        order = sorted(range(len(read)), key=lambda row: (-lengths[row], row))
        batches = budgeted(order, read, self.settings.micro_tokens)
        return [Part(rows, [read[row] for row in rows]) for rows in batches]

    def backward(self, nodes: Mapping[str, Tensor], loss_of: Callable[[dict[str, Tensor]], Tensor]) -> Tensor:
        """Loss of the vectors of ``nodes`` (int64 ``(n,)`` a side), its gradient added to ``grad``; the loss, detached.

        ``loss_of`` gets the vectors ``(n, d_lm)`` of each side in the order of its nodes.
        """
        parts = self.parts(nodes)
        return self.learn_from(parts, lambda vectors: loss_of(_by_side(vectors, parts, nodes)))

    def vectors(self, nodes: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Vectors of ``nodes`` without a gradient and without dropout, ``(n, d_lm)`` a side."""
        parts = self.parts(nodes)
        return _by_side(self.vectors_of(parts), parts, nodes)

    def learn_from(self, parts: Sequence[Part], loss_of: Callable[[Tensor], Tensor]) -> Tensor:
        """:func:`~recmind.language.gradient_cache.backward_in_parts` with dropout."""
        with self.learning():
            return backward_in_parts(parts, lambda part: self.encoder.vectors(part.texts), loss_of)

    @torch.no_grad()
    def vectors_of(self, parts: Sequence[Part]) -> Tensor:
        """Vectors ``(n, d_lm)`` of the parts in order."""
        return torch.cat([self.encoder.vectors(part.texts) for part in parts])

    def table(self, side: str) -> np.ndarray:
        """Vectors of all texts of a side with the adapters as they stand, float32 ``(n, d_lm)``; zero without text.

        Vectors that these adapters have made before are read and not made again.
        """
        store = EmbeddingStore(self.encoder, self.folder, prompt_version(self._text))
        self._folders[self.adapters.sha256] = store.folder
        return encoded(self.sides[side].texts, store, self.show_progress)[0]

    def forget(self, keep: set[str]) -> None:
        """Delete the tables of all adapters but those whose sha256 is in ``keep``."""
        for sha256 in self._folders.keys() - keep:
            shutil.rmtree(self._folders.pop(sha256), ignore_errors=True)

    def manifest(self) -> dict[str, object]:
        """What makes the vectors now, for the run's records."""
        return encoder_manifest(self.encoder, self._text)

    @contextmanager
    def learning(self) -> Iterator[None]:
        """The adapters' dropout on, and checkpoints in place of activations where the settings say so."""
        layers = self._checkpointed() if self.settings.gradient_checkpointing else []
        self.adapters.train()
        try:
            for layer in layers:
                layer.training = True  # asks for checkpoints; what is inside stays as in use
            yield
        finally:
            self.adapters.train(False)
            for layer in layers:
                layer.training = False

    def _checkpointed(self) -> list[torch.nn.Module]:
        from transformers.modeling_layers import GradientCheckpointingLayer

        model = self.encoder.model
        model.activation_checkpointing_enable({"use_reentrant": False})  # type: ignore[operator]
        return [layer for layer in model.modules() if isinstance(layer, GradientCheckpointingLayer)]


def _by_side(vectors: Tensor, parts: Sequence[Part], nodes: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Vectors in the order of the parts as those of each side in the order of its nodes."""
    order = torch.tensor([row for part in parts for row in part.rows])
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order))
    split = vectors[place.to(vectors.device)].split([len(rows) for rows in nodes.values()])
    return dict(zip(nodes, split, strict=True))
