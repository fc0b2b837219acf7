"""Models that are computed once, the whole way: trained, kept in a run, read back, and blind to held-out rows."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recmind.config import load_config
from recmind.data.dataset import Dataset
from recmind.data.splitting import split_dataset
from recmind.errors import ConfigError, RunError
from recmind.evaluation.ranking import Seen, top_k
from recmind.model.graph import build_graph
from recmind.model.item_item import ItemItem
from recmind.model.registry import build_model, needs_text
from recmind.pipeline import evaluate_run, recommend_run, text_inputs
from recmind.serving.recommender import Recommender
from recmind.serving.refresh import refresh
from recmind.training.run_folder import run_fingerprint

NAMES = ["item-knn", "item-knn-text", "sequential-rules", "ease"]
GRAPHS = ["bpr-mf", "ngcf", "sgl", "simgcl", "xsimgcl", "lightgcl"]
WITH_TEXTS = ["llm-init", "rlmrec-con", "rlmrec-gen", "alpharec", "kar", "dropoutnet"]


@pytest.fixture(scope="module", params=NAMES)
def trained(request: pytest.FixtureRequest, way, dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / request.param
    way.train(dataset, out, way.config(request.param, "default"))
    return out


class TestRun:
    def test_recommendations_are_those_of_the_model_in_memory(self, trained: Path, dataset: Path, way):
        config = way.config(trained.name, "default")
        loaded = Dataset.load(dataset)
        split = split_dataset(loaded, config.split)
        texts = text_inputs(loaded, split, config, show_progress=False) if needs_text(trained.name) else None
        graph = build_graph(split.train.users, split.train.items, split.n_users, split.n_items)
        model = build_model(graph, texts, config.model, seed=0)
        assert isinstance(model, ItemItem)
        model.fit()
        # As it was measured; and for use, computed anew from everything that is known.
        known = split.knowing("valid", "test").train
        grown = build_model(
            build_graph(known.users, known.items, split.n_users, split.n_items), texts, config.model, seed=0
        )
        assert isinstance(grown, ItemItem)
        grown.fit()
        measured = Seen.from_parts(split.n_users, split.n_items, split.train, split.valid)
        for leave_out, one, seen in (
            ("train+valid", model, measured),
            ("all", grown, Seen.from_parts(split.n_users, split.n_items, known)),
        ):
            items, scores = top_k(one, np.arange(split.n_users), 5, seen, block_users=config.evaluation.block_users)
            frame = recommend_run(trained, k=5, leave_out=leave_out, show_progress=False)
            names = loaded.items["item_id"]
            assert frame["item_id"].to_list() == [names[int(item)] for item in items.ravel() if item >= 0]
            np.testing.assert_array_equal(frame["score"].to_numpy(), scores.ravel()[items.ravel() >= 0])

    def test_metrics_measured_again_are_the_same(self, trained: Path, tmp_path: Path):
        run = Path(shutil.copytree(trained, tmp_path / "run"))
        before = json.loads((run / "metrics.json").read_text())
        assert before["best_epoch"] is None
        for part in ("valid", "test"):
            assert evaluate_run(run, part, show_progress=False)[part] == before[part]

    def test_similar_items_and_users_for_an_item(self, trained: Path):
        recommender = Recommender.load(trained)
        grown = recommender.up_to_date.scorer
        assert isinstance(grown, ItemItem)
        similar = recommender.similar_items("i03", k=4)
        scores = grown.similar(3).numpy()
        assert "i03" not in set(similar["item_id"])
        assert similar["score"].to_list() == sorted(np.delete(scores, 3), reverse=True)[:4]
        users = recommender.users_for("i03", k=3)
        own = {f"u{user:02}": float(grown.of_item(3)[user]) for user in range(20)}
        assert users["score"].to_list() == [own[user] for user in users["user_id"]]

    def test_new_items_and_changed_texts_are_refused(self, trained: Path):
        table = pl.DataFrame({"item_id": ["new"], "title": ["red"]})
        why = "makes no vectors of texts" if trained.name == "item-knn-text" else "reads no texts"
        with pytest.raises(ConfigError, match=why):
            recommend_run(trained, new_items=table, show_progress=False)
        with pytest.raises(ConfigError, match=why):
            refresh(trained, table)

    def test_a_run_without_its_weights_is_refused(self, trained: Path, tmp_path: Path):
        from safetensors.torch import load_file, save_file

        run = Path(shutil.copytree(trained, tmp_path / "run"))
        tensors = load_file(run / "model.safetensors")
        save_file({k: v for k, v in tensors.items() if not k.startswith("weights")}, run / "model.safetensors")
        with pytest.raises(RunError, match="do not belong together"):
            Recommender.load(run)


@pytest.mark.parametrize("name", NAMES)
def test_no_held_out_row_reaches_the_model(way, tmp_path: Path, name: str):
    interactions, items = way.tables()
    last = pl.col("timestamp").rank("ordinal", descending=True).over("user_id") <= 2
    # The held-out rows are of other items; i14 and its like stay in the catalogue through the table of items.
    other = pl.format(
        "i{}", (pl.col("item_id").str.slice(1).cast(pl.Int64) * 4 + 1).mod(15).cast(pl.String).str.zfill(2)
    )
    changed = interactions.with_columns(pl.when(last).then(other).otherwise("item_id").alias("item_id"))
    changed = changed.unique(["user_id", "item_id"], keep="none", maintain_order=True)
    kept = interactions.join(changed, on=["user_id", "timestamp"], how="semi")
    models = []
    for folder, rows in (("before", kept), ("after", changed)):
        way.train(way.write(tmp_path / folder, rows, items), tmp_path / f"run-{folder}", way.config(name, "default"))
        models.append((tmp_path / f"run-{folder}" / "model.safetensors").read_bytes())
    assert not kept.equals(changed)
    assert models[0] == models[1]


def test_settings_of_other_models_do_not_make_another_run():
    def fingerprint(model: str, **changes: float) -> str:
        return run_fingerprint(load_config(model=model, overrides=changes), "data")

    ease, knn = {"model.baselines.ease.regularisation": 5.0}, {"model.baselines.knn.shrink": 5.0}
    assert fingerprint("lightgcn", **ease, **knn) == fingerprint("lightgcn")
    assert fingerprint("ease", **knn) == fingerprint("ease") != fingerprint("ease", **ease)
    assert fingerprint("item-knn-text", **ease) == fingerprint("item-knn-text") != fingerprint("item-knn-text", **knn)


@pytest.mark.parametrize("name", [*GRAPHS, "sasrec", "ials", *WITH_TEXTS])
def test_models_with_vectors_are_read_back(way, dataset: Path, tmp_path: Path, name: str):
    if name == "ials":
        pytest.importorskip("implicit")
    run = tmp_path / "run"
    before = way.train(dataset, run, way.config(name, "default"))
    for part in ("valid", "test"):
        assert evaluate_run(run, part, show_progress=False)[part] == before[part]
    assert recommend_run(run, k=3, show_progress=False).height == 20 * 3


@pytest.mark.parametrize("name", WITH_TEXTS)
def test_new_items_are_placed_by_models_that_make_vectors_of_texts(way, dataset: Path, tmp_path: Path, name: str):
    way.train(dataset, tmp_path / "run", way.config(name, "default"))
    # A new item that reads as one of the catalogue that nobody has bought stands where that one stands.
    titles = dict(Dataset.load(dataset).items.select("item_id", "title").rows())
    assert titles["i14"]
    table = pl.DataFrame({"item_id": ["same", "other", "nothing"], "title": [titles["i14"], "old red flat", None]})
    if name not in ("alpharec", "dropoutnet"):
        with pytest.raises(ConfigError, match="cannot place new items"):
            recommend_run(tmp_path / "run", new_items=table, show_progress=False)
        return
    frame = recommend_run(tmp_path / "run", k=18, new_items=table, leave_out="train", show_progress=False)
    scores = {
        item: frame.filter(item_id=item).sort("user_id")["score"].to_numpy() for item in frame["item_id"].unique()
    }
    np.testing.assert_allclose(scores["same"], scores["i14"], rtol=1e-3, atol=1e-3)
    assert not np.allclose(scores["other"], scores["i14"], atol=1e-2)
    assert np.isfinite(scores["nothing"]).all()
