"""Which views a step learns, in which process: the same for a seed, whoever computes it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch.utils.data import DataLoader, Sampler

from e2ec_core.learning.config import TrainConfig
from e2ec_core.learning.distributed import Process
from e2ec_core.learning.views import Sample, TrainingViews, ViewKey, collate


def steps_per_epoch(images: int, batch_size: int) -> int:
    """Steps of an epoch; images that do not fill a batch wait for the next epoch's order."""
    return max(1, images // batch_size)


def step_seed(seed: int, step: int, part: int) -> int:
    """Seed of PyTorch's random numbers (dropout) for one part of a step."""
    return int(np.random.SeedSequence((seed, step, part)).generate_state(1, np.uint64)[0] >> 1)


class EpochBatches(Sampler[list[ViewKey]]):
    """The batches of one process in one epoch, from any step on.

    A step's views are cut into `world * accumulate` parts of equal size: each process takes one
    part of every round. A resumed run starts at the step where it stopped.

    Args:
        images: number of images.
        config: the run.
        process: which of the processes.
        epoch: counted from 0.
        first_step: steps of the epoch to leave out.

    Raises:
        ValueError: the batch cannot be cut into so many parts.
    """

    def __init__(
        self, images: int, config: TrainConfig, process: Process, epoch: int, first_step: int
    ) -> None:
        self.images, self.config, self.process = images, config, process
        self.epoch, self.first_step = epoch, first_step
        self.steps = steps_per_epoch(images, config.batch_size)
        self.parts = process.world * config.accumulate
        size = min(config.batch_size, images)
        if size % self.parts:
            raise ValueError(
                f"a batch of {size} views cannot be cut into {self.parts} equal parts "
                f"({process.world} processes, accumulate {config.accumulate}); change batch_size"
            )
        self.part_size = size // self.parts

    def __len__(self) -> int:
        return (self.steps - self.first_step) * self.config.accumulate

    def __iter__(self) -> Iterator[list[ViewKey]]:
        generator = torch.Generator().manual_seed(self.config.seed * 100_003 + self.epoch)
        order = torch.randperm(self.images, generator=generator).tolist()
        for step in range(self.first_step, self.steps):
            size = self._size(step)
            for turn in range(self.config.accumulate):
                part = step * self.parts + turn * self.process.world + self.process.rank
                chosen = order[part * self.part_size : (part + 1) * self.part_size]
                yield [ViewKey(position, size) for position in chosen]

    def _size(self, step: int) -> tuple[int, int]:
        """(height, width) of the step's views, px."""
        sizes = self.config.multi_scale or (self.config.augment.size,)
        rng = np.random.default_rng((self.config.seed, self.epoch, step))
        height, width = sizes[rng.integers(len(sizes))]
        return height, width


def make_loader(
    views: TrainingViews, config: TrainConfig, process: Process, *, epoch: int, first_step: int
) -> DataLoader[Sample]:
    """Loads a process's batches of an epoch from a step on; arguments as `EpochBatches`."""
    views.epoch = epoch
    return DataLoader(
        views,
        batch_sampler=EpochBatches(len(views), config, process, epoch, first_step),
        num_workers=config.workers,
        collate_fn=collate,
        pin_memory=process.device.type == "cuda",
        generator=torch.Generator().manual_seed(0),  # leaves the global one alone
    )
