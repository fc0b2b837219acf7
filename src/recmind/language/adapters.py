"""LoRA adapters of a language model through peft: where they go, their state, and files that plain peft reads."""

from __future__ import annotations

import copy
import hashlib
import importlib.util
import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from recmind.config import AdapterConfig
from recmind.errors import ConfigError, EncoderError
from recmind.files import write_atomic
from recmind.language.resolve import quiet

WEIGHTS, SETTINGS = "adapter_model.safetensors", "adapter_config.json"
"""Names that peft gives to the files of an adapter."""

_ATTENTION = ("attn", "attention")


class Adapters:
    """W x + (alpha / r) B A x beside chosen linear layers of a frozen model (Hu et al. 2022, equation 3).

    The model is changed in place: it goes on being called as before. B starts
    at zero, so that fresh adapters change no vector. A and B are float32
    whatever the format of the model.

    Make one with :meth:`attach` or :meth:`load`.
    """

    def __init__(self, peft_model: Any) -> None:
        self._peft = peft_model
        own = [(name, value) for name, value in peft_model.named_parameters() if "lora_" in name]
        self.parameters: dict[str, nn.Parameter] = {name.replace(".default.", "."): value for name, value in own}
        """A and B by the names that peft gives them in files."""
        self._dropouts = [module for name, module in peft_model.named_modules() if name.endswith("lora_dropout")]

    @classmethod
    def attach(cls, model: nn.Module, settings: AdapterConfig, *, name: str, revision: str | None, seed: int):
        """Fresh adapters on ``model``, with A drawn from ``seed``.

        Parameters
        ----------
        name, revision:
            What the adapters' files say about the model that they belong to.

        Raises
        ------
        ConfigError
            If no linear layer of the model is meant by ``settings.targets``.
        """
        _require_peft()
        from peft import LoraConfig, TaskType, get_peft_model

        lora = LoraConfig(
            task_type=TaskType.FEATURE_EXTRACTION,
            r=settings.rank,
            lora_alpha=settings.alpha,  # type: ignore[arg-type]
            lora_dropout=settings.dropout,
            target_modules=target_modules(model, settings.targets),
        )
        with torch.random.fork_rng(devices=[]), quiet(), warnings.catch_warnings():
            # One of peft's calls is deprecated in transformers.
            warnings.simplefilter("ignore", FutureWarning)
            torch.manual_seed(seed)
            peft_model = get_peft_model(model, lora)  # type: ignore[arg-type]
        lora.base_model_name_or_path, lora.revision = name, revision  # peft puts a path of this machine
        return cls(peft_model.eval())

    @classmethod
    def load(cls, model: nn.Module, folder: str | Path) -> Adapters:
        """Adapters of a folder on ``model``, frozen.

        Raises
        ------
        EncoderError
            If the files are damaged or belong to another model.
        """
        _require_peft()
        from peft import PeftModel

        try:
            with quiet(), warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)
                return cls(PeftModel.from_pretrained(model, str(folder)).eval())  # type: ignore[arg-type]
        except Exception as error:
            reason = str(error).strip().splitlines() or [""]
            raise EncoderError(
                f"the adapters do not load: {type(error).__name__}: {reason[0]}",
                where=folder,
                hint="they belong to the language model that their run names in environment.json",
            ) from error

    def state(self) -> dict[str, Tensor]:
        """Copies of A and B by name, on the CPU."""
        return {name: value.detach().to("cpu", copy=True) for name, value in self.parameters.items()}

    @torch.no_grad()
    def set(self, state: Mapping[str, Tensor]) -> None:
        """Take over A and B from :meth:`state`, in place."""
        for name, value in self.parameters.items():
            value.copy_(state[name])

    def train(self, mode: bool = True) -> None:
        """Switch the adapters' dropout; the model's own stays off, so that training reads texts as use does."""
        for module in self._dropouts:
            module.train(mode)

    @property
    def sha256(self) -> str:
        """Digest of A, B and their scale: equal digests, equal vectors."""
        return _digest(self.state(), self._settings())

    def save(self, folder: str | Path) -> None:
        """Write the adapters alone, in peft's own format."""
        from safetensors.torch import save_file

        write_atomic(Path(folder) / WEIGHTS, lambda path: save_file(self.state(), path, metadata={"format": "pt"}))
        text = json.dumps(self._settings(), indent=2, sort_keys=True) + "\n"
        write_atomic(Path(folder) / SETTINGS, lambda path: path.write_text(text, encoding="utf-8"))

    def merged(self) -> nn.Module:
        """A copy of the model with W + (alpha / r) B A in place of W, and without adapters.

        In float32 its vectors are those of the adapters up to rounding. In
        bfloat16 W's own precision swallows small updates, which is why vectors
        here are always made with the adapters beside the model.
        """
        return copy.deepcopy(self._peft).merge_and_unload()

    def _settings(self) -> dict[str, Any]:
        settings = self._peft.peft_config["default"].to_dict() | {"inference_mode": True}
        return {key: _plain(value) for key, value in settings.items()}


def stored_sha256(folder: str | Path) -> str:
    """:attr:`Adapters.sha256` of a folder, without its model.

    Raises
    ------
    EncoderError
        If the files are missing or damaged.
    """
    from safetensors.torch import load_file

    try:
        settings = json.loads((Path(folder) / SETTINGS).read_text(encoding="utf-8"))
        return _digest(load_file(Path(folder) / WEIGHTS), settings)
    except Exception as error:
        raise EncoderError(f"the adapters cannot be read: {error}", where=folder) from error


def linear_layers(model: nn.Module) -> tuple[list[str], list[str]]:
    """Names of the linear layers in the model's blocks: those of attention, and the others (MLP).

    Blocks are the members of lists of modules, which is how BERT, RoBERTa,
    ModernBERT, T5, Qwen, Llama, Gemma and most others are written; embeddings,
    poolers and heads stand beside the lists.
    """
    lists = [f"{name}." for name, module in model.named_modules() if isinstance(module, nn.ModuleList)]
    attention, mlp = [], []
    for name, module in model.named_modules():
        block = next((prefix for prefix in lists if name.startswith(prefix)), None)
        if block is None or not isinstance(module, nn.Linear):
            continue
        inner = name.removeprefix(block).lower()
        (attention if any(word in inner for word in _ATTENTION) else mlp).append(name)
    return attention, mlp


def target_modules(model: nn.Module, targets: str | tuple[str, ...]) -> list[str]:
    """Full names of the layers that get an adapter; ``targets`` as in ``language.adapters.targets``.

    Raises
    ------
    ConfigError
        If there is none, or a name belongs to no linear layer.
    """
    attention, mlp = linear_layers(model)
    if targets == "attention":
        found = attention
    elif targets == "auto":
        found = attention + mlp
    else:
        linear = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
        found = [name for name in linear if any(name == target or name.endswith(f".{target}") for target in targets)]
        unknown = [t for t in targets if not any(name == t or name.endswith(f".{t}") for name in linear)]
        if unknown:
            endings = sorted({name.rpartition(".")[2] for name in linear})
            raise ConfigError(
                "the language model has no linear layer of this name",
                where="language.adapters.targets",
                got=unknown,
                accepted=["auto", "attention", *endings],
            )
    if not found:
        raise ConfigError(
            f"no linear layer is found in the blocks of {type(model).__name__}",
            where="language.adapters.targets",
            got=targets,
            hint="name the layers",
        )
    return found


def _digest(state: Mapping[str, Tensor], settings: Mapping[str, Any]) -> str:
    scale = {key: settings[key] for key in ("r", "lora_alpha", "use_rslora", "rank_pattern", "alpha_pattern")}
    digest = hashlib.sha256(json.dumps(scale, sort_keys=True).encode())
    for name in sorted(state):
        digest.update(name.encode() + state[name].contiguous().numpy().tobytes())
    return digest.hexdigest()


def _plain(value: Any) -> Any:
    """A setting as JSON has it; sets are sorted, so that equal adapters have equal files."""
    if isinstance(value, set | frozenset):
        return sorted(value)
    return getattr(value, "value", value)


def _require_peft() -> None:
    if importlib.util.find_spec("peft") is None:
        raise EncoderError(
            "adapters need the package peft, which is not installed",
            where="language.adapters",
            hint='pip install "recmind[adapters]"',
        )
