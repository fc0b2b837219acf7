"""A model of LensKit on a given split.

    python -m peers.lenskit_models SETTINGS.json

``SETTINGS.json`` names the model, LensKit's settings for it, a file of arrays with the three parts, and where the
scores of all items for all users go.
"""

# pyright: reportMissingImports=false
from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
from lenskit.als import ImplicitMFScorer
from lenskit.data import from_interactions_df
from lenskit.knn import EASEScorer
from lenskit.training import TrainingOptions

MODELS = {"EASE": EASEScorer, "ImplicitMF": ImplicitMFScorer}


def main() -> None:
    settings = json.loads(Path(sys.argv[1]).read_text())
    with np.load(settings["split"]) as arrays:
        users, items = arrays["train_users"], arrays["train_items"]
        n_users, n_items = int(arrays["n_users"]), int(arrays["n_items"])
    data = from_interactions_df(pd.DataFrame({"user_id": users, "item_id": items}))
    scorer = MODELS[settings["model"]](**settings["settings"])
    scorer.train(data, TrainingOptions(rng=0, device="cpu"))
    item_codes = scorer.items.ids()
    scores = np.full((n_users, n_items), -np.inf, dtype=np.float32)
    if settings["model"] == "EASE":
        history = np.zeros((n_users, len(item_codes)), dtype=np.float32)
        history[users, scorer.items.numbers(items)] = 1.0
        scores[:, item_codes] = history @ scorer.weights
    else:
        scores[np.ix_(scorer.users.ids(), item_codes)] = scorer.user_embeddings @ scorer.item_embeddings.T
    np.save(settings["scores"], scores)
    print(json.dumps({"versions": {"lenskit": version("lenskit")}}))


if __name__ == "__main__":
    main()
