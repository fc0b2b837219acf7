"""SASRec under the trainer: it learns what only the order of histories tells."""

from __future__ import annotations

import numpy as np
import pytest

from recmind.config import EvaluationConfig
from recmind.data.splitting import Split
from recmind.evaluation.evaluate import validation_metrics
from recmind.training.trainer import Trainer

RING, WALK = 30, 8


@pytest.fixture(scope="module")
def walks(split_of) -> Split:
    """Two hundred users who walk round a ring of items, half of them in either direction, and validate on the next."""
    rng = np.random.default_rng(0)
    starts = rng.integers(0, RING, 200)
    paths = [(start + (1 if user % 2 else -1) * np.arange(WALK + 1)) % RING for user, start in enumerate(starts)]
    valid = [(user, int(path[-1])) for user, path in enumerate(paths)]
    split = split_of([(user, int(item)) for user, path in enumerate(paths) for item in path[:-1]], 200, RING, valid)
    # The fixture sorts a user's items; time goes round.
    split.train.items[:] = np.concatenate([path[:-1] for path in paths])
    return split


@pytest.mark.parametrize("loss", ["softmax", "bpr"])
def test_learns_where_walks_go_on(walks, settings, model_of, loss: str):
    config = settings(
        model__name="sasrec",
        model__dim=16,
        model__init_std=0.1,
        model__baselines__sasrec__dropout=0.1,
        training__loss=loss,
        training__n_negatives=RING if loss == "softmax" else 4,
        training__batch_size=200,
        training__learning_rate=0.01,
        training__max_epochs=30,
        training__eval_every=5,
        training__metric="recall@1",
        training__weight_decay=0.0,
    )

    def measured(scorer) -> float:
        return validation_metrics(scorer, walks, EvaluationConfig(), metric="recall@1")

    trainer = Trainer(model_of(walks, None, config), walks, config, validate=measured, show_progress=False)
    fitted = trainer.fit()
    # Both ends of a walk are as near to what was bought: a model that does not read the order is right half the time.
    assert fitted.best_value > 0.9
    assert fitted.history[-1]["loss_cf"] < 0.5 * fitted.history[0]["loss_cf"]
