"""Two processes learn what one learns from the same batch."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import yaml
from torch import nn

from e2ec_core.config import to_dict
from e2ec_core.learning.batch_loader import RunBatches
from e2ec_core.learning.config import TrainConfig
from e2ec_core.learning.distributed import Process
from e2ec_core.model.published.evolution import ContourNorm

Run = Callable[..., TrainConfig]
SCRIPT = Path(__file__).with_name("two_processes.py")
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def script(load_script: Callable[[str], ModuleType]) -> ModuleType:
    return load_script("test/learning/two_processes.py")


def _norms() -> dict[str, tuple]:
    """Norms with a batch: one of contours with more padding in one half, one of images."""
    torch.manual_seed(0)
    contour, plain = ContourNorm(3), nn.BatchNorm2d(3, affine=False, momentum=0.02)
    nn.init.normal_(contour.weight)
    nn.init.normal_(contour.bias)
    valid = torch.tensor([True, True, True, False, False, True])
    x, image = torch.randn(6, 3, 5) * 3 + 1, torch.randn(4, 3, 8, 8) * 2 - 1
    return {
        "contour": (contour, x, valid, torch.randn_like(x)),
        "plain": (plain, image, None, torch.randn_like(image)),
    }


def _environment(rank: int, port: int) -> dict[str, str]:
    """What `torchrun` tells a process."""
    return os.environ | {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(map(str, SCRIPT.parents[1:3])),
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _run_both(folder: Path) -> Iterator[dict[str, Any]]:
    port = _free_port()
    processes = [
        subprocess.Popen(
            [sys.executable, str(SCRIPT), str(folder)],
            env=_environment(rank, port),
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        for process in processes:
            _, errors = process.communicate(timeout=300)
            assert process.returncode == 0, errors[-3000:]
    finally:
        for process in processes:
            process.kill()
    for rank in range(2):
        yield torch.load(folder / f"results{rank}.pt", weights_only=False)


def _losses(folder: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if "lr" in line]


def test_two_processes_give_the_losses_and_weights_of_one(
    tiny_run: Run, tmp_path: Path, script: ModuleType
) -> None:
    loss = {"box_units": True, "dynamic_matching_from": 0, "matched_evolutions": 1}
    config = tiny_run(batch_size=4, epochs=3, loss=loss)
    run = to_dict(config)
    (tmp_path / "one.yaml").write_text(yaml.safe_dump(run | {"output": str(tmp_path / "one")}))
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(run | {"output": str(tmp_path / "two")}))
    torch.save(_norms(), tmp_path / "norms.pt")
    alone = script.train(tmp_path / "one.yaml")
    first, second = _run_both(tmp_path)

    wanted, found = _losses(tmp_path / "one"), _losses(tmp_path / "two")
    assert len(wanted) == 3
    assert wanted[0]["total"] != wanted[1]["total"]
    for ours, theirs in zip(found, wanted, strict=True):
        assert ours == pytest.approx(theirs, rel=2e-4)
    for name, value in alone.model.state_dict().items():
        assert torch.equal(first["model"][name], second["model"][name]), name
        torch.testing.assert_close(first["model"][name], value, rtol=2e-3, atol=2e-4, msg=name)

    for name, (norm, x, valid, weight) in _norms().items():
        whole = script.normalise(norm, x, valid, weight)
        halves = (first[name], second[name])
        keep = slice(None) if valid is None else valid
        for key in ("out", "x"):
            both = torch.cat([half[key] for half in halves])
            torch.testing.assert_close(both[keep], whole[key][keep], rtol=1e-4, atol=1e-5)
        for key in ("running_mean", "running_var"):
            torch.testing.assert_close(halves[0][key], whole[key])
        for key, gradient in whole["d"].items():
            torch.testing.assert_close(halves[0]["d"][key] + halves[1]["d"][key], gradient)


@pytest.mark.slow
def test_the_command_trains_in_two_processes_and_goes_on(
    tiny_run: Run, tmp_path: Path, repo_dir: Path
) -> None:
    config = tiny_run(epochs=2)
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(to_dict(config)))
    command = [sys.executable, "training/train.py", "--config", str(tmp_path / "run.yaml")]
    for extra in (["--epochs", "1"], ["--resume"]):
        finished = subprocess.run(
            [*command, *extra, "--processes", "2"],
            cwd=repo_dir,
            env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(repo_dir)},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert finished.returncode == 0, finished.stderr[-3000:]
        assert finished.stdout.count("weights:") == 1  # of the first process alone
    assert [line["step"] for line in _losses(Path(config.output))] == [1, 2, 3, 4, 5, 6]


def test_every_image_is_learnt_once_whoever_learns_it(tiny_run: Run) -> None:
    config = tiny_run(batch_size=4)
    alone = RunBatches(10, config, Process(device=CPU), 2)
    batches = [[key.position for key in batch] for batch in alone]
    assert len(batches) == 2
    assert len({p for batch in batches for p in batch}) == 8
    shares = [
        list(RunBatches(10, config, Process(device=CPU, rank=rank, world=2), 2))
        for rank in range(2)
    ]
    together = [
        [k.position for share in part for k in share] for part in zip(*shares, strict=True)
    ]
    assert together == batches


def test_a_run_goes_on_with_the_batches_that_are_left(tiny_run: Run) -> None:
    config = tiny_run(batch_size=2, accumulate=2, epochs=3, multi_scale=[[64, 64], [32, 32]])
    whole = list(RunBatches(9, config, Process(device=CPU), 0))
    assert [batch[0].epoch for batch in whole] == [0] * 8 + [1] * 8 + [2] * 8
    for step in (3, 4, 6):
        rest = RunBatches(9, config, Process(device=CPU), step)
        assert list(rest) == whole[2 * step :]
        assert len(rest) == 24 - 2 * step
