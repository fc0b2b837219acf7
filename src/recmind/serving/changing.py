"""Changes: checked, and put together again from the store when a server starts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from recmind.errors import ConfigError, DataError
from recmind.schema import ITEM_TEXT_FIELDS, Columns
from recmind.serving.base import Base
from recmind.serving.state import State
from recmind.serving.store import Store, StoredItem

Array = np.ndarray

_LONGEST_ID = 256
_KEPT = (*ITEM_TEXT_FIELDS, Columns.PRICE)


def checked_id(value: Any, where: str) -> str:
    """An id as text.

    Raises
    ------
    DataError
        If it is missing, empty, too long or no Unicode text.
    """
    text = value if isinstance(value, str) else "" if value is None or isinstance(value, bool) else str(value)
    sound = 0 < len(text) <= _LONGEST_ID and "\x00" not in text
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        sound = False
    if not sound:
        raise DataError("no such id is possible", where=where, got=value, accepted=f"1 to {_LONGEST_ID} characters")
    return text


def checked_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The text fields and the price of an item, each as one text or number; other fields and empty ones left out.

    Raises
    ------
    DataError
        If a price is no number, or a field holds what cannot be written as a line.
    """
    found: dict[str, Any] = {}
    for name in _KEPT:
        value = fields.get(name)
        if value is None or value == "" or value == []:
            continue
        if name == Columns.PRICE:
            found[name] = _price(value)
        else:
            found[name] = _line(value, name)
    return found


def new_items(state: State, items: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The items that are not there yet, checked.

    Raises
    ------
    DataError
        If an id is missing or occurs twice, or a field is wrong.
    """
    found: dict[str, dict[str, Any]] = {}
    for place, fields in enumerate(items):
        item = checked_id(fields.get(Columns.ITEM), f"items[{place}].item_id")
        if item in found:
            raise DataError("the item occurs more than once", where=f"items[{place}].item_id", got=item)
        found[item] = {Columns.ITEM: item, **checked_fields(fields)}
    return [fields for item, fields in found.items() if not there(state, item)]


def there(state: State, item: str) -> bool:
    """Whether there is such an item."""
    code = state.base.item_codes.get(item)
    of_bundle = code is not None and (state.gone is None or not state.gone[code])
    return of_bundle or state.added.codes.get(item) is not None


def new_pairs(state: State, pairs: Sequence[tuple[str, str]]) -> list[tuple[str, int]]:
    """(user, item code) of the interactions that are not known yet, in order.

    Raises
    ------
    UnknownIdError
        If an item is not there.
    ConfigError
        If a user is new and the model makes no vectors of histories.
    """
    known: dict[str, set[int]] = {}
    found = []
    for place, (user_given, item_given) in enumerate(pairs):
        user = checked_id(user_given, f"interactions[{place}].user_id")
        code = state.item_code(checked_id(item_given, f"interactions[{place}].item_id"))
        if user not in known:
            known[user] = _known(state, user)
        if code not in known[user]:
            known[user].add(code)
            found.append((user, code))
    return found


def _known(state: State, user: str) -> set[int]:
    code = state.base.user_codes.get(user)
    if code in state.shut:
        code = None
    if code is None and not state.base.equations.folds:
        raise ConfigError(
            f"the model {state.base.bundle.config.model.name!r} makes no vector of a history",
            where="user_id",
            hint="only users who were there in training can be served; train recmind, text or lightgcn",
        )
    known = set() if code is None else set(state.base.known_to(code).tolist())
    return known.union(state.people.get(user, ()))


def with_new_items(state: State, fields: list[dict[str, Any]], texts: Array, known: Array) -> State:
    """The state with items whose z̃ is known."""
    placed, near = state.base.place(texts, known)
    return state.with_items(fields, placed, near, texts, known)


def replayed(base: Base, store: Store) -> State:
    """The state that a store and a bundle make.

    What the bundle has learnt already is passed over: items that are there,
    and interactions that it knows or whose item is gone.
    """
    state = State(base)
    digests = store.deleted_users()
    if digests:
        shut = frozenset(code for user, code in base.user_codes.items() if store.digest(user) in digests)
        state = replace(state, shut=shut)
    deleted = [base.item_codes[item] for item in store.deleted_items() if item in base.item_codes]
    if deleted:
        gone = np.zeros(base.n_items, dtype=bool)
        gone[deleted] = True
        state = replace(state, gone=gone)
    items = [item for item in store.items() if not there(state, item.item_id)]
    if items and base.equations.reads:
        state = with_new_items(state, [_fields(item) for item in items], *_vectors(base, items))
    pairs = [(user, item) for user, item in store.interactions() if there(state, item)]
    if not base.equations.folds:
        codes = base.user_codes
        pairs = [(user, item) for user, item in pairs if user in codes and codes[user] not in state.shut]
    return state.with_interactions(new_pairs(state, pairs))


def _fields(item: StoredItem) -> dict[str, Any]:
    return {Columns.ITEM: item.item_id, **item.fields}


def _vectors(base: Base, items: Sequence[StoredItem]) -> tuple[Array, Array]:
    """z̃ of stored items; those that another language model made are read again."""
    fingerprint = base.speech.fingerprint
    fresh = [place for place, item in enumerate(items) if item.encoder != fingerprint]
    again = base.speech.items([_fields(items[place]) for place in fresh]) if fresh else None
    size = again[0].shape[1] if again is not None else len(items[0].vector)
    texts, known = np.zeros((len(items), size), dtype=np.float32), np.zeros(len(items), dtype=bool)
    for place, item in enumerate(items):
        if item.encoder == fingerprint:
            texts[place], known[place] = item.vector, item.known
    if again is not None:
        texts[fresh], known[fresh] = again
    return texts, known


def _price(value: Any) -> float:
    try:
        price = float(value)
    except (TypeError, ValueError):
        price = math.nan
    if isinstance(value, bool) or not math.isfinite(price):
        raise DataError("a price must be a finite number", where=Columns.PRICE, got=value)
    return price


def _line(value: Any, name: str) -> str:
    """A field as one text: lists joined with commas."""
    if isinstance(value, list | tuple):
        return ", ".join(_line(part, name) for part in value if part is not None)
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_line(part, name)}" for key, part in value.items() if part is not None)
    text = str(value)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise DataError("the text is no Unicode", where=name, got=ascii(text)[:60]) from error
    return text
