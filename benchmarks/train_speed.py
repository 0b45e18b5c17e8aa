"""Time and memory of a training step of `e2ec_dla34`, against a plain rendering of the published.

python benchmarks/train_speed.py [--batch 4] [--threads 2]

A step is loss, gradient and optimiser for the same batch of drawn street scenes and the same
seeded weights; the first losses are compared. The cases take turns, and each has a process of its
own for its memory: on CUDA what the step allocates at most, on a CPU how far the process grows.
Writes train_speed.md.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from backends import processor
from matching_loss import most_resident
from plain_speed import seeded_model
from plain_training import plain_loss, trained_weights

from e2ec_core.config import ModelConfig
from e2ec_core.learning.config import DataConfig, TrainConfig
from e2ec_core.learning.distributed import Process
from e2ec_core.learning.optimizer_step import OptimizerStep
from e2ec_core.learning.samples import Samples, stack_samples
from e2ec_core.learning.targets import make_targets, target_settings
from street_scenes import STREET_CLASSES, make_scene

HERE = Path(__file__).resolve()
PLAIN = "plain, fp32"
CLASSES = tuple(STREET_CLASSES)
CASES = (PLAIN, "ours, fp32", "ours, bf16")
SIZE = (512, 512)
LEARNING_RATE = 1e-4
Step = Callable[[], float]


def config_for(precision: str, batch: int) -> TrainConfig:
    """A run by published rules; its labels are never read."""
    run = TrainConfig(
        model=ModelConfig(preset="e2ec_dla34", class_names=CLASSES),
        train=(DataConfig(annotations="-", images="-"),),
        batch_size=batch,
        precision=precision,  # type: ignore[arg-type]
    )
    loss = dataclasses.replace(run.loss, dynamic_matching_from=0, before_matching="smooth_l1")
    optimizer = dataclasses.replace(run.optimizer, ema=0.0)
    return dataclasses.replace(run, loss=loss, optimizer=optimizer)


def draw_batch(config: TrainConfig, device: torch.device) -> Samples:
    """Drawn street scenes with their targets."""
    samples = []
    for seed in range(config.batch_size):
        scene = make_scene(seed, *SIZE[::-1])
        targets = make_targets(
            [[instance.amodal] for instance in scene.instances],
            [CLASSES.index(instance.class_name) for instance in scene.instances],
            SIZE,
            target_settings(config),
        )
        samples.append(targets._replace(image=torch.from_numpy(scene.image_rgb.copy())))
    return stack_samples(samples).to(device)


def make_step(name: str, batch: int, device: torch.device) -> tuple[Step, Samples]:
    """One step of a case, which gives the loss before it, and its batch."""
    precision = name.partition(", ")[2]
    config = config_for(precision, batch)
    given = draw_batch(config, device)
    model = seeded_model(len(CLASSES))[0].to(device).train()
    if name != PLAIN:
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        ours = OptimizerStep(model, config, Process(device=device))
        return lambda: ours.take([given], epoch=0, step=0, lr=LEARNING_RATE).terms["total"], given
    weights = trained_weights(model)
    parameters = list(model.parameters())
    optimizer = torch.optim.Adam([{"params": [p]} for p in parameters], lr=LEARNING_RATE)

    def plain() -> float:
        optimizer.zero_grad()
        loss = plain_loss(weights, given)
        loss.backward()
        torch.nn.utils.clip_grad_value_(parameters, 40.0)
        optimizer.step()
        return float(loss.detach())

    return plain, given


def peak(name: str, batch: int, device: torch.device) -> float:
    """Megabytes that two steps take beyond what was there before."""
    step, _ = make_step(name, batch, device)
    before = most_resident()
    for _ in range(2):
        step()
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 1e6
    return most_resident() - before


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batch", type=int, default=4, help="images of a step")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path, default=HERE.with_suffix(".md"))
    parser.add_argument("--peak", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if options.peak:
        print(peak(options.peak, options.batch, device))
        return
    steps = {name: make_step(name, options.batch, device)[0] for name in CASES}
    objects = int(draw_batch(config_for("fp32", options.batch), device).valid.sum())
    losses = {name: step() for name, step in steps.items()}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in CASES}
    for _ in range(options.runs):
        for name, spent in times.items():
            wall, busy = time.perf_counter(), time.process_time()
            steps[name]()
            spent.append((time.perf_counter() - wall, time.process_time() - busy))
    place = f"{torch.cuda.get_device_name()}" if device.type == "cuda" else processor()
    lines = [
        "# Training step of `e2ec_dla34`",
        "",
        f"Batch of {options.batch} images of {SIZE[1]} x {SIZE[0]} px with {objects} objects; "
        f"{place}, {options.threads} threads, PyTorch {torch.__version__}. Load average "
        f"{max(os.getloadavg()):.0f}. Written by `python benchmarks/{HERE.name}`.",
        "",
        "| | first loss | median s | images/s | x faster | CPU s | x less CPU time | peak MB "
        "| of the plain |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    memory: dict[str, float] = {}
    for name, spent in times.items():
        wall, busy = np.median(spent, axis=0)
        faster, less = (
            statistics.median(a[i] / b[i] for a, b in zip(times[PLAIN], spent, strict=True))
            for i in range(2)
        )
        command = [sys.executable, str(HERE), "--threads", str(options.threads)]
        command += ["--batch", str(options.batch), "--peak", name]
        said = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
        memory[name] = float(said)
        lines.append(
            f"| {name} | {losses[name]:.5f} | {wall:.3g} | {options.batch / wall:.3g} "
            f"| {faster:.2f} | {busy:.3g} | {less:.2f} | {memory[name]:.0f} "
            f"| {memory[name] / memory[PLAIN]:.0%} |"
        )
    options.output.write_text("\n".join(lines) + "\n")
    print(options.output.read_text())


if __name__ == "__main__":
    main()
