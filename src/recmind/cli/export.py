"""Command about bundles: export."""

from __future__ import annotations

from pathlib import Path
from typing import Literal


def export(run: Path, /, *, out: Path, index: Literal["auto", "exact", "ivf", "hnsw"] = "auto") -> None:
    """Make a bundle of a run, for serving: vectors, texts, histories, index, model card.

    The bundle stands alone, but for the language model, to which it refers. Every file is verified by its
    sha256 when the bundle is opened. Runs of recmind, text, lightgcn and other models with vectors can be exported.

        recmind export runs/shop --out bundles/shop
        recmind export runs/shop --out bundles/shop --index exact

    Parameters
    ----------
    run:
        Run folder, as `recmind train` makes it.
    out:
        Folder of the bundle to write; it is there whole or not at all.
    index:
        How the catalogue is searched. `exact` compares everything, `ivf` and `hnsw` are indices of faiss, whose
        recall@20 is measured and stored; `auto` chooses by size.
    """
    from recmind.serving.export import export as export_run

    card = export_run(run, out, index=index)
    data, about = card["data"], card["index"]
    recall = f"recall@20 {about['recall@20']:.4f}"
    print(f"{card['model']}: {data['users']:,} users, {data['items']:,} items, {about['kind']} search, {recall}")
    print(f"The bundle is in {out}; what it is and is not for is in {out / 'README.md'}.")
