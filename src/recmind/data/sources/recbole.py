"""RecBole's atomic files: ``.inter``, ``.item`` and ``.user``, tab separated, ``name:type`` headers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial

import polars as pl

from recmind.data.sources.base import Format, Role, Source
from recmind.data.sources.columns import contract_names, match_columns, other_columns
from recmind.data.sources.delimited import delimited
from recmind.data.sources.json_lines import LINE
from recmind.data.sources.lines import RawFile

_TYPES = ("token", "token_seq", "float", "float_seq")
_ENDINGS: dict[Role, str] = {"interactions": "inter", "items": "item", "users": "user"}


def _named(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.rename({name: name.rpartition(":")[0] or name for name in frame.columns if name != LINE})


def _read(file: RawFile, role: Role, mapping: Mapping[str, str]) -> Iterator[pl.DataFrame]:
    for raw in delimited("\t", quoted=False)(file):
        frame = _named(raw)
        available = [name for name in frame.columns if name != LINE]
        matched = match_columns(available, role, mapping, file.path)
        others = other_columns(role, available, matched)
        yield frame.select(LINE, *(pl.col(name).alias(ours) for ours, name in matched.items()), *others)


def _typed_header(line: bytes) -> bool:
    fields = line.decode(errors="replace").split("\t")
    return all(field.rpartition(":")[2] in _TYPES for field in fields)


def _is(role: Role, line: bytes) -> bool:
    names = {field.rpartition(":")[0] for field in line.decode(errors="replace").split("\t")}
    has_user, has_item = "user_id" in names, "item_id" in names
    held = {"interactions": (True, True), "items": (False, True), "users": (True, False)}
    return _typed_header(line) and held[role] == (has_user, has_item)


def _formats(columns: Mapping[str, str]) -> tuple[Format, ...]:
    mapping = contract_names(columns)
    return tuple(
        Format(
            what=f".{ending}",
            role=role,
            names=(f"*.{ending}",),
            recognise=partial(_is, role),
            read=partial(_read, role=role, mapping=mapping),
            convert=lambda frame: frame,
        )
        for role, ending in _ENDINGS.items()
    )


SOURCE = Source("recbole", "RecBole's atomic files: .inter, .item and .user", _formats, takes_columns=True)
