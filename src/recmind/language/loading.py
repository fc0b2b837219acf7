"""The weights of a model, on the devices and with the attention that were asked for."""

from __future__ import annotations

import importlib.util
from typing import Any

import torch

from recmind.errors import EncoderError
from recmind.language.resolve import quiet, unloadable
from recmind.language.source import ModelSource

_NEEDS = {
    "bitsandbytes": "bitsandbytes",
    "gptq": "gptqmodel",
    "awq": "gptqmodel",
    "compressed-tensors": "compressed-tensors",
    "torchao": "torchao",
    "hqq": "hqq",
}
"""Packages that read quantised checkpoints, by the method that a configuration names."""


def load_weights(
    source: ModelSource,
    settings: Any,
    *,
    dtype: torch.dtype,
    device: torch.device,
    attention: str | None = None,
    device_map: str = "none",
) -> torch.nn.Module:
    """The model, frozen and in evaluation mode; of an encoder-decoder the encoder.

    Parameters
    ----------
    attention:
        Name among transformers' attention functions; ``None`` for the library's choice.
    device_map:
        ``none``: all on ``device``; else how accelerate spreads it.

    Raises
    ------
    EncoderError
        If the weights do not load, or something that they need is not installed.
    """
    from transformers import AutoModel

    options: dict[str, Any] = {"dtype": dtype, "local_files_only": True}
    if attention is not None:
        options["attn_implementation"] = attention
    if device_map != "none":
        options["device_map"] = device_map
    try:
        with quiet():
            model = AutoModel.from_pretrained(source.folder, **options)
    except Exception as error:
        raise unloadable("the weights cannot be loaded", source, error) from error
    if getattr(settings, "is_encoder_decoder", False):
        model = model.get_encoder()
    if hasattr(model.config, "use_cache"):
        model.config.use_cache = False  # keys and values are of no use without generation
    model = model.eval().requires_grad_(False)
    # Where accelerate or a quantised format has placed the layers, they stay.
    return model if device_map != "none" or quantisation(settings) else model.to(device)


def check_placement(device_map: str) -> None:
    """Refuse a device map without accelerate.

    Raises
    ------
    EncoderError
        If the package is missing.
    """
    if device_map != "none" and importlib.util.find_spec("accelerate") is None:
        raise EncoderError(
            "a device map needs the package accelerate, which is not installed",
            where="language.device_map",
            got=device_map,
            accepted="none, or any of auto, balanced, balanced_low_0, sequential with accelerate",
            hint="pip install accelerate",
        )


def check_attention(name: str, settings: Any, device: torch.device) -> None:
    """Refuse an attention that the model or the machine does not have.

    Raises
    ------
    EncoderError
        With what is accepted here.
    """
    if name == "auto":
        return
    from transformers import AutoModel
    from transformers.utils.import_utils import is_flash_attn_2_available

    kinds: Any = AutoModel._model_mapping
    if type(settings) not in kinds:
        return  # loading says that there is no such model
    kind = kinds[type(settings)]
    kind = kind[0] if isinstance(kind, tuple) else kind
    known = {"eager": True, "sdpa": kind._supports_sdpa, "flash_attention_2": kind._supports_flash_attn}
    here = device.type == "cuda" and is_flash_attn_2_available()
    accepted = [key for key, there in known.items() if there and (key != "flash_attention_2" or here)]
    if name in accepted:
        return
    missing = "a GPU and the package flash-attn" if known[name] else None
    raise EncoderError(
        f"this attention needs {missing}" if missing else f"{kind.__name__} does not have this attention",
        where="language.attn_implementation",
        got=name,
        accepted=["auto", *accepted],
    )


def quantisation(settings: Any) -> str | None:
    """Method by which a checkpoint was quantised, as its configuration names it; ``None`` for a plain one."""
    found = getattr(settings, "quantization_config", None)
    if not found:
        return None
    return str(found.get("quant_method", "unknown") if isinstance(found, dict) else found.quant_method)


def check_quantisation(source: ModelSource, settings: Any) -> None:
    """Refuse a quantised checkpoint whose reader is not installed.

    Raises
    ------
    EncoderError
        With the package to install.
    """
    method = quantisation(settings)
    package = _NEEDS.get(method or "")
    if package and importlib.util.find_spec(package.replace("-", "_")) is None:
        raise EncoderError(
            f"the checkpoint is quantised with {method}, which needs the package {package}",
            where=source.folder / "config.json",
            got=method,
            hint=f"pip install {package}, or choose a checkpoint in float32 or bfloat16",
        )
