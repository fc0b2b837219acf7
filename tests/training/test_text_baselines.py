"""Baselines that read texts, trained: what they learn from groups that texts and interactions share."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from recmind.config import EvaluationConfig
from recmind.evaluation.evaluate import validation_metrics
from recmind.model.language_view import TextInputs
from recmind.training.objective import Objective
from recmind.training.sampling import InteractionSampler
from recmind.training.trainer import Trainer

N_GROUPS, N_USERS, N_ITEMS = 3, 36, 30
NAMES = ["llm-init", "rlmrec-con", "rlmrec-gen", "alpharec", "kar", "dropoutnet"]
SETTINGS: dict[str, dict[str, Any]] = {
    "alpharec": {"training__loss": "softmax", "training__n_negatives": 16, "model__score": "cosine"},
    "dropoutnet": {"model__baselines__dropoutnet__hidden": [16]},
}


@pytest.fixture(scope="module")
def groups(split_of):
    """Users buy 4 of the 10 items of their group; one more is held out; items 27 to 29, one of each group, are cold."""
    rng = np.random.default_rng(0)
    train, valid = [], []
    for user in range(N_USERS):
        own = [item for item in range(N_ITEMS - N_GROUPS) if item % N_GROUPS == user % N_GROUPS]
        *bought, last = rng.permutation(own)[:5]
        train += [(user, int(item)) for item in bought]
        valid.append((user, int(last)))
    return split_of(train, N_USERS, N_ITEMS, valid)


@pytest.fixture(scope="module")
def texts() -> TextInputs:
    """Of each item the direction of its group and noise; items 4 and 11 have no text."""
    rng = np.random.default_rng(1)
    vectors = np.eye(N_GROUPS, 8)[np.arange(N_ITEMS) % N_GROUPS] + rng.normal(size=(N_ITEMS, 8)) * 0.2
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    known = ~np.isin(np.arange(N_ITEMS), [4, 11])
    return TextInputs.from_arrays(np.where(known[:, None], vectors, 0).astype(np.float32), known)


@pytest.fixture
def trainer_of(groups, texts, settings, model_of):
    def make(name: str, **changes: Any) -> Trainer:
        plan = {"training__learning_rate": 0.02, "training__max_epochs": 40, "training__eval_every": 5}
        config = settings(**{"model__name": name, **plan, **SETTINGS.get(name, {}), **changes})

        def validate(scorer) -> float:
            return validation_metrics(scorer, groups, EvaluationConfig(), metric="recall@6")

        model = model_of(groups, texts, config)
        return Trainer(model, groups, config, validate=validate, show_progress=False)

    return make


@pytest.mark.parametrize("name", NAMES)
def test_learns_who_belongs_together(trainer_of, name: str):
    """Five items of a user's group are left: by chance 6 of 26 hit in 23% of the cases, with the group in most."""
    fitted = trainer_of(name).fit()
    assert fitted.best_value > 0.6
    assert fitted.history[-1]["loss_cf"] < 0.8 * fitted.history[0]["loss_cf"]


@pytest.mark.parametrize("name", ["alpharec", "dropoutnet"])
def test_new_items_go_to_the_users_of_their_group(trainer_of, texts, name: str):
    trainer = trainer_of(name)
    trainer.fit()
    with torch.no_grad():
        users = trainer.model.final(trainer.model())[:N_USERS]
        new = trainer.model.new_items(texts.items[-N_GROUPS:], torch.ones(N_GROUPS, dtype=torch.bool))
    scores = users @ new.T
    assert float((scores.argmax(1) == torch.arange(N_USERS) % N_GROUPS).float().mean()) > 0.8


class Noting(InteractionSampler):
    """The real sampler, which also remembers what it drew."""

    def negatives(self, users, n, generator):
        self.given = super().negatives(users, n, generator)
        return self.given


@pytest.mark.parametrize("name", ["rlmrec-con", "rlmrec-gen"])
def test_the_loss_is_bpr_and_the_papers_own_with_its_weight(groups, texts, settings, model_of, name: str):
    key = f"model__baselines__{name.replace('-', '_')}__weight"
    totals, parts = {}, {}
    for weight in (0.0, 0.3):
        config = settings(model__name=name, training__weight_decay=0.01, **{key: weight})
        model, sampler = model_of(groups, texts, config, torch.float64), Noting(groups)
        users = torch.from_numpy(groups.train.users[::3]).long()
        items = torch.from_numpy(groups.train.items[::3]).long()
        loss = Objective(model, sampler, config).joint(users, items, torch.Generator().manual_seed(2))
        totals[weight], parts[weight] = float(loss.total.detach()), loss
        # The masks are drawn after the negatives, so that the same generator gives them again.
        again = torch.Generator().manual_seed(2)
        InteractionSampler(groups).negatives(users, 1, again)
        views = model(again)
        h = model.final(views)
        difference = ((h[users] * (h[N_USERS + sampler.given[:, 0]] - h[N_USERS + items])).sum(1)).detach()
        assert float(parts[weight].cf) == pytest.approx(float(functional.softplus(difference).mean()), rel=1e-6)
        contrast = model.contrast(views, users, items, sampler.given, again)
        assert float(parts[weight].alignment) == pytest.approx(float(contrast.detach()), rel=1e-6)
    assert parts[0.0].alignment == 0 < parts[0.3].alignment
    assert totals[0.3] - totals[0.0] == pytest.approx(float(parts[0.3].alignment), rel=1e-6)
