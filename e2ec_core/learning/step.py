"""One step of the optimiser: from the parts of a batch to new weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from e2ec_core.learning.batches import step_seed
from e2ec_core.learning.config import TrainConfig
from e2ec_core.learning.distributed import Process
from e2ec_core.learning.losses import Counts
from e2ec_core.learning.objective import batch_counts, batch_losses
from e2ec_core.learning.optimizer import Average, make_optimizer
from e2ec_core.learning.views import Batch
from e2ec_core.model.e2ec import E2EC

_HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}


class NonFiniteLoss(RuntimeError):
    """The loss or its gradient became infinite or not a number; the weights are as before.

    Attributes:
        image_ids: images of the step, of all processes.
        terms: of the loss.
    """

    def __init__(self, what: str, image_ids: Sequence[int], terms: dict[str, float]) -> None:
        super().__init__(f"{what} is not finite on images {tuple(image_ids)}")
        self.image_ids, self.terms = list(image_ids), terms


class _Loss(nn.Module):
    """The loss as a module, which is what data-parallel training wraps."""

    def __init__(self, model: E2EC, config: TrainConfig) -> None:
        super().__init__()
        self.model, self.config = model, config

    def forward(self, batch: Batch, epoch: int, counts: Counts) -> dict[str, Tensor]:
        return batch_losses(
            self.model,
            batch,
            self.config.loss,
            epoch=epoch,
            train_detector=not self.config.freeze_detector,
            counts=counts,
        )


class Stepper:
    """Trains a model step by step.

    Args:
        model: on the process's device, its frozen parameters marked, its norms synchronised.
        config: the run.
        process: this one.
    """

    def __init__(self, model: E2EC, config: TrainConfig, process: Process) -> None:
        self.model, self.config, self.process = model, config, process
        self.trained = [p for p in model.parameters() if p.requires_grad]
        self.optimizer = make_optimizer(self.trained, config.optimizer)
        ema = config.optimizer.ema
        self.average = Average(model, ema) if ema else None
        self.scaler = torch.amp.GradScaler(process.device.type, enabled=config.precision == "fp16")
        loss = _Loss(model, config)
        # Buffers need no broadcast: synchronised norms are equal everywhere.
        self.loss: nn.Module = (
            DistributedDataParallel(loss, broadcast_buffers=False) if process.world > 1 else loss
        )

    def take(
        self, parts: Sequence[Batch], *, epoch: int, step: int, lr: float
    ) -> dict[str, float]:
        """Takes one step.

        Args:
            parts: this process's share of the batch, on its device.
            epoch: counted from 0.
            step: counted from 0 over the whole run; everything random follows from it.
            lr: learning rate.

        Returns:
            the terms of the loss over the batches of all processes.

        Raises:
            NonFiniteLoss: in all processes alike.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.zero_grad(set_to_none=True)
        counts = self._count(parts)
        terms: dict[str, float] = {}
        for turn, part in enumerate(parts):
            torch.manual_seed(self._seed(step, turn))
            for name, term in self._backward(part, epoch, counts, turn == len(parts) - 1).items():
                terms[name] = terms.get(name, 0.0) + term
        self.scaler.unscale_(self.optimizer)
        norm = self._clip()
        if not self.scaler.is_enabled():  # a scaler leaves out such steps itself
            self._check(norm, "gradient", parts, terms)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.average:
            self.average.update(self.model)
        return terms

    def _count(self, parts: Sequence[Batch]) -> Counts:
        counts = [batch_counts(part) for part in parts]
        return Counts(*self.process.sum(torch.stack([torch.stack(c) for c in counts]).sum(0)))

    def _seed(self, step: int, turn: int) -> int:
        part = turn * self.process.world + self.process.rank
        return step_seed(self.config.seed, step, part)

    def _backward(self, part: Batch, epoch: int, counts: Counts, last: bool) -> dict[str, float]:
        """Adds a part's gradient; processes exchange theirs with the last part."""
        alone: AbstractContextManager[None] = nullcontext()
        if isinstance(self.loss, DistributedDataParallel) and not last:
            alone = self.loss.no_sync()
        half = _HALF.get(self.config.precision)
        with alone:
            with torch.autocast(self.process.device.type, half, enabled=half is not None):
                terms = self.loss(part, epoch, counts)
            values = torch.stack([term.detach().float() for term in terms.values()])
            summed = dict(zip(terms, self.process.sum(values).tolist(), strict=True))
            # Before going backward: not every operation survives coordinates that are nan.
            self._check(summed["total"], "loss", [part], summed)
            # Data-parallel training averages gradients; the parts' losses add up.
            self.scaler.scale(terms["total"] * self.process.world).backward()
        return summed

    def _clip(self) -> float:
        """Limits the gradient; returns its norm before."""
        settings = self.config.optimizer
        norm = nn.utils.clip_grad_norm_(self.trained, settings.clip_norm or math.inf)
        if settings.clip_value:
            nn.utils.clip_grad_value_(self.trained, settings.clip_value)
        return float(norm)

    def _check(
        self, value: float, what: str, parts: Sequence[Batch], terms: dict[str, float]
    ) -> None:
        if math.isfinite(value):
            return
        image_ids = self.process.gather([i for part in parts for i in part.image_ids])
        raise NonFiniteLoss(what, image_ids, terms)

    def weights(self) -> dict[str, Tensor]:
        """State dict of the weights to use: averaged, where the run averages."""
        return self.average.state if self.average else self.model.state_dict()

    def state_dict(self) -> dict[str, Any]:
        """All that the next step depends on."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "average": self.average.state if self.average else None,
            "average_steps": self.average.steps if self.average else 0,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues from `state_dict`."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if state.get("scaler"):
            self.scaler.load_state_dict(state["scaler"])
        if self.average and state["average"]:
            self.average.state, self.average.steps = state["average"], state["average_steps"]
