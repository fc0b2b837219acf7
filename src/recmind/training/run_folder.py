"""The run folder: everything about one training run, readable without the dataset it came from.

``config.toml`` (resolved settings), ``environment.json``, ``state.json``,
``history.jsonl``, ``metrics.json`` (written last: a run that has it is
finished), ``checkpoint.safetensors``, ``model.safetensors``, and the ids,
texts and interactions that the model was trained on.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import tomli_w
from safetensors import SafetensorError

from recmind.config import Config, validate_config
from recmind.config.baselines import READERS
from recmind.config.profiles import HOW_ASKED
from recmind.data.dataset import Dataset
from recmind.data.splitting import Part, Split
from recmind.errors import RunError
from recmind.files import ARRIVED, is_half_written, read_newest, settle, write_atomic
from recmind.schema import SCHEMA_VERSION, Columns, Files
from recmind.text.chat.prompt_file import load_prompt
from recmind.training.candidates import Tried, best_of

if TYPE_CHECKING:
    from torch import Tensor  # what tells of runs starts without torch, whose import takes seconds

_OWN = (
    Files.CONFIG,
    Files.ENVIRONMENT,
    Files.METRICS,
    Files.HISTORY,
    Files.STATE,
    Files.CHECKPOINT,
    Files.TRIED,
    Files.BEST_TRIED,
    Files.MODEL,
    Files.SPLIT,
    Files.ITEMS,
    Files.USERS,
    Files.REFRESH,
    Files.MOVED,
    *(Files.PER_USER.format(split=part) for part in ("valid", "test")),
)
_FOLDERS = (Files.ADAPTERS, Files.TABLES)
_LOCK = ".lock"
_OF_ADAPTERS = ("language.adapters.", "language.max_minutes")
# Settings that say where and how fast, not what is computed.
_IRRELEVANT = (
    "training.checkpoint_seconds",
    "language.cache_dir",
    "evaluation.block_users",
    *(f"text.profiles.{name}" for name in HOW_ASKED),
)
# Settings that came after runs were made, with the value that changes nothing: such runs stay what they were.
_LATER = {"split.hide_test": False, "model.sequence.optional": False}


class RunFolder:
    """A run folder by path; methods read or write one thing each, whole or not at all."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    @property
    def finished(self) -> bool:
        """Whether the run was trained and evaluated to the end."""
        return (self / Files.METRICS).exists()

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Hold the folder for this process; a second trainer and a folder of something else are refused."""
        if self.path.exists() and not self.path.is_dir():
            raise RunError("a run folder cannot be a file", where=self.path, hint="choose another --out")
        self._refuse_foreign()
        self.path.mkdir(parents=True, exist_ok=True)
        with (self / _LOCK).open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise RunError("another process is training in this folder", where=self.path) from error
            settle(self.path)
            yield

    def begin(self, config: Config, dataset: Dataset, *, resume: bool, overwrite: bool) -> str:
        """Make the folder ready for training and return the run's fingerprint.

        Raises
        ------
        RunError
            If the folder holds something else, or a run with other settings or
            data, and ``overwrite`` is not set.
        """
        fingerprint = run_fingerprint(config, dataset.hash)
        state = self._read_state()
        # The state is written before the settings and goes after them: without them nothing has been trained.
        started = state is not None and (self / Files.CONFIG).exists()
        if state is None:
            self._refuse_foreign()
        elif not started:
            pass
        elif state["fingerprint"] != fingerprint and not overwrite:
            raise RunError(
                "the folder holds a run with other settings or other data",
                where=self.path,
                got=self._differences(config, dataset, state),
                hint="choose another --out, repeat the run's own settings, or train with --overwrite",
            )
        elif not (resume or overwrite or self.finished):
            raise RunError(
                "the folder holds an unfinished run",
                where=self.path,
                hint="go on with --resume, or start again with --overwrite",
            )
        if overwrite or not started:
            self._clear()
            mark = {"schema_version": SCHEMA_VERSION, "fingerprint": fingerprint, "dataset_hash": dataset.hash}
            self.write_json(Files.STATE, mark)
            self.write_text(Files.CONFIG, tomli_w.dumps(config.model_dump(mode="json", exclude_none=True)))
        for entry in self.path.iterdir():
            if entry.name != _LOCK and _is_residue(entry.name):
                entry.unlink()
        return fingerprint

    def config(self) -> Config:
        """The resolved settings of the run."""
        path = self / Files.CONFIG
        if not path.exists():
            raise RunError(
                "there is no run in this folder",
                where=self.path,
                got=sorted(e.name for e in self.path.iterdir())[:8] if self.path.is_dir() else "no such folder",
                hint="make one with `recmind train`",
            )
        try:
            return validate_config(tomllib.loads(path.read_text(encoding="utf-8")), where=path)
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise RunError(f"the file cannot be read: {error}", where=path) from error

    def trained_config(self) -> Config:
        """:meth:`config` of a finished run, with what validation chose where the settings left it to that.

        Raises
        ------
        RunError
            As :meth:`config` and :meth:`read_json`.
        """
        config, metrics = self.config(), self.read_json(Files.METRICS)
        tried = metrics.get("tried") or metrics.get("temperatures")  # as it was called before there was more to try
        return best_of([Tried.of(row) for row in tried]).applied(config) if tried else config

    def popularity_factor(self) -> float:
        """What calibration multiplied the learnt popularity with, 1 where there was none."""
        return (self.read_json(Files.METRICS).get("calibrated") or {}).get("popularity_factor", 1.0)

    def best_epoch(self) -> int | None:
        """The epoch whose parameters a finished run has; ``None`` of a model without epochs."""
        return self.read_json(Files.METRICS).get("best_epoch")

    def write_data(self, dataset: Dataset, split: Split) -> None:
        """Write ids, texts and the interactions of every part; of users what ``users.parquet`` says about them."""
        about = [Columns.PROFILE] if Columns.PROFILE in dataset.users.columns else []
        write_atomic(self / Files.USERS, dataset.users.select(Columns.USER, *about).write_parquet)
        write_atomic(self / Files.ITEMS, dataset.items.write_parquet)
        parts = [
            pl.LazyFrame({Columns.USER_CODE: part.users, Columns.ITEM_CODE: part.items}).select(
                pl.lit(name).alias(Columns.PART), Columns.USER_CODE, Columns.ITEM_CODE
            )
            for name, part in (("train", split.train), ("valid", split.valid), ("test", split.test))
        ]
        # As a stream: a name beside every interaction would take more memory than the codes.
        write_atomic(self / Files.SPLIT, pl.concat(parts).sink_parquet)

    def read_table(self, name: str) -> pl.DataFrame:
        """One of the run's tables.

        Raises
        ------
        RunError
            If it is missing or damaged.
        """
        try:
            return read_newest(self / name, pl.read_parquet)
        except Exception as error:  # polars has no common base class for damaged files
            raise RunError(f"the file cannot be read: {error}", where=self / name, hint=_TRAIN_AGAIN) from error

    def read_split(self, n_users: int, n_items: int, kind: str) -> Split:
        """The split that the run was trained on."""
        table = self.read_table(Files.SPLIT)
        parts = []
        for name in ("train", "valid", "test"):
            rows = table.filter(pl.col(Columns.PART) == name)
            users, items = rows[Columns.USER_CODE].to_numpy(), rows[Columns.ITEM_CODE].to_numpy()
            parts.append(Part(users, items, np.arange(len(users))))
        return Split(kind, n_users, n_items, *parts)

    def write_model(self, tensors: Mapping[str, Tensor]) -> None:
        """Write ``model.safetensors``."""
        from safetensors.torch import save_file

        owned = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
        write_atomic(self / Files.MODEL, lambda path: save_file(owned, path))

    def read_model(self) -> dict[str, Tensor]:
        """Tensors of ``model.safetensors``.

        Raises
        ------
        RunError
            If training has not come that far, or the file is damaged.
        """
        from safetensors.torch import load_file

        path = self / Files.MODEL
        if not path.exists():
            raise RunError(
                "the run holds no model yet", where=self.path, hint="finish it with `recmind train --resume`"
            )
        try:
            return read_newest(path, load_file)
        except (SafetensorError, OSError) as error:
            raise RunError(f"the model cannot be read: {error}", where=path, hint=_TRAIN_AGAIN) from error

    def refreshes(self) -> list[dict[str, Any]]:
        """What was refreshed since training, the latest last; nothing in a run as it was trained."""
        there = (self / Files.REFRESH).exists() or (self / ARRIVED / Files.REFRESH).exists()
        return self.read_json(Files.REFRESH) if there else []

    def write_json(self, name: str, content: Any) -> None:
        """Write a JSON file."""
        self.write_text(name, json.dumps(content, indent=2) + "\n")

    def read_json(self, name: str) -> Any:
        """Read a JSON file.

        Raises
        ------
        RunError
            If it is missing or damaged.
        """
        try:
            return json.loads(read_newest(self / name, lambda path: path.read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            raise RunError(f"the file cannot be read: {error}", where=self / name, hint=_TRAIN_AGAIN) from error

    def write_text(self, name: str, text: str) -> None:
        """Write a text file."""
        write_atomic(self / name, lambda path: path.write_text(text, encoding="utf-8"))

    def _read_state(self) -> dict[str, Any] | None:
        if not (self / Files.STATE).exists():
            return None
        try:
            state = json.loads((self / Files.STATE).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            state = None
        if not isinstance(state, dict) or not {"fingerprint", "dataset_hash"} <= state.keys():
            raise RunError(
                "the file is damaged or is not the state of a run",
                where=self / Files.STATE,
                hint="delete the folder, or choose another --out",
            )
        return state

    def _refuse_foreign(self) -> None:
        """Stop where the folder holds files and is not marked as a run."""
        if (self / Files.STATE).exists() or not self.path.is_dir():
            return
        foreign = sorted(entry.name for entry in self.path.iterdir() if not _is_residue(entry.name))
        if foreign:
            raise RunError(
                "the folder is not empty and is no run folder",
                where=self.path,
                got=foreign[:5],
                hint="choose another --out",
            )

    def _clear(self) -> None:
        # The settings go first and the mark of a run stays, so that a crash in between
        # leaves a folder that is known as a run in which nothing has been trained.
        for name in (name for name in _OWN if name != Files.STATE):
            (self / name).unlink(missing_ok=True)
        for name in _FOLDERS:
            shutil.rmtree(self / name, ignore_errors=True)

    def _differences(self, config: Config, dataset: Dataset, state: Mapping[str, Any]) -> list[str]:
        mine, theirs = _flat(config), _flat(self.config())
        differing = [
            f"{key}: {theirs.get(key)!r} there, {mine.get(key)!r} now" for key in mine if mine[key] != theirs.get(key)
        ]
        other_data = ["other data"] if state["dataset_hash"] != dataset.hash else []
        return [*differing, *other_data] or ["what the prompt file asks"]


_TRAIN_AGAIN = "train again with --overwrite"


def _is_residue(name: str) -> bool:
    """Whether a file is the lock, or what a killed process left of a file it was writing."""
    ours = not name.endswith(".partial") or any(name.startswith(f".{own}.") for own in _OWN)
    return name == _LOCK or (is_half_written(name) and ours)


def run_fingerprint(config: Config, dataset_hash: str) -> str:
    """Digest of all settings and data that the result depends on."""
    relevant = {key: value for key, value in _flat(config).items() if key not in _IRRELEVANT}
    relevant = {key: value for key, value in relevant.items() if key not in _LATER or value != _LATER[key]}
    if not config.language.adapters.rank:
        # Without adapters nothing is trained that these settings say something about.
        relevant = {key: value for key, value in relevant.items() if not key.startswith(_OF_ADAPTERS)}
    for section, models in READERS.items():
        if config.model.name not in models:
            own = f"model.baselines.{section}."
            relevant = {key: value for key, value in relevant.items() if not key.startswith(own)}
    if config.text.profiles.writer == "chat":
        # What the file asks counts, not what it is called: a run must not go on with answers to another question.
        relevant["text.profiles.prompt"] = load_prompt(config.text.profiles.prompt).version
    return hashlib.sha256(json.dumps([relevant, dataset_hash], sort_keys=True, default=str).encode()).hexdigest()


def _flat(config: Config) -> dict[str, Any]:
    flat: dict[str, Any] = {}

    def walk(tree: Mapping[str, Any], prefix: str) -> None:
        for key, value in tree.items():
            if isinstance(value, Mapping) and f"{prefix}{key}" != "text.field_tokens":
                walk(value, f"{prefix}{key}.")
            else:
                flat[f"{prefix}{key}"] = value

    walk(config.model_dump(mode="json"), "")
    return flat
