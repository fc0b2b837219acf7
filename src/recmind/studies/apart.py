"""A training in a process of its own, and a folder that one process at a time works in."""

from __future__ import annotations

import fcntl
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Final

from recmind.config import Config
from recmind.errors import RunError
from recmind.files import write_atomic

_LOCK: Final = ".lock"
_WAIT: Final = 20.0
"""Seconds within which a training whose parent was killed notices that and ends."""


def train_apart(dataset: Path, config: Config, out: Path, *, lock: int, show_progress: bool) -> None:
    """Train a run in a process of its own, which ends with this one; an unfinished one goes on.

    Parameters
    ----------
    lock:
        File descriptor of :func:`claimed`. The training holds it too: who wants
        the folder next waits until it has ended.

    Raises
    ------
    RunError
        If the training fails, with what it said.
    """
    order = {
        "dataset": str(dataset),
        "config": config.model_dump(mode="json", exclude_none=True),
        "out": str(out),
        "show_progress": show_progress,
    }
    command = [sys.executable, "-m", "recmind.studies.worker"]
    with tempfile.TemporaryFile("w+") as answer:
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=answer, text=True, pass_fds=(lock,)) as process:
            assert process.stdin is not None
            try:
                process.stdin.write(json.dumps(order) + "\n")
                process.stdin.flush()
                # Not one long wait: under polars' handler an interrupt does not end a system call.
                while process.poll() is None:
                    time.sleep(0.05)
            except BrokenPipeError:
                process.wait()
            finally:
                _close(process.stdin)
        answer.seek(0)
        said = answer.read().strip()
    if process.returncode:
        ended = f"the training ended with exit code {process.returncode}"
        if process.returncode < 0:
            ended = f"the training was killed by signal {-process.returncode}"
        raise RunError(said or ended, where=None if said else out)


def _close(pipe: IO[str]) -> None:
    with suppress(BrokenPipeError):
        pipe.close()


@contextmanager
def claimed(folder: Path, name: str, mark: Mapping[str, Any], what: str) -> Iterator[int]:
    """Hold a folder for this process and its trainings; yields the lock's file descriptor.

    Parameters
    ----------
    name:
        File in which the mark is kept; it tells such a folder from others.
    mark:
        What the folder is of; one with another mark is refused.
    what:
        ``study`` or ``tuning``, for messages.

    Raises
    ------
    RunError
        If the folder holds something else, or another process works in it.
    """
    if folder.exists() and not folder.is_dir():
        raise RunError(f"the folder of a {what} cannot be a file", where=folder, hint="choose another --out")
    if (folder / name).exists():
        _refuse_another(folder, _read(folder / name), dict(mark), what)
    elif folder.exists() and (others := sorted(e.name for e in folder.iterdir() if e.name[0] != ".")):
        raise RunError(
            f"the folder is not empty and holds no {what}", where=folder, got=others[:5], hint="another --out"
        )
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / _LOCK).open("w") as lock:
        _wait_for(lambda: _locked(lock), folder, what)
        text = json.dumps(mark, indent=1) + "\n"
        write_atomic(folder / name, lambda path: path.write_text(text, encoding="utf-8"))
        yield lock.fileno()


def _read(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"the file cannot be read: {error}", where=file, hint="choose another --out") from error
    return found if isinstance(found, dict) else {}


def _refuse_another(folder: Path, there: dict[str, Any], mark: dict[str, Any], what: str) -> None:
    differing = [key for key in mark if there.get(key) != mark[key]]
    if differing:
        shown = [f"{key.replace('_', ' ')}: {there.get(key)!r} there, {mark[key]!r} now" for key in differing]
        raise RunError(
            f"the folder holds a {what} of another {' and '.join(_plain(key) for key in differing)}",
            where=folder,
            got="; ".join(shown),
            hint="choose another --out",
        )


def _plain(key: str) -> str:
    return key.removesuffix("_hash").replace("_", " ")


def _locked(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _wait_for(done: Callable[[], bool], folder: Path, what: str) -> None:
    until = time.monotonic() + _WAIT
    while not done():
        if time.monotonic() > until:
            raise RunError(f"another {what} is under way in this folder", where=folder)
        time.sleep(0.1)
