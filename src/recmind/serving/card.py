"""The model card: what was trained on what, how well it does and for whom, and what it is not for."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np

from recmind import __version__
from recmind.config import Config
from recmind.data.splitting import Split
from recmind.serving.equations import Leaves
from recmind.serving.recommender import Recommender

Array = np.ndarray

_DEGREES = ((0, 0), (1, 3), (4, 10), (11, 50), (51, None))
_FROM_METRICS = ("dataset", "recipe", "seed", "best_epoch", "valid", "test", "strata", "strata_of", "intervals")
"""What ``metrics.json`` says that the card repeats."""


def model_card(
    recommender: Recommender,
    trained: Split,
    metrics: Mapping[str, Any],
    leaves: Leaves,
    index: Mapping[str, Any],
    encoder: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """``model.json``.

    Parameters
    ----------
    recommender:
        What is served, which has heard of every interaction.
    trained:
        What it was trained, validated and tested on.
    metrics:
        ``metrics.json`` of the run.
    index:
        What was measured of the index.
    encoder:
        What identifies the language model, ``None`` for a model without.
    """
    config, split = recommender.config, recommender.split
    degrees = split.item_degrees()
    return {
        "recmind": __version__,
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "model": config.model.name,
        **{key: metrics.get(key) for key in _FROM_METRICS},
        "data": {
            "users": recommender.users.height,
            "items": recommender.items.height,
            "split": split.kind,
            "interactions": {name: len(trained.part(name)) for name in ("train", "valid", "test")},
            "items_without_an_interaction": int((degrees == 0).sum()),
            "items_without_a_text": None if leaves.known is None else _unread(leaves.known, recommender.users.height),
        },
        "encoder": None if encoder is None else dict(encoder),
        "equations": leaves.equations.to_json(),
        "fold_deviation": leaves.deviation,
        "gate": None if leaves.gates is None else _gates(leaves.gates, split),
        "index": dict(index),
        "limits": limits(config, leaves, metrics),
    }


def limits(config: Config, leaves: Leaves, metrics: Mapping[str, Any]) -> list[str]:
    """What a person who serves this model should know."""
    found = [
        "The figures are of offline ranking on held-out interactions of the same data; what a live service gains "
        "has to be measured there.",
        "It repeats what its data shows: popular items and frequent users are known better than others.",
        "Items do not move with interactions that come after the bundle, only users do, and what came next is counted "
        "up to then; train again from time to time.",
    ]
    held = [part for part in ("valid", "test") if metrics.get(part)]
    if "test" in held:
        found.append(
            "The figures are of the model before it knew the held-out interactions; the one that is served knows them."
        )
    if not leaves.equations.folds:
        found.append("It makes no vector of a history: users who were not there in training cannot be served.")
    if not leaves.equations.reads:
        found.append(
            "It makes no vectors of texts: items that come after training cannot enter, wishes in words are refused."
        )
    elif config.language.encoder == "builtin":
        found.append(
            "Texts are read by a small encoder (all-MiniLM-L6-v2), mostly trained on English; it is no large model."
        )
    return found


def readme(card: Mapping[str, Any]) -> str:
    """The card for people, as Markdown."""
    data, index = card["data"], card["index"]
    counts = data["interactions"]
    lines = [
        f"# {card['model']} on {card['dataset']}",
        "",
        f"A bundle for serving, made by RecMind {card['recmind']} at {card['made']}. `model.json` holds the same and "
        "more; `manifest.json` the sha256 of every file, which is verified when the bundle is opened.",
        "",
        "## Data",
        "",
        f"{data['users']:,} users, {data['items']:,} items, {counts['train']:,} training interactions, "
        f"{counts['valid']:,} for validation, {counts['test']:,} for testing (split: {data['split']}). "
        f"{data['items_without_an_interaction']:,} items have no interaction.",
        "",
        f"Recipe `{card['recipe']}`, seed {card['seed']}, best epoch {card['best_epoch']}.",
        "",
        "## How well it ranks",
        "",
        *_metrics(card),
        "## Search",
        "",
        f"{index['kind']}, {index['items']:,} items, recall@20 against exact search {index['recall@20']:.4f}.",
        "",
        "## Limits",
        "",
        *(f"- {line}" for line in card["limits"]),
        "",
    ]
    return "\n".join(lines)


def _metrics(card: Mapping[str, Any]) -> list[str]:
    parts = [part for part in ("valid", "test") if card.get(part)]
    if not parts:
        return ["Nothing was held out.", ""]
    names = list(dict.fromkeys(name for part in parts for name in card[part]))
    lines = [f"| metric | {' | '.join(parts)} |", f"|---|{'---:|' * len(parts)}"]
    lines += [f"| {name} | {' | '.join(_number(card[part].get(name)) for part in parts)} |" for name in names]
    strata = {name: values for name, values in (card.get("strata") or {}).items() if values.get("n")}
    if strata:
        columns = list(dict.fromkeys(key for values in strata.values() for key in values))
        lines += ["", f"By training degree ({card['strata_of']}):", ""]
        lines += [f"| stratum | {' | '.join(columns)} |", f"|---|{'---:|' * len(columns)}"]
        for name, values in strata.items():
            lines.append(f"| {name} | {' | '.join(_number(values.get(column)) for column in columns)} |")
    return [*lines, ""]


def _number(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def _unread(known: Array, n_users: int) -> int:
    return int((known[n_users:] == 0).sum())


def _gates(gates: Array, split: Split) -> dict[str, list[dict[str, Any]]]:
    """Mean γ by layer of the users and items that were trained on, by how many of their interactions are known."""
    users, items = np.split(gates, [split.n_users])
    found: dict[str, list[dict[str, Any]]] = {}
    for side, of_all, rows in (("users", split.user_degrees(), users), ("items", split.item_degrees(), items)):
        degrees = of_all[: len(rows)]
        found[side] = []
        for low, high in _DEGREES:
            chosen = (degrees >= low) & (degrees <= (np.inf if high is None else high))
            if chosen.any():
                mean = [round(float(value), 4) for value in rows[chosen].mean(axis=0)]
                found[side].append({"degree": [low, high], "n": int(chosen.sum()), "mean": mean})
    return found
