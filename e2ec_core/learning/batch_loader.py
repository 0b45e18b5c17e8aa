"""Which views a step learns, in which process: the same for a seed, whoever computes it."""

from __future__ import annotations

import signal
from collections.abc import Generator, Iterator

import numpy as np
import torch
from torch.utils.data import DataLoader, Sampler

from e2ec_core.learning.config import TrainConfig
from e2ec_core.learning.distributed import Process
from e2ec_core.learning.samples import Samples, stack_samples
from e2ec_core.learning.training_views import TrainingViews, ViewKey


def steps_per_epoch(images: int, batch_size: int) -> int:
    """Steps of an epoch; images that do not fill a batch wait for the next epoch's order."""
    return max(1, images // batch_size)


def step_seed(seed: int, step: int, part: int) -> int:
    """Seed of PyTorch's random numbers (dropout) for one part of a step."""
    return int(np.random.SeedSequence((seed, step, part)).generate_state(1, np.uint64)[0] >> 1)


class RunBatches(Sampler[list[ViewKey]]):
    """The batches of one process from any step of a run to its end.

    A step's views are cut into `world * accumulate` parts of equal size: each process takes one
    part of every round. A resumed run starts at the step where it stopped.

    Args:
        images: number of images.
        config: the run.
        process: which of the processes.
        first_step: of the whole run, counted from 0.

    Raises:
        ValueError: the batch cannot be cut into so many parts.
    """

    def __init__(
        self, images: int, config: TrainConfig, process: Process, first_step: int
    ) -> None:
        self.images, self.config, self.process = images, config, process
        self.first_step = first_step
        self.steps_per_epoch = steps_per_epoch(images, config.batch_size)
        self.parts = process.world * config.accumulate
        size = min(config.batch_size, images)
        if size % self.parts:
            raise ValueError(
                f"a batch of {size} views cannot be cut into {self.parts} equal parts "
                f"({process.world} processes, accumulate {config.accumulate}); change batch_size"
            )
        self.part_size = size // self.parts

    def __len__(self) -> int:
        steps = self.config.epochs * self.steps_per_epoch - self.first_step
        return steps * self.config.accumulate

    def __iter__(self) -> Iterator[list[ViewKey]]:
        first_epoch, first_step = divmod(self.first_step, self.steps_per_epoch)
        for epoch in range(first_epoch, self.config.epochs):
            order = self._order(epoch)
            for step in range(first_step, self.steps_per_epoch):
                size = self._size(epoch, step)
                for turn in range(self.config.accumulate):
                    part = step * self.parts + turn * self.process.world + self.process.rank
                    chosen = order[part * self.part_size : (part + 1) * self.part_size]
                    yield [ViewKey(position, epoch, size) for position in chosen]
            first_step = 0

    def _order(self, epoch: int) -> list[int]:
        """The images of an epoch in the order in which they are learnt."""
        generator = torch.Generator().manual_seed(self.config.seed * 100_003 + epoch)
        return torch.randperm(self.images, generator=generator).tolist()

    def _size(self, epoch: int, step: int) -> tuple[int, int]:
        """(height, width) of the step's views, px."""
        sizes = self.config.multi_scale or (self.config.augment.size,)
        rng = np.random.default_rng((self.config.seed, epoch, step))
        height, width = sizes[rng.integers(len(sizes))]
        return height, width


def load_batches(
    views: TrainingViews, config: TrainConfig, process: Process, *, first_step: int
) -> Generator[Samples, None, None]:
    """Loads a process's batches from a step to the end of the run, with the same workers.

    Raises:
        ValueError: as `RunBatches`, or images cannot be read.
    """
    loader = DataLoader(
        views,
        batch_sampler=RunBatches(len(views), config, process, first_step),
        num_workers=config.workers,
        collate_fn=stack_samples,
        pin_memory=process.device.type == "cuda",
        worker_init_fn=_leave_signals_to_the_trainer,
        generator=torch.Generator().manual_seed(0),  # leaves the global one alone
    )
    batches = iter(loader)
    try:
        yield from batches
    except (ValueError, OSError) as error:  # a worker's comes with its whole trace
        *_, reason = str(error).strip().splitlines()
        raise ValueError(reason.removeprefix("ValueError: ")) from None
    finally:
        # The trace of an error would keep the workers, for which the process waits at its end.
        if end_workers := getattr(batches, "_shutdown_workers", None):
            end_workers()


def describe_killed_worker(error: RuntimeError, config: TrainConfig) -> str | None:
    """Says in one line that a worker was killed; None for any other error."""
    text = " ".join(str(error).split())
    if "DataLoader worker" not in text or "Caught" in text:
        return None
    return (
        "a worker that draws views was killed, most likely because memory ran out "
        f"(in a container maybe its /dev/shm): set workers (now {config.workers}) or image_cache "
        f"(now {config.image_cache} MB for each) lower, then go on with --resume"
    )


def _leave_signals_to_the_trainer(_: int) -> None:
    """Keeps workers alive when Ctrl-C or SIGTERM reaches all: the trainer ends them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
