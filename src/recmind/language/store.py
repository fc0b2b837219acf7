"""Embeddings kept by content: a text that was encoded once is never encoded again.

Layout: ``<cache>/embeddings/<encoder fingerprint>/`` with ``manifest.json`` and
shards ``shard-<hash>.safetensors``, each with the rows' ``keys`` (sha256 of the
text, uint8 ``(n, 32)``) and ``vectors`` (float32 ``(n, d_lm)``) and a checksum.
Shards are written whole, named after their content and never changed, so two
processes may fill one store at once, and a kill loses only the shard that was
being filled.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from recmind.files import is_half_written, write_atomic
from recmind.language.encoder import TextEncoder
from recmind.schema import SCHEMA_VERSION, Files

SHARD_ROWS = 4096
SHARD_SECONDS = 20.0
"""A shard is written when it holds this many rows or is this old, whichever comes first."""

ABANDONED_SECONDS = 3600.0
"""A half-written file older than this belongs to no living process."""

_KEYS, _VECTORS, _SHA256 = "keys", "vectors", "sha256"


def default_cache() -> Path:
    """``$RECMIND_CACHE``, else ``~/.cache/recmind``."""
    return Path(os.environ.get("RECMIND_CACHE") or Path.home() / ".cache" / "recmind")


def text_key(text: str) -> bytes:
    """Key of a text's row: its sha256."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


class EmbeddingStore:
    """Vectors of one encoder, on disk.

    Parameters
    ----------
    encoder:
        What encodes the texts that are not there yet.
    cache_dir:
        Folder of all stores; default :func:`default_cache`.
    prompt_version:
        Written into each shard, for people who look into the store.
    """

    def __init__(self, encoder: TextEncoder, cache_dir: Path | None = None, prompt_version: str | None = None) -> None:
        self.encoder = encoder
        self.prompt_version = prompt_version
        self.folder = (cache_dir or default_cache()).expanduser() / "embeddings" / encoder.fingerprint
        self.writable = self._prepare()

    def vectors(self, texts: Sequence[str], *, show_progress: bool = True) -> np.ndarray:
        """Vectors of ``texts``, float32 ``(n, d_lm)``; only texts not in the store are encoded.

        A damaged shard is named in a warning and its texts are encoded again.
        """
        keys = [text_key(text) for text in texts]
        distinct = dict(zip(keys, texts, strict=True))
        found = self._read(set(distinct))
        missing = [key for key in distinct if key not in found]
        found |= self._encode(missing, [distinct[key] for key in missing], show_progress)
        if not texts:
            return np.empty((0, self.encoder.dim), dtype=np.float32)
        return np.stack([found[key] for key in keys])

    def _prepare(self) -> bool:
        manifest = {**self.encoder.manifest(), "schema_version": SCHEMA_VERSION, "row_key": "sha256 of the text"}
        path = self.folder / Files.MANIFEST
        try:
            if not path.is_file():
                write_atomic(path, lambda part: part.write_text(json.dumps(manifest, indent=2) + "\n", "utf-8"))
            self._sweep()
            return True
        except OSError as error:
            self._give_up(error)
            return False

    def _sweep(self) -> None:
        """Remove what killed processes left half written; younger files may belong to a living one."""
        for path in self.folder.glob(".*"):
            if is_half_written(path.name) and time.time() - path.stat().st_mtime > ABANDONED_SECONDS:
                path.unlink(missing_ok=True)

    def _give_up(self, error: OSError) -> None:
        warnings.warn(
            f"embeddings are not kept: {self.folder} cannot be written ({error.strerror or error}); "
            "set language.cache_dir or RECMIND_CACHE to a folder that can",
            stacklevel=4,
        )

    def _read(self, wanted: set[bytes]) -> dict[bytes, np.ndarray]:
        found: dict[bytes, np.ndarray] = {}
        if not wanted or not self.folder.is_dir():
            return found
        for path in sorted(self.folder.glob("shard-*.safetensors")):
            try:
                found |= _read_shard(path, wanted - found.keys(), self.encoder.dim)
            except FileNotFoundError:
                continue  # another process removed it as damaged
            except Exception as error:
                warnings.warn(f"{path}: damaged ({error}); its texts are encoded again", stacklevel=3)
                if self.writable:
                    path.unlink(missing_ok=True)
        return found

    def _encode(self, keys: list[bytes], texts: list[str], show_progress: bool) -> dict[bytes, np.ndarray]:
        done: dict[bytes, np.ndarray] = {}
        shard: dict[bytes, np.ndarray] = {}
        opened = time.monotonic()
        for rows, vectors in self.encoder.batches_with_progress(texts, show=show_progress):
            shard.update(zip((keys[row] for row in rows), vectors, strict=True))
            if len(shard) >= SHARD_ROWS or time.monotonic() - opened > SHARD_SECONDS:
                self._write(shard)
                done |= shard
                shard, opened = {}, time.monotonic()
        self._write(shard)
        return done | shard

    def _write(self, shard: dict[bytes, np.ndarray]) -> None:
        if not shard or not self.writable:
            return
        from safetensors.numpy import save_file

        tensors = {
            _KEYS: np.frombuffer(b"".join(shard), dtype=np.uint8).reshape(-1, 32),
            _VECTORS: np.stack(list(shard.values())),
        }
        digest = _digest(tensors)
        metadata = {_SHA256: digest, "prompt_version": self.prompt_version or "", "schema_version": str(SCHEMA_VERSION)}
        try:
            write_atomic(
                self.folder / f"shard-{digest[:24]}.safetensors", lambda part: save_file(tensors, part, metadata)
            )
        except OSError as error:
            self.writable = False
            self._give_up(error)


def _read_shard(path: Path, wanted: set[bytes], dim: int) -> dict[bytes, np.ndarray]:
    """The wanted rows of a shard; ValueError when it does not hold what it should."""
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as shard:
        keys: np.ndarray = shard.get_tensor(_KEYS)
        rows = [(row, key) for row, key in enumerate(_as_bytes(keys)) if key in wanted]
        if not rows:
            return {}
        vectors: np.ndarray = shard.get_tensor(_VECTORS)
        metadata: dict[str, Any] = shard.metadata() or {}
    if vectors.shape != (len(keys), dim):
        raise ValueError(f"vectors of shape {vectors.shape}, expected {(len(keys), dim)}")
    if _digest({_KEYS: keys, _VECTORS: vectors}) != metadata.get(_SHA256):
        raise ValueError("the checksum does not fit")
    return {key: vectors[row] for row, key in rows}


def _as_bytes(keys: np.ndarray) -> list[bytes]:
    content = keys.tobytes()
    return [content[start : start + 32] for start in range(0, len(content), 32)]


def _digest(tensors: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256(tensors[_KEYS].tobytes())
    digest.update(tensors[_VECTORS].tobytes())
    return digest.hexdigest()
