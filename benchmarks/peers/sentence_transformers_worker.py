"""sentence-transformers as a contender: its own ``encode`` in float32 with its own settings."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import torch
from sentence_transformers import SentenceTransformer

from peers.encoder_worker import corpora
from peers.process import Operation, serve


def build(settings: dict[str, Any]) -> tuple[dict[str, Operation], dict[str, Any]]:
    """The model of the same folder; batches of 32 texts are its default."""
    torch.set_num_threads(settings["threads"])
    model = SentenceTransformer(settings["model"], device="cpu", model_kwargs={"dtype": torch.float32})

    def encode(texts: list[str]) -> Any:
        return model.encode(texts, batch_size=32, normalize_embeddings=True, show_progress_bar=False)

    encode(["ready"])
    versions = {name: version(name) for name in ("sentence-transformers", "torch", "transformers", "tokenizers")}
    notes = [str(next(model.parameters()).dtype).removeprefix("torch."), "batches of 32"]
    return corpora(settings, encode), {"versions": versions, "threads": torch.get_num_threads(), "notes": notes}


if __name__ == "__main__":
    serve(build)
