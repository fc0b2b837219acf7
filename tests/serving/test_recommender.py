from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from recmind.config import load_config
from recmind.errors import ConfigError, DataError
from recmind.model.graph import build_graph
from recmind.model.item_item import Computed
from recmind.model.recent import latest_items
from recmind.model.registry import build_model
from recmind.pipeline import evaluate_run, recommend_run, train_run
from recmind.serving.recommender import Recommender

USERS, ITEMS = 10, 9
TITLES = [
    "red wool sock",
    "blue wool sock",
    None,
    "oak table",
    "pine table",
    "steel pan",
    "iron pan",
    "tea",
    "red oak bed",
]


def training(model: str, **overrides: Any):
    small = {
        "model.dim": 6,
        "model.sequence.optional": False,
        "model.precision": "float32",
        "training.max_epochs": 2,
        "training.n_negatives": 4,
        "evaluation.bootstrap": 0,
        "threads": 1,
    }
    return load_config("default", model=model, overrides={**small, **overrides})


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ids with leading zeros; item 08 was never bought; categories are lists."""
    rng = np.random.default_rng(3)
    rows = [(f"{u:03}", f"{i:02}", t) for u in range(USERS) for t, i in enumerate(rng.permutation(ITEMS - 1)[:5])]
    folder = tmp_path_factory.mktemp("data") / "shop"
    folder.mkdir()
    columns = ["user_id", "item_id", "timestamp"]
    pl.DataFrame(rows, schema=columns, orient="row").write_parquet(folder / "interactions.parquet")
    pl.DataFrame(
        {
            "item_id": [f"{i:02}" for i in range(ITEMS)],
            "title": TITLES,
            "categories": [["home", "shop"]] * 3 + [None] * 6,
        }
    ).write_parquet(folder / "items.parquet")
    return folder


@pytest.fixture(scope="module")
def run(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "recmind"
    train_run(dataset, training("recmind"), out, show_progress=False)
    return out


@pytest.fixture
def recommender(run: Path) -> Recommender:
    return Recommender.load(run)


def parts(dataset: Path, user: str) -> tuple[list[str], str, str]:
    """Training, validation and test items of a user, from the file."""
    own = pl.read_parquet(dataset / "interactions.parquet").filter(user_id=user).sort("timestamp")["item_id"].to_list()
    return own[:-2], own[-2], own[-1]


class TestRecommend:
    @pytest.mark.parametrize("leave_out", ["all", "train", "train+valid"])
    def test_leaves_out_what_is_asked(self, recommender: Recommender, dataset: Path, leave_out: str):
        for user in ("000", "004"):
            train, valid, test = parts(dataset, user)
            left = set(train) | {"all": {valid, test}, "train": set(), "train+valid": {valid}}[leave_out]
            got = recommender.recommend([user], k=100, leave_out=leave_out)["item_id"].to_list()
            assert sorted(got) == sorted({f"{i:02}" for i in range(ITEMS)} - left)

    @pytest.mark.parametrize("leave_out", ["all", "train+valid"])
    def test_order_and_scores_are_those_of_the_vectors(self, recommender: Recommender, leave_out: str):
        frame = recommender.recommend(["007"], k=4, leave_out=leave_out)
        scorer = (recommender.up_to_date if leave_out == "all" else recommender).vectors
        scores = scorer.users[7].double() @ scorer.items.double().T
        if scorer.comes_next is not None:
            scores += torch.from_numpy(scorer.comes_next.scores(np.array([7])).toarray()[0])
        expected = [float(scores[int(item)]) for item in frame["item_id"]]
        np.testing.assert_allclose(frame["score"].to_numpy(), expected, rtol=1e-5)
        assert expected == sorted(expected, reverse=True)
        others = set(range(ITEMS)) - {int(i) for i in frame["item_id"]}
        seen = {int(i) for i in recommender.history("007")["item_id"]}
        known = seen | set(recommender.split.valid.items[recommender.split.valid.users == 7].tolist())
        if leave_out == "all":
            known |= set(recommender.split.test.items[recommender.split.test.users == 7].tolist())
        assert all(float(scores[item]) <= min(expected) for item in others - known)

    def test_everybody_by_default(self, recommender: Recommender):
        frame = recommender.recommend(k=2)
        assert frame["user_id"].to_list() == [f"{u:03}" for u in range(USERS) for _ in range(2)]

    def test_an_item_without_an_edge_is_recommended_too(self, recommender: Recommender):
        assert "08" in recommender.recommend(k=100)["item_id"].to_list()

    def test_nobody(self, recommender: Recommender):
        frame = recommender.recommend([], k=3)
        assert frame.height == 0
        assert frame.columns == ["user_id", "item_id", "rank", "score"]

    def test_unknown_users_are_named(self, recommender: Recommender):
        with pytest.raises(DataError, match=r"2 of 3 users are not in the run(.|\n)*'x', 'y'(.|\n)*'000'"):
            recommender.recommend(["001", "x", "y"])

    @pytest.mark.parametrize("k", [0, -3])
    def test_k_must_be_positive(self, recommender: Recommender, k: int):
        with pytest.raises(DataError, match="k must be at least 1"):
            recommender.recommend(k=k)


def everything(recommender: Recommender) -> tuple[np.ndarray, np.ndarray]:
    """Users and items of all interactions, each user's in the order of time."""
    parts = [recommender.split.part(name) for name in ("train", "valid", "test")]
    users, items = (np.concatenate([getattr(part, key) for part in parts]) for key in ("users", "items"))
    order = np.argsort(users, kind="stable")
    return users[order], items[order]


class TestUpToDate:
    def test_vectors_are_the_models_on_the_graph_of_all_interactions(self, recommender: Recommender, dataset: Path):
        users, items = everything(recommender)
        told = pl.read_parquet(dataset / "interactions.parquet").sort("user_id", "timestamp")
        assert [f"{item:02}" for item in items] == told["item_id"].to_list()
        graph = build_graph(users, items, USERS, ITEMS)
        model = build_model(graph, recommender.trained.texts, recommender.config.model, seed=9)
        prefix = "caught_up."
        state = {
            key.removeprefix(prefix): t for key, t in recommender.trained.tensors.items() if key.startswith(prefix)
        }
        model.load_state_dict(state)
        h = model.vectors()
        found = recommender.up_to_date.vectors
        torch.testing.assert_close(found.users, h[:USERS])
        torch.testing.assert_close(found.items, h[USERS:])
        assert (found.users - recommender.vectors.users).abs().max() > 1e-3

    def test_a_users_latest_item_is_the_last_that_is_known(self, recommender: Recommender):
        graph = recommender.up_to_date.trained.built().graph
        latest, there = latest_items(graph, torch.arange(USERS), 1)
        test = recommender.split.test
        assert there.all()
        assert latest[test.users, 0].tolist() == test.items.tolist()

    def test_what_was_evaluated_stays_as_it_is(self, recommender: Recommender, run: Path):
        before = [table.clone() for table in (recommender.vectors.users, recommender.vectors.items)]
        assert recommender.up_to_date.split.test.users.size == 0
        assert torch.equal(recommender.vectors.users, before[0])
        assert torch.equal(recommender.vectors.items, before[1])
        found = evaluate_run(run, show_progress=False)
        assert found["test"] == json.loads((run / "metrics.json").read_text())["test"]

    def test_one_who_knows_no_more_is_the_same(self, recommender: Recommender):
        known = recommender.knowing("valid", "test")
        assert known.up_to_date is known
        assert recommender.knowing() is recommender

    def test_it_has_learnt_them_too_as_anybody_can_repeat(
        self, recommender: Recommender, dataset: Path, tmp_path: Path
    ):
        stored = {key: t for key, t in recommender.trained.tensors.items() if key.startswith("caught_up.")}
        repeated = recommender.trained.caught_up()
        assert stored.keys() == repeated.keys() and len(stored) > 3
        for name, tensor in repeated.items():
            assert torch.equal(stored[name], tensor), name
        assert not any(key.startswith("caught_up.") for key in recommender.up_to_date.trained.tensors)
        # Without, the graph alone has grown; what is measured is the same.
        train_run(
            dataset, training("recmind", **{"training.catch_up_epochs": 0}), tmp_path / "run", show_progress=False
        )
        plain = Recommender.load(tmp_path / "run")
        assert torch.equal(plain.vectors.users, recommender.vectors.users)
        assert not torch.allclose(plain.up_to_date.vectors.users, recommender.up_to_date.vectors.users, atol=1e-4)

    @pytest.mark.parametrize("model", ["recmind", "ease"])
    def test_what_is_not_known_yet_has_no_part_in_it(self, dataset: Path, tmp_path: Path, model: str):
        """Other test items give the same model that knows the validation part, and another one that knows both."""
        other = tmp_path / "other"
        shutil.copytree(dataset, other)
        table = pl.read_parquet(other / "interactions.parquet").sort("user_id", "timestamp")
        last = table["user_id"] != table["user_id"].shift(-1)
        exchanged = pl.when(last.fill_null(True)).then(pl.lit("08")).otherwise("item_id")
        table.with_columns(exchanged.alias("item_id")).write_parquet(other / "interactions.parquet")
        found = []
        for number, folder in enumerate((dataset, other)):
            run = tmp_path / str(number)
            train_run(folder, training(model), run, show_progress=False)
            found.append(Recommender.load(run))
        everybody = torch.arange(USERS)
        one, two = (each.knowing("valid").scorer.scores(everybody) for each in found)
        assert torch.equal(one, two)
        one, two = (each.up_to_date.scorer.scores(everybody) for each in found)
        assert not torch.allclose(one, two)

    def test_a_part_of_them(self, recommender: Recommender, run: Path):
        known = recommender.knowing("valid")
        assert len(known.split.train) == len(recommender.split.train) + len(recommender.split.valid)
        assert not len(known.split.valid)
        assert np.array_equal(known.split.test.items, recommender.split.test.items)
        scores = known.scorer.scores(torch.arange(USERS)).numpy().copy()
        scores[known.split.train.users, known.split.train.items] = -np.inf
        targets = known.split.test
        better = scores > scores[targets.users, targets.items][:, None]
        found = evaluate_run(run, known="train+valid", show_progress=False)["test"]
        assert Recommender.load(run).vectors.users.equal(recommender.vectors.users)
        assert found["mrr@10"] == pytest.approx((1 / (1 + better.sum(1)[targets.users])).mean())

    @pytest.mark.parametrize("model", ["ease", "ials", "popularity", "sequential-rules"])
    def test_what_is_computed_without_epochs_is_computed_anew(self, dataset: Path, tmp_path: Path, model: str):
        config = training(model)
        train_run(dataset, config, tmp_path / "run", show_progress=False)
        found = Recommender.load(tmp_path / "run")
        users, items = everything(found)
        again = build_model(build_graph(users, items, USERS, ITEMS), None, config.model, seed=0)
        assert isinstance(again, Computed)
        again.fit()
        everybody = torch.arange(USERS)
        expected = again.scores(everybody)
        torch.testing.assert_close(found.up_to_date.scorer.scores(everybody), expected)
        assert not torch.allclose(found.scorer.scores(everybody), expected)
        got = found.recommend(["004"], k=100)["item_id"].to_list()
        train, valid, test = parts(dataset, "004")
        assert sorted(got) == sorted({f"{i:02}" for i in range(ITEMS)} - {*train, valid, test})

    def test_vectors_that_no_graph_makes_stay_without_catching_up(self, dataset: Path, tmp_path: Path):
        train_run(dataset, training("bpr-mf", **{"training.catch_up_epochs": 0}), tmp_path / "run", show_progress=False)
        found = Recommender.load(tmp_path / "run")
        assert torch.equal(found.up_to_date.vectors.users, found.vectors.users)
        assert torch.equal(found.up_to_date.vectors.items, found.vectors.items)

    def test_new_items_are_there_too(self, recommender: Recommender):
        recommender.add_items(pl.DataFrame({"item_id": ["new"], "title": ["green wool sock"]}))
        assert "new" in recommender.recommend(["001"], k=100)["item_id"].to_list()
        recommender.add_items(pl.DataFrame({"item_id": ["newer"], "title": ["green wool sock"]}))
        first, second = recommender.up_to_date.vectors.items[-2:]
        torch.testing.assert_close(first, second)
        assert {"new", "newer"} <= set(recommender.recommend(["001"], k=100)["item_id"])

    def test_the_validation_part_cannot_be_both(self, run: Path):
        with pytest.raises(ConfigError, match="cannot be both known and held out"):
            evaluate_run(run, "valid", known="train+valid")


def test_users_from_a_file(recommender: Recommender, tmp_path: Path):
    (tmp_path / "users.txt").write_text("003\n001\n")
    assert recommender.recommend(tmp_path / "users.txt", k=1)["user_id"].to_list() == ["003", "001"]
    with pytest.raises(DataError, match="there is no such file"):
        recommender.recommend(tmp_path / "no.csv")


class TestNewItems:
    @pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl", "frame"])
    def test_enter_by_their_text(self, recommender: Recommender, tmp_path: Path, suffix: str):
        arrivals = pl.DataFrame(
            {
                "item_id": ["00", "010", "11"],
                "title": ["known already", "red wool scarf", None],
                "categories": ["home", "home", None],
            }
        )
        table: Any = arrivals
        if suffix != "frame":
            table = tmp_path / f"new{suffix}"
            {".parquet": arrivals.write_parquet, ".csv": arrivals.write_csv, ".jsonl": arrivals.write_ndjson}[suffix](
                table
            )
        before = recommender.recommend(k=100)
        assert recommender.add_items(table) == 2
        after = recommender.recommend(k=100)
        assert after.height == before.height + 2 * USERS
        assert after.filter(pl.col("item_id").is_in(["010", "11"]))["score"].is_finite().all()
        known = after.filter(pl.col("item_id").is_in(["010", "11"]).not_()).drop("rank")
        order = ["user_id", "item_id"]
        assert known.select(order).sort(order).equals(before.select(order).sort(order))
        np.testing.assert_allclose(
            known.sort(order)["score"].to_numpy(), before.sort(order)["score"].to_numpy(), rtol=1e-6, atol=1e-7
        )

    @pytest.mark.parametrize("item", [3, 4, 6])
    def test_the_same_text_as_another_item_gives_nearly_its_vector(self, recommender: Recommender, item: int):
        recommender.add_items(pl.DataFrame({"item_id": ["twin"], "title": [TITLES[item]]}))
        twin, original = recommender.scorer.items[-1], recommender.scorer.items[item]
        cosine = torch.nn.functional.cosine_similarity(twin, original, dim=0)
        assert float(cosine) > 0.9  # it hears of all items like it, not of this one alone
        assert recommender.similar_items("twin", k=1)["item_id"].to_list() == [f"{item:02}"]

    def test_added_one_after_the_other(self, recommender: Recommender):
        first, second = (pl.DataFrame({"item_id": [name], "title": ["tea pot"]}) for name in ("n1", "n2"))
        assert [recommender.add_items(table) for table in (first, second, first)] == [1, 1, 0]
        assert recommender.items["item_id"].to_list()[-2:] == ["n1", "n2"]
        assert torch.equal(recommender.scorer.items[-1], recommender.scorer.items[-2])

    def test_only_known_ones_change_nothing(self, recommender: Recommender):
        before = recommender.scorer.items
        assert recommender.add_items(pl.DataFrame({"item_id": ["00", "05"], "title": ["x", "y"]})) == 0
        assert recommender.scorer.items is before

    def test_columns_have_their_usual_names_too(self, recommender: Recommender):
        recommender.add_items(pl.DataFrame({"item_id": ["a"], "title": ["tea pot"], "categories": ["home"]}))
        recommender.add_items(pl.DataFrame({"SKU": ["b"], "Product Name": ["tea pot"], "Category": ["home"]}))
        assert torch.equal(recommender.scorer.items[-1], recommender.scorer.items[-2])

    @pytest.mark.parametrize(
        ("table", "message"),
        [
            (pl.DataFrame({"title": ["x"]}), "no column holds the item_id"),
            (pl.DataFrame({"item_id": ["n"], "colour": ["red"]}), "no column of the table has a text"),
            (pl.DataFrame({"item_id": ["n", None]}), "have no item_id"),
            (pl.DataFrame({"item_id": ["n", "n"]}), "occur more than once"),
        ],
    )
    def test_a_wrong_table_is_refused(self, recommender: Recommender, table: pl.DataFrame, message: str):
        with pytest.raises(DataError, match=message):
            recommender.add_items(table)

    def test_a_model_without_texts_refuses_them(self, dataset: Path, tmp_path: Path):
        train_run(dataset, training("lightgcn"), tmp_path / "run", show_progress=False)
        with pytest.raises(ConfigError, match=r"'lightgcn' reads no texts(.|\n)*train recmind or text"):
            recommend_run(tmp_path / "run", new_items=pl.DataFrame({"item_id": ["n"]}), show_progress=False)


class TestNeighbours:
    def test_similar_items(self, recommender: Recommender):
        frame = recommender.similar_items("03", k=4)
        # Without the column of the popularity term, which says nothing about likeness.
        vectors = recommender.up_to_date.vectors.items.double().numpy()[:, : recommender.config.model.dim]
        unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        cosines = unit @ unit[3]
        expected = [item for item in np.argsort(-cosines) if item != 3][:4]
        assert frame["item_id"].to_list() == [f"{item:02}" for item in expected]
        np.testing.assert_allclose(frame["score"].to_numpy(), cosines[expected], rtol=1e-5)

    def test_more_than_there_are(self, recommender: Recommender):
        assert recommender.similar_items("03", k=100).height == ITEMS - 1

    def test_users_for_an_item(self, recommender: Recommender, dataset: Path):
        owners = pl.read_parquet(dataset / "interactions.parquet").filter(item_id="03")["user_id"].to_list()
        assert 0 < len(owners) < USERS
        frame = recommender.users_for("03", k=100)
        assert sorted(frame["user_id"]) == sorted({f"{u:03}" for u in range(USERS)} - set(owners))
        scores = recommender.up_to_date.vectors.scores(torch.arange(USERS))[:, 3]
        np.testing.assert_allclose(
            frame["score"].to_numpy(), [float(scores[int(user)]) for user in frame["user_id"]], rtol=1e-5
        )
        assert frame["score"].is_sorted(descending=True)

    def test_an_unknown_item_is_named(self, recommender: Recommender):
        with pytest.raises(DataError, match=r"items are not in the run(.|\n)*nothing"):
            recommender.similar_items("nothing")

    def test_history_is_the_training_part_most_recent_first(self, recommender: Recommender, dataset: Path):
        frame = recommender.history("002")
        assert frame["item_id"].to_list() == parts(dataset, "002")[0][::-1]
        assert frame["title"].to_list() == [TITLES[int(item)] for item in frame["item_id"]]
