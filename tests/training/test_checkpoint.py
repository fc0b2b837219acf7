from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from recmind.errors import RunError
from recmind.training.checkpoint import (
    Progress,
    load_checkpoint,
    optimizer_tensors,
    restore_optimizer,
    save_checkpoint,
)

PROGRESS = Progress("joint", 7, 5, 0.25, 2, False, 12.5, [{"phase": "joint", "epoch": 1, "loss": 0.1 + 0.2}])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    tensors = {"a": torch.arange(6.0).view(2, 3), "b": torch.tensor(3), "view": torch.arange(6.0).view(2, 3).T}
    save_checkpoint(tmp_path / "checkpoint", PROGRESS, tensors, "mine")
    return tmp_path / "checkpoint"


def test_round_trip(path: Path):
    progress, tensors = load_checkpoint(path, "mine")
    assert progress == PROGRESS
    assert tensors["a"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert tensors["b"].dtype == torch.int64
    assert tensors["view"].tolist() == [[0, 3], [1, 4], [2, 5]]


def test_the_optimiser_goes_on_as_if_nothing_had_happened(path: Path):
    def parts():
        torch.manual_seed(0)
        layer = torch.nn.Linear(3, 2).double()
        unused = torch.nn.Parameter(torch.zeros(2))
        return layer, torch.optim.Adam([unused, *layer.parameters()], lr=0.1, fused=True)

    def step(layer, optimizer, x: float) -> None:
        optimizer.zero_grad(set_to_none=True)
        (layer(torch.full((1, 3), x, dtype=torch.float64)) ** 2).sum().backward()
        optimizer.step()

    whole, resumed = parts(), parts()
    for x in (1.0, 2.0):
        step(*whole, x)
        step(*resumed, x)
    save_checkpoint(path, PROGRESS, optimizer_tensors(resumed[1]), "mine")
    later = parts()
    later[0].load_state_dict(resumed[0].state_dict())
    restore_optimizer(later[1], load_checkpoint(path, "mine")[1])
    for x in (3.0, 4.0):
        step(*whole, x)
        step(*later, x)
    assert torch.equal(whole[0].weight, later[0].weight)
    assert torch.equal(whole[0].bias, later[0].bias)


@pytest.mark.parametrize("keep", [0, 5, 100, -1])
def test_a_cut_file_is_refused(path: Path, keep: int):
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(RunError, match=r"checkpoint: the checkpoint cannot be read(.|\n)*--overwrite"):
        load_checkpoint(path, "mine")


def test_another_safetensors_file_is_refused(path: Path):
    save_file({"weights": torch.zeros(2)}, path)
    with pytest.raises(RunError, match="the checkpoint cannot be read"):
        load_checkpoint(path, "mine")


def test_a_file_that_is_no_safetensors_is_refused(path: Path):
    path.write_text("{}" * 100)
    with pytest.raises(RunError, match="the checkpoint cannot be read"):
        load_checkpoint(path, "mine")


def test_a_checkpoint_of_another_run_is_refused(path: Path):
    with pytest.raises(RunError, match="other settings or other data"):
        load_checkpoint(path, "yours")
