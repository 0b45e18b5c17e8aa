"""One step of the optimiser: from the parts of a batch to new weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from e2ec_core.learning.batch_loader import step_seed
from e2ec_core.learning.config import TrainConfig
from e2ec_core.learning.distributed import Process
from e2ec_core.learning.losses import Counts
from e2ec_core.learning.optimizer import Average, make_optimizer
from e2ec_core.learning.samples import Samples
from e2ec_core.learning.total_loss import batch_counts, batch_losses
from e2ec_core.model.e2ec import E2EC
from e2ec_core.model.precision import HALF_TYPES


class NonFiniteLoss(RuntimeError):
    """The loss or its gradient became infinite or not a number; the weights are as before.

    Attributes:
        image_ids: images of the step, of all processes.
        terms: of the loss.
    """

    def __init__(self, what: str, image_ids: Sequence[int], terms: dict[str, float]) -> None:
        super().__init__(f"{what} is not finite on images {tuple(image_ids)}")
        self.image_ids, self.terms = list(image_ids), terms


class StepResult(NamedTuple):
    """What a step did, over the batches of all processes.

    Attributes:
        terms: of the loss.
        objects: contours that it learnt from.
        stop: whether one of the processes shall stop.
    """

    terms: dict[str, float]
    objects: float
    stop: bool


class _Loss(nn.Module):
    """The loss as a module, which is what data-parallel training wraps."""

    def __init__(self, model: E2EC, config: TrainConfig) -> None:
        super().__init__()
        self.model, self.config = model, config

    def forward(self, batch: Samples, epoch: int, counts: Counts) -> dict[str, Tensor]:
        return batch_losses(
            self.model,
            batch,
            self.config.loss,
            epoch=epoch,
            train_detector=not self.config.freeze_detector,
            counts=counts,
        )


class OptimizerStep:
    """Trains a model step by step.

    Args:
        model: on the process's device, its frozen parameters marked, its norms synchronised.
        config: the run.
        process: this one.
    """

    def __init__(self, model: E2EC, config: TrainConfig, process: Process) -> None:
        self.model, self.config, self.process = model, config, process
        self.trained = [p for p in model.parameters() if p.requires_grad]
        self.optimizer = make_optimizer(model, config.optimizer)
        ema = config.optimizer.ema
        self.average = Average(model, ema) if ema else None
        self.scaler = torch.amp.GradScaler(process.device.type, enabled=config.precision == "fp16")
        loss = _Loss(model, config)
        # Buffers need no broadcast: synchronised norms are equal everywhere.
        self.loss: nn.Module = (
            DistributedDataParallel(loss, broadcast_buffers=False) if process.world > 1 else loss
        )

    def take(
        self,
        parts: Sequence[Samples],
        *,
        epoch: int,
        step: int,
        lr: float,
        stop: Callable[[], int] = int,
    ) -> StepResult:
        """Takes one step. It waits for the device once, between gradient and new weights.

        Args:
            parts: this process's share of the batch, on its device.
            epoch: counted from 0.
            step: counted from 0 over the whole run; everything random follows from it.
            lr: learning rate.
            stop: says at the end of the step whether this process was told to stop: not 0.

        Raises:
            NonFiniteLoss: in all processes alike.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = lr * group["factor"]
        self.optimizer.zero_grad(set_to_none=True)
        counts = self._count(parts)
        losses = []
        for turn, part in enumerate(parts):
            torch.manual_seed(self._seed(step, turn))
            losses.append(self._backward(part, epoch, counts, turn == len(parts) - 1))
        self.scaler.unscale_(self.optimizer)
        norm = self._clip()
        names = list(losses[0])
        values = torch.stack(
            [torch.stack([t.float() for t in terms.values()]) for terms in losses]
        )
        told = torch.cat([values.flatten(), values.new_full((1,), float(stop()))])
        more = [norm.view(1), counts.instances.view(1)]
        *read, stops, length, objects = torch.cat([self.process.sum(told), *more]).tolist()
        sums = {name: sum(read[i :: len(names)], 0.0) for i, name in enumerate(names)}
        if not math.isfinite(sums["total"]):
            self._refuse("loss", parts, sums)
        # A scaler leaves out steps with such gradients itself.
        if not self.scaler.is_enabled() and not math.isfinite(length):
            self._refuse("gradient", parts, sums)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.average:
            self.average.update(self.model)
        return StepResult(sums, objects, stop=stops > 0)

    def _count(self, parts: Sequence[Samples]) -> Counts:
        counts = [batch_counts(part) for part in parts]
        return Counts(*self.process.sum(torch.stack([torch.stack(c) for c in counts]).sum(0)))

    def _seed(self, step: int, turn: int) -> int:
        part = turn * self.process.world + self.process.rank
        return step_seed(self.config.seed, step, part)

    def _backward(
        self, part: Samples, epoch: int, counts: Counts, last: bool
    ) -> dict[str, Tensor]:
        """Adds a part's gradient; processes exchange theirs with the last part."""
        alone: AbstractContextManager[None] = nullcontext()
        if isinstance(self.loss, DistributedDataParallel) and not last:
            alone = self.loss.no_sync()
        half = HALF_TYPES.get(self.config.precision)
        with alone:
            with torch.autocast(self.process.device.type, half, enabled=half is not None):
                terms = self.loss(part, epoch, counts)
            # Data-parallel training averages gradients; the parts' losses add up.
            self.scaler.scale(terms["total"] * self.process.world).backward()
        return {name: term.detach() for name, term in terms.items()}

    def _clip(self) -> Tensor:
        """Limits the gradient; returns its norm before, on the device."""
        settings = self.config.optimizer
        norm = nn.utils.clip_grad_norm_(self.trained, settings.clip_norm or math.inf)
        if settings.clip_value:
            nn.utils.clip_grad_value_(self.trained, settings.clip_value)
        return norm

    def _refuse(self, what: str, parts: Sequence[Samples], terms: dict[str, float]) -> None:
        ids = torch.cat([part.image_id for part in parts]).tolist()
        raise NonFiniteLoss(what, self.process.gather(ids), terms)

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
