"""A frozen Hugging Face model as a function from texts to vectors."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import numpy as np
import torch

from recmind import progress
from recmind.config import LanguageConfig
from recmind.errors import EncoderError
from recmind.language.clipping import Clipper
from recmind.language.pooling import POOLINGS
from recmind.language.source import ModelSource, find_model

_UNBOUNDED = 1 << 20  # tokenizers without a limit say 10^30
_DEFAULT_WINDOW = 512

# Names in sentence-transformers' pooling configuration, old and new.
_DECLARED = {
    "pooling_mode_mean_tokens": "mean",
    "mean": "mean",
    "pooling_mode_cls_token": "cls",
    "cls": "cls",
    "pooling_mode_lasttoken": "last",
    "lasttoken": "last",
}


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
        self.device = _resolve_device(config.device)
        self.dtype = _resolve_dtype(config.dtype, self.device)
        self._settings, self._tokenizer = _load_tokenizer(source)
        self.pooling = _resolve_pooling(config.pooling, source, self._settings)
        self.window = _window(source, self._settings, self._tokenizer)
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
            with _quiet():
                model = AutoModel.from_pretrained(self.source.folder, dtype=self.dtype, local_files_only=True)
        except Exception as error:
            raise _unloadable("the weights cannot be loaded", self.source, error) from error
        if getattr(self._settings, "is_encoder_decoder", False):
            model = model.get_encoder()
        if hasattr(model.config, "use_cache"):
            model.config.use_cache = False  # keys and values are of no use without generation
        return model.eval().requires_grad_(False).to(self.device)


def _resolve_device(name: str) -> torch.device:
    if name != "auto":
        try:
            return torch.device(name)
        except RuntimeError as error:
            raise EncoderError(
                "there is no such device", where="language.device", got=name, accepted="auto, cpu, cuda, cuda:0, mps"
            ) from error
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def _resolve_dtype(name: str, device: torch.device) -> torch.dtype:
    """``auto``: bfloat16 only where it is multiplied natively; emulated it is slower than float32."""
    if name != "auto":
        return {"float32": torch.float32, "bfloat16": torch.bfloat16}[name]
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        native = device.type == "cpu" and native_bfloat16()
    return torch.bfloat16 if native else torch.float32


def native_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 in hardware (AVX-512 BF16, AMX or Arm BF16)."""
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return any(bool(capabilities.get(name)) for name in ("avx512_bf16", "amx_bf16", "bf16", "arm_bf16"))


def _load_tokenizer(source: ModelSource) -> tuple[Any, Any]:
    from transformers import AutoConfig, AutoTokenizer

    try:
        with _quiet():
            settings = AutoConfig.from_pretrained(source.folder, local_files_only=True)
            tokenizer = AutoTokenizer.from_pretrained(source.folder, local_files_only=True)
    except Exception as error:
        raise _unloadable("the configuration or the tokenizer cannot be loaded", source, error) from error
    return settings, tokenizer


def _resolve_pooling(name: str, source: ModelSource, settings: Any) -> str:
    if name != "auto":
        return name
    declared = source.settings("1_Pooling/config.json")
    modes = declared.get("pooling_mode") or [key for key, flag in declared.items() if flag is True]
    modes = [modes] if isinstance(modes, str) else [mode for mode in modes if mode != "include_prompt"]
    if len(modes) == 1 and modes[0] in _DECLARED:
        return _DECLARED[modes[0]]
    if declared:
        raise EncoderError(
            "the model declares a pooling that is not supported",
            where=source.folder / "1_Pooling/config.json",
            got=", ".join(modes) or "none",
            accepted=list(POOLINGS),
            hint="choose one with language.pooling",
        )
    return "last" if _is_decoder(settings) else "mean"


def _is_decoder(settings: Any) -> bool:
    from transformers.models.auto import modeling_auto

    causal = modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    masked = modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES
    return settings.model_type in causal and settings.model_type not in masked


def _window(source: ModelSource, settings: Any, tokenizer: Any) -> int:
    """Tokens that the model reads at most, special tokens included."""
    limits = [source.settings("sentence_bert_config.json").get("max_seq_length"), tokenizer.model_max_length]
    positions = getattr(settings, "max_position_embeddings", None)
    if isinstance(positions, int) and positions > 0:
        # RoBERTa counts positions from its padding id on.
        offset = (settings.pad_token_id or 0) + 1 if "roberta" in settings.model_type else 0
        limits.append(positions - offset)
    known = [limit for limit in limits if isinstance(limit, int) and 0 < limit < _UNBOUNDED]
    return min(known, default=_DEFAULT_WINDOW)


def _unloadable(what: str, source: ModelSource, error: Exception) -> EncoderError:
    reason = str(error).strip().splitlines() or [""]
    return EncoderError(f"{what}: {type(error).__name__}: {reason[0]}", where=source.folder)


@contextmanager
def _quiet() -> Iterator[None]:
    """No bars and notes of the library's own while it loads."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
