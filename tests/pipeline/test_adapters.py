"""The whole way with adapters: files of the run, new items, a kill, and nothing of it where there are none."""

from __future__ import annotations

import json
import random
import signal
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from safetensors import safe_open

from recmind.pipeline import train_run
from recmind.serving.recommender import Recommender
from recmind.training.run_folder import run_fingerprint

TITLES = [f"w{k} w{k + 7} w{2 * k % 60}" for k in range(15)]


@pytest.fixture(scope="module")
def world(way, tiny_encoder: Path, tmp_path_factory: pytest.TempPathFactory):
    """A small shop in words that the tiny encoder knows, and settings that train its adapters."""
    interactions, items = way.tables()
    dataset = way.write(
        tmp_path_factory.mktemp("titled") / "shop", interactions, items.with_columns(title=pl.Series(TITLES))
    )

    def settings(rank: int = 2, **changes):
        small = {
            "text__user_view": "titles",
            "language__encoder": str(tiny_encoder),
            "language__device": "cpu",
            "language__dtype": "float32",
            "language__adapters__rank": rank,
            "language__adapters__graph_epochs": 1,
            "language__adapters__steps": 5,
            "language__adapters__batch_size": 8,
            "language__adapters__micro_tokens": 64,
            "language__adapters__learning_rate": 0.02,
            "training__max_epochs": 4,
            "training__patience": 100,
        }
        return way.config("recmind", **(small | changes))

    return dataset, settings


class TestRun:
    def test_keeps_the_adapters_in_pefts_format_and_says_so(self, world, tmp_path: Path, way):
        from recmind.language.adapters import stored_sha256

        dataset, settings = world
        way.train(dataset, tmp_path / "run", settings(training__max_epochs=2, language__adapters__graph_epochs=0))
        run = tmp_path / "run"
        encoder = json.loads((run / "environment.json").read_text())["encoder"]
        assert stored_sha256(run / "adapters") == encoder["adapters_sha256"]
        assert not (run / "language").exists()
        assert not (run / "checkpoint.safetensors").exists()
        history = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
        assert [row["phase"] for row in history] == ["language", "joint", "joint"]
        assert history[0]["steps"] == 5

    @pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")
    def test_items_get_the_vectors_that_the_stored_adapters_give(self, world, tmp_path: Path, way, tiny_encoder: Path):
        from peft import PeftModel
        from transformers import AutoModel, AutoTokenizer

        from recmind.language.features import load_encoder
        from recmind.text.profiles import item_texts

        dataset, settings = world
        config = settings(training__max_epochs=2, language__adapters__graph_epochs=0)
        way.train(dataset, tmp_path / "run", config)
        recommender = Recommender.load(tmp_path / "run")
        encoder, text = load_encoder(config.text, config.language, recommender.adapters)
        texts = item_texts(recommender.items, text, encoder.clip)
        assert all(texts)
        np.testing.assert_allclose(
            recommender.trained.texts.items.numpy(), encoder.encode(texts, show_progress=False), atol=1e-6
        )
        # And by nothing of this project at all.
        worn = PeftModel.from_pretrained(AutoModel.from_pretrained(tiny_encoder), str(recommender.adapters)).eval()
        tokens = AutoTokenizer.from_pretrained(tiny_encoder)(texts[3], return_tensors="pt", return_token_type_ids=False)
        with torch.no_grad():
            vector = torch.nn.functional.normalize(worn(**tokens)[0].mean(1), dim=1)[0]
        np.testing.assert_allclose(recommender.trained.texts.items[3].numpy(), vector.numpy(), atol=1e-5)

    def test_new_items_are_read_with_the_adapters(self, world, tmp_path: Path, way):
        dataset, settings = world
        config = settings(training__max_epochs=2, language__adapters__graph_epochs=0, model__initial="free+text")
        way.train(dataset, tmp_path / "run", config)
        recommender = Recommender.load(tmp_path / "run")
        new = pl.DataFrame({"item_id": ["a twin", "other"], "title": [TITLES[14], "w50 w51"]})
        assert recommender.add_items(new) == 2
        # The last item of the shop was never bought: its twin gets the same place.
        vectors = torch.nn.functional.normalize(recommender.scorer.items[:, :8], dim=1)
        assert float(vectors[14] @ vectors[15]) > 0.9999
        frozen = Recommender.load(tmp_path / "run")
        frozen.adapters = None
        frozen.add_items(new)
        assert not torch.allclose(frozen.scorer.items[15:], recommender.scorer.items[15:], atol=1e-3)

    def test_the_same_settings_give_the_same_bytes(self, way, world, tmp_path: Path):
        dataset, settings = world
        for name in ("first", "second"):
            way.train(dataset, tmp_path / name, settings())
        assert way.comparable(tmp_path / "first") == way.comparable(tmp_path / "second")
        assert (tmp_path / "first/model.safetensors").read_bytes() == (
            tmp_path / "second/model.safetensors"
        ).read_bytes()

    def test_overwriting_removes_the_adapters(self, way, world, tmp_path: Path):
        dataset, settings = world
        way.train(dataset, tmp_path / "run", settings(training__max_epochs=2, language__adapters__graph_epochs=0))
        assert (tmp_path / "run/adapters").is_dir()
        way.train(dataset, tmp_path / "run", settings(rank=0), overwrite=True)
        assert not (tmp_path / "run/adapters").exists()
        assert Recommender.load(tmp_path / "run").adapters is None

    @pytest.mark.parametrize("model", ["lightgcn", "text", "popularity"])
    def test_other_models_pass_adapters_over(self, way, world, tmp_path: Path, model: str):
        dataset, settings = world
        config = settings()
        other = config.model_copy(update={"model": config.model.model_copy(update={"name": model})})
        way.train(dataset, tmp_path / "run", other)
        assert not (tmp_path / "run/adapters").exists()


class TestWithoutAdapters:
    def test_their_settings_do_not_matter(self, world):
        _, settings = world
        plain = run_fingerprint(settings(rank=0), "data")
        assert run_fingerprint(settings(rank=0, language__adapters__steps=7, language__max_minutes=3), "data") == plain
        assert run_fingerprint(settings(rank=2), "data") != plain
        assert run_fingerprint(settings(rank=2, language__adapters__steps=7), "data") != run_fingerprint(
            settings(rank=2), "data"
        )

    def test_a_checkpoint_holds_nothing_of_them(self, way, world, tmp_path: Path, monkeypatch):
        from recmind.training import trainer

        dataset, settings = world
        kept: list[set[str]] = []
        save = trainer.save_checkpoint

        def watched(path, *arguments):
            save(path, *arguments)
            with safe_open(path, "pt") as file:
                kept.append({name.partition(".")[0] for name in file.keys()})  # noqa: SIM118

        monkeypatch.setattr(trainer, "save_checkpoint", watched)
        way.train(dataset, tmp_path / "run", settings(rank=0, training__checkpoint_seconds=0))
        assert kept
        assert set.union(*kept) == {"model", "best", "objective", "optimizer"}
        kept.clear()
        way.train(dataset, tmp_path / "other", settings(rank=2, training__checkpoint_seconds=0))
        assert "language" in set.union(*kept)

    def test_peft_is_not_even_imported(self, way, world, tmp_path: Path):
        import subprocess
        import sys

        dataset, settings = world
        way.train(dataset, tmp_path / "run", settings(rank=0))
        config = tmp_path / "run" / "config.toml"
        code = (
            "import sys; from recmind.config import load_config; from recmind.pipeline import train_run\n"
            f"dataset, config, out = {str(dataset)!r}, load_config({str(config)!r}), {str(tmp_path / 'again')!r}\n"
            "train_run(dataset, config, out, show_progress=False)\n"
            "assert 'peft' not in sys.modules and 'recmind.language.training' not in sys.modules"
        )
        subprocess.run([sys.executable, "-c", code], check=True, timeout=250)


@pytest.mark.slow
def test_killed_at_random_moments_and_resumed_it_ends_with_the_same_bytes(way, call, world, tmp_path: Path):
    dataset, settings = world
    changes = {
        "training__checkpoint_seconds": 0,
        "training__max_epochs": 8,
        "language__adapters__steps": 40,
        "language__adapters__joint_steps": 20,
        "language__adapters__refresh_every": 4,
        "language__adapters__refresh_users_every": 2,
        "language__adapters__dropout": 0.1,
        "alignment__queue_size": 16,
        "training__eval_every": 8,  # the last epoch is the best one
    }
    config = settings(**changes)
    train_run(dataset, config, tmp_path / "undisturbed", show_progress=False)
    recipe = tmp_path / "adapters.toml"
    recipe.write_text((tmp_path / "undisturbed/config.toml").read_text())
    command = ["train", dataset, "--out", tmp_path / "killed", "--recipe", recipe, "--quiet"]
    checkpoint, waits = tmp_path / "killed" / "checkpoint.safetensors", random.Random(7)
    reached: list[tuple[int, int]] = []
    for _ in range(2):
        process = way.recmind(*command, *(["--resume"] if reached else []))
        deadline = time.monotonic() + 200
        while process.poll() is None and time.monotonic() < deadline:
            position = _position(checkpoint)
            if position > max(reached, default=(0, 0)) and position[1]:
                break
            time.sleep(0.005)
        time.sleep(waits.uniform(0, 0.05))
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not (tmp_path / "killed" / "metrics.json").exists()
        reached.append(_position(checkpoint))
    assert any(step for _, step in reached), "no kill met a language training that was under way"
    call(*command, "--resume")
    for name in ("model.safetensors", "adapters/adapter_model.safetensors"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "undisturbed" / name).read_bytes(), name
    assert way.comparable(tmp_path / "killed") == way.comparable(tmp_path / "undisturbed")
    assert sorted(entry.name for entry in (tmp_path / "killed").iterdir()) == sorted(
        entry.name for entry in (tmp_path / "undisturbed").iterdir()
    )


def _position(checkpoint: Path) -> tuple[int, int]:
    """Epoch of the joint phase and step of the language training in a checkpoint; zeros without one."""
    if not checkpoint.exists():
        return 0, 0
    with safe_open(checkpoint, "pt") as file:
        epoch = json.loads(file.metadata()["progress"])["epoch"]
        return epoch, int(file.get_tensor("language.position")[2])
