"""Graph baselines under the trainer: they learn, and each part of their loss is there."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from recmind.config import EvaluationConfig
from recmind.data.splitting import Split
from recmind.evaluation.evaluate import validation_metrics
from recmind.training.trainer import Trainer

NAMES = ["lightgcn", "ngcf", "sgl", "simgcl", "xsimgcl", "lightgcl"]
CONTRASTIVE = ["sgl", "simgcl", "xsimgcl", "lightgcl"]
TASTES, PER_TASTE, BOUGHT = 4, 10, 6
LEARNING = {"model__dim": 16, "training__learning_rate": 0.01, "training__max_epochs": 24, "training__eval_every": 3}


@pytest.fixture(scope="module")
def tastes(split_of) -> Split:
    """Sixty users, each of whom buys from ten of forty items, and validates on one of the same ten."""
    rng = np.random.default_rng(0)
    train, valid = [], []
    for user in range(60):
        items = PER_TASTE * (user % TASTES) + rng.permutation(PER_TASTE)
        train += [(user, int(item)) for item in items[:BOUGHT]]
        valid.append((user, int(items[BOUGHT])))
    return split_of(train, 60, TASTES * PER_TASTE, valid)


@pytest.fixture
def trainer_of(tastes, settings, model_of):
    def make(name: str, **changes) -> Trainer:
        config = settings(model__name=name, **{**LEARNING, **changes})

        def measured(scorer) -> float:
            return validation_metrics(scorer, tastes, EvaluationConfig(), metric="recall@4")

        return Trainer(model_of(tastes, None, config), tastes, config, validate=measured, show_progress=False)

    return make


@pytest.mark.parametrize("name", NAMES)
def test_finds_out_the_tastes(trainer_of, name: str):
    # The weight for a large catalogue holds so few nodes apart, whatever they have in common.
    lighter = {"model__baselines__simgcl__weight": 0.1} if name == "simgcl" else {}
    fitted = trainer_of(name, **lighter).fit()
    # A user lacks 34 items, four of them of the own taste: by chance 0.12, by taste alone 1. Less, because what is
    # not bought is a negative, of the own taste too.
    assert fitted.best_value > 0.6
    assert fitted.history[-1]["loss_cf"] < 0.7 * fitted.history[0]["loss_cf"]


@pytest.mark.parametrize("name", CONTRASTIVE)
def test_the_contrast_is_in_the_loss_by_its_weight(trainer_of, name: str):
    rows = {}
    for weight in (0.0, 0.5):
        changes = {f"model__baselines__{name}__weight": weight, "training__max_epochs": 1, "training__weight_decay": 0}
        rows[weight] = trainer_of(name, **changes).fit().history[0]
        row = rows[weight]
        assert row["loss"] == pytest.approx(row["loss_cf"] + row["loss_alignment"], rel=1e-5)
    assert rows[0.0]["loss_alignment"] == 0
    assert rows[0.5]["loss_alignment"] > 0


@pytest.mark.parametrize("name", CONTRASTIVE)
def test_the_contrast_falls_when_it_is_all_there_is(trainer_of, name: str):
    changes = {f"model__baselines__{name}__weight": 1000.0, "training__max_epochs": 8}
    history = trainer_of(name, **changes).fit().history
    assert history[-1]["loss_alignment"] < history[0]["loss_alignment"]


def test_sgl_draws_other_graphs_in_every_epoch(trainer_of):
    trainer = trainer_of("sgl", training__max_epochs=2)
    drawn = []
    real = trainer.model.start_epoch

    def noting(generator: torch.Generator) -> None:
        real(generator)
        drawn.append([graph.offsets for view in trainer.model.samples for graph in view])

    trainer.model.start_epoch = noting
    trainer.fit()
    assert len(drawn) == 2
    (a, b), (c, d) = drawn
    assert not torch.equal(a, b)
    assert not torch.equal(a, c)
    assert not torch.equal(b, d)
