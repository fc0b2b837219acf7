"""One seed on one machine gives the same bits, run after run, on data large enough for several threads."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from recmind.model.language_view import TextInputs
from recmind.training import trainer as trainer_module
from recmind.training.trainer import Trainer

N_USERS, N_ITEMS, N_PAIRS = 900, 700, 4000
SMALL = {
    "model__dim": 21,
    "training__batch_size": 1500,
    "training__max_epochs": 2,
    "training__warmup_epochs": 1,
    "training__checkpoint_seconds": 0.0,
    "training__learning_rate": 0.01,
    "alignment__batch_size": 128,
}
MODELS = {
    "recmind": {"model__fallback_mask": 0.2, "model__text_dropout": 0.1},
    "recmind with a queue": {"alignment__queue_size": 64, "alignment__hard_negatives": 3},
    "recmind, in order": {"model__sequence__weight": 2.0, "model__sequence__length": 7},
    "recmind, low storage, softmax": {
        "model__storage": "bfloat16",
        "training__loss": "softmax",
        "training__n_negatives": 64,
    },
    "lightgcn": {"model__name": "lightgcn"},
    "text": {"model__name": "text"},
    "llm-init": {"model__name": "llm-init"},
    "rlmrec-con": {"model__name": "rlmrec-con", "model__baselines__rlmrec_con__batch_size": 100},
    "rlmrec-gen": {"model__name": "rlmrec-gen", "model__baselines__rlmrec_gen__batch_size": 100},
    "alpharec": {"model__name": "alpharec", "training__loss": "softmax", "training__n_negatives": 64},
    "kar": {"model__name": "kar"},
    "dropoutnet": {"model__name": "dropoutnet", "model__baselines__dropoutnet__hidden": [40, 30]},
    "ngcf": {"model__name": "ngcf"},
    "sgl": {"model__name": "sgl"},
    "sgl, walks": {"model__name": "sgl", "model__baselines__sgl__augmentation": "walk"},
    "simgcl": {"model__name": "simgcl"},
    "xsimgcl": {"model__name": "xsimgcl"},
    "sasrec": {"model__name": "sasrec", "model__baselines__sasrec__heads": 3, "model__baselines__sasrec__length": 7},
    "lightgcl": {"model__name": "lightgcl", "model__baselines__lightgcl__dropout": 0.2},
}
RESUMED = [name for name in MODELS if name not in ("recmind, low storage, softmax", "text")]


@pytest.fixture(scope="module")
def split(split_of):
    rng = np.random.default_rng(0)
    cells = rng.choice((N_USERS - 1) * (N_ITEMS - 1), N_PAIRS, replace=False)
    # The last user and the last item stay without an edge, the first user has half of the items.
    pairs = {(int(c // (N_ITEMS - 1)), int(c % (N_ITEMS - 1))) for c in cells} | {(0, i) for i in range(N_ITEMS // 2)}
    return split_of(sorted(pairs), N_USERS, N_ITEMS)


@pytest.fixture(scope="module")
def texts() -> TextInputs:
    vectors = np.random.default_rng(1).normal(size=(N_ITEMS, 24)).astype(np.float32)
    known = np.arange(N_ITEMS) % 7 > 0
    return TextInputs.from_arrays(np.where(known[:, None], vectors, 0), known)


@pytest.fixture(params=[1, 2], ids=["one thread", "two threads"])
def threads(request) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.fixture
def trainer_of(split, texts, settings, model_of):
    def make(name: str, checkpoint: Path | None = None) -> Trainer:
        config = settings(**SMALL, **MODELS[name])
        inputs = None if name == "lightgcn" else texts
        model = model_of(split, inputs, config)
        return Trainer(model, split, config, validate=None, checkpoint=checkpoint, fingerprint="f", show_progress=False)

    return make


def outcome(trainer: Trainer, **how) -> tuple[dict[str, torch.Tensor], list[dict]]:
    history = [{k: v for k, v in row.items() if k != "seconds"} for row in trainer.fit(**how).history]
    tensors = {name: value.detach().clone() for name, value in trainer.model.state_dict().items()}
    return tensors | {name: value.clone() for name, value in trainer.objective.state().items()}, history


def check_equal(first, second) -> None:
    assert first[1] == second[1]
    assert first[0].keys() == second[0].keys()
    assert [name for name, value in first[0].items() if not torch.equal(value, second[0][name])] == []


@pytest.mark.parametrize("name", MODELS)
def test_run_after_run(trainer_of, threads: int, name: str):
    check_equal(outcome(trainer_of(name)), outcome(trainer_of(name)))


@pytest.mark.parametrize("name", RESUMED)
def test_a_resumed_run_equals_an_undisturbed_one(trainer_of, name: str, tmp_path, monkeypatch):
    class KilledError(Exception):
        pass

    whole = outcome(trainer_of(name))
    real = trainer_module.save_checkpoint

    def save_and_die(*arguments):
        real(*arguments)
        raise KilledError

    monkeypatch.setattr(trainer_module, "save_checkpoint", save_and_die)
    with pytest.raises(KilledError):
        trainer_of(name, tmp_path / "checkpoint").fit()
    monkeypatch.undo()
    check_equal(outcome(trainer_of(name, tmp_path / "checkpoint"), resume=True), whole)
