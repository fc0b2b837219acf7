"""A frozen Hugging Face model as a function from texts to vectors."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from recmind import progress
from recmind.config import AdapterConfig, LanguageConfig
from recmind.errors import EncoderError
from recmind.language.adapters import Adapters, stored_sha256
from recmind.language.clipping import Clipper
from recmind.language.loading import check_attention, check_placement, check_quantisation, load_weights, quantisation
from recmind.language.modules import declared_modules
from recmind.language.packing import ATTENTION, can_pack, pack, pool_packed, register
from recmind.language.padding import pad, positions_of
from recmind.language.pooling import POOLINGS
from recmind.language.resolve import (
    first_position,
    is_decoder,
    load_tokenizer,
    model_window,
    resolve_device,
    resolve_dtype,
    resolve_pooling,
    vector_size,
)
from recmind.language.source import ModelSource, find_model
from recmind.language.windows import OVERLAP, Piece, Reader, budgeted
from recmind.language.workers import ordered_map


class TextEncoder:
    """Texts to L2-normalised vectors ``(n, d_lm)``.

    Encoders and decoders of any kind that ``AutoModel`` loads; of
    encoder-decoders the encoder. What a sentence-transformers model declares
    behind its tokens (pooling, Dense layers, Normalize, whether a prompt is
    pooled) is applied. The weights are read on the first :meth:`encode`, so
    that a run whose vectors are all in the store never loads them.

    On a processor each thread takes a batch of its own, and where the model
    allows it (:func:`~recmind.language.packing.can_pack`) the texts of a batch
    stand end to end without padding.

    Build one with :meth:`load`.

    Parameters
    ----------
    prompts:
        Instructions that texts may begin with. They matter where the model
        reads a prompt and leaves its tokens out of the pooling
        (``include_prompt`` is false in its pooling settings).
    adapters:
        Folder of trained adapters that the model wears.
    """

    def __init__(
        self,
        source: ModelSource,
        config: LanguageConfig,
        prompts: Sequence[str] = (),
        adapters: Path | None = None,
    ) -> None:
        self.source, self.config = source, config
        self._stored_adapters, self._adapters = adapters, None
        self.batch_tokens = config.batch_tokens
        self.device = resolve_device(config.device)
        self.dtype = resolve_dtype(config.dtype, self.device)
        self._settings, self._tokenizer = load_tokenizer(source)
        check_placement(config.device_map)
        check_attention(config.attn_implementation, self._settings, self.device)
        self.modules = declared_modules(source)
        self.pooling = resolve_pooling(config.pooling, self.modules, self._settings)
        self.window = model_window(source, self._settings, self._tokenizer)
        self.unpooled = () if self.modules.include_prompt else tuple(sorted({prompt for prompt in prompts if prompt}))
        self._clipper = Clipper(self._tokenizer)
        self._reader = Reader(self._tokenizer, self.window, self._pad_id, self.unpooled, self.modules.lower_case)

    @classmethod
    def load(cls, config: LanguageConfig, prompts: Sequence[str] = ()) -> TextEncoder:
        """Find the model, check its weights and read its tokenizer.

        Raises
        ------
        EncoderError
            If the model is missing, damaged, cannot be downloaded or is of an
            unknown kind, or cannot be used with these settings.
        """
        return cls(find_model(config), config, prompts)

    @cached_property
    def dim(self) -> int:
        """d_lm, the size of a text vector."""
        return self.modules.dim(vector_size(self.source, self._settings))

    def clip(self, texts: Sequence[str], n_tokens: int) -> list[str]:
        """Each text cut to at most ``n_tokens`` tokens, and to what the model reads."""
        room = self.window - self._reader.n_special
        return self._clipper(texts, n_tokens if self.config.long_text == "chunks" else min(n_tokens, room))

    def manifest(self) -> dict[str, Any]:
        """What identifies the vectors that this encoder makes."""
        manifest = {
            "model": self.source.name,
            "revision": self.source.revision,
            "weights_sha256": self.source.weights_sha256,
            "content_sha256": self.source.content_sha256,
            "adapters_sha256": self._adapters_sha256(),
            "pooling": self.pooling,
            "dtype": str(self.dtype).removeprefix("torch."),
            "window": self.window,
            "d_lm": self.dim,
        }
        # Only where they matter, so that vectors made before these were known stay valid.
        special = {
            "modules_sha256": self.modules.sha256,
            "lower_case": self.modules.lower_case,
            "unpooled_prompts": list(self.unpooled),
            "long_text": f"chunks/{OVERLAP}" if self.config.long_text == "chunks" else None,
            "attn_implementation": self.config.attn_implementation.replace("auto", ""),
            "quantisation": quantisation(self._settings),
        }
        return manifest | {key: value for key, value in special.items() if value}

    @property
    def fingerprint(self) -> str:
        """Digest of :meth:`manifest` without the name: equal fingerprints, interchangeable vectors."""
        content = {key: value for key, value in self.manifest().items() if key not in ("model", "revision")}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:24]

    def encode(self, texts: Sequence[str], *, show_progress: bool = True) -> np.ndarray:
        """Vectors of ``texts``, float32 ``(n, d_lm)``, each of length 1.

        Texts longer than the model's window are cut at their end, or read in
        windows (``language.long_text``).

        Raises
        ------
        EncoderError
            If the weights cannot be loaded or a vector is not finite.
        """
        vectors = np.empty((len(texts), self.dim), dtype=np.float32)
        for rows, batch in self.batches_with_progress(texts, show=show_progress):
            vectors[rows] = batch
        return vectors

    def batches_with_progress(
        self, texts: Sequence[str], *, show: bool = True
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """:meth:`batches`, with a bar that tells the texts per second so far."""
        show = show and len(texts) > 0
        with progress.task("Encoding texts", len(texts), show=show) as advance:
            if texts:
                _ = self._model  # read now: it does not belong to the rate
            started, done = time.perf_counter(), 0
            for rows, vectors in self.batches(texts):
                done += len(rows)
                advance(len(rows), f"{done / (time.perf_counter() - started):,.0f} texts/s")
                yield rows, vectors

    def batches(self, texts: Sequence[str]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Row numbers ``(b,)`` and vectors ``(b, d_lm)``, batch by batch, longest texts first.

        The order depends on nothing but the texts, and a batch depends only on
        what comes after the batches before it. So work that goes on where it
        was interrupted makes the same batches, and the same bits.
        """
        if not texts:
            return
        _ = self._model  # read before threads ask for it
        read = self.read(texts)
        lengths = [sum(len(piece.ids) for piece in pieces) for pieces in read]
        order = sorted(range(len(texts)), key=lambda row: (-lengths[row], texts[row]))

        def encoded(rows: list[int]) -> tuple[list[int], np.ndarray]:
            return rows, self._forward([read[row] for row in rows])

        jobs = budgeted(order, read, self.batch_tokens)
        results = ordered_map(encoded, jobs) if self.device.type == "cpu" else map(encoded, jobs)
        for rows, vectors in results:
            if not np.isfinite(vectors).all():
                raise EncoderError(
                    "the model gives numbers that are not finite",
                    where=self.source.name,
                    got=texts[rows[0]],
                    hint="set language.dtype = 'float32'",
                )
            yield np.array(rows), vectors

    def token_ids(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Token ids of each text as the model reads it, special tokens included, int32 ``(tokens,)``; long ones cut."""
        return self._reader.cut(texts)

    @property
    def _pad_id(self) -> int:
        for token in (self._tokenizer.pad_token_id, self._tokenizer.eos_token_id):
            if token is not None:
                return int(token)
        return 0

    @property
    def packs(self) -> bool:
        """Whether texts are packed without padding: on a processor, where the model allows it."""
        free = self.config.attn_implementation == "auto" and self.config.device_map == "none"
        return free and self.device.type == "cpu" and can_pack(self._settings)

    def read(self, texts: Sequence[str]) -> list[list[Piece]]:
        """What the model reads of each text: one piece, or several windows of a long one."""
        return self._reader.pieces(texts, chunks=self.config.long_text == "chunks")

    def vectors(self, texts: Sequence[list[Piece]]) -> torch.Tensor:
        """Vectors ``(b, d_lm)``, float32 of length 1, of one batch with the longest text first; differentiable."""
        pieces = [piece for text in texts for piece in text]
        # The adapters are float32 beside a model that may not be.
        mixed = self._adapters is not None and self.dtype == torch.bfloat16
        with torch.autocast(self.device.type, torch.bfloat16, enabled=mixed):
            if len(pieces) == len(texts):
                pooled = self.pooled(pieces)
            else:
                pooled = self._averaged(pieces, [len(text) for text in texts])
        return self.modules.finish(pooled)

    @torch.inference_mode()
    def _forward(self, texts: list[list[Piece]]) -> np.ndarray:
        return self.vectors(texts).cpu().numpy()

    def _averaged(self, pieces: list[Piece], counts: list[int]) -> torch.Tensor:
        """Means of the windows' pooled vectors, weighted by their tokens, ``(b, d)``."""
        order = sorted(range(len(pieces)), key=lambda place: -len(pieces[place].ids))
        size = max(1, self.batch_tokens // len(pieces[order[0]].ids))  # one text may have more windows than a batch
        parts = [order[start : start + size] for start in range(0, len(order), size)]
        found = torch.cat([self.pooled([pieces[place] for place in part]) for part in parts])
        vectors = torch.empty_like(found)
        vectors[torch.tensor(order, device=found.device)] = found
        owner = torch.repeat_interleave(torch.tensor(counts)).to(found.device)
        weights = torch.tensor([float(piece.weight) for piece in pieces], device=found.device)[:, None]
        sums = vectors.new_zeros(len(counts), vectors.shape[1]).index_add(0, owner, vectors * weights)
        return sums / weights.new_zeros(len(counts), 1).index_add(0, owner, weights)

    def pooled(self, pieces: Sequence[Piece]) -> torch.Tensor:
        """Pooled token vectors ``(b, d)``, float32, of pieces with the longest first; differentiable."""
        ids, skips = [piece.ids for piece in pieces], [piece.skip for piece in pieces]
        pooling = POOLINGS[self.pooling]
        if self.packs:
            arguments = pack(ids, first_position(self._settings), is_decoder(self._settings), self.dtype)
            return pool_packed(self._model(**arguments)[0][0], ids, pooling, skips)
        tokens, mask = (tensor.to(self.device) for tensor in pad(ids, self._pad_id, self.config.padding))
        extra = positions_of(self._model, mask, first_position(self._settings)) if self.config.padding == "left" else {}
        hidden = self._model(input_ids=tokens, attention_mask=mask, **extra)[0].float()  # (batch, tokens, d_lm)
        if any(skips):
            mask = mask * (mask.cumsum(1) > torch.tensor(skips, device=mask.device)[:, None])
        return pooling(hidden.to(mask.device), mask)

    @property
    def model(self) -> torch.nn.Module:
        """The language model, loaded on first use; frozen and in evaluation mode."""
        return self._model

    def adapt(self, settings: AdapterConfig, *, seed: int) -> Adapters:
        """Give the model fresh adapters to be trained; from now on they belong to every vector."""
        source = self.source
        self._adapters = Adapters.attach(self._model, settings, name=source.name, revision=source.revision, seed=seed)
        return self._adapters

    def _adapters_sha256(self) -> str | None:
        if self._adapters is not None:
            return self._adapters.sha256
        return stored_sha256(self._stored_adapters) if self._stored_adapters is not None else None

    @cached_property
    def _model(self) -> torch.nn.Module:
        check_quantisation(self.source, self._settings)
        attention = None if self.config.attn_implementation == "auto" else self.config.attn_implementation
        if self.packs:
            register()
            attention = ATTENTION
        model = load_weights(
            self.source,
            self._settings,
            dtype=self.dtype,
            device=self.device,
            attention=attention,
            device_map=self.config.device_map,
        )
        if self._stored_adapters is not None:
            self._adapters = Adapters.load(model, self._stored_adapters)
        return model
