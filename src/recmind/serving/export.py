"""From a run folder to a bundle."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from recmind.errors import BundleError, ConfigError, RunError
from recmind.files import new_folder, write_atomic
from recmind.model.registry import needs_text
from recmind.model.transitions import ComesNext
from recmind.model.views import GraphModel, VectorScorer
from recmind.schema import BundleFiles, BundleTensors, Columns, Files, Tensors
from recmind.serving.bundle import seal, write_json, write_tensors
from recmind.serving.card import model_card, readme
from recmind.serving.equations import Leaves, leaves_of
from recmind.serving.folding import Folding
from recmind.serving.index import Kind, build_index
from recmind.serving.neighbours import heard, nearest
from recmind.serving.recommender import Recommender
from recmind.serving.tastes import Equations
from recmind.text.template import template_names
from recmind.training.run_folder import RunFolder

Array = np.ndarray

_QUERIES = 500
"""Users whose lists the index is measured with."""


def export(run: str | Path, out: str | Path, *, index: Kind = "auto") -> dict[str, Any]:
    """Make a bundle of a finished run and return its model card.

    Parameters
    ----------
    out:
        Folder of the bundle, which must not be there or be empty; it is there
        whole or not at all.
    index:
        ``auto`` chooses by size.

    Raises
    ------
    RunError
        If there is no finished run, or it is damaged.
    ConfigError
        If the run's model keeps no vectors, or faiss is needed and not installed.
    BundleError
        If ``out`` is there already.
    """
    folder, target = RunFolder(run), Path(out)
    config = folder.config()
    if not folder.finished:
        raise RunError("the run is not finished", where=folder.path, hint="finish it with `recmind train --resume`")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise BundleError(
            "there is a file, or a folder that is not empty", where=target, hint="choose another --out: bundles stay"
        )
    measured = Recommender.load(folder.path)
    recommender = measured.up_to_date
    if not isinstance(recommender.scorer, VectorScorer):
        raise ConfigError(
            f"the model {config.model.name!r} keeps no vectors of users and items, and cannot be served from a bundle",
            where="model.name",
            hint="export a run of recmind, text, lightgcn or another model with vectors; "
            "`recmind recommend` works with every model",
        )
    leaves = _leaves(recommender)
    vectors = _vectors(recommender, leaves)
    leaves = replace(leaves, equations=_with_average(leaves.equations, vectors))
    _add_late(recommender, leaves, vectors)
    built = build_index(vectors[BundleTensors.ITEMS], _queries(recommender, leaves.equations, vectors), index)
    encoder = folder.read_json(Files.ENVIRONMENT).get("encoder") if needs_text(config.model.name) else None
    card = model_card(recommender, measured.split, folder.read_json(Files.METRICS), leaves, built.about, encoder)
    with new_folder(target) as new:
        write_json(new / BundleFiles.CARD, card)
        write_atomic(new / BundleFiles.README, lambda part: part.write_text(readme(card), encoding="utf-8"))
        write_json(new / BundleFiles.CONFIG, recommender.config.model_dump(mode="json", exclude_none=True))
        write_atomic(new / BundleFiles.USERS, recommender.users.select(Columns.USER).write_parquet)
        write_atomic(new / BundleFiles.ITEMS, recommender.items.write_parquet)
        write_tensors(new / BundleFiles.VECTORS, vectors)
        write_tensors(new / BundleFiles.HISTORY, _history(recommender))
        write_tensors(new / BundleFiles.PARAMETERS, leaves.parameters or {})
        if recommender.scorer.comes_next is not None:
            write_tensors(new / BundleFiles.TRANSITIONS, _transitions(recommender.scorer.comes_next))
        if built.content is not None:
            write_tensors(new / BundleFiles.INDEX, {BundleTensors.INDEX: built.content})
        _copy_files(config.text.template, recommender, new)
        seal(new)
    return card


def _leaves(recommender: Recommender) -> Leaves:
    """The trained model taken apart; without a graph model, its vectors alone."""
    model, settings = recommender.trained.built(), recommender.config.model
    if not isinstance(model, GraphModel):
        return Leaves(Equations(recommender.vectors.items.shape[1]))
    own_text = needs_text(settings.name) and recommender.trained.texts.users is not None
    return leaves_of(model, own_text, settings.score == "cosine")


def _vectors(recommender: Recommender, leaves: Leaves) -> dict[str, Array]:
    """The tables of ``vectors.safetensors``, without items that came after training."""
    equations, scorer = leaves.equations, recommender.vectors
    n_users, width = scorer.n_users, equations.width
    degrees = recommender.split.item_degrees()[: _n_trained(recommender)].astype(np.int32)
    d = leaves.popularities
    if d is None:
        logs = np.log1p(degrees.astype(np.float32))
        d = logs / max(float(logs.max(initial=0)), 1e-12)
    rows = scorer.items[: len(degrees), :width].numpy()
    found: dict[str, Array | None] = {
        BundleTensors.USERS: scorer.users[:, :width].numpy(),
        BundleTensors.USERS_FREE: leaves.free,
        BundleTensors.ITEMS: np.hstack([rows, d[:, None]]).astype(np.float32),
        BundleTensors.ITEMS_MESSAGES: leaves.messages,
        BundleTensors.ITEMS_DEGREES: degrees,
    }
    if leaves.language is not None and leaves.known is not None:
        language, known = leaves.language[n_users:], leaves.known[n_users:]
        found[BundleTensors.ITEMS_LANGUAGE] = language
        found[BundleTensors.ITEMS_KNOWN] = known > 0
        found[BundleTensors.ITEMS_SCALE] = _scales(recommender, leaves, language, known)
        found[BundleTensors.ITEMS_TEXTS] = recommender.trained.texts.items.numpy()
        if equations.own_text:
            found[BundleTensors.USERS_LANGUAGE] = leaves.language[:n_users]
            found[BundleTensors.USERS_KNOWN] = leaves.known[:n_users] > 0
    if leaves.gates is not None:
        found[BundleTensors.USERS_GATES], found[BundleTensors.ITEMS_GATES] = np.split(leaves.gates, [n_users])
    return {name: table for name, table in found.items() if table is not None}


def _scales(recommender: Recommender, leaves: Leaves, language: Array, known: Array) -> Array:
    """What z^L is multiplied with in h: b / ‖v‖, ``(n_items,)``."""
    equations = leaves.equations
    a = np.array([equations.share_of_graph(float(k)) for k in known], dtype=np.float32)
    b = np.array([equations.share_of_language(float(value)) for value in a], dtype=np.float32)
    if not equations.cosine:
        return b
    assert leaves.lengths is not None
    return b / np.maximum(leaves.lengths[recommender.users.height :], 1e-12)


def _with_average(equations: Equations, vectors: dict[str, Array]) -> Equations:
    """d̃ of new items: that of the average item that has been bought."""
    degrees, d = vectors[BundleTensors.ITEMS_DEGREES], vectors[BundleTensors.ITEMS][:, -1]
    return replace(equations, average_degree=float(d[degrees > 0].mean()) if (degrees > 0).any() else 0.0)


def _add_late(recommender: Recommender, leaves: Leaves, vectors: dict[str, Array]) -> None:
    """Put the items that a refresh let in behind the trained ones, where their texts place them."""
    key = f"{Tensors.ADDED}items"
    if key not in recommender.trained.tensors:
        return
    texts = recommender.trained.tensors[key].numpy()
    known = recommender.trained.tensors[f"{Tensors.ADDED}items_known"].numpy()
    equations = leaves.equations
    near = nearest(equations, vectors, texts, known)
    placed = Folding(equations, leaves.parameters or {}).place(texts, known, heard(equations, vectors, near))
    trained = recommender.vectors.items[len(vectors[BundleTensors.ITEMS]) :, : equations.width].numpy()
    rows = {
        BundleTensors.ITEMS: np.hstack([trained, placed.vectors[:, -1:]]),
        BundleTensors.ITEMS_MESSAGES: placed.messages,
        BundleTensors.ITEMS_DEGREES: np.zeros(len(texts), dtype=np.int32),
        BundleTensors.ITEMS_LANGUAGE: placed.language,
        BundleTensors.ITEMS_KNOWN: known,
        BundleTensors.ITEMS_SCALE: placed.scale,
        BundleTensors.ITEMS_TEXTS: texts,
        BundleTensors.ITEMS_GATES: placed.gates,
    }
    for name, late in rows.items():
        if name in vectors:
            vectors[name] = np.concatenate([vectors[name], late])


def _queries(recommender: Recommender, equations: Equations, vectors: dict[str, Array]) -> Array:
    """Users spread through the table, as search is asked for them, ``(q, width + 1)``."""
    users = vectors[BundleTensors.USERS]
    some = np.unique(np.linspace(0, max(len(users) - 1, 0), min(_QUERIES, len(users))).astype(np.int64))
    column = np.full((len(some), 1), equations.popularity, dtype=np.float32)
    return np.hstack([users[some], column])


def _history(recommender: Recommender) -> dict[str, Array]:
    """What each user is known to have, the oldest first."""
    degrees = recommender.split.user_degrees()
    return {
        BundleTensors.OFFSETS: np.concatenate([[0], np.cumsum(degrees)]),
        BundleTensors.CODES: recommender.split.train.items.astype(np.int32),
        BundleTensors.TRAINED: degrees.astype(np.int32),
    }


def _transitions(following: ComesNext) -> dict[str, Array]:
    """T in compressed rows."""
    table = following.table
    return {
        BundleTensors.OFFSETS: table.indptr.astype(np.int64),
        BundleTensors.CODES: table.indices.astype(np.int32),
        BundleTensors.SHARES: table.data,
    }


def _copy_files(template: str, recommender: Recommender, new: Path) -> None:
    """What the language model needs besides itself: adapters of the items' side, a template of the person's own."""
    if recommender.adapters is not None and needs_text(recommender.config.model.name):
        (new / BundleFiles.ADAPTERS).mkdir()
        for entry in recommender.adapters.iterdir():
            if entry.is_file() and entry.suffix in (".json", ".safetensors"):
                shutil.copyfile(entry, new / BundleFiles.ADAPTERS / entry.name)
    if needs_text(recommender.config.model.name) and template not in template_names():
        path = Path(template).expanduser()
        if not path.is_file():
            raise ConfigError("the run's prompt template is not there any more", where="text.template", got=template)
        shutil.copyfile(path, new / BundleFiles.TEMPLATE)


def _n_trained(recommender: Recommender) -> int:
    late = recommender.trained.tensors.get(f"{Tensors.ADDED}items")
    return recommender.vectors.n_items - (0 if late is None else len(late))
