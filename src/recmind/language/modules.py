"""What a sentence-transformers model declares behind its token vectors: pooling, Dense layers, Normalize."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from recmind.errors import EncoderError
from recmind.language.source import ModelSource

MODULES = "modules.json"
POOLING = "1_Pooling"
_SUPPORTED = ("Transformer", "Pooling", "Dense", "Normalize", "Dropout")
_DENSE_KEYS = ("in_features", "out_features", "bias", "activation_function", "use_residual")


@dataclass(frozen=True)
class Dense:
    """x ↦ activation(x Wᵀ + b), plus x or its projection where the layer is residual.

    Attributes
    ----------
    weight, bias:
        ``(out, in)`` and ``(out,)``, float32; ``bias`` may be missing.
    activation:
        Elementwise function.
    residual:
        ``None`` for no residual connection; else what is added: its own
        projection ``(out, in)``, or an empty tensor for x itself.
    """

    weight: Tensor
    bias: Tensor | None
    activation: Callable[[Tensor], Tensor]
    residual: Tensor | None = None

    def __call__(self, x: Tensor) -> Tensor:
        """The layer's output ``(n, out)`` for ``x`` ``(n, in)``."""
        bias = None if self.bias is None else self.bias.to(x.device)
        out = self.activation(torch.nn.functional.linear(x, self.weight.to(x.device), bias))
        if self.residual is None:
            return out
        return out + (torch.nn.functional.linear(x, self.residual.to(x.device)) if self.residual.numel() else x)

    @property
    def dim(self) -> int:
        """Size of what comes out."""
        return len(self.weight)


def normalised(x: Tensor) -> Tensor:
    """``x`` ``(n, d)`` with rows of length 1."""
    return torch.nn.functional.normalize(x, dim=1)


@dataclass(frozen=True)
class Declared:
    """What is done with the token vectors.

    Attributes
    ----------
    pooling:
        Settings of the pooling, empty where none are declared.
    pooling_file:
        The file that they are from.
    steps:
        Functions of the pooled vectors ``(n, d)``, in order.
    sha256:
        Hash over the settings and weights of the Dense layers; ``None`` where there are none.
    lower_case:
        Whether texts are read in lower case.
    """

    pooling: dict[str, Any]
    pooling_file: Path
    steps: tuple[Callable[[Tensor], Tensor], ...] = ()
    sha256: str | None = None
    lower_case: bool = False

    @property
    def include_prompt(self) -> bool:
        """Whether the tokens of a prompt are pooled with the others."""
        return self.pooling.get("include_prompt", True) is not False

    def dim(self, pooled: int) -> int:
        """Size of a text's vector, where pooling gives one of size ``pooled``."""
        sizes = [step.dim for step in self.steps if isinstance(step, Dense)]
        return sizes[-1] if sizes else pooled

    def finish(self, pooled: Tensor) -> Tensor:
        """Pooled vectors ``(n, d)`` through every declared step, rows of length 1 at the end."""
        for step in self.steps:
            pooled = step(pooled)
        # Done twice it would change the last bit.
        return pooled if self.steps and self.steps[-1] is normalised else normalised(pooled)


def declared_modules(source: ModelSource) -> Declared:
    """The modules of a model's ``modules.json``; without one, those of a plain model.

    Raises
    ------
    EncoderError
        If a module is none that can be applied here: it is never left out in silence.
    """
    lower = source.settings("sentence_bert_config.json").get("do_lower_case") is True
    folder, steps, digests = POOLING, [], []
    for name, path in _listed(source):
        if name == "Pooling":
            folder = path
        elif name == "Dense":
            dense, digest = _dense(source, path)
            steps.append(dense)
            digests.append(digest)
        elif name == "Normalize":
            steps.append(normalised)
    file = f"{folder}/config.json" if folder else "config.json"
    digest = hashlib.sha256("".join(digests).encode()).hexdigest() if digests else None
    return Declared(source.settings(file), source.folder / file, tuple(steps), digest, lower)


def _listed(source: ModelSource) -> list[tuple[str, str]]:
    """Class and folder of each declared module, in order."""
    found = source.settings(MODULES) or []
    if not isinstance(found, list) or not all(isinstance(entry, dict) and "type" in entry for entry in found):
        raise EncoderError("the file does not list modules", where=source.folder / MODULES, got=found)
    listed = [(str(entry["type"]).rpartition(".")[2], str(entry.get("path", ""))) for entry in found]
    unknown = [entry["type"] for entry, (name, _) in zip(found, listed, strict=True) if name not in _SUPPORTED]
    if unknown:
        raise EncoderError(
            "the model declares a module that cannot be applied",
            where=source.folder / MODULES,
            got=", ".join(unknown),
            accepted=_SUPPORTED,
            hint="choose another model",
        )
    names = [name for name, _ in listed]
    if listed and (names[0] != "Transformer" or names.count("Transformer") > 1 or names.count("Pooling") > 1):
        raise EncoderError(
            "the modules are in an order that cannot be applied",
            where=source.folder / MODULES,
            got=", ".join(names),
            accepted="one Transformer, at most one Pooling, then Dense, Normalize and Dropout in any order",
        )
    before = names[: names.index("Pooling")] if "Pooling" in names else []
    if "Dense" in before or "Normalize" in before:
        raise EncoderError(
            "a module stands between the language model and its pooling",
            where=source.folder / MODULES,
            got=", ".join(names),
            accepted="Transformer, Pooling, then Dense, Normalize and Dropout in any order",
        )
    return listed


def _dense(source: ModelSource, path: str) -> tuple[Dense, str]:
    """A Dense layer and the hash of what it was read from."""
    where = source.folder / path
    settings = source.settings(f"{path}/config.json")
    names = {settings.get("module_input_name", "sentence_embedding"), settings.get("module_output_name")}
    if names - {"sentence_embedding", None}:
        raise EncoderError(
            "a Dense layer reads something else than the pooled vector", where=where / "config.json", got=sorted(names)
        )
    tensors = _weights(where)
    weight, bias = tensors.get("linear.weight"), tensors.get("linear.bias")
    expected = (settings.get("out_features"), settings.get("in_features"))
    if weight is None or tuple(weight.shape) != expected or (bias is None) != (settings.get("bias", True) is False):
        raise EncoderError(
            "the weights of a Dense layer do not fit its settings",
            where=where,
            got={name: tuple(tensor.shape) for name, tensor in tensors.items()},
            accepted=f"linear.weight {expected}" + (" and linear.bias" if settings.get("bias", True) else ""),
        )
    residual = tensors.get("residual.weight", torch.empty(0)) if settings.get("use_residual") else None
    content = json.dumps({key: settings.get(key) for key in _DENSE_KEYS}, sort_keys=True).encode()
    digest = hashlib.sha256(content)
    for name in sorted(tensors):
        digest.update(name.encode() + tensors[name].contiguous().numpy().tobytes())
    return Dense(weight, bias, _activation(settings, where), residual), digest.hexdigest()


def _weights(folder: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    try:
        if (folder / "model.safetensors").is_file():
            tensors = load_file(folder / "model.safetensors")
        else:
            tensors = torch.load(folder / "pytorch_model.bin", map_location="cpu", weights_only=True)
    except Exception as error:
        raise EncoderError(f"the weights of a Dense layer cannot be read: {error}", where=folder) from error
    return {name: tensor.float() for name, tensor in tensors.items()}


def _activation(settings: dict[str, Any], where: Path) -> Callable[[Tensor], Tensor]:
    name = str(settings.get("activation_function", "torch.nn.modules.activation.Tanh"))
    found = getattr(torch.nn, name.rpartition(".")[2], None) if name.startswith("torch.nn.") else None
    known = ("Identity", "Tanh", "ReLU", "GELU", "SiLU", "Sigmoid", "Softplus", "LeakyReLU", "ELU", "Mish")
    if found is None or name.rpartition(".")[2] not in known:
        raise EncoderError(
            "the activation of a Dense layer is not known",
            where=where / "config.json",
            got=name,
            accepted=[f"torch.nn.{kind}" for kind in known],
        )
    return found()
