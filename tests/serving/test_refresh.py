from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

import recmind
from recmind.config import load_config
from recmind.data.dataset import Dataset
from recmind.data.splitting import split_dataset
from recmind.errors import ConfigError, DataError, RecMindError, RunError
from recmind.language.features import language_features
from recmind.model.language_view import TextInputs
from recmind.pipeline import evaluate_run, train_run
from recmind.serving.recommender import Recommender
from recmind.serving.refresh import refresh

USERS, ITEMS = 12, 10
TITLES = [
    "red wool sock",
    "blue wool sock",
    None,
    "oak table",
    "pine table",
    "steel pan",
    "iron pan",
    "green tea",
    "red oak bed",
    "black tea",
]
FAST = {
    "model.dim": 6,
    "model.sequence.optional": False,
    "model.precision": "float32",
    "model.missing_text": "fallback",
    "language.dtype": "float32",
    "training.max_epochs": 2,
    "training.n_negatives": 4,
    "evaluation.bootstrap": 0,
    "threads": 1,
}
CHANGED = pl.DataFrame({"item_id": ["03"], "title": ["plush elephant toy for children"]})


def shop() -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Items 08 and 09 were never bought; every user buys four of 00 to 07; odd users wrote reviews."""
    rng = np.random.default_rng(3)
    rows = [
        (f"{u:03}", f"{i:02}", t, f"nice {TITLES[i] or 'thing'} number {u}" if u % 2 else None)
        for u in range(USERS)
        for t, i in enumerate(rng.permutation(8)[:4])
    ]
    columns = ["user_id", "item_id", "timestamp", "review_text"]
    categories = [["home", "shop"]] * 3 + [None] * 7
    items = pl.DataFrame({"item_id": [f"{i:02}" for i in range(ITEMS)], "title": TITLES, "categories": categories})
    items = items.with_columns(
        pl.when(pl.col("title").is_null()).then(None).otherwise("categories").alias("categories")
    )
    people = [f"keeps animal {u}" if u == 4 else None for u in range(USERS)]
    users = pl.DataFrame({"user_id": [f"{u:03}" for u in range(USERS)], "profile": people})
    return pl.DataFrame(rows, schema=columns, orient="row"), items, users


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory):
    """A run for each way in which users are described, and of each model, trained once."""
    folder, made = tmp_path_factory.mktemp("runs"), {}

    def of(view: str = "items", model: str = "recmind") -> Path:
        if (view, model) not in made:
            config = load_config("default", model=model, overrides={**FAST, "text.user_view": view})
            made[view, model] = folder / f"{view}-{model}"
            train_run(Dataset.from_frames(*shop()), config, made[view, model], show_progress=False)
        return made[view, model]

    return of


@pytest.fixture
def copy(runs, tmp_path: Path):
    """A run to change."""

    def of(*which: str) -> Path:
        return Path(shutil.copytree(runs(*which), tmp_path / "-".join(["run", *which])))

    return of


def vectors(run: Path) -> tuple[torch.Tensor, torch.Tensor]:
    scorer = Recommender.load(run).scorer
    return scorer.users, scorer.items


def whole(run: Path, items: pl.DataFrame, users: pl.DataFrame | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """h of all nodes from the run's parameters and the texts of a dataset made anew."""
    recommender = Recommender.load(run)
    interactions, _, people = shop()
    dataset = Dataset.from_frames(interactions, items, people if users is None else users)
    config = recommender.config
    found = language_features(dataset, split_dataset(dataset, config.split), config.text, config.language)
    own = config.text.user_view != "items"
    about = (found.users, found.users_known) if own else (None, None)
    model = recommender.trained.graph_model(TextInputs.from_arrays(found.items, found.items_known, *about))
    with torch.no_grad():
        h = model.vectors()
    return h[:USERS], h[USERS:]


def with_title(item: str, title: str | None) -> pl.DataFrame:
    new = pl.when(pl.col("item_id") == item).then(pl.lit(title)).otherwise("title")
    return shop()[1].with_columns(new.alias("title"))


def content(run: Path) -> dict[str, bytes]:
    return {entry.name: entry.read_bytes() for entry in run.iterdir() if entry.name != ".lock"}


def buyers(run: Path, item: int) -> set[str]:
    split = Recommender.load(run).split
    return {f"{user:03}" for user in split.train.users[split.train.items == item].tolist()}


def ids(moved: pl.DataFrame, side: str, why: str | None = None) -> set[str]:
    rows = moved.filter(side=side) if why is None else moved.filter(side=side, why=why)
    return set(rows["id"])


@pytest.mark.parametrize("model", ["recmind", "text", "alpharec", "dropoutnet"])
def test_only_rows_whose_language_view_changed_move(copy, model: str):
    run = copy("items", model)
    (users, items), table = vectors(run), Recommender.load(run).items
    result = refresh(run, CHANGED)
    new_users, new_items = vectors(run)
    assert ids(result.moved, "item", "text") == {"03"}
    assert ids(result.moved, "user", "items") == buyers(run, 3)
    expected_users, expected_items = whole(run, with_title("03", CHANGED["title"][0]))
    for side, before, after, expected, n in (
        ("user", users, new_users, expected_users, USERS),
        ("item", items, new_items, expected_items, ITEMS),
    ):
        moved = sorted(int(name) for name in ids(result.moved, side))
        stays = [row for row in range(n) if row not in moved]
        assert 0 < len(moved) < n
        assert torch.equal(after[stays], before[stays])
        np.testing.assert_allclose(after[moved].numpy(), expected[moved].numpy(), atol=1e-6)
        assert not np.allclose(after[moved].numpy(), before[moved].numpy(), atol=1e-4)
    assert Recommender.load(run).items.filter(pl.col("item_id") != "03").equals(table.filter(pl.col("item_id") != "03"))
    assert Recommender.load(run).items.row(3, named=True)["title"] == CHANGED["title"][0]


def test_the_report_says_how_far(copy):
    run = copy()
    before = Recommender.load(run)
    result = refresh(run, CHANGED)
    after = Recommender.load(run)
    dim = before.config.model.dim

    def cosine(a: torch.Tensor, b: torch.Tensor) -> float:
        return float(torch.nn.functional.cosine_similarity(a.double(), b.double(), dim=0))

    item = result.moved.filter(side="item", id="03").row(0, named=True)
    assert item["cosine"] == pytest.approx(cosine(before.scorer.items[3, :dim], after.scorer.items[3, :dim]), abs=1e-5)
    texts = [run.trained.texts.items[3] for run in (before, after)]
    assert item["text_cosine"] == pytest.approx(cosine(*texts), abs=1e-5)
    assert item["text_cosine"] < 0.9
    near = [set(r.similar_items("03", 10)["item_id"]) for r in (before, after)]
    assert item["neighbours_changed"] == len(near[1] - near[0])
    for row in result.moved.filter(side="user").iter_rows(named=True):
        code = int(row["id"])
        expected = cosine(before.scorer.users[code, :dim], after.scorer.users[code, :dim])
        assert row["cosine"] == pytest.approx(expected, abs=1e-5)
        lists = [set(r.recommend([row["id"]], k=10)["item_id"]) for r in (before, after)]
        assert row["neighbours_changed"] == len(lists[1] - lists[0])
        assert 0 < row["text_cosine"] < 1 or row["why"] == "guess"
    assert pl.read_parquet(run / "moved.parquet").equals(result.moved)
    record = json.loads((run / "refresh.json").read_text())
    assert record == [result.summary]
    assert record[0]["items"] == {"given": 1, "new": 0, "texts_changed": 1}
    others = record[0]["others"]
    assert others["rows"] == USERS + ITEMS - result.moved.height
    assert 0.9 < others["least_cosine_if_moved"] <= others["mean_cosine_if_moved"] < 1


def test_without_guesses_only_texts_and_means_of_items_move(tmp_path: Path):
    config = load_config("default", overrides={**FAST, "model.missing_text": "free"})
    train_run(Dataset.from_frames(*shop()), config, tmp_path / "run", show_progress=False)
    result = refresh(tmp_path / "run", CHANGED)
    assert ids(result.moved, "item") == {"03"}
    assert ids(result.moved, "user") == buyers(tmp_path / "run", 3)


def test_a_missing_text_that_is_guessed_from_changed_ones_moves_too(copy):
    run = copy()
    before = vectors(run)[1]
    result = refresh(run, pl.DataFrame({"item_id": [f"{i:02}" for i in range(8) if i != 2], "title": ["sand"] * 7}))
    assert ids(result.moved, "item", "guess") == {"02"}
    changed = with_title("02", None).with_columns(
        pl.when(pl.col("item_id").is_in([f"{i:02}" for i in range(8) if i != 2]))
        .then(pl.lit("sand"))
        .otherwise("title")
        .alias("title")
    )
    np.testing.assert_allclose(vectors(run)[1][2], whole(run, changed)[1][2], atol=1e-6)
    assert torch.equal(vectors(run)[1][8:], before[8:])


class TestNewItems:
    ARRIVALS = pl.DataFrame({"item_id": ["10", "nothing"], "title": ["red wool sock, new", None]})

    def test_they_are_what_a_recommender_makes_of_them(self, copy):
        run = copy()
        other = Recommender.load(run)
        other.add_items(self.ARRIVALS)
        users, items = vectors(run)
        result = refresh(run, self.ARRIVALS)
        assert result.moved["why"].to_list() == ["new", "new"]
        assert result.moved["cosine"].null_count() == result.moved["neighbours_changed"].null_count() == 2
        found = Recommender.load(run)
        assert torch.equal(found.scorer.items, other.scorer.items)
        assert torch.equal(found.scorer.items[:ITEMS], items)
        assert torch.equal(found.scorer.users, users)
        assert found.items["item_id"].to_list()[-2:] == ["10", "nothing"]
        assert {"10", "nothing"} <= set(found.recommend(k=100)["item_id"])

    def test_they_can_change_again_and_more_can_come(self, copy):
        run = copy()
        refresh(run, self.ARRIVALS)
        second = refresh(run, pl.DataFrame({"item_id": ["nothing", "11"], "title": ["oak table", "tea pot"]}))
        assert (ids(second.moved, "item", "text"), ids(second.moved, "item", "new")) == ({"nothing"}, {"11"})
        fresh, direct = Recommender.load(run), Recommender.load(run)
        assert fresh.items["item_id"].to_list()[ITEMS:] == ["10", "nothing", "11"]
        direct.add_items(pl.DataFrame({"item_id": ["x"], "title": ["oak table"]}))
        assert torch.allclose(direct.scorer.items[-1], fresh.scorer.items[ITEMS + 1])
        third = refresh(run, CHANGED)
        assert ids(third.moved, "item", "text") == {"03"}
        # What came earlier stays where it was placed.
        assert torch.equal(Recommender.load(run).scorer.items[ITEMS:], fresh.scorer.items[ITEMS:])
        assert len(json.loads((run / "refresh.json").read_text())) == 3

    def test_the_run_is_evaluated_and_more_items_are_added_as_in_any_run(self, copy):
        run = copy()
        refresh(run, self.ARRIVALS)
        assert evaluate_run(run, "valid", show_progress=False)["valid"]
        recommender = Recommender.load(run)
        assert recommender.add_items(pl.DataFrame({"item_id": ["10", "12"], "title": ["x", "y"]})) == 1


class TestUsersWithTexts:
    def test_titles_that_changed_are_read_again_in_the_users_texts(self, copy):
        run = copy("titles")
        users, _ = vectors(run)
        result = refresh(run, CHANGED)
        assert ids(result.moved, "user", "text") == buyers(run, 3)
        expected, _ = whole(run, with_title("03", CHANGED["title"][0]))
        moved = sorted(int(user) for user in buyers(run, 3))
        np.testing.assert_allclose(vectors(run)[0][moved].numpy(), expected[moved].numpy(), atol=1e-6)
        stays = [user for user in range(USERS) if user not in moved]
        assert torch.equal(vectors(run)[0][stays], users[stays])
        assert result.summary["users"]["texts_not_in_the_run"] == 0

    def test_profiles(self, copy):
        run = copy("titles")
        changed = pl.DataFrame({"user_id": ["004", "007"], "profile": ["collects stamps", "bakes bread"]})
        result = refresh(run, users=changed)
        assert ids(result.moved, "user", "text") == {"004", "007"}
        people = shop()[2].update(changed, on="user_id")
        expected, _ = whole(run, shop()[1], people)
        np.testing.assert_allclose(vectors(run)[0][[4, 7]].numpy(), expected[[4, 7]].numpy(), atol=1e-6)
        again = refresh(run, users=changed)
        assert again.moved.height == 0
        # The new profile is kept: it is in the text when a title changes.
        refresh(run, CHANGED)
        expected, _ = whole(run, with_title("03", CHANGED["title"][0]), people)
        touched = sorted({int(user) for user in buyers(run, 3)} & {4, 7}) or [4]
        np.testing.assert_allclose(vectors(run)[0][touched].numpy(), expected[touched].numpy(), atol=1e-4)

    def test_reviews_are_not_in_the_run_and_stay(self, copy):
        run = copy("reviews")
        users, _ = vectors(run)
        result = refresh(run, CHANGED)
        wrote = {user for user in buyers(run, 3) if int(user) % 2}
        assert wrote
        assert ids(result.moved, "user", "text") == buyers(run, 3) - wrote
        assert result.summary["users"]["texts_not_in_the_run"] == len(wrote)
        rows = sorted(int(user) for user in wrote)
        assert torch.equal(vectors(run)[0][rows], users[rows])

    @pytest.mark.parametrize("given", [["a long review", "dull"], []])
    def test_reviews_that_are_given(self, copy, given: list[str]):
        run = copy("reviews")
        table = pl.DataFrame({"user_id": ["005"], "reviews": [given]}, schema_overrides={"reviews": pl.List(pl.String)})
        result = refresh(run, users=table)
        assert ids(result.moved, "user") == {"005"}
        interactions, items, people = shop()
        split = Recommender.load(run).split
        own = split.train.items[split.train.users == 5]
        texts = dict(zip([f"{i:02}" for i in own], given, strict=True) if given else [])
        mine = interactions["user_id"] == "005"
        reviews = [
            texts.get(item) if is_mine else text
            for item, is_mine, text in zip(interactions["item_id"], mine, interactions["review_text"], strict=True)
        ]
        dataset = Dataset.from_frames(interactions.with_columns(review_text=pl.Series(reviews)), items, people)
        config = Recommender.load(run).config
        found = language_features(dataset, split_dataset(dataset, config.split), config.text, config.language)
        users = Recommender.load(run).trained.texts.users
        assert users is not None
        np.testing.assert_allclose(users[5].numpy(), found.users[5], atol=2e-6)

    def test_a_user_without_a_text_has_the_mean_of_the_items(self, copy, tmp_path: Path):
        # Titles are the only text of a user: without them it is the mean of the items' other fields.
        interactions, items, _ = shop()
        items = items.drop("title").with_columns(brand=pl.Series([f"brand {t}" for t in TITLES]))
        config = load_config("default", overrides={**FAST, "text.user_view": "titles"})
        run = tmp_path / "untitled"
        train_run(Dataset.from_frames(interactions, items), config, run, show_progress=False)
        result = refresh(run, pl.DataFrame({"item_id": ["03"], "brand": ["elephants"]}))
        assert ids(result.moved, "user", "items") == buyers(run, 3)


class TestNothingToDo:
    def test_the_same_texts_change_nothing(self, copy):
        run = copy()
        before = content(run)
        result = refresh(run, shop()[1])
        assert result.moved.height == 0
        assert result.summary["items"] == {"given": ITEMS, "new": 0, "texts_changed": 0}
        assert content(run) == before

    def test_columns_that_are_left_out_stay(self, copy):
        run = copy()
        refresh(run, pl.DataFrame({"item_id": ["00", "new"], "brand": ["Acme", "Acme"]}))
        row = Recommender.load(run).items.row(0, named=True)
        assert (row["title"], row["categories"], row["brand"]) == (TITLES[0], ["home", "shop"], "Acme")

    def test_a_csv_file_holds_no_lists(self, copy, tmp_path: Path):
        run = copy()
        (tmp_path / "changed.csv").write_text("item_id,categories\n01,garden\n")
        refresh(run, tmp_path / "changed.csv")
        assert Recommender.load(run).items.row(1, named=True)["categories"] == ["garden"]

    def test_a_text_taken_away(self, copy):
        run = copy()
        refresh(run, pl.DataFrame({"item_id": ["05"], "title": [None]}, schema_overrides={"title": pl.String}))
        assert not bool(Recommender.load(run).trained.texts.items_known[5])
        np.testing.assert_allclose(vectors(run)[1][5], whole(run, with_title("05", None))[1][5], atol=1e-6)


class TestOut:
    def test_a_new_run_and_the_old_one_as_it_was(self, copy, tmp_path: Path):
        run = copy()
        before = content(run)
        result = refresh(run, CHANGED, out=tmp_path / "deep" / "new")
        assert result.run == tmp_path / "deep" / "new"
        assert content(run) == before
        in_place = refresh(run, CHANGED)
        assert in_place.moved.equals(result.moved)
        assert all(torch.equal(a, b) for a, b in zip(vectors(run), vectors(result.run), strict=True))
        assert sorted(e.name for e in (tmp_path / "deep").iterdir()) == ["new"]
        assert {e.name for e in result.run.iterdir()} == {e.name for e in run.iterdir() if e.name != ".lock"}

    def test_a_folder_that_holds_something_is_refused(self, copy, tmp_path: Path):
        run = copy()
        with pytest.raises(RunError, match=r"not empty(.|\n)*leave --out away"):
            refresh(run, CHANGED, out=run)
        with pytest.raises(RunError, match=r"not empty(.|\n)*another --out"):
            refresh(run, CHANGED, out=tmp_path)


class TestRefused:
    @pytest.mark.parametrize(
        ("table", "message"),
        [
            (pl.DataFrame({"title": ["x"]}), r"items\.parquet: the column 'item_id' is missing"),
            (pl.DataFrame({"item_id": ["n", None], "title": ["x", "y"]}), r"items\.parquet, row 1: 1 rows have no"),
            (pl.DataFrame({"item_id": ["n", "n"], "title": ["x", "y"]}), r"items\.parquet(.|\n)*more than once"),
            (pl.DataFrame({"item_id": [1.5], "title": ["x"]}), r"items\.parquet, column 'item_id'(.|\n)*Float64"),
            (pl.DataFrame({"item_id": ["03"], "title": [b"\xff"]}), r"column 'title': title of item '03'(.|\n)*xff"),
            (
                pl.DataFrame({"item_id": ["03"], "colour": ["red"]}),
                r"items\.parquet: no column(.|\n)*colour(.|\n)*title",
            ),
        ],
    )
    def test_damaged_tables_with_file_column_and_value(self, copy, tmp_path: Path, table: pl.DataFrame, message: str):
        run = copy()
        before = content(run)
        table.write_parquet(tmp_path / "items.parquet")
        with pytest.raises(DataError, match=message):
            refresh(run, tmp_path / "items.parquet")
        assert content(run) == before

    def test_a_kind_that_the_runs_column_cannot_hold(self, tmp_path: Path):
        from recmind.serving.changes import lay_over

        table = pl.DataFrame({"item_id": ["a", "b"], "price": [1.0, 2.0]})
        changes = pl.DataFrame({"item_id": ["a", "b"], "price": ["3", "cheap"]})
        with pytest.raises(DataError, match=r"f\.csv, column 'price': price of item 'b'(.|\n)*'cheap'(.|\n)*Float64"):
            lay_over(table, changes, "item_id", "f.csv")
        kept = lay_over(table, changes.head(1), "item_id", "f.csv")
        assert kept.table["price"].to_list() == [3.0, 2.0]

    def test_files_that_are_no_tables(self, copy, tmp_path: Path):
        (tmp_path / "items.parquet").write_bytes(b"PAR1 and nothing")
        for name, message in (("items.parquet", "cannot be read"), ("none.csv", "no such file"), ("a.xls", "")):
            with pytest.raises(DataError, match=rf"{name}(.|\n)*{message}"):
                refresh(copy("items"), tmp_path / name) if name == "items.parquet" else refresh(
                    tmp_path / "run-items", tmp_path / name
                )

    @pytest.mark.parametrize(
        ("which", "arguments", "error", "message"),
        [
            (("items", "lightgcn"), {"items": CHANGED}, ConfigError, "'lightgcn' reads no texts"),
            ((), {}, ConfigError, "nothing to refresh"),
            ((), {"users": pl.DataFrame({"user_id": ["001"], "profile": ["x"]})}, ConfigError, "mean of the items"),
            (
                ("titles",),
                {"users": pl.DataFrame({"user_id": ["zz"], "profile": ["x"]})},
                DataError,
                r"1 of 1(.|\n)*zz",
            ),
            (("titles",), {"users": pl.DataFrame({"user_id": ["001"], "age": [3]})}, DataError, "no column(.|\n)*age"),
            (("reviews",), {"users": pl.DataFrame({"user_id": ["001"], "profile": ["x"]})}, DataError, "'reviews' is"),
        ],
    )
    def test_what_cannot_be_refreshed(self, copy, which, arguments: dict[str, Any], error: type[RecMindError], message):
        with pytest.raises(error, match=message):
            refresh(copy(*which), **arguments)

    def test_another_language_model(self, copy):
        run = copy()
        path = run / "environment.json"
        content = json.loads(path.read_text())
        content["encoder"]["weights_sha256"] = "0" * 64
        path.write_text(json.dumps(content))
        with pytest.raises(RunError, match=r"not the one that the run was trained with(.|\n)*weights_sha256"):
            refresh(run, CHANGED)

    def test_no_run(self, tmp_path: Path):
        with pytest.raises(RunError, match="no run in this folder"):
            refresh(tmp_path / "nowhere", CHANGED)
        assert not (tmp_path / "nowhere").exists()


class TestPython:
    def test_the_estimator_goes_on_with_the_refreshed_run(self, copy, tmp_path: Path):
        run = copy()
        assert recmind.refresh is refresh
        model = recmind.RecMind.load(run)
        before = model.recommend(["001"], k=100)
        result = model.refresh(pl.DataFrame({"item_id": ["fresh"], "title": ["tea"]}), out=tmp_path / "new")
        assert result.moved["id"].to_list() == ["fresh"]
        assert model.recommend(["001"], k=100).height == before.height + 1
        assert recmind.RecMind.load(run).recommend(["001"], k=100).equals(before)
        model.save(tmp_path / "saved")
        assert recmind.RecMind.load(tmp_path / "saved").recommend(["001"], k=100).height == before.height + 1

    def test_a_model_that_is_not_trained(self):
        with pytest.raises(RunError, match="not trained yet"):
            recmind.RecMind().refresh(CHANGED)


@pytest.fixture(scope="module")
def adapted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose adapters were trained for two steps."""
    adapters = {"rank": 2, "steps": 2, "joint_steps": 2, "batch_size": 4, "graph_epochs": 0, "learning_rate": 0.02}
    settings = {f"language.adapters.{key}": value for key, value in adapters.items()}
    settings |= {"text.user_view": "titles", "training.max_epochs": 1}
    folder = tmp_path_factory.mktemp("adapted") / "run"
    config = load_config("default", overrides={**FAST, **settings})
    train_run(Dataset.from_frames(*shop()), config, folder, show_progress=False)
    return folder


class TestAdapters:
    def test_fresh_texts_are_read_with_the_adapters_of_the_run(self, adapted: Path, tmp_path: Path):
        run = Path(shutil.copytree(adapted, tmp_path / "run"))
        recommender = Recommender.load(run)
        frozen = language_features(
            dataset := Dataset.from_frames(*shop()),
            split_dataset(dataset, recommender.config.split),
            recommender.config.text,
            recommender.config.language,
        )
        texts = recommender.trained.texts
        assert not np.allclose(frozen.items, texts.items.numpy(), atol=1e-3)  # the adapters do something
        twin = pl.DataFrame({"item_id": ["twin", "03"], "title": [TITLES[8], "plush elephant toy"]})
        result = refresh(run, twin)
        after = Recommender.load(run)
        np.testing.assert_allclose(after.trained.tensors["added.items"][0], texts.items[8], atol=1e-4)
        assert ids(result.moved, "user", "text") == buyers(run, 3)
        assert result.summary["users"]["texts_not_in_the_run"] == 0

    def test_adapters_that_are_gone(self, adapted: Path, tmp_path: Path):
        run = Path(shutil.copytree(adapted, tmp_path / "run"))
        shutil.rmtree(run / "adapters")
        with pytest.raises(RunError, match="the adapters that read the run's texts are missing"):
            refresh(run, CHANGED)
