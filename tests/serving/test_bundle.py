"""Bundles: what is in them, and that no damaged one is opened."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from safetensors.numpy import load_file, save_file

from recmind.errors import BundleError, ConfigError, RunError
from recmind.schema import BundleFiles
from recmind.serving.bundle import Bundle, seal
from recmind.serving.export import export
from recmind.serving.live import LiveRecommender
from recmind.serving.recommender import Recommender


@pytest.fixture
def copy(bundled: Callable[[str], Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundled("recmind"), tmp_path / "bundle"))


def files_of(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_nothing_but_tables_tensors_and_text(copy: Path):
    assert {Path(name).suffix for name in files_of(copy)} == {".json", ".parquet", ".safetensors", ".md"}


def test_every_file_when_a_byte_is_another_when_it_is_cut_and_when_it_is_gone(copy: Path):
    for name in files_of(copy):
        path = copy / name
        content = path.read_bytes()
        changed = bytearray(content)
        changed[len(changed) // 2] ^= 1
        for damaged in (bytes(changed), content[: len(content) // 2], b""):
            path.write_bytes(damaged)
            with pytest.raises(BundleError) as caught:
                Bundle.load(copy)
            assert name in str(caught.value), name
        path.unlink()
        with pytest.raises(BundleError) as caught:
            Bundle.load(copy)
        # Without its manifest a folder is no bundle.
        assert name in str(caught.value) or name == BundleFiles.MANIFEST, name
        path.write_bytes(content)
    Bundle.load(copy)


def test_a_file_that_is_not_its_own_is_named(copy: Path):
    (copy / "extra.bin").write_bytes(b"x")
    with pytest.raises(BundleError, match=r"extra\.bin: the file is not part of the bundle"):
        Bundle.load(copy)


def test_another_version_is_refused(copy: Path):
    manifest = json.loads((copy / BundleFiles.MANIFEST).read_text())
    (copy / BundleFiles.MANIFEST).write_text(json.dumps({**manifest, "version": 99}))
    with pytest.raises(BundleError, match=r"another version(.|\n)*version 99(.|\n)*version 1(.|\n)*recmind export"):
        Bundle.load(copy)


@pytest.mark.parametrize("content", ["[]", "{}", "nonsense", '{"format": "recmind-bundle", "version": 1, "files": 3}'])
def test_a_manifest_that_is_none(copy: Path, content: str):
    (copy / BundleFiles.MANIFEST).write_text(content)
    with pytest.raises(BundleError, match=r"manifest\.json: the manifest of the bundle is damaged"):
        Bundle.load(copy)


def test_a_manifest_that_leads_out_of_the_folder(copy: Path):
    manifest = json.loads((copy / BundleFiles.MANIFEST).read_text())
    manifest["files"]["../secret"] = {"sha256": "0", "bytes": 1}
    (copy / BundleFiles.MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match="damaged"):
        Bundle.load(copy)


def test_tables_that_do_not_belong_together(copy: Path):
    vectors = load_file(copy / BundleFiles.VECTORS)
    save_file({**vectors, "items.vectors": vectors["items.vectors"][:-1]}, copy / BundleFiles.VECTORS)
    seal_again(copy)
    with pytest.raises(BundleError, match=r"vectors\.safetensors(.|\n)*items\.vectors"):
        Bundle.load(copy)


def test_histories_that_name_items_that_are_not_there(copy: Path):
    history = load_file(copy / BundleFiles.HISTORY)
    history["items"][0] = 10_000
    save_file(history, copy / BundleFiles.HISTORY)
    seal_again(copy)
    with pytest.raises(BundleError, match=r"history\.safetensors: the histories do not fit"):
        Bundle.load(copy)


def test_transitions_that_name_items_that_are_not_there(bundled: Callable[[str], Path], tmp_path: Path):
    copied = Path(shutil.copytree(bundled("sequence"), tmp_path / "bundle"))
    table = load_file(copied / BundleFiles.TRANSITIONS)
    table["items"][0] = 10_000
    save_file(table, copied / BundleFiles.TRANSITIONS)
    seal_again(copied)
    with pytest.raises(BundleError, match=r"transitions\.safetensors: what came next does not fit"):
        Bundle.load(copied)


def seal_again(folder: Path) -> None:
    (folder / BundleFiles.MANIFEST).unlink()
    seal(folder)


def test_no_bundle(tmp_path: Path):
    with pytest.raises(BundleError, match="there is no such folder"):
        Bundle.load(tmp_path / "nothing")
    with pytest.raises(BundleError, match="there is no bundle in this folder"):
        Bundle.load(tmp_path)


def test_an_unfinished_run(trained: Callable[[str], Path], tmp_path: Path):
    run = Path(shutil.copytree(trained("lightgcn"), tmp_path / "run"))
    (run / "metrics.json").unlink()
    with pytest.raises(RunError, match="not finished"):
        export(run, tmp_path / "bundle")


def test_a_folder_that_is_there(trained: Callable[[str], Path], tmp_path: Path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(BundleError, match="not empty"):
        export(trained("lightgcn"), tmp_path)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_model_without_vectors_says_so_and_leaves_nothing(trained: Callable[[str], Path], tmp_path: Path):
    with pytest.raises(ConfigError, match=r"'ease' keeps no vectors(.|\n)*recmind recommend"):
        export(trained("ease"), tmp_path / "bundle")
    assert not list(tmp_path.iterdir())


def test_the_same_run_twice_gives_the_same_tables(trained: Callable[[str], Path], bundled, tmp_path: Path):
    export(trained("recmind"), tmp_path / "again")
    for name in (BundleFiles.VECTORS, BundleFiles.HISTORY, BundleFiles.PARAMETERS, BundleFiles.ITEMS):
        assert (tmp_path / "again" / name).read_bytes() == (bundled("recmind") / name).read_bytes()


OURS = ["recmind", "titles", "no-gate", "sequence", "in-order", "in-order-own", "in-order-own-dot", "text"]
GRAPHS = ["lightgcn", "sequence-lightgcn", "bpr-mf", "lightgcl", "ngcf", "sasrec", "sgl", "simgcl", "xsimgcl"]
READERS = ["alpharec", "dropoutnet", "kar", "llm-init", "rlmrec-con"]


@pytest.mark.parametrize("kind", [*OURS, *GRAPHS, *READERS, "popularity"])
def test_a_bundle_recommends_what_its_run_recommends(
    kind: str, trained: Callable[[str], Path], bundled: Callable[[str], Path]
):
    """Whatever the model: what it can do beyond that is said by ``status.can``."""
    run = Recommender.load(trained(kind))
    with LiveRecommender.open(bundled(kind)) as live:
        for user in run.users["user_id"].to_list()[::5]:
            expected = run.recommend([user], k=100)
            found = live.recommend(user, k=100)
            assert len(found) == expected.height
            scores = dict(expected.select("item_id", "score").iter_rows())
            for one in found:
                assert one.score == pytest.approx(scores[one.item_id], rel=1e-5, abs=1e-6)
            assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)
            assert [one.rank for one in found] == list(range(1, len(found) + 1))


def test_the_card_says_what_the_metrics_say(trained: Callable[[str], Path], bundled: Callable[[str], Path]):
    metrics = json.loads((trained("recmind") / "metrics.json").read_text())
    card = json.loads((bundled("recmind") / BundleFiles.CARD).read_text())
    for key in ("valid", "test", "strata", "dataset", "seed"):
        assert card[key] == metrics[key]
    split = Recommender.load(trained("recmind")).split
    assert card["data"]["interactions"] == {name: len(split.part(name)) for name in ("train", "valid", "test")}
    assert card["data"]["interactions"]["test"] > 0
    assert card["fold_deviation"] < 1e-5
    assert {"users", "items"} == card["gate"].keys()
    readme = (bundled("recmind") / BundleFiles.README).read_text()
    assert f"{metrics['test']['recall@20']:.4f}" in readme
    assert all(line in readme for line in card["limits"])


def test_items_that_a_refresh_let_in_are_in_the_bundle(trained: Callable[[str], Path], tmp_path: Path):
    from recmind.serving.refresh import refresh

    run = Path(shutil.copytree(trained("recmind"), tmp_path / "run"))
    refresh(run, pl.DataFrame({"item_id": ["late", "i03"], "title": ["w1 w2", "w9 w8"]}))
    export(run, tmp_path / "bundle")
    expected = Recommender.load(run)
    with LiveRecommender.open(tmp_path / "bundle") as live:
        scores = dict(expected.recommend(["u01"], k=100).select("item_id", "score").iter_rows())
        found = {one.item_id: one.score for one in live.recommend("u01", k=100)}
        assert found == pytest.approx(scores, rel=1e-5, abs=1e-6)
        assert "late" in found
        # The whole is right, and so are its parts: what it heard from the items with texts like its own is graph.
        reason = live.explain("late", user="u01")
        parts = reason.language + reason.graph + reason.cross + reason.popularity + reason.sequence
        assert parts == pytest.approx(reason.score, abs=1e-5)
        assert abs(reason.graph) > 1e-4


def test_a_template_of_ones_own_travels_with_the_bundle(shop: Path, settings, tmp_path: Path):
    from importlib import resources

    from recmind.config import load_config
    from recmind.pipeline import train_run

    text = (resources.files("recmind.text.templates") / "generic.toml").read_text().replace('"{value}"', '"w7 {value}"')
    (tmp_path / "own.toml").write_text(text)
    config = settings("recmind")
    changed = load_config(
        "default",
        overrides={
            **{"language.encoder": config.language.encoder, "text.template": str(tmp_path / "own.toml")},
            **{"model.dim": 8, "training.max_epochs": 1, "evaluation.bootstrap": 0, "threads": 1},
        },
    )
    train_run(shop, changed, tmp_path / "run", show_progress=False)
    export(tmp_path / "run", tmp_path / "bundle")
    (tmp_path / "own.toml").unlink()
    with LiveRecommender.open(tmp_path / "bundle") as live:
        assert live.add_items([{"item_id": "n", "title": "w1 w2"}]) == ["n"]
        encoder = live._state.base.speech.encoder
        expected = encoder.encode(["w7 w1 w2"], show_progress=False)
        np.testing.assert_allclose(live._state.base.speech.items([{"title": "w1 w2"}])[0], expected, atol=1e-6)


def test_another_language_model_is_refused_when_it_is_asked(shop: Path, settings, tiny_encoder: Path, tmp_path: Path):
    from recmind.config import load_config
    from recmind.pipeline import train_run

    moved = Path(shutil.copytree(tiny_encoder, tmp_path / "encoder"))
    overrides = {"model.dim": 8, "training.max_epochs": 1, "evaluation.bootstrap": 0, "threads": 1}
    config = load_config("default", overrides={"language.encoder": str(moved), **overrides})
    train_run(shop, config, tmp_path / "run", show_progress=False)
    export(tmp_path / "run", tmp_path / "bundle")
    weights = load_file(moved / "model.safetensors")
    key = sorted(weights)[0]
    save_file({**weights, key: weights[key] + 1}, moved / "model.safetensors", metadata={"format": "pt"})
    with LiveRecommender.open(tmp_path / "bundle") as live:
        assert live.recommend("u00", k=3)
        with pytest.raises(BundleError, match=r"not the one that the bundle was made with(.|\n)*weights_sha256"):
            live.recommend_for_text("w1")
