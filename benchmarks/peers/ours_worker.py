"""RecMind's models as contenders: steps through its own Trainer."""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Iterator
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from peers.process import Operation, serve
from peers.workload import Workload
from recmind import kernels
from recmind.config import Config, load_config
from recmind.data.splitting import Part, Split
from recmind.model.graph import build_graph
from recmind.model.language_view import TextInputs
from recmind.model.registry import build_model
from recmind.model.views import GraphModel
from recmind.training.sampling import epoch_generator
from recmind.training.trainer import Trainer

TEXT_DIM = 384
"""Size of the random text vectors: that of the embedded encoder."""


def split_of(workload: Workload) -> Split:
    """The workload as a split; validation is what it holds out, test is empty."""
    none = np.zeros(0, np.int32)
    return Split(
        "benchmark",
        workload.n_users,
        workload.n_items,
        train=Part(workload.users, workload.items, np.arange(len(workload))),
        valid=Part(workload.valid_users, workload.valid_items, np.arange(len(workload.valid_users))),
        test=Part(none, none, none.astype(np.int64)),
    )


def config_of(settings: dict[str, Any]) -> Config:
    """The settings of the benchmark as a configuration: LightGCN with BPR, or the default recipe of RecMind."""
    common: dict[str, Any] = {
        "model.dim": settings["dim"],
        "model.layers": settings["layers"],
        "training.batch_size": settings["batch"],
    }
    if settings["model"] == "lightgcn":
        common |= {
            "training.loss": "bpr",
            "training.n_negatives": settings["negatives"],
            "training.learning_rate": settings["learning_rate"],
            "training.weight_decay": settings["weight_decay"],
        }
    overrides = [*(f"{key}={value}" for key, value in common.items()), *settings.get("set", [])]
    return load_config("default", model=settings["model"], overrides=overrides)


def random_texts(n_items: int, seed: int = 0) -> TextInputs:
    """Unit vectors in random directions for every item: a step costs the same whatever they say."""
    vectors = np.random.default_rng(seed).standard_normal((n_items, TEXT_DIM), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return TextInputs.from_arrays(vectors, np.ones(n_items, dtype=bool))


def make_trainer(workload: Workload, config: Config, split: Split | None = None) -> Trainer:
    """A trainer as :func:`recmind.pipeline.train_run` makes it, without validation."""
    split = split or split_of(workload)
    graph = build_graph(workload.users, workload.items, workload.n_users, workload.n_items)
    texts = random_texts(workload.n_items) if config.model.name != "lightgcn" else None
    model = build_model(graph, texts, config.model, seed=config.seed)
    assert isinstance(model, GraphModel)
    return Trainer(model, split, config, validate=None, show_progress=False)


class Steps:
    """Training steps in any number, through the very loop that an epoch runs.

    The batches come from one stream, so the shuffle at the start of an epoch is
    paid once an epoch, as in training.
    """

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self._stream = self._batches()

    def __call__(self, n: int) -> dict[str, Any]:
        row = self.trainer._epoch("joint", lambda _: islice(self._stream, n), self.trainer.objective.joint)
        return {"loss": row["loss"]}

    def _batches(self) -> Iterator[Any]:
        epoch = 0
        while True:
            yield from self.trainer._interaction_batches(epoch_generator(0, "benchmark", epoch))
            epoch += 1


def build(settings: dict[str, Any]) -> tuple[dict[str, Operation], dict[str, Any]]:
    """Operations: ``step``, and ``memory``: bytes of the process and of what training holds."""
    torch.set_num_threads(settings["threads"])
    empty = peak_memory()
    workload = Workload.load(Path(settings["data"]))
    about = {
        "versions": {"recmind": version("recmind"), "torch": torch.__version__, "numpy": np.__version__},
        "threads": torch.get_num_threads(),
        "notes": [f"kernels: {kernels.instruction_set() or kernels.missing}", *settings.get("set", [])],
    }
    trainer = make_trainer(workload, config_of(settings))
    about["steps_per_epoch"] = -(-len(workload) // settings["batch"])
    built = peak_memory()
    forget_peak()

    def memory(_: int) -> dict[str, Any]:
        held = {"graph": held_bytes(trainer.model.graph), "sampler": held_bytes(trainer.sampler)}
        return held | {"empty": empty, "built": built, "trained": peak_memory()}

    return {"step": Steps(trainer), "memory": memory}, about


def forget_peak() -> None:
    """Count the peak anew from here, where the system lets a process do so (Linux)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory() -> int:
    """Bytes that this process has held at most since the start or :func:`forget_peak`."""
    # getrusage would count what the driver held when it started this process.
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def held_bytes(thing: object) -> int:
    """Bytes of the tensors and arrays that ``thing`` holds, each once."""
    found: dict[int, int] = {}
    waiting, seen = [thing], set()
    while waiting:
        part = waiting.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        if isinstance(part, torch.Tensor) and part.layout == torch.sparse_csr:
            waiting += [part.crow_indices(), part.col_indices(), part.values()]
        elif isinstance(part, torch.Tensor):
            found[part.untyped_storage().data_ptr()] = part.untyped_storage().nbytes()
        elif isinstance(part, np.ndarray):
            found[part.__array_interface__["data"][0]] = part.nbytes
        elif isinstance(part, dict):
            waiting += part.values()
        elif isinstance(part, (list, tuple)):
            waiting += part
        elif hasattr(part, "__dict__"):
            waiting += vars(part).values()
    return sum(found.values())


if __name__ == "__main__":
    serve(build)
