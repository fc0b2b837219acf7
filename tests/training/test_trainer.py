from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from recmind.config import EvaluationConfig
from recmind.errors import TrainingError
from recmind.evaluation.evaluate import validation_metrics
from recmind.training import trainer as trainer_module
from recmind.training.trainer import Trainer

EVERYTHING = {
    "training__warmup_epochs": 2,
    "training__max_epochs": 4,
    "training__checkpoint_seconds": 0.0,
    "training__negatives": "popularity",
    "training__hard_candidates": 2,
    "training__learning_rate": 0.02,
    "alignment__batch_size": 5,
    "alignment__queue_size": 7,
    "alignment__queue_momentum": 0.5,
    "alignment__hard_negatives": 2,
    "model__fallback_mask": 0.3,
    "model__text_dropout": 0.2,
}


@pytest.fixture
def trainer_of(random_split, text_inputs, settings, model_of):
    """A trainer on the random split, with the real validation unless told otherwise."""

    def make(*, checkpoint: Path | None = None, validate: Any = "real", fingerprint: str = "f", **changes) -> Trainer:
        config = settings(**changes)

        def measured(scorer) -> float:
            return validation_metrics(scorer, random_split, EvaluationConfig(), metric="ndcg@5")

        return Trainer(
            model_of(random_split, text_inputs, config),
            random_split,
            config,
            validate=measured if validate == "real" else validate,
            checkpoint=checkpoint,
            fingerprint=fingerprint,
            show_progress=False,
        )

    return make


def parameters(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in trainer.model.state_dict().items()}


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    assert first.keys() == second.keys()
    return all(torch.equal(value, second[name]) for name, value in first.items())


def without_seconds(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if key != "seconds"} for row in history]


class TestSeeds:
    def test_same_seed_same_bits_whatever_the_global_generator(self, trainer_of):
        runs = []
        for state in (1, 2):
            torch.manual_seed(state)
            trainer = trainer_of(**EVERYTHING)
            history = without_seconds(trainer.fit().history)
            runs.append((parameters(trainer), history))
        assert same(runs[0][0], runs[1][0])
        assert runs[0][1] == runs[1][1]

    def test_another_seed_gives_another_model(self, trainer_of):
        first, second = trainer_of(**EVERYTHING), trainer_of(**EVERYTHING, seed=1)
        first.fit()
        second.fit()
        assert not torch.equal(first.model.free, second.model.free)

    def test_training_leaves_the_global_generator_alone(self, trainer_of):
        torch.manual_seed(5)
        before = torch.get_rng_state()
        trainer_of(**EVERYTHING).fit()
        assert torch.equal(torch.get_rng_state(), before)


class TestEarlyStopping:
    def fit(self, trainer_of, values: list[float], **changes):
        """Train with a given course of the validation metric; returns the states that were measured too."""
        measured: list[dict[str, torch.Tensor]] = []

        def validate(scorer) -> float:
            measured.append(parameters(trainer))
            return values[len(measured) - 1]

        trainer = trainer_of(validate=validate, **{"model__name": "lightgcn", "training__max_epochs": 10, **changes})
        return trainer, trainer.fit(), measured

    def test_stops_and_restores_the_best_epoch(self, trainer_of):
        trainer, fitted, measured = self.fit(trainer_of, [0.1, 0.5, 0.3, 0.5], training__patience=2)
        assert (fitted.best_epoch, fitted.best_value) == (2, 0.5)
        assert len(measured) == 4
        assert same(parameters(trainer), measured[1])
        assert not same(parameters(trainer), measured[3])

    def test_a_better_value_starts_the_count_again(self, trainer_of):
        _, fitted, measured = self.fit(trainer_of, [0.3, 0.2, 0.4, 0.1, 0.2], training__patience=2)
        assert (fitted.best_epoch, len(measured)) == (3, 5)

    def test_measures_every_so_many_epochs_and_after_the_last(self, trainer_of):
        _, fitted, _ = self.fit(
            trainer_of, [0.1, 0.2, 0.3], training__eval_every=3, training__max_epochs=7, training__patience=5
        )
        assert [row["epoch"] for row in fitted.history if "valid_ndcg@20" in row] == [3, 6, 7]
        assert fitted.best_epoch == 7

    def test_zero_is_a_value_too(self, trainer_of):
        _, fitted, _ = self.fit(trainer_of, [0.0, 0.0, 0.0], training__patience=2)
        assert fitted.best_epoch == 1

    def test_without_validation_all_epochs_are_trained(self, trainer_of):
        fitted = trainer_of(validate=None, model__name="lightgcn", training__max_epochs=4).fit()
        assert (fitted.best_epoch, len(fitted.history)) == (4, 4)


class TestLearningRate:
    def test_grows_with_the_batch_where_it_says_what_it_is_meant_for(self, trainer_of):
        def rate(size: int, meant_for: int) -> float:
            training = {"batch_size": size, "learning_rate": 0.01, "learning_rate_batch": meant_for}
            return trainer_of(**{f"training.{key}": value for key, value in training.items()}).optimizer.defaults["lr"]

        assert rate(4, 0) == 0.01
        assert rate(4, 4) == 0.01
        assert rate(4, 2) == 0.02
        assert rate(2, 8) == 0.0025

    def test_counts_the_batch_that_small_data_allow(self, trainer_of):
        trainer = trainer_of(**{"training.batch_size": 10**6, "training.learning_rate_batch": 10})
        assert trainer.batch_size == len(trainer.sampler) // 5
        assert trainer.optimizer.defaults["lr"] == pytest.approx(
            trainer.config.training.learning_rate * trainer.batch_size / 10
        )


class TestHistory:
    def test_rows(self, trainer_of):
        fitted = trainer_of(**EVERYTHING).fit()
        assert [(row["phase"], row["epoch"]) for row in fitted.history] == [
            ("warmup", 1),
            ("warmup", 2),
            *(("joint", epoch) for epoch in (1, 2, 3, 4)),
        ]
        for row in fitted.history:
            assert set(row) >= {"loss", "loss_cf", "loss_alignment", "seconds"}

    def test_training_lowers_the_loss(self, trainer_of):
        changes = {"training__learning_rate": 0.05, "training__max_epochs": 40, "training__hard_candidates": 1}
        history = trainer_of(validate=None, model__name="lightgcn", **changes).fit().history
        assert history[-1]["loss_cf"] < 0.5 * history[0]["loss_cf"]


class TestWarmup:
    def test_is_the_alignment_alone(self, trainer_of):
        trainer = trainer_of(**EVERYTHING)
        for row in trainer.fit().history[:2]:
            assert row["loss_cf"] == 0
            assert row["loss"] == row["loss_alignment"] > 0

    def test_meets_every_user_and_item(self, trainer_of):
        trainer = trainer_of(**{**EVERYTHING, "training__warmup_epochs": 1, "training__max_epochs": 1})
        met: list[tuple[list[int], list[int]]] = []
        real = trainer.objective.warmup

        def noting(users, items, generator):
            met.append((users.tolist(), items.tolist()))
            return real(users, items, generator)

        trainer.objective.warmup = noting
        trainer.fit()
        assert {user for users, _ in met for user in users} == set(range(12))
        assert {item for _, items in met for item in items} == set(range(10))
        assert all(len(users) == len(set(users)) == 5 for users, _ in met)

    def test_does_not_depend_on_the_recommendation_loss(self, trainer_of):
        states = []
        for loss in ("bpr", "softmax"):
            trainer = trainer_of(**EVERYTHING, training__loss=loss, training__n_negatives=3)
            trainer._joint = lambda: None
            trainer.fit()
            states.append(parameters(trainer))
        assert same(*states)

    def test_baselines_have_none(self, trainer_of):
        history = trainer_of(**{**EVERYTHING, "model__name": "text"}).fit().history
        assert {row["phase"] for row in history} == {"joint"}


class TestDivergence:
    def test_a_loss_that_is_not_finite_stops_training(self, trainer_of):
        trainer = trainer_of(
            validate=None, model__name="lightgcn", training__learning_rate=1e30, training__max_epochs=5
        )
        with pytest.raises(TrainingError, match=r"not finite in epoch \d of the joint phase(.|\n)*learning_rate"):
            trainer.fit()


class TestResumption:
    def test_from_every_epoch_boundary_the_bits_are_those_of_an_undisturbed_run(
        self, trainer_of, tmp_path, monkeypatch
    ):
        saved: list[Path] = []
        real = trainer_module.save_checkpoint

        def keeping(path, *arguments):
            real(path, *arguments)
            saved.append(shutil.copy(path, tmp_path / f"after-{len(saved)}"))

        monkeypatch.setattr(trainer_module, "save_checkpoint", keeping)
        whole = trainer_of(checkpoint=tmp_path / "checkpoint", **EVERYTHING)
        fitted = whole.fit()
        monkeypatch.undo()
        assert len(saved) == 2 + 4
        for copy in saved:
            resumed = trainer_of(checkpoint=copy, **EVERYTHING)
            again = resumed.fit(resume=True)
            assert same(parameters(resumed), parameters(whole)), copy
            assert same(resumed.objective.state(), whole.objective.state()), copy
            assert without_seconds(again.history) == without_seconds(fitted.history)
            assert (again.best_epoch, again.best_value) == (fitted.best_epoch, fitted.best_value)

    def test_a_stopped_training_stays_stopped(self, trainer_of, tmp_path):
        path = tmp_path / "checkpoint"
        changes = {"training__checkpoint_seconds": 0.0, "training__patience": 1, "training__max_epochs": 9}
        values = iter([0.4, 0.3])
        first = trainer_of(checkpoint=path, validate=lambda _: next(values), model__name="lightgcn", **changes)
        first.fit()
        # Nothing is measured again: there is no value left.
        second = trainer_of(checkpoint=path, validate=lambda _: next(values), model__name="lightgcn", **changes)
        assert second.fit(resume=True).best_epoch == 1
        assert same(parameters(first), parameters(second))

    def test_without_resume_training_starts_anew(self, trainer_of, tmp_path):
        changes = {
            "checkpoint": tmp_path / "checkpoint",
            "model__name": "lightgcn",
            "training__checkpoint_seconds": 0.0,
        }
        trainer_of(**changes).fit()
        assert len(trainer_of(**changes).fit().history) == 3

    def test_a_young_checkpoint_is_not_written_again(self, trainer_of, tmp_path):
        path = tmp_path / "checkpoint"
        trainer_of(checkpoint=path, model__name="lightgcn", training__checkpoint_seconds=1e6).fit()
        assert not path.exists()


def test_small_data_comes_in_five_batches_at_least(trainer_of, random_split):
    trainer = trainer_of(training__batch_size=10_000)
    sizes = [len(users) for users, _ in trainer._interaction_batches(torch.Generator().manual_seed(0))]
    assert len(sizes) >= 5
    assert sum(sizes) == len(random_split.train)
