"""Time of the shipped model of this revision and of an older one, part by part, in one run.

python benchmarks/model_speed.py [--against 7b8e14b] [--threads 1]

An image of 512 x 512 px (or --size HEIGHT WIDTH) with K = 32, eager PyTorch in float32. The
revisions take turns in processes of their own. Writes model_speed.md.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve()
REPO = HERE.parents[1]
PARTS = ("detector", "proposals", "regions", "contours", "whole")

# Runs in the tree of a revision.
MEASURE = """
import json, sys, time, torch
from e2ec_core.inference import Predictor

height, width, threads, runs = map(int, sys.argv[1:5])
torch.set_num_threads(threads)
model = Predictor.from_checkpoint("weights/e2ec_lite.safetensors", device="cpu").model
image = 255 * torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0))
image = image.contiguous(memory_format=torch.channels_last)
with torch.inference_mode():
    features = model.detect(image)
    found = model.propose(features, 32)
    seeds = model.encode_regions(features, found.seeds)
    steps = {
        "detector": lambda: model.detect(image),
        "proposals": lambda: model.propose(features, 32),
        "regions": lambda: model.encode_regions(features, found.seeds),
        "contours": lambda: model.grow(features, seeds, clip=False),
        "whole": lambda: model(image, max_instances=32),
    }
    times = {}
    for name, step in steps.items():
        step()
        times[name] = []
        for _ in range(runs):
            started = time.perf_counter()
            step()
            times[name].append(1000 * (time.perf_counter() - started))
print(json.dumps(times))
"""


def measure(tree: Path, options: argparse.Namespace) -> dict[str, list[float]]:
    """Milliseconds of the parts in the tree of a revision."""
    words = [*options.size, options.threads, options.runs]
    environment = os.environ | {"PYTHONPATH": str(tree), "OMP_NUM_THREADS": str(options.threads)}
    reply = subprocess.run(
        [sys.executable, "-c", MEASURE, *map(str, words)],
        cwd=tree,
        env=environment,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    times: dict[str, list[float]] = json.loads(reply.stdout.splitlines()[-1])
    return times


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--against", default="7b8e14b", help="older revision")
    parser.add_argument("--size", type=int, nargs=2, default=(512, 512))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runs", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, default=HERE.with_suffix(".md"))
    options = parser.parse_args()
    git = ["git", "-C", str(REPO), "worktree"]
    with tempfile.TemporaryDirectory() as name:
        old = Path(name) / "old"
        subprocess.run([*git, "add", "-q", "--detach", str(old), options.against], check=True)
        trees = {options.against: old, "this revision": REPO}
        found: dict[str, dict[str, list[float]]] = {title: {} for title in trees}
        try:
            for _ in range(options.rounds):
                for title, tree in trees.items():
                    for part, times in measure(tree, options).items():
                        found[title].setdefault(part, []).extend(times)
        finally:
            subprocess.run([*git, "remove", "--force", str(old)], check=True)
    height, width = options.size
    lines = [
        "# Time of the lite model",
        "",
        f"{height} x {width} px, K = 32, float32, eager PyTorch, {options.threads} thread(s); ms, "
        "median (least). Written by `python benchmarks/model_speed.py`.",
        "",
        "| | " + " | ".join(PARTS) + " |",
        "|---" * (len(PARTS) + 1) + "|",
    ]
    for title, times in found.items():
        cells = [f"{statistics.median(times[p]):.0f} ({min(times[p]):.0f})" for p in PARTS]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    before, after = (statistics.median(times["whole"]) for times in found.values())
    lines += ["", f"The whole takes {after / before:.2f} of the time of {options.against}."]
    options.output.write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
