"""The bundle: everything that serving needs of a run, in one folder that is checked before it is trusted.

Safetensors, Parquet and JSON, a README for people, and the prompt template
where it is a file of the person's own. ``manifest.json`` names every other
file with its size and sha256; what is missing, damaged, of another version or
not named there is refused by name. A bundle never changes: what happens after
it was made is in a store (:mod:`recmind.serving.store`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import polars as pl

from recmind.config import Config, validate_config
from recmind.errors import BundleError, RecMindError
from recmind.files import write_atomic
from recmind.schema import BundleFiles, BundleTensors, Columns
from recmind.serving.tastes import Equations

FORMAT = "recmind-bundle"
VERSION = 1
"""Raised when a bundle of before cannot be read any more."""

_AGAIN = "make the bundle again with `recmind export`"

Array = np.ndarray


@dataclass(frozen=True)
class Bundle:
    """A bundle that has been read and verified.

    Attributes
    ----------
    path:
        Its folder.
    id:
        Hash of all files.
    card:
        ``model.json``.
    config:
        Settings of the run.
    equations:
        Constants of the model's equations.
    users:
        Ids, row = code.
    items:
        ``items.parquet``, row = code.
    vectors, history, parameters:
        Tensors by the names of :class:`~recmind.schema.BundleTensors`.
    transitions:
        Likewise; empty for a model that does not count what came next.
    """

    path: Path
    id: str
    card: dict[str, Any]
    config: Config
    equations: Equations
    users: pl.Series
    items: pl.DataFrame
    vectors: dict[str, Array]
    history: dict[str, Array]
    parameters: dict[str, Array]
    transitions: dict[str, Array]

    @classmethod
    def load(cls, path: str | Path) -> Bundle:
        """Read a bundle, verifying every file.

        Raises
        ------
        BundleError
            If there is no bundle, or a file is missing, damaged, not named in the manifest or of another version.
        """
        folder = Path(path)
        manifest = verify(folder)
        counted = BundleFiles.TRANSITIONS in manifest["files"]
        try:
            card = _json(folder / BundleFiles.CARD)
            bundle = cls(
                folder,
                manifest["id"],
                card,
                _config(folder),
                Equations(**card["equations"]),
                pl.read_parquet(folder / BundleFiles.USERS)[Columns.USER],
                pl.read_parquet(folder / BundleFiles.ITEMS),
                read_tensors(folder / BundleFiles.VECTORS),
                read_tensors(folder / BundleFiles.HISTORY),
                read_tensors(folder / BundleFiles.PARAMETERS),
                read_tensors(folder / BundleFiles.TRANSITIONS) if counted else {},
            )
            bundle._check()
        except RecMindError:
            raise
        except Exception as error:  # the bytes are those that were written: somebody else's bundle, or ours is wrong
            raise BundleError(f"the bundle cannot be read: {error!r}", where=folder, hint=_AGAIN) from error
        return bundle

    @cached_property
    def encoder(self) -> dict[str, Any] | None:
        """What identifies the language model, ``None`` for a model without texts."""
        return self.card.get("encoder")

    def index(self) -> Array | None:
        """The serialised faiss index, ``None`` where search is exact."""
        path = self.path / BundleFiles.INDEX
        return read_tensors(path)[BundleTensors.INDEX] if path.is_file() else None

    def _check(self) -> None:
        """Tables that belong together have the same number of rows, and codes lie inside them."""
        n_users, n_items = len(self.users), self.items.height
        dim, width = self.equations.dim, self.equations.width
        expected = {
            BundleTensors.USERS: (n_users, width),
            BundleTensors.USERS_FREE: (n_users, dim),
            BundleTensors.USERS_LANGUAGE: (n_users, dim),
            BundleTensors.ITEMS: (n_items, width + 1),
            BundleTensors.ITEMS_LANGUAGE: (n_items, dim),
            BundleTensors.ITEMS_MESSAGES: (n_items, dim),
            BundleTensors.ITEMS_SCALE: (n_items,),
            BundleTensors.ITEMS_KNOWN: (n_items,),
            BundleTensors.ITEMS_DEGREES: (n_items,),
        }
        if BundleTensors.ITEMS_TEXTS in self.vectors:
            expected[BundleTensors.ITEMS_TEXTS] = (n_items, *self.vectors[BundleTensors.ITEMS_TEXTS].shape[1:])
        for name, shape in expected.items():
            if name in self.vectors and self.vectors[name].shape != shape:
                raise BundleError(
                    f"the table {name} does not belong to this bundle",
                    where=self.path / BundleFiles.VECTORS,
                    got=self.vectors[name].shape,
                    accepted=str(shape),
                    hint=_AGAIN,
                )
        offsets, codes = self.history[BundleTensors.OFFSETS], self.history[BundleTensors.CODES]
        sound = len(offsets) == n_users + 1 and offsets[0] == 0 and offsets[-1] == len(codes)
        inside = not len(codes) or 0 <= codes.min() <= codes.max() < n_items
        if not (sound and inside and (np.diff(offsets) >= 0).all()):
            raise BundleError("the histories do not fit the tables", where=self.path / BundleFiles.HISTORY, hint=_AGAIN)
        if self.transitions and not _rows_fit(self.transitions, n_items):
            raise BundleError("what came next does not fit", where=self.path / BundleFiles.TRANSITIONS, hint=_AGAIN)


def _rows_fit(table: Mapping[str, Array], n_items: int) -> bool:
    """Whether compressed rows are those of at most ``n_items`` items and name no others."""
    offsets, codes, shares = (
        table[name] for name in (BundleTensors.OFFSETS, BundleTensors.CODES, BundleTensors.SHARES)
    )
    sound = 0 < len(offsets) <= n_items + 1 and offsets[0] == 0 and offsets[-1] == len(codes) == len(shares)
    inside = not len(codes) or 0 <= codes.min() <= codes.max() < n_items
    return bool(sound and inside and (np.diff(offsets) >= 0).all())


def verify(folder: Path) -> dict[str, Any]:
    """The manifest, after every file has been compared with it.

    Raises
    ------
    BundleError
        Naming the file and what is wrong with it.
    """
    path = folder / BundleFiles.MANIFEST
    if not path.is_file():
        raise BundleError(
            "there is no bundle in this folder" if folder.is_dir() else "there is no such folder",
            where=folder,
            hint="make one with `recmind export RUN --out BUNDLE`",
        )
    manifest = _manifest(path)
    named: dict[str, dict[str, Any]] = manifest["files"]
    there = {entry.relative_to(folder).as_posix() for entry in folder.rglob("*") if not entry.is_dir()}
    foreign = sorted(there - named.keys() - {BundleFiles.MANIFEST})
    if foreign:
        raise BundleError(
            "the file is not part of the bundle", where=folder / foreign[0], hint="remove it: a bundle never changes"
        )
    with ThreadPoolExecutor(4) as pool:  # hashing lets other threads run
        for problem in pool.map(lambda entry: _problem(folder / entry[0], entry[1]), named.items()):
            if problem is not None:
                raise problem
    return manifest


def _problem(path: Path, expected: Mapping[str, Any]) -> BundleError | None:
    if not path.is_file():
        return BundleError("a file of the bundle is missing", where=path, hint=_AGAIN)
    size = path.stat().st_size
    if size != expected["bytes"]:
        return BundleError(
            "a file of the bundle is damaged",
            where=path,
            got=f"{size} bytes",
            accepted=f"{expected['bytes']} bytes",
            hint=_AGAIN,
        )
    digest = file_sha256(path)
    if digest != expected["sha256"]:
        return BundleError(
            "a file of the bundle is damaged",
            where=path,
            got=f"sha256 {digest}",
            accepted=str(expected["sha256"]),
            hint=_AGAIN,
        )
    return None


def _manifest(path: Path) -> dict[str, Any]:
    try:
        manifest = _json(path)
        kind, version, files = manifest["format"], manifest["version"], manifest["files"]
        sound = all(
            isinstance(entry["sha256"], str) and isinstance(entry["bytes"], int) and _inside(name)
            for name, entry in files.items()
        )
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise BundleError(f"the manifest of the bundle is damaged: {error!r}", where=path, hint=_AGAIN) from error
    if kind != FORMAT or version != VERSION:
        raise BundleError(
            "the bundle is of another version",
            where=path,
            got=f"{kind}, version {version}",
            accepted=f"{FORMAT}, version {VERSION}",
            hint=_AGAIN,
        )
    if not sound or manifest.get("id") != bundle_id(files):
        raise BundleError("the manifest of the bundle is damaged: its id does not fit", where=path, hint=_AGAIN)
    return manifest


def seal(folder: Path) -> str:
    """Write the manifest of a folder that holds everything else, and return the bundle's id."""
    files = {
        entry.relative_to(folder).as_posix(): {"sha256": file_sha256(entry), "bytes": entry.stat().st_size}
        for entry in sorted(folder.rglob("*"))
        if entry.is_file()
    }
    manifest = {"format": FORMAT, "version": VERSION, "id": bundle_id(files), "files": files}
    write_json(folder / BundleFiles.MANIFEST, manifest)
    return manifest["id"]


def bundle_id(files: Mapping[str, Mapping[str, Any]]) -> str:
    """Digest of the names and hashes of a bundle's files."""
    content = sorted((name, entry["sha256"], entry["bytes"]) for name, entry in files.items())
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:32]


def file_sha256(path: Path) -> str:
    """sha256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file."""
    write_atomic(path, lambda part: part.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8"))


def write_tensors(path: Path, tensors: Mapping[str, Array]) -> None:
    """Write a safetensors file."""
    from safetensors.numpy import save_file

    owned = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
    write_atomic(path, lambda part: save_file(owned, part))


def read_tensors(path: Path) -> dict[str, Array]:
    """All tensors of a safetensors file."""
    from safetensors.numpy import load_file

    return load_file(path)


def _config(folder: Path) -> Config:
    content = _json(folder / BundleFiles.CONFIG)
    if (folder / BundleFiles.TEMPLATE).is_file():
        content["text"]["template"] = str(folder / BundleFiles.TEMPLATE)
    return validate_config(content, where=folder / BundleFiles.CONFIG)


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _inside(name: str) -> bool:
    """Whether a name stays in the bundle's folder."""
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and bool(path.parts)
