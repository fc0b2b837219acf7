"""A model of RecBole on a given split, the way its users run it: its files, loader, training and evaluation.

    python -m peers.recbole_models SETTINGS.json

``SETTINGS.json`` names the model, RecBole's settings for it, a file of arrays with the three parts, and where the
scores of all items for all users go. stdout gets RecBole's own result on the test part, as JSON.
"""

# pyright: reportMissingImports=false
from __future__ import annotations

import contextlib
import functools
import json
import logging
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from peers import shims

shims.apply()

from recbole.config import Config  # noqa: E402
from recbole.data import create_dataset, data_preparation  # noqa: E402
from recbole.data.interaction import Interaction  # noqa: E402
from recbole.utils import get_model, get_trainer, init_seed  # noqa: E402

NAME = "given"
PARTS = ("train", "valid", "test")
_BLOCK = 256


def main() -> None:
    settings = json.loads(Path(sys.argv[1]).read_text())
    sys.argv = sys.argv[:1]  # RecBole reads the command line too
    torch.set_num_threads(settings["threads"])
    # RecBole reads back the checkpoint that it wrote itself, in a way that torch 2.6 stopped to allow unasked.
    torch.load = functools.partial(torch.load, weights_only=False)
    with np.load(settings["split"]) as arrays:
        parts = {part: np.stack([arrays[f"{part}_users"], arrays[f"{part}_items"]], axis=1) for part in PARTS}
        n_users, n_items = int(arrays["n_users"]), int(arrays["n_items"])
    # RecBole writes logs and checkpoints into the current folder, whatever it is told.
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder), contextlib.redirect_stdout(sys.stderr):
        _write(parts, Path(folder) / NAME)
        config = _config(settings, folder, n_items)
        logging.getLogger().setLevel(logging.ERROR)
        init_seed(config["seed"], config["reproducibility"])
        dataset = create_dataset(config)
        train, valid, test = data_preparation(config, dataset)
        model = get_model(config["model"])(config, train.dataset).to("cpu")
        trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
        trainer.fit(train, valid, saved=True, show_progress=False, verbose=False)
        result = trainer.evaluate(test, load_best_model=True, show_progress=False)
        np.save(settings["scores"], _scores(model, dataset.field2token_id, n_users, n_items))
    print(json.dumps({"versions": {"recbole": version("recbole")}, "test": {k: float(v) for k, v in result.items()}}))


def _write(parts: dict[str, np.ndarray], folder: Path) -> None:
    folder.mkdir()
    for part, rows in parts.items():
        with (folder / f"{NAME}.{part}.inter").open("w") as out:
            out.write("user_id:token\titem_id:token\n")
            np.savetxt(out, rows, fmt="%d", delimiter="\t")


def _config(settings: dict[str, Any], folder: str, n_items: int) -> Config:
    k = settings["k"]
    given = {
        "data_path": folder,
        "benchmark_filename": list(PARTS),
        "load_col": {"inter": ["user_id", "item_id"]},
        "use_gpu": False,
        "state": "ERROR",
        "checkpoint_dir": folder,
        "eval_args": {"split": {"RS": [0.8, 0.1, 0.1]}, "group_by": "user", "order": "RO", "mode": "full"},
        "metrics": ["Recall", "NDCG"],
        "topk": [k],
        "valid_metric": f"NDCG@{k}",
        "eval_batch_size": _BLOCK * (n_items + 1),
        **settings["settings"],
    }
    return Config(model=settings["model"], dataset=NAME, config_dict=given)


@torch.no_grad()
def _scores(model: Any, ids: dict[str, dict[str, int]], n_users: int, n_items: int) -> np.ndarray:
    """Scores in our codes ``(n_users, n_items)``; -inf for whom or what RecBole has never seen."""
    model.eval()
    users, items = (
        np.array([ids[name].get(str(code), 0) for code in range(n)])
        for name, n in (("user_id", n_users), ("item_id", n_items))
    )
    found = np.full((n_users, n_items), -np.inf, dtype=np.float32)
    for start in range(0, n_users, _BLOCK):
        rows = users[start : start + _BLOCK]
        block = model.full_sort_predict(Interaction({"user_id": torch.from_numpy(rows)}))
        block = torch.as_tensor(block).reshape(len(rows), -1).numpy()
        found[start : start + _BLOCK] = np.where((items > 0) & (rows > 0)[:, None], block[:, items], -np.inf)
    return found


if __name__ == "__main__":
    main()
