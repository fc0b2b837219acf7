"""Without the compiled kernels everything trains all the same, and to the same losses."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys

import pytest

from recmind import kernels
from recmind.kernels import binding

TRAIN = """
import json, sys
import numpy as np, torch
from recmind import kernels
from recmind.config import load_config
from recmind.data.splitting import Part, Split
from recmind.evaluation.evaluate import validation_metrics
from recmind.model.graph import build_graph
from recmind.model.language_view import TextInputs
from recmind.model.registry import build_model
from recmind.training.trainer import Trainer

torch.set_num_threads(1)
rng = np.random.default_rng(0)
pairs = sorted({(int(u), int(i)) for u, i in zip(rng.integers(0, 40, 260), rng.integers(0, 28, 260))})
users, items = (np.array([pair[k] for pair in pairs], dtype=np.int32) for k in (0, 1))
part = Part(users, items, np.arange(len(users)))
nobody = Part(users[:0], items[:0], np.arange(0))
split = Split("leave-one-out", 42, 30, part, nobody, nobody)
known = np.arange(30) % 5 > 0
texts = TextInputs.from_arrays(np.where(known[:, None], rng.normal(size=(30, 12)).astype(np.float32), 0), known)
found = {"kernels": kernels.instruction_set(), "missing": kernels.missing}
for name, storage in (("recmind", "float32"), ("recmind", "bfloat16"), ("lightgcn", "float32"), ("text", "float32")):
    config = load_config("paper", model=name, overrides={
        "threads": 1, "model.dim": 21, "model.layers": 3, "model.precision": "float32", "model.storage": storage,
        "model.init_std": 0.3, "training.batch_size": 64, "training.max_epochs": 3, "training.warmup_epochs": 1,
        "training.learning_rate": 0.01, "alignment.batch_size": 16,
    })
    graph = build_graph(users, items, 42, 30)
    model = build_model(graph, None if name == "lightgcn" else texts, config.model, seed=config.seed)
    history = Trainer(model, split, config, validate=None, show_progress=False).fit().history
    found[f"{name} {storage}"] = [row["loss"] for row in history]
json.dump(found, sys.stdout)
"""


def trained(switch: str) -> dict:
    done = subprocess.run(
        [sys.executable, "-c", TRAIN],
        capture_output=True,
        text=True,
        timeout=200,
        env={**os.environ, "RECMIND_KERNELS": switch},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def without() -> dict:
    return trained("0")


def test_the_switch_turns_the_kernels_off(without):
    assert without["kernels"] is None
    assert without["missing"] == "turned off by RECMIND_KERNELS=0"


def test_losses_fall_without_kernels(without):
    # The epochs of the joint phase; the warm-up before them has another loss.
    for name in ("recmind float32", "recmind bfloat16", "lightgcn float32", "text float32"):
        joint = without[name][-3:]
        assert joint[2] < joint[0], name


@pytest.mark.skipif(kernels.instruction_set() is None, reason=f"no compiled kernels: {kernels.missing}")
def test_both_ways_give_the_same_losses(without):
    with_kernels = trained("1")
    assert with_kernels.pop("kernels") == kernels.instruction_set()
    assert with_kernels.pop("missing") == ""
    for name, losses in with_kernels.items():
        # Sums in another order may round a stored bfloat16 the other way.
        assert losses == pytest.approx(without[name], rel=1e-4 if name.endswith("32") else 2e-3), name


def test_kernels_that_were_built_are_used():
    if importlib.util.find_spec("recmind.kernels._cpu") is None or os.environ.get("RECMIND_KERNELS") == "0":
        pytest.skip("no compiled kernels were built, or they are turned off")
    assert kernels.instruction_set() in binding.cpu.instruction_sets()
    assert kernels.missing == ""
