"""Which of the given files is what: by its first line, else by its name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from recmind.data.sources.base import ROLES, Format, Role, Source
from recmind.data.sources.lines import check_file, first_line
from recmind.errors import DataError


@dataclass(frozen=True)
class Input:
    """A file and what it holds."""

    path: Path
    format: Format


@dataclass(frozen=True)
class Inputs:
    """The files of one preparation.

    Attributes
    ----------
    files:
        Files to read, interactions first.
    unused:
        Files of a given folder that this source does not read.
    missing:
        Roles that no file fills.
    """

    files: tuple[Input, ...]
    unused: tuple[Path, ...]
    missing: tuple[Role, ...]


def find_inputs(
    source: Source,
    paths: Sequence[Path],
    columns: Mapping[str, str],
    named: Mapping[Role, Path | None],
) -> Inputs:
    """The files among ``paths`` (files or folders, in any order) and ``named`` (role → file).

    Raises
    ------
    DataError
        If a path is missing, a file cannot be told, or no file holds interactions.
    """
    if columns and not source.takes_columns:
        raise DataError(
            f"the source {source.name!r} has fixed columns", where="--columns", got=dict(columns), hint="leave it out"
        )
    formats = source.formats(columns)
    files: dict[Path, Input] = {}
    unused: list[Path] = []
    for role, path in named.items():
        if path is not None:
            check_file(path)
            files[path.resolve()] = Input(path, _of_role(formats, role, path))
    for path in paths:
        known = _in_folder(path, formats, unused) if path.is_dir() else [_the_file(path, formats, source)]
        for entry in known:
            files.setdefault(entry.path.resolve(), entry)
    found = sorted(
        files.values(), key=lambda entry: (ROLES.index(entry.format.role), _part(entry.path), str(entry.path))
    )
    missing: tuple[Role, ...] = tuple(role for role in ROLES if all(entry.format.role != role for entry in found))
    if "interactions" in missing:
        _no_interactions(source, formats, paths, found, unused)
    return Inputs(tuple(found), tuple(unused), missing)


def _part(path: Path) -> int:
    """Where a file of a split by its name stands in time: without clocks the order of rows is that of the files."""
    words = re.split(r"[^a-z]+", path.name.lower())
    return next((at for at, names in enumerate(_PARTS) if not names.isdisjoint(words)), 0)


_PARTS: Final = ({"train", "training"}, {"valid", "validation", "val", "dev"}, {"test"})


def _of_role(formats: Sequence[Format], role: Role, path: Path) -> Format:
    candidates = [known for known in formats if known.role == role]
    if not candidates:
        raise DataError(f"this source reads no {role}", where=path)
    return _recognised(path, candidates) or _named_like(path, candidates) or candidates[0]


def _recognised(path: Path, formats: Iterable[Format]) -> Format | None:
    if path.suffix in (".parquet", ".pq"):
        return None
    line = first_line(path)
    return next((known for known in formats if line and known.recognise(line)), None)


def _named_like(path: Path, formats: Iterable[Format]) -> Format | None:
    return next((known for known in formats if known.named_like(path.name)), None)


def _the_file(path: Path, formats: Sequence[Format], source: Source) -> Input:
    check_file(path)
    by_name = _named_like(path, formats)
    known = by_name if by_name is not None and by_name.by_name else _recognised(path, formats) or by_name
    if known is None:
        raise DataError(
            f"the file is none that the source {source.name!r} reads",
            where=path,
            got=first_line(path)[:120].decode(errors="replace"),
            accepted=_wanted(formats),
            hint=_another_source(path, source) or "say what it is with --interactions, --items or --users",
        )
    return Input(path, known)


def _in_folder(folder: Path, formats: Sequence[Format], unused: list[Path]) -> list[Input]:
    """Known files of a folder; where it has none, those of its subfolders."""
    entries = sorted(folder.iterdir())
    for group in ([p for p in entries if p.is_file()], [p for p in sorted(folder.glob("*/*")) if p.is_file()]):
        known = []
        for path in group:
            by_name = _named_like(path, formats)
            sure = by_name is not None and (by_name.by_name or path.suffix in (".parquet", ".pq"))
            empty = by_name is not None and not first_line(path)
            chosen = by_name if sure or empty else _recognised(path, formats) if by_name else None
            if chosen is None:
                unused.append(path)
            else:
                known.append(Input(path, chosen))
        if known:
            return known
    return []


def _no_interactions(
    source: Source, formats: Sequence[Format], paths: Sequence[Path], found: Sequence[Input], unused: Sequence[Path]
) -> None:
    seen = [f"{entry.path.name} ({entry.format.what})" for entry in found] + [path.name for path in unused[:10]]
    other = next((hint for path in unused if (hint := _another_source(path, source))), None)
    raise DataError(
        f"no file with interactions was found for the source {source.name!r}",
        where=", ".join(str(path) for path in paths) or "--interactions",
        got=seen or "nothing",
        accepted=_wanted([known for known in formats if known.role == "interactions"]),
        hint=other,
    )


def _wanted(formats: Iterable[Format]) -> str:
    return "; ".join(f"{known.what} ({' or '.join(known.names[:2])})" for known in formats)


def _another_source(path: Path, source: Source) -> str | None:
    from recmind.data.sources import SOURCES

    alike: dict[str, list[str]] = {}
    for other in SOURCES.values():
        if other.name not in (source.name, "table") and (known := _recognised(path, other.formats({}))):
            alike.setdefault(known.what, []).append(other.name)
    return (
        "; ".join(
            f"{path.name} looks like {what} of the source {' or '.join(map(repr, names))}"
            for what, names in alike.items()
        )
        or None
    )
