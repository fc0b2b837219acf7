"""What a model's own files and this machine decide: device, number format, pooling, window."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from recmind.errors import EncoderError
from recmind.language.modules import Declared
from recmind.language.pooling import POOLINGS
from recmind.language.source import ModelSource

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


def resolve_device(name: str) -> torch.device:
    """``auto``: the first GPU, else Apple's, else the processor."""
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


def resolve_dtype(name: str, device: torch.device) -> torch.dtype:
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


def load_tokenizer(source: ModelSource) -> tuple[Any, Any]:
    """The model's configuration and its tokenizer."""
    from transformers import AutoConfig, AutoTokenizer

    try:
        with quiet():
            settings = AutoConfig.from_pretrained(source.folder, local_files_only=True)
            tokenizer = AutoTokenizer.from_pretrained(source.folder, local_files_only=True)
    except Exception as error:
        raise unloadable("the configuration or the tokenizer cannot be loaded", source, error) from error
    return settings, tokenizer


def resolve_pooling(name: str, modules: Declared, settings: Any) -> str:
    """``auto``: what the model declares, else ``last`` for decoders and ``mean`` for encoders."""
    if name != "auto":
        return name
    declared = modules.pooling
    modes = declared.get("pooling_mode") or [key for key, flag in declared.items() if flag is True]
    modes = [modes] if isinstance(modes, str) else [mode for mode in modes if mode != "include_prompt"]
    if len(modes) == 1 and modes[0] in _DECLARED:
        return _DECLARED[modes[0]]
    if declared:
        raise EncoderError(
            "the model declares a pooling that is not supported",
            where=modules.pooling_file,
            got=", ".join(modes) or "none",
            accepted=list(POOLINGS),
            hint="choose one with language.pooling",
        )
    return "last" if is_decoder(settings) else "mean"


def is_decoder(settings: Any) -> bool:
    """Whether a token sees only those before it: a causal model without a masked sibling.

    A causal model that was turned into an encoder says so in its configuration
    (``is_causal``, Gemma's ``use_bidirectional_attention``).
    """
    from transformers.models.auto import modeling_auto

    settings = settings.get_text_config()
    if getattr(settings, "is_causal", True) is False or getattr(settings, "use_bidirectional_attention", None) is True:
        return False
    causal = modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    masked = modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES
    return settings.model_type in causal and settings.model_type not in masked


def vector_size(source: ModelSource, settings: Any) -> int:
    """Size of a token's vector."""
    for name in ("hidden_size", "d_model", "dim", "n_embd"):
        if isinstance(getattr(settings.get_text_config(), name, None), int):
            return getattr(settings.get_text_config(), name)
    raise EncoderError("the configuration does not say how large a vector is", where=source.folder)


def model_window(source: ModelSource, settings: Any, tokenizer: Any) -> int:
    """Tokens that the model reads at most, special tokens included."""
    limits = [source.settings("sentence_bert_config.json").get("max_seq_length"), tokenizer.model_max_length]
    positions = getattr(settings.get_text_config(), "max_position_embeddings", None)
    if isinstance(positions, int) and positions > 0:
        limits.append(positions - first_position(settings))
    known = [limit for limit in limits if isinstance(limit, int) and 0 < limit < _UNBOUNDED]
    return min(known, default=_DEFAULT_WINDOW)


def first_position(settings: Any) -> int:
    """Position of a text's first token: RoBERTa counts from its padding id on."""
    return (settings.pad_token_id or 0) + 1 if "roberta" in settings.model_type else 0


def unloadable(what: str, source: ModelSource, error: Exception) -> EncoderError:
    """The error for a model that is there but does not load."""
    reason = str(error).strip().splitlines() or [""]
    return EncoderError(f"{what}: {type(error).__name__}: {reason[0]}", where=source.folder)


@contextmanager
def quiet() -> Iterator[None]:
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
