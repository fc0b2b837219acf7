"""A frozen Hugging Face model as a function from texts to vectors."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch

from recmind import progress
from recmind.config import LanguageConfig
from recmind.errors import EncoderError
from recmind.language.clipping import Clipper
from recmind.language.packing import ATTENTION, can_pack, pack, pool_packed, register
from recmind.language.pooling import POOLINGS
from recmind.language.resolve import (
    first_position,
    is_decoder,
    load_tokenizer,
    model_window,
    quiet,
    resolve_device,
    resolve_dtype,
    resolve_pooling,
    unloadable,
)
from recmind.language.source import ModelSource, find_model
from recmind.language.workers import ordered_map

_TOKENISED_AT_ONCE = 8192


class TextEncoder:
    """Texts to L2-normalised vectors ``(n, d_lm)``.

    Encoders and decoders of any kind that ``AutoModel`` loads; of
    encoder-decoders the encoder. The weights are read on the first
    :meth:`encode`, so that a run whose vectors are all in the store never
    loads them.

    On a processor each thread takes a batch of its own, and where the model
    allows it (:func:`~recmind.language.packing.can_pack`) the texts of a batch
    stand end to end without padding.

    Build one with :meth:`load`.
    """

    def __init__(self, source: ModelSource, config: LanguageConfig) -> None:
        self.source = source
        self.batch_tokens = config.batch_tokens
        self.device = resolve_device(config.device)
        self.dtype = resolve_dtype(config.dtype, self.device)
        self._settings, self._tokenizer = load_tokenizer(source)
        self.pooling = resolve_pooling(config.pooling, source, self._settings)
        self.window = model_window(source, self._settings, self._tokenizer)
        self._clipper = Clipper(self._tokenizer)
        self._n_special = len(self._tokenizer("")["input_ids"])

    @classmethod
    def load(cls, config: LanguageConfig) -> TextEncoder:
        """Find the model, check its weights and read its tokenizer.

        Raises
        ------
        EncoderError
            If the model is missing, damaged, cannot be downloaded or is of an
            unknown kind.
        """
        return cls(find_model(config), config)

    @property
    def dim(self) -> int:
        """d_lm, the size of a text vector."""
        for name in ("hidden_size", "d_model", "dim", "n_embd"):
            if isinstance(getattr(self._settings, name, None), int):
                return getattr(self._settings, name)
        raise EncoderError("the configuration does not say how large a vector is", where=self.source.folder)

    def clip(self, texts: Sequence[str], n_tokens: int) -> list[str]:
        """Each text cut to at most ``n_tokens`` tokens, and to what fits into the model's window."""
        return self._clipper(texts, min(n_tokens, self.window - self._n_special))

    def manifest(self) -> dict[str, Any]:
        """What identifies the vectors that this encoder makes."""
        return {
            "model": self.source.name,
            "revision": self.source.revision,
            "weights_sha256": self.source.weights_sha256,
            "content_sha256": self.source.content_sha256,
            "adapters_sha256": None,
            "pooling": self.pooling,
            "dtype": str(self.dtype).removeprefix("torch."),
            "window": self.window,
            "d_lm": self.dim,
        }

    @cached_property
    def fingerprint(self) -> str:
        """Digest of :meth:`manifest` without the name: equal fingerprints, interchangeable vectors."""
        content = {key: value for key, value in self.manifest().items() if key not in ("model", "revision")}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:24]

    def encode(self, texts: Sequence[str], *, show_progress: bool = True) -> np.ndarray:
        """Vectors of ``texts``, float32 ``(n, d_lm)``, each of length 1.

        Texts longer than the model's window are cut at their end.

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
        ids = self._token_ids(texts)
        order = sorted(range(len(texts)), key=lambda row: (-len(ids[row]), texts[row]))

        def budgeted() -> Iterator[list[int]]:
            start = 0
            while start < len(order):
                size = max(1, self.batch_tokens // len(ids[order[start]]))
                yield order[start : start + size]
                start += size

        def encoded(rows: list[int]) -> tuple[list[int], np.ndarray]:
            return rows, self._forward([ids[row] for row in rows])

        results = ordered_map(encoded, budgeted()) if self.device.type == "cpu" else map(encoded, budgeted())
        for rows, vectors in results:
            if not np.isfinite(vectors).all():
                raise EncoderError(
                    "the model gives numbers that are not finite",
                    where=self.source.name,
                    got=texts[rows[0]],
                    hint="set language.dtype = 'float32'",
                )
            yield np.array(rows), vectors

    def _token_ids(self, texts: Sequence[str]) -> list[np.ndarray]:
        ids: list[np.ndarray] = []
        for start in range(0, len(texts), _TOKENISED_AT_ONCE):
            chunk = list(texts[start : start + _TOKENISED_AT_ONCE])
            found = self._tokenizer(
                chunk,
                truncation=True,
                max_length=self.window,
                padding=False,
                return_attention_mask=False,
                return_token_type_ids=False,
            )["input_ids"]
            ids += [np.array(row, dtype=np.int32) for row in found]  # a list would be ten times as large
        if any(text.strip() for text in texts) and not any(len(row) for row in ids):
            raise EncoderError(
                "the tokenizer finds no token in any text",
                where=self.source.folder,
                got=texts[0],
                hint="its files may belong to another tokenizer class than the one that the model asks for",
            )
        # Some tokenizers give nothing at all for a blank text; a model needs one token.
        return [row if len(row) else np.array([self._pad_id], dtype=np.int32) for row in ids]

    @property
    def _pad_id(self) -> int:
        for token in (self._tokenizer.pad_token_id, self._tokenizer.eos_token_id):
            if token is not None:
                return int(token)
        return 0

    @property
    def packs(self) -> bool:
        """Whether texts are packed without padding: on a processor, where the model allows it."""
        return self.device.type == "cpu" and can_pack(self._settings)

    @torch.inference_mode()
    def _forward(self, ids: list[np.ndarray]) -> np.ndarray:
        """Vectors ``(b, d_lm)`` of one batch, the longest text first."""
        pooled = self._packed(ids) if self.packs else self._padded(ids)
        return torch.nn.functional.normalize(pooled, dim=1).cpu().numpy()

    def _packed(self, ids: list[np.ndarray]) -> torch.Tensor:
        arguments = pack(ids, first_position(self._settings), is_decoder(self._settings), self.dtype)
        return pool_packed(self._model(**arguments)[0][0], ids, POOLINGS[self.pooling])

    def _padded(self, ids: list[np.ndarray]) -> torch.Tensor:
        # Padding goes to the right for decoders too: under a causal mask a token never sees it,
        # and positions start at 0 for every text.
        lengths = np.array([len(text) for text in ids])
        filled = np.arange(len(ids[0])) < lengths[:, None]
        rows = np.full(filled.shape, self._pad_id, dtype=np.int64)
        rows[filled] = np.concatenate(ids)
        tokens, mask = torch.from_numpy(rows).to(self.device), torch.from_numpy(filled).long().to(self.device)
        hidden = self._model(input_ids=tokens, attention_mask=mask)[0].float()  # (batch, tokens, d_lm)
        return POOLINGS[self.pooling](hidden, mask)

    @cached_property
    def _model(self) -> torch.nn.Module:
        from transformers import AutoModel

        options: dict[str, Any] = {"dtype": self.dtype, "local_files_only": True}
        if self.packs:
            register()
            options["attn_implementation"] = ATTENTION
        try:
            with quiet():
                model = AutoModel.from_pretrained(self.source.folder, **options)
        except Exception as error:
            raise unloadable("the weights cannot be loaded", self.source, error) from error
        if getattr(self._settings, "is_encoder_decoder", False):
            model = model.get_encoder()
        if hasattr(model.config, "use_cache"):
            model.config.use_cache = False  # keys and values are of no use without generation
        return model.eval().requires_grad_(False).to(self.device)
