"""Data-parallel training: who takes part, sums over all, batch norms over all."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from e2ec_core.device import choose_device
from e2ec_core.model.published.evolution import ContourNorm

# Others wait while the first process validates.
_PATIENCE = timedelta(hours=6)


@dataclass(frozen=True, kw_only=True)
class Process:
    """One of the processes that train a model together; alone without a launcher.

    Attributes:
        device: what it computes on.
        rank: its number among all, 0 for the one that writes files.
        world: how many there are.
    """

    device: torch.device
    rank: int = 0
    world: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process writes files."""
        return self.rank == 0

    def sum(self, tensor: Tensor) -> Tensor:
        """Sum over all processes, without gradient, equal in all."""
        if self.world == 1:
            return tensor
        total = tensor.detach().to(self.device, copy=True)
        dist.all_reduce(total)
        return total.to(tensor.device)

    def gather(self, items: Sequence[Any]) -> list[Any]:
        """The items of all processes in order."""
        if self.world == 1:
            return list(items)
        gathered: list[Any] = [None] * self.world
        dist.all_gather_object(gathered, list(items))
        return [item for part in gathered for item in part]

    def wait(self) -> None:
        """Returns when all processes are here."""
        if self.world > 1:
            self.sum(torch.zeros(1))


def join_processes(device: str) -> Process:
    """Joins the processes that `torchrun` started on this and other machines.

    Args:
        device: as `choose_device`; `auto` and `cuda` give each process of a machine its own GPU.

    Raises:
        ValueError: no such device.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    chosen = choose_device(device)
    if world == 1:
        return Process(device=chosen)
    if chosen.type == "cuda":
        chosen = choose_device(f"cuda:{os.environ.get('LOCAL_RANK', '0')}")
        torch.cuda.set_device(chosen)
    if not dist.is_initialized():
        dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo", timeout=_PATIENCE)
    return Process(device=chosen, rank=dist.get_rank(), world=world)


def part_processes() -> None:
    """Leaves the group that `join_processes` joined."""
    if dist.is_initialized():
        dist.destroy_process_group()


class _SumOverProcesses(torch.autograd.Function):
    """Sum of all processes' values; the gradient is the sum of all processes' gradients."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        total = values.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone()
        dist.all_reduce(total)
        return total


class GlobalBatchNorm(_BatchNorm):
    """Batch norm over the batches of all processes, for any device.

    Stands in for `ContourNorm`, whose padding it leaves out, and, where PyTorch's SyncBatchNorm
    does not work (on CPUs), for all others.
    """

    def _check_input_dim(self, input: Tensor) -> None:
        pass

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        """[n, C, ...] to the same; `valid` is [n] bool, those that count."""
        if not self.training:
            return super().forward(x)
        dims = [0, *range(2, x.dim())]
        shape = (1, -1) + (1,) * (x.dim() - 2)
        kept = torch.ones_like(x, dtype=torch.bool)
        if valid is not None:
            kept = valid.view(-1, *(1,) * (x.dim() - 1)).expand_as(x)
        values = torch.where(kept, x, 0).to(torch.promote_types(x.dtype, torch.float32))
        counted = torch.cat([values.sum(dims), kept[:, :1].sum().to(values).view(1)])
        *_, count = totals = _SumOverProcesses.apply(counted)
        count = count.detach().clamp(min=1)
        centred = torch.where(kept, values - (totals[:-1] / count).view(shape), 0)
        variance = _SumOverProcesses.apply(centred.square().sum(dims)) / count
        self._follow(totals[:-1].detach() / count, variance.detach(), totals[-1].detach())
        scale = (variance + self.eps).rsqrt()
        if self.affine:
            scale = scale * self.weight
        out = centred * scale.view(shape)
        return (out + self.bias.view(shape) if self.affine else out).to(x.dtype)

    def _follow(self, mean: Tensor, variance: Tensor, count: Tensor) -> None:
        """Moves the running statistics; an empty batch moves nothing."""
        assert self.momentum is not None
        momentum = self.momentum * (count > 0)
        unbiased = variance * count / (count - 1).clamp(min=1)
        for running, new in ((self.running_mean, mean), (self.running_var, unbiased)):
            assert running is not None
            running.lerp_(new.to(running.dtype), momentum.to(running.dtype))
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)


def synchronise_norms(module: nn.Module, process: Process) -> None:
    """Makes every batch norm in a model count the batches of all processes, in place.

    Names, parameters and statistics stay.
    """
    if process.world == 1:
        return
    for name, child in module.named_children():
        if not isinstance(child, _BatchNorm):
            synchronise_norms(child, process)
        elif isinstance(child, ContourNorm) or process.device.type == "cpu":
            setattr(module, name, _replaced(child))
        else:
            setattr(module, name, nn.SyncBatchNorm.convert_sync_batchnorm(child))


def _replaced(norm: _BatchNorm) -> GlobalBatchNorm:
    new = GlobalBatchNorm(norm.num_features, norm.eps, norm.momentum, norm.affine)
    new._parameters, new._buffers = norm._parameters, norm._buffers
    return new.train(norm.training)
