from __future__ import annotations

import numpy as np
import pytest
import torch

from recmind.config import EvaluationConfig
from recmind.errors import TrainingError
from recmind.evaluation.evaluate import validation_metrics
from recmind.training.language_phase import LanguagePhase
from recmind.training.trainer import Trainer

SMALL = {
    "training__max_epochs": 6,
    "training__patience": 50,
    "adapters__graph_epochs": 2,
    "adapters__steps": 4,
    "adapters__joint_steps": 2,
    "adapters__refresh_every": 2,
    "adapters__refresh_users_every": 1,
}


class Ticking:
    """A clock that goes on by so many seconds whenever it is read."""

    def __init__(self, seconds: float) -> None:
        self.now, self.seconds = 0.0, seconds

    def __call__(self) -> float:
        self.now += self.seconds
        return self.now


@pytest.fixture
def trainer_of(language_world, tmp_path):
    """A trainer with a language phase on the small world; validation is real unless values are given."""
    made = []

    def make(values: list[float] | None = None, clock=None, **changes) -> Trainer:
        world = language_world(**{**SMALL, **changes})
        measured = []

        def validate(scorer) -> float:
            measured.append(scorer)
            if values is not None:
                return values[len(measured) - 1]
            return validation_metrics(scorer, world.split, EvaluationConfig(), metric="ndcg@5")

        timed = {} if clock is None else {"clock": clock}
        phase = LanguagePhase(
            world.model, world.texts, world.split, world.config, world.inputs, show_progress=False, **timed
        )
        made.append(phase)
        return Trainer(
            world.model,
            world.split,
            world.config,
            validate=validate,
            checkpoint=tmp_path / f"checkpoint{len(made)}.safetensors",
            language=phase,
            show_progress=False,
        )

    return make


def rows(trainer: Trainer) -> list[tuple[int, int, list[str]]]:
    found = [row for row in trainer.state.history if row["phase"] == "language"]
    return [(row["epoch"], row["steps"], row["refreshed"]) for row in found]


def texts_now(trainer: Trainer) -> tuple[torch.Tensor, torch.Tensor]:
    texts = trainer.model.language.texts
    return texts.items.clone(), texts.users.clone()


class TestSchedule:
    def test_first_after_the_graph_then_users_more_often_than_items(self, trainer_of):
        trainer = trainer_of()
        trainer.fit()
        both = ["items", "users"]
        assert rows(trainer) == [(2, 4, both), (3, 2, ["users"]), (4, 2, both), (5, 2, ["users"])]

    def test_once_without_later_refreshes(self, trainer_of):
        trainer = trainer_of(adapters__refresh_every=0, adapters__refresh_users_every=0)
        trainer.fit()
        assert rows(trainer) == [(2, 4, ["items", "users"])]

    def test_right_after_the_warmup(self, trainer_of):
        trainer = trainer_of(adapters__graph_epochs=0, adapters__refresh_users_every=0, training__warmup_epochs=2)
        trainer.fit()
        phases = [row["phase"] for row in trainer.state.history]
        assert phases[:4] == ["warmup", "warmup", "language", "joint"]
        assert [row[0] for row in rows(trainer)] == [0, 2, 4]

    def test_earlier_where_validation_would_stop_and_training_goes_on(self, trainer_of):
        values = [0.5, 0.4, 0.3, 0.6, 0.1, 0.1]
        trainer = trainer_of(
            values,
            training__patience=2,
            adapters__graph_epochs=100,
            training__max_epochs=20,
            adapters__refresh_every=0,
            adapters__refresh_users_every=0,
        )
        fitted = trainer.fit()
        assert rows(trainer) == [(3, 4, ["items", "users"])]
        assert (fitted.best_epoch, trainer.state.epoch) == (4, 6)

    def test_sides_without_texts_have_no_turn(self, trainer_of):
        trainer = trainer_of(text__user_view="items")
        trainer.fit()
        assert rows(trainer) == [(2, 4, ["items"]), (4, 2, ["items"])]
        assert trainer.model.language.texts.users is None


class TestTables:
    def test_the_model_reads_what_its_adapters_write(self, trainer_of):
        trainer = trainer_of([0.1, 0.2, 0.3], training__max_epochs=3)
        before = texts_now(trainer)
        trainer.fit()
        phase = trainer.language
        items, users = texts_now(trainer)
        assert not torch.equal(items, before[0])
        phase.texts.adapters.set(phase.worn["items"].state)
        known = phase.texts.sides["items"].known
        spoken = [text for text in phase.texts.sides["items"].texts if text is not None]
        encoded = phase.texts.encoder.encode(spoken, show_progress=False)
        np.testing.assert_allclose(items.numpy()[known], encoded, atol=1e-6)
        assert not items.numpy()[~known].any()
        assert users.shape == before[1].shape
        assert trainer.objective.momentum is None

    def test_the_momentum_copy_of_the_joint_phase_reads_them_too(self, trainer_of):
        trainer = trainer_of(training__max_epochs=3, alignment__queue_size=8)
        trainer.fit()
        assert trainer.objective.momentum.texts is trainer.model.language.texts
        torch.testing.assert_close(trainer.objective.momentum.context, trainer.model.language.context)

    @pytest.mark.parametrize(("best", "language_rows"), [(1, 0), (3, 1), (5, 3)])
    def test_of_the_best_epoch_come_back_with_its_adapters(self, trainer_of, best: int, language_rows: int):
        values = [0.1] * 6
        values[best - 1] = 0.9
        trainer, seen = trainer_of(values), []
        validate = trainer.validate

        def watched(scorer) -> float:
            seen.append((texts_now(trainer), {s: w.sha256 for s, w in trainer.language.worn.items()}))
            return validate(scorer)

        trainer.validate = watched
        fitted = trainer.fit()
        assert fitted.best_epoch == best
        for restored, wanted in zip(texts_now(trainer), seen[best - 1][0], strict=True):
            torch.testing.assert_close(restored, wanted, rtol=0, atol=0)
        digests = {side: worn.sha256 for side, worn in trainer.language.worn.items()}
        assert digests == seen[best - 1][1]
        assert (digests["items"] == "") == (language_rows == 0)

    def test_files_of_the_adapters(self, trainer_of, tmp_path):
        from recmind.language.adapters import stored_sha256

        values = [0.1, 0.1, 0.1, 0.9, 0.1, 0.1]  # after a refresh of the users alone
        trainer = trainer_of(values)
        trainer.fit()
        trainer.language.save(tmp_path / "adapters")
        manifest = trainer.language.manifest()
        assert stored_sha256(tmp_path / "adapters") == manifest["adapters_sha256"]
        assert stored_sha256(tmp_path / "adapters" / "users") == manifest["users_adapters_sha256"]
        assert manifest["adapters_sha256"] != manifest["users_adapters_sha256"]

    def test_no_files_where_the_frozen_model_was_best(self, trainer_of, tmp_path):
        trainer = trainer_of([0.9, *[0.1] * 5])
        trainer.fit()
        (tmp_path / "adapters").mkdir()
        trainer.language.save(tmp_path / "adapters")
        assert not (tmp_path / "adapters").exists()
        assert trainer.language.manifest()["adapters_sha256"] is None


class TestBudget:
    def test_is_kept(self, trainer_of):
        # Every reading of the clock takes 1 s: what is timed takes 1 s each, the estimate 3.
        trainer = trainer_of(clock=Ticking(1.0), language__max_minutes=0.5, adapters__steps=100)
        trainer.fit()
        phase = trainer.language
        assert 0 < rows(trainer)[0][1] < 100
        assert phase.budget.spent <= 30

    def test_too_short_for_anything_nothing_is_trained(self, trainer_of):
        trainer = trainer_of(clock=Ticking(1e6), language__max_minutes=1)
        before = texts_now(trainer)
        trainer.fit()
        assert rows(trainer) == [(2, 0, [])]
        assert torch.equal(texts_now(trainer)[0], before[0])
        assert trainer.state.epoch == 6

    def test_the_estimate_is_printed_before(self, trainer_of, capsys):
        trainer = trainer_of(language__max_minutes=60)
        trainer.language.show_progress = True
        trainer.fit()
        lines = capsys.readouterr().err
        assert "Training adapters: 4 steps of" in lines
        assert "of 60 min are left (language.max_minutes)" in " ".join(lines.split())


class KilledError(Exception):
    pass


class TestResume:
    @pytest.mark.parametrize(("queue", "at"), [(10, (2, 3)), (0, (3, 1)), (10, (4, 2)), (0, (5, 2))], ids=str)
    def test_killed_within_the_language_training_it_ends_as_undisturbed(self, trainer_of, at, queue, monkeypatch):
        settings = {
            "training__checkpoint_seconds": 0.0,
            "alignment__queue_size": queue,
            "adapters__dropout": 0.2,
            "alignment__hard_negatives": 1,
        }
        undisturbed = trainer_of(**settings)
        undisturbed.fit()
        killed = trainer_of(**settings)
        step = killed.language.alignment.step

        def until(number: int, *arguments) -> float:
            if (killed.state.epoch, number + 1) == at:
                raise KilledError
            return step(number, *arguments)

        monkeypatch.setattr(killed.language.alignment, "step", until)
        with pytest.raises(KilledError):
            killed.fit()
        resumed = trainer_of(**settings)
        resumed.checkpoint = killed.checkpoint
        resumed.fit(resume=True)
        for name, value in undisturbed.model.state_dict().items():
            assert torch.equal(resumed.model.state_dict()[name], value), name
        for mine, theirs in zip(texts_now(resumed), texts_now(undisturbed), strict=True):
            assert torch.equal(mine, theirs)
        expected = undisturbed.language.texts.adapters.state()
        assert all(torch.equal(v, expected[k]) for k, v in resumed.language.texts.adapters.state().items())
        bare = [
            [{k: v for k, v in row.items() if k != "seconds"} for row in t.state.history]
            for t in (resumed, undisturbed)
        ]
        assert bare[0] == bare[1]
        assert resumed.language.best["items"].sha256 == undisturbed.language.best["items"].sha256


def test_a_loss_that_is_not_finite_stops_with_what_to_do(trainer_of):
    trainer = trainer_of(adapters__learning_rate=1e30, adapters__steps=20)
    with pytest.raises(TrainingError, match=r"language\.adapters(.|\n)*not finite(.|\n)*learning_rate"):
        trainer.fit()
