"""Measures the data path of this revision and of an older one: loader, batch, workers, step.

python benchmarks/data_path.py --annotations LABELS.json --images FOLDER [--against 7b8e14b]

Writes benchmarks/data_path.md and .json. Memory of workers is their proportional share (Linux).
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve()
REPO = HERE.parents[1]
SIZES = {"lite 448x448": ((448, 448), 512, 8), "KINS 384x1216": ((384, 1216), 1216, 8)}


def measure(arguments: argparse.Namespace) -> None:
    """Measures the revision whose library is on the path; prints JSON."""
    import torch

    from e2ec_core.learning.distributed import Process

    results = {}
    for name, (_, _, batch_size) in SIZES.items():
        config = _config(arguments, name)
        started = time.monotonic()
        batches = _batches(config, Process(device=torch.device("cpu")))
        batch = next(batches)
        seconds = time.monotonic() - started
        rate = time.monotonic()
        for _ in range(arguments.batches):
            batch = next(batches)
        rate = arguments.batches * batch_size / (time.monotonic() - rate)
        results[name] = {
            "views a second": round(rate, 2),
            "MB a batch": round(_bytes(batch) / 1e6, 2),
            "s to the first batch": round(seconds, 1),
            "MB a worker": round(_workers_share() / max(1, arguments.workers) / 1e6),
        }
        del batches
    print(json.dumps(results))


def measure_step(arguments: argparse.Namespace) -> None:
    """Trains two steps; prints the most memory that they took beside what was there, MB."""
    import resource

    from e2ec_core.learning.trainer import Trainer

    with tempfile.TemporaryDirectory() as folder:
        config = dataclasses.replace(_config(arguments, arguments.step), output=folder, workers=0)
        trainer = Trainer(config)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        trainer.run(last_step=2)
        print(round((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024))


def _config(arguments: argparse.Namespace, name: str):  # noqa: ANN202
    from e2ec_core.config import ModelConfig
    from e2ec_core.learning.augment import AugmentConfig
    from e2ec_core.learning.config import DataConfig, TrainConfig

    size, base, batch_size = SIZES[name]
    names = [c["name"] for c in json.loads(Path(arguments.annotations).read_text())["categories"]]
    data = DataConfig(
        annotations=arguments.annotations, images=arguments.images, missing_images="skip"
    )
    return TrainConfig(
        model=ModelConfig(class_names=tuple(names)),
        train=(data,),
        augment=AugmentConfig(size=size, base_side=base),
        batch_size=batch_size,
        epochs=1000,
        workers=arguments.workers,
        threads=1,
        device="cpu",
        tensorboard=False,
    )


def _batches(config, process):  # noqa: ANN001, ANN202
    try:
        from e2ec_core.learning.batch_loader import load_batches
        from e2ec_core.learning.source import read_training_data
        from e2ec_core.learning.training_views import TrainingViews

        views = TrainingViews(read_training_data(config), config)
        return load_batches(views, config, process, first_step=0)
    except ImportError:  # revisions before the loader of a whole run
        return _old_batches(config, process)


def _old_batches(config, process):  # noqa: ANN001, ANN202
    from e2ec_core.learning.batches import make_loader
    from e2ec_core.learning.source import make_views, read_training_data

    views = make_views(config, read_training_data(config))
    for epoch in range(config.epochs):
        yield from make_loader(views, config, process, epoch=epoch, first_step=0)


def _bytes(value: object) -> int:
    """Bytes of all tensors in a batch."""
    if hasattr(value, "element_size"):
        return value.numel() * value.element_size()
    if hasattr(value, "__dataclass_fields__"):
        value = [getattr(value, name) for name in value.__dataclass_fields__]
    return sum(map(_bytes, value)) if isinstance(value, (list, tuple)) else 0


def _workers_share() -> int:
    """Proportional share of memory of this process's children, bytes."""
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
    total = 0
    for child in children:
        for line in Path(f"/proc/{child}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1]) * 1024
    return total


def main() -> None:
    """Measures both revisions and writes the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--annotations", required=True)
    parser.add_argument("--images", required=True)
    parser.add_argument("--against", default="7b8e14b", help="older revision")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--batches", type=int, default=40, help="batches that are timed")
    parser.add_argument("--output", type=Path, default=HERE.with_suffix(""))
    parser.add_argument("--only", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--step", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step:
        measure_step(arguments)
        return
    if arguments.only:
        measure(arguments)
        return
    with tempfile.TemporaryDirectory() as folder:
        old = Path(folder) / "old"
        git = ["git", "-C", str(REPO), "worktree"]
        subprocess.run([*git, "add", "-q", "--detach", str(old), arguments.against], check=True)
        try:
            found = {r: _run(t) for r, t in ((arguments.against, old), ("this revision", REPO))}
        finally:
            subprocess.run([*git, "remove", "--force", str(old)], check=True)
    arguments.output.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n")
    lines = ["# Data path", "", f"{arguments.workers} worker(s), CPU.", ""]
    for size in SIZES:
        columns = list(found["this revision"][size])
        lines += [f"| {size} | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
        for revision, rows in found.items():
            lines.append(f"| {revision} | {' | '.join(str(rows[size][c]) for c in columns)} |")
        lines.append("")
    arguments.output.with_suffix(".md").write_text("\n".join(lines))


def _run(tree: Path) -> dict[str, dict[str, float]]:
    environment = os.environ | {"PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}

    def last_line(*words: str) -> str:
        command = [sys.executable, str(HERE), *words, *sys.argv[1:]]
        reply = subprocess.run(
            command, env=environment, check=True, stdout=subprocess.PIPE, text=True
        )
        return reply.stdout.splitlines()[-1]

    results = json.loads(last_line("--only"))
    for name in SIZES:
        results[name]["MB of a step, peak"] = int(last_line("--step", name))
    return results


if __name__ == "__main__":
    main()
