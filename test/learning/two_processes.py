"""One of the processes of test_distributed.py: trains, and normalises its half of a batch."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
import yaml
from torch import Tensor, nn

from e2ec_core.learning.distributed import part_processes, synchronise_norms
from e2ec_core.learning.trainer import Trainer
from run_config import make_run


def train(config_path: Path) -> Trainer:
    """A run without dropout, whose masks depend on how the batch is cut."""
    trainer = Trainer(make_run(yaml.safe_load(config_path.read_text())))
    for module in trainer.model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    trainer.run()
    return trainer


def normalise(norm: nn.Module, x: Tensor, valid: Tensor | None, weight: Tensor) -> dict:
    """Output, gradients and statistics of a norm whose output is weighted and summed."""
    x = x.clone().requires_grad_()
    out = norm(x) if valid is None else norm(x, valid)
    kept = torch.ones_like(x[:, :1]) if valid is None else valid[:, None, None]
    (torch.where(kept.bool(), out, 0) * weight).sum().backward()
    gradients = {name: p.grad for name, p in norm.named_parameters()}
    return {"out": out.detach(), "x": x.grad, **norm.state_dict(), **{"d": gradients}}


def main() -> None:
    folder = Path(sys.argv[1])
    trainer = train(folder / "run.yaml")
    process = trainer.process
    results = {"model": trainer.model.state_dict()}
    cases = torch.load(folder / "norms.pt", weights_only=False)
    for name, (norm, x, valid, weight) in cases.items():
        holder = nn.ModuleDict({"norm": norm})
        synchronise_norms(holder, process)
        halves = [None if t is None else t.chunk(2)[process.rank] for t in (x, valid, weight)]
        results[name] = normalise(holder["norm"], *halves)
    torch.save(results, folder / f"results{process.rank}.pt")
    part_processes()


if __name__ == "__main__":
    main()
