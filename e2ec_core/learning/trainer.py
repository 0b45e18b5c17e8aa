"""The training loop: steps, epochs, validation; goes on from any step after any kill."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import signal
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from tqdm import tqdm

from e2ec_core.config import to_dict
from e2ec_core.learning.batch_loader import (
    RunBatches,
    describe_killed_worker,
    load_batches,
)
from e2ec_core.learning.config import TrainConfig
from e2ec_core.learning.distributed import join_processes, synchronise_norms
from e2ec_core.learning.optimizer import freeze_parts, learning_rate
from e2ec_core.learning.optimizer_step import NonFiniteLoss, OptimizerStep, StepResult
from e2ec_core.learning.run_folder import RunFolder
from e2ec_core.learning.same_run import data_digest, refuse_another_run
from e2ec_core.learning.samples import Samples
from e2ec_core.learning.source import read_training_data
from e2ec_core.learning.start_weights import load_start
from e2ec_core.learning.stop_signals import Interrupted, StopSignals
from e2ec_core.learning.training_views import TrainingViews
from e2ec_core.learning.validation import Validation
from e2ec_core.model.build import build_model
from e2ec_core.model.e2ec import E2EC

__all__ = ["Interrupted", "NonFiniteLoss", "RunProgress", "Trainer"]


@dataclass(kw_only=True)
class RunProgress:
    """Where a run stands.

    Attributes:
        epoch: finished epochs.
        position: finished steps of the present epoch.
        validated: epochs after the last of which the validation is done.
        best: best AP of the last stage by the validation set's own rules; None before the first
            validation.
        seconds: spent on the present epoch.
        sums: of the loss terms over the present epoch's steps.
        objects: contours that were learnt from, of all processes.
    """

    epoch: int = 0
    position: int = 0
    validated: int = 0
    best: float | None = None
    seconds: float = 0.0
    sums: dict[str, float] = field(default_factory=dict)
    objects: float = 0.0


class Trainer:
    """Trains one model, alone or together with other processes that `torchrun` started.

    What it writes is told in `RunFolder`.

    Args:
        config: the run.
        resume: go on with the run in the output folder; see `same_run` for what may differ.
        overwrite: start afresh although the folder holds a run.

    Raises:
        ValueError: data, start weights or settings do not fit, there is nothing to resume or
            another run, or the folder holds a run and neither `resume` nor `overwrite` is given.
    """

    def __init__(
        self, config: TrainConfig, *, resume: bool = False, overwrite: bool = False
    ) -> None:
        self.config = config
        if config.threads:
            torch.set_num_threads(config.threads)
        self.process = join_processes(config.device)
        self.folder = RunFolder(config, writes=self.process.is_first)
        self.output = self.folder.path
        state = self.folder.load_state(self.process.device) if resume else None
        if state:  # before the data are read, which may take long
            refuse_another_run(state, config)
        elif not overwrite:
            self.folder.refuse_a_run()
        torch.manual_seed(config.seed)
        self.model = build_model(config.model).to(self.process.device)
        if config.start and not state:
            fresh = load_start(
                *(self.model, config.model, config.start, config.start_part),
                config.start_classes,
            )
            refuse_frozen_classes(config, fresh)
        self.model.detector.requires_grad_(not config.freeze_detector)
        freeze_parts(self.model, config.optimizer)
        synchronise_norms(self.model, self.process)
        datasets = read_training_data(config)
        self.digest = {"training": data_digest(datasets)}
        self.views = TrainingViews(datasets, config)
        self.validation: Validation | None = None
        if config.validation and self.process.is_first:  # early, so that errors come early
            self.validation = Validation(config, self.process)
            self.digest["validation"] = data_digest([self.validation.data])
        self.stepper = OptimizerStep(self.model, config, self.process)
        # Made here too, so that a batch that cannot be cut is refused before anything is written.
        self.steps_per_epoch = RunBatches(len(self.views), config, self.process, 0).steps_per_epoch
        self.progress = RunProgress()
        self._watch = LossWatch()
        if state:
            refuse_another_run(state, config, self.digest)
            known = {item.name for item in dataclasses.fields(RunProgress)}
            self.progress = RunProgress(**{k: v for k, v in state.items() if k in known})
            self.stepper.load_state_dict(state)

    @property
    def step(self) -> int:
        """Finished steps of the run."""
        return self.progress.epoch * self.steps_per_epoch + self.progress.position

    def run(self, *, last_epoch: int | None = None, last_step: int | None = None) -> None:
        """Trains from the present step to the last.

        Args:
            last_epoch: stop after so many epochs in all; the run can be resumed.
            last_step: stop after so many steps in all, as abruptly as if killed.

        Raises:
            NonFiniteLoss: `nonfinite.json` names the images.
            Interrupted: SIGINT or SIGTERM came; the state after the step is saved.
            ChildProcessError: a worker was killed.
        """
        progress = self.progress
        self.folder.open(self.step, epochs=progress.epoch, validated=progress.validated)
        with StopSignals() as self.signals:
            try:
                self._train(min(self.config.epochs, last_epoch or self.config.epochs), last_step)
            except RuntimeError as error:
                if self.signals.received and not isinstance(error, NonFiniteLoss):
                    raise Interrupted(self.signals.received, self.step) from None
                if killed := describe_killed_worker(error, self.config):
                    raise ChildProcessError(killed) from None
                raise
        self.folder.close()

    def _train(self, epochs: int, last_step: int | None) -> None:
        progress = self.progress
        self._validate_when_due()
        batches = load_batches(self.views, self.config, self.process, first_step=self.step)
        with self._bar() as bar, contextlib.closing(batches):
            while progress.epoch < epochs:
                self._train_epoch(batches, bar, last_step)
                if self.step == last_step:
                    break
                self._validate_when_due()

    def _bar(self) -> Any:
        total = self.config.epochs * self.steps_per_epoch
        hidden = None if self.process.is_first else True  # None: shown on a terminal only
        return tqdm(
            total=total, initial=self.step, unit="step", disable=hidden, dynamic_ncols=True
        )

    def _train_epoch(self, batches: Iterator[Samples], bar: Any, last_step: int | None) -> None:
        progress, config = self.progress, self.config
        self.model.train()
        for part in self.model.children():  # the norms of what does not learn stay as they are
            if not any(p.requires_grad for p in part.parameters()):
                part.eval()
        started = time.monotonic() - progress.seconds
        while progress.position < self.steps_per_epoch and self.step != last_step:
            parts = [next(batches).to(self.process.device) for _ in range(config.accumulate)]
            result = self._take_step(parts)
            progress.position += 1
            progress.objects += result.objects
            progress.seconds = time.monotonic() - started
            if rose := self._watch.rise(result.terms["total"]):
                self._say(f"the loss rose from {rose[0]:.3g} to {rose[1]:.3g}: lower optimizer.lr")
            for name, value in result.terms.items():
                progress.sums[name] = progress.sums.get(name, 0.0) + value
            bar.update()
            shown = {"epoch": progress.epoch + 1, "loss": f"{result.terms['total']:.3f}"}
            if progress.best is not None:
                shown["best"] = f"{progress.best:.3f}"
            bar.set_postfix(shown)
            if result.stop:
                self.save()
                raise Interrupted(self.signals.received or signal.SIGTERM, self.step)
            if config.save_every and self.step % config.save_every == 0:
                self.save()
        if progress.position == self.steps_per_epoch:
            self._end_epoch()

    def _take_step(self, parts: list[Samples]) -> StepResult:
        config, epoch, step = self.config, self.progress.epoch, self.step
        lr = learning_rate(config.optimizer, step, self.steps_per_epoch, config.epochs)
        try:
            result = self.stepper.take(
                parts, epoch=epoch, step=step, lr=lr, stop=lambda: self.signals.received
            )
        except NonFiniteLoss as error:
            self.folder.save_nonfinite(
                {"step": step + 1, "epoch": epoch, "image_ids": error.image_ids}
                | {"terms": {name: repr(value) for name, value in error.terms.items()}}
            )
            raise
        if config.log_every and (step + 1) % config.log_every == 0:
            self.folder.log(step + 1, {"epoch": epoch, "lr": lr} | result.terms, title="step")
        return result

    def _end_epoch(self) -> None:
        """Logs the epoch's means and saves."""
        progress, epochs = self.progress, self.config.epochs
        if not progress.objects:
            augment = self.config.augment
            raise ValueError(
                "no view of the epoch held an object to learn: all are smaller than "
                f"augment.min_area ({augment.min_area:g} square px of a view) or show less than "
                f"augment.min_visible ({augment.min_visible:g}) of themselves; lower these, or "
                "give views more px by augment.size and augment.base_side"
            )
        means = {name: total / self.steps_per_epoch for name, total in progress.sums.items()}
        seconds = round(progress.seconds, 1)
        progress.epoch += 1
        progress.position, progress.seconds, progress.sums = 0, 0.0, {}
        record = {"epoch": progress.epoch - 1, "seconds": seconds} | means
        self.folder.log(self.step, record, title="epoch")
        left = seconds * (epochs - progress.epoch)
        shown = " ".join(f"{name} {value:.3f}" for name, value in means.items())
        self._say(f"epoch {progress.epoch}/{epochs} {shown} | {left / 60:.0f} min left")
        self.save()
        if self.process.is_first:
            self.folder.save_weights(self.averaged_model())
            self.folder.save_report()

    def _validate_when_due(self) -> None:
        """Measures every stage and keeps the best weights; the first process does it for all."""
        progress, config = self.progress, self.config
        due = progress.epoch == config.epochs or (
            config.validate_every and progress.epoch % config.validate_every == 0
        )
        if config.validation is None or progress.position or not due:
            return
        if progress.epoch <= progress.validated:
            return
        progress.validated = progress.epoch
        if self.validation:
            with self.signals.at_once(self.step):  # the state of the epoch is saved
                self._validate(self.validation)
            self.save()
        self.process.wait()

    def _validate(self, validation: Validation) -> None:
        model = self.averaged_model()
        measured = validation.measure(model)
        final = measured.rows[-1]
        numbers = {f"final {k}": v for k, v in final.items() if isinstance(v, float)}
        record = {"epoch": self.progress.epoch, "validation": measured.rows} | numbers
        record["by class"] = measured.by_class
        self.folder.log(self.step, record, title="validation")
        self._say(" ".join(f"{name} {value}" for name, value in final.items()))
        precision = float(final.get(validation.headline, 0.0))
        if self.progress.best is None or precision > self.progress.best:
            self.progress.best = precision
            self.folder.save_weights(model, best=True)
        for name, picture in validation.draw(model, self.config.pictures):
            self.folder.save_picture(self.progress.epoch, name, picture)
        self.folder.save_report()

    def _say(self, line: str) -> None:
        if self.process.is_first:
            tqdm.write(line)

    def averaged_model(self) -> E2EC:
        """The model with averaged weights, in evaluation mode."""
        model = build_model(self.config.model)
        model.load_state_dict(self.stepper.weights())
        return model.to(self.process.device).eval()

    def save(self) -> None:
        """Writes what resuming needs."""
        if self.process.is_first:
            state = dataclasses.asdict(self.progress) | self.stepper.state_dict()
            self.folder.save_state(state | {"config": to_dict(self.config), "data": self.digest})


class LossWatch:
    """Notices a loss that explodes before it is infinite: its mean over steps grows fivefold."""

    STEPS = 20
    FACTOR = 5.0

    def __init__(self) -> None:
        self._last: deque[float] = deque(maxlen=self.STEPS)
        self._least = math.inf

    def rise(self, loss: float) -> tuple[float, float] | None:
        """Takes a step's loss in; gives the least mean and the present one when it exploded."""
        self._last.append(loss)
        if len(self._last) < self.STEPS:
            return None
        mean = sum(self._last) / self.STEPS
        if mean > self.FACTOR * self._least:
            least, self._least = self._least, math.inf  # said once for each explosion
            self._last.clear()
            return least, mean
        self._least = min(self._least, mean)
        return None


def refuse_frozen_classes(config: TrainConfig, fresh: Sequence[str]) -> None:
    """Raises ValueError where classes that start afresh could never be found."""
    frozen = config.freeze_detector or not config.optimizer.rates.classes
    if fresh and frozen:
        raise ValueError(
            f"{config.start!r} does not know {', '.join(fresh)}, and the layer of classes is kept "
            "as it is: nothing would be found; set freeze_detector: false and "
            "optimizer.rates.classes above 0, or name like classes in start_classes"
        )
