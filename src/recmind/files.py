"""Files that are there whole or not at all."""

from __future__ import annotations

import glob
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

Content = TypeVar("Content")

ARRIVED = ".arrived"
"""Folder of files that all belong to the folder around it, and are being moved there one by one."""

_STAGED = ".staged-"
_OF_SAFETENSORS = re.compile(r"\.tmp[A-Za-z0-9]{6}")
"""It writes beside the path that it is given, and renames too."""


def write_atomic(path: str | Path, write: Callable[[Path], object]) -> None:
    """Call ``write`` with a temporary path beside ``path``, then rename it into place.

    A crash at any moment leaves either the old file or the new one. The data
    is flushed to disk before the rename.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".partial", dir=target.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def is_half_written(name: str) -> bool:
    """Whether a name is that of what a killed process left of a file that it was writing with :func:`write_atomic`."""
    return (name.startswith(".") and name.endswith(".partial")) or _OF_SAFETENSORS.fullmatch(name) is not None


def write_together(folder: str | Path, writers: Mapping[str, Callable[[Path], object]]) -> None:
    """Replace several files of a folder at once; for a reader who uses :func:`read_newest`, all or none are new.

    They are written beside and flushed; renaming the folder that holds them is
    the moment from which they count. Then each is moved to its place, by the
    next call where this one is killed. Only one process at a time may call it.
    """
    target = Path(folder)
    settle(target)
    staged = Path(tempfile.mkdtemp(prefix=_STAGED, dir=target))
    try:
        for name, write in writers.items():
            write_atomic(staged / name, write)
        staged.chmod(0o777 & ~_umask())
        staged.replace(target / ARRIVED)
    except BaseException:
        shutil.rmtree(staged, ignore_errors=True)
        raise
    settle(target)


def settle(folder: str | Path) -> None:
    """Finish what a killed :func:`write_together` began: move what had arrived, remove what had not."""
    target = Path(folder)
    for staged in target.glob(f"{_STAGED}*"):
        shutil.rmtree(staged, ignore_errors=True)
    arrived = target / ARRIVED
    if arrived.is_dir():
        for entry in sorted(arrived.iterdir()):
            entry.replace(target / entry.name)
        arrived.rmdir()


def read_newest(path: str | Path, read: Callable[[Path], Content]) -> Content:
    """``read`` of a file, which may have arrived without being in its place yet."""
    file = Path(path)
    arrived = file.parent / ARRIVED / file.name
    if arrived.exists():
        try:
            return read(arrived)
        except FileNotFoundError:
            pass  # it has been moved since
    return read(file)


@contextmanager
def new_folder(path: str | Path) -> Iterator[Path]:
    """A hidden folder to fill, which becomes ``path`` at the end: all at once, or not at all.

    ``path`` must not be there, or be an empty folder. What killed processes
    left of such folders is removed.
    """
    target = Path(path).resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{target.name}.making-"
    for left in target.parent.glob(f"{glob.escape(prefix)}*"):
        if not _is_running(left.name.removeprefix(prefix)):
            shutil.rmtree(left, ignore_errors=True)
    folder = target.parent / f"{prefix}{os.getpid()}"
    folder.mkdir()
    try:
        yield folder
        folder.replace(target)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _is_running(pid: str) -> bool:
    """Whether ``pid`` is another process that runs; in containers a dead one often had this one's number."""
    try:
        os.kill(int(pid), 0)
    except (ValueError, ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    return int(pid) != os.getpid()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
