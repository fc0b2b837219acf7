"""RecMind's text encoder as a contender."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from peers.process import Operation, serve


def build(settings: dict[str, Any]) -> tuple[dict[str, Operation], dict[str, Any]]:
    """The encoder with its weights read, ready to encode each corpus."""
    from recmind.config import LanguageConfig
    from recmind.language.encoder import TextEncoder

    torch.set_num_threads(settings["threads"])
    encoder = TextEncoder.load(LanguageConfig(encoder=settings["model"], device="cpu", dtype=settings["dtype"]))
    encoder.encode(["ready"], show_progress=False)
    versions = {name: version(name) for name in ("recmind", "torch", "transformers", "tokenizers")}
    packed = "texts packed" if encoder.packs else "texts padded"
    return corpora(settings, lambda texts: encoder.encode(texts, show_progress=False)), {
        "versions": versions,
        "threads": torch.get_num_threads(),
        "notes": [str(encoder.dtype).removeprefix("torch."), packed],
    }


def corpora(settings: dict[str, Any], encode: Callable[[list[str]], np.ndarray]) -> dict[str, Operation]:
    """An operation per corpus of the file ``settings["texts"]``; the last vectors lie in ``settings["vectors"]``."""
    texts: dict[str, list[str]] = json.loads(Path(settings["texts"]).read_text("utf-8"))
    vectors: dict[str, np.ndarray] = {}

    def operation(name: str) -> Operation:
        def run(n: int) -> None:
            for _ in range(n):
                vectors[name] = encode(texts[name])

        return run

    def save(_: int) -> None:
        np.savez(settings["vectors"], **vectors)

    return {**{name: operation(name) for name in texts}, "save": save}


if __name__ == "__main__":
    serve(build)
