"""From what stands on the command line, a run or a bundle, to a recommender that is open."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from recmind.errors import BundleError
from recmind.schema import BundleFiles, Files
from recmind.serving.export import export
from recmind.serving.http import logs
from recmind.serving.live import LiveRecommender

_OF_A_RUN = (Files.CONFIG, Files.METRICS, Files.MODEL, Files.ITEMS, Files.USERS, Files.SPLIT, Files.REFRESH)
"""Files of a run that a bundle is made of."""


def open_to_serve(path: Path, changes: Path | None, *, keep: bool = True) -> tuple[LiveRecommender, Callable[[], Path]]:
    """The recommender, and what gives the folder to read at a reload.

    Parameters
    ----------
    path:
        Run or bundle.
    changes:
        File of what changes; by default beside the bundle.
    keep:
        Whether changes are kept at all.
    """
    if is_run(path):

        def bundle() -> Path:
            return bundle_of(path)

    else:

        def bundle() -> Path:
            return path

    folder = bundle()
    store = (changes or folder.with_name(f"{folder.resolve().name}.changes.sqlite")) if keep else None
    return LiveRecommender.open(folder, store), bundle


def is_run(path: Path) -> bool:
    """Whether a folder is a run rather than a bundle."""
    return not (path / BundleFiles.CARD).is_file() and (path / Files.CONFIG).is_file()


def bundle_of(run: Path) -> Path:
    """The bundle beside a run, made where there is none or the run is newer."""
    target = run.with_name(f"{run.resolve().name}.bundle")
    if target.exists() and not (target / BundleFiles.MANIFEST).is_file():
        raise BundleError("there is something that is no bundle", where=target, hint="move it away")
    if target.exists() and _newest(run) <= (target / BundleFiles.MANIFEST).stat().st_mtime_ns:
        return target
    logs.event("making a bundle", bundle=str(target))
    fresh, before = (target.with_name(f".{target.name}.{what}") for what in ("new", "before"))
    for left in (fresh, before):
        shutil.rmtree(left, ignore_errors=True)  # of a start that was killed
    export(run, fresh)
    if target.exists():
        target.rename(before)
    fresh.rename(target)
    shutil.rmtree(before, ignore_errors=True)
    return target


def _newest(run: Path) -> int:
    times = [(run / name).stat().st_mtime_ns for name in _OF_A_RUN if (run / name).is_file()]
    return max(times, default=0)
