"""A frozen Hugging Face model as a function from texts to vectors."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch

from recmind import progress
from recmind.config import LanguageConfig
from recmind.errors import EncoderError
from recmind.language.clipping import Clipper
from recmind.language.pooling import POOLINGS
from recmind.language.resolve import (
    load_tokenizer,
    model_window,
    quiet,
    resolve_device,
    resolve_dtype,
    resolve_pooling,
    unloadable,
)
from recmind.language.source import ModelSource, find_model


class TextEncoder:
    """Texts to L2-normalised vectors ``(n, d_lm)``.

    Encoders and decoders of any kind that ``AutoModel`` loads; of
    encoder-decoders the encoder. The weights are read on the first
    :meth:`encode`, so that a run whose vectors are all in the store never
    loads them.

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
        with progress.task("Encoding texts", len(texts), show=show_progress and len(texts) > 0) as advance:
            for rows, batch in self.batches(texts):
                vectors[rows] = batch
                advance(len(rows))
        return vectors

    def batches(self, texts: Sequence[str]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Row numbers ``(b,)`` and vectors ``(b, d_lm)``, batch by batch, longest texts first.

        The order depends on nothing but the texts, and a batch depends only on
        what comes after the batches before it. So work that goes on where it
        was interrupted makes the same batches, and the same bits.
        """
        if not texts:
            return
        model = self._model
        ids = self._token_ids(texts)
        order = sorted(range(len(texts)), key=lambda row: (-len(ids[row]), texts[row]))
        start = 0
        while start < len(order):
            size = max(1, self.batch_tokens // len(ids[order[start]]))
            rows = np.array(order[start : start + size])
            yield rows, self._forward(model, [ids[row] for row in rows], texts[order[start]])
            start += size

    def _token_ids(self, texts: Sequence[str]) -> list[list[int]]:
        ids = self._tokenizer(list(texts), truncation=True, max_length=self.window, padding=False)["input_ids"]
        if any(text.strip() for text in texts) and not any(ids):
            raise EncoderError(
                "the tokenizer finds no token in any text",
                where=self.source.folder,
                got=texts[0],
                hint="its files may belong to another tokenizer class than the one that the model asks for",
            )
        # Some tokenizers give nothing at all for a blank text; a model needs one token.
        return [row or [self._pad_id] for row in ids]

    @property
    def _pad_id(self) -> int:
        for token in (self._tokenizer.pad_token_id, self._tokenizer.eos_token_id):
            if token is not None:
                return int(token)
        return 0

    def _forward(self, model: torch.nn.Module, ids: list[list[int]], first_text: str) -> np.ndarray:
        # Padding goes to the right for decoders too: under a causal mask a token never sees it,
        # and positions start at 0 for every text.
        tokens = torch.full((len(ids), len(ids[0])), self._pad_id)
        mask = torch.zeros_like(tokens)
        for row, text in enumerate(ids):
            tokens[row, : len(text)] = torch.tensor(text)
            mask[row, : len(text)] = 1
        tokens, mask = tokens.to(self.device), mask.to(self.device)
        with torch.inference_mode():
            hidden = model(input_ids=tokens, attention_mask=mask)[0].float()  # (batch, tokens, d_lm)
            vectors = torch.nn.functional.normalize(POOLINGS[self.pooling](hidden, mask), dim=1)
        if not torch.isfinite(vectors).all():
            raise EncoderError(
                "the model gives numbers that are not finite",
                where=self.source.name,
                got=first_text,
                hint="set language.dtype = 'float32'",
            )
        return vectors.cpu().numpy()

    @cached_property
    def _model(self) -> torch.nn.Module:
        from transformers import AutoModel

        try:
            with quiet():
                model = AutoModel.from_pretrained(self.source.folder, dtype=self.dtype, local_files_only=True)
        except Exception as error:
            raise unloadable("the weights cannot be loaded", self.source, error) from error
        if getattr(self._settings, "is_encoder_decoder", False):
            model = model.get_encoder()
        if hasattr(model.config, "use_cache"):
            model.config.use_cache = False  # keys and values are of no use without generation
        return model.eval().requires_grad_(False).to(self.device)
