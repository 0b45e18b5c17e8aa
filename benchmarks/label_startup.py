"""Measures how long a run waits for its labels, and what they cost in each worker's memory.

python benchmarks/label_startup.py [--images 118000 --objects 860000] [--against 7b8e14b]

Generates a COCO label file of this size and image files for it. Reads it with this revision
(first, and from the cache) and with an older one (from a temporary work tree), and hands the
images to a spawned worker that looks at all of them. Writes label_startup.md and .json.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np

REPO = Path(__file__).resolve().parents[1]
SIZES = ((480, 640), (640, 480), (427, 640), (640, 427))
CLASSES = 80

# Runs in the tree of a revision. `load_data` and `DataConfig` are the same in all of them.
MEASURE = """
import json, multiprocessing, pickle, sys, time

def memory(pid="self"):
    kinds = {}
    with open(f"/proc/{pid}/smaps_rollup") as file:
        for line in file:
            name, value = line.split(":", 1) if ":" in line else ("", "")
            if value.strip().endswith("kB"):
                kinds[name] = int(value.split()[0]) / 1000
    return kinds

def look(pickled, replies):
    start = memory()
    images = pickle.loads(pickled)
    objects = sum(len(image.instances) for image in images)
    end = memory()
    own = end["Private_Dirty"] - start["Private_Dirty"]
    replies.put({"objects": objects, "own_mb": own, "pss_mb": end["Pss"] - start["Pss"]})

if __name__ == "__main__":
    import resource
    from e2ec_core.learning.config import DataConfig
    from e2ec_core.learning.source import load_data

    config = DataConfig(annotations=sys.argv[1], images=sys.argv[2])
    start = time.perf_counter()
    data = load_data(config, None, held_out=False)
    seconds = time.perf_counter() - start
    pickled = pickle.dumps(data.images)
    context = multiprocessing.get_context("spawn")
    replies = context.Queue()
    worker = context.Process(target=look, args=(pickled, replies))
    worker.start()
    found = replies.get()
    worker.join()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    sizes = {"pickled_mb": len(pickled) / 1e6, "peak_mb": peak}
    print(json.dumps({"seconds": seconds} | sizes | found))
"""


def write_labels(folder: Path, images: int, objects: int, seed: int = 0) -> Path:
    """Writes images and a label file; every tenth object has two parts, every hundredth a defect.

    Image files are copies of a few small files, with their number behind the end, so that many
    have one length.
    """
    rng = np.random.default_rng(seed)
    originals: list[bytes] = []
    for number, size in enumerate(SIZES * 8):
        flat = np.full((*size, 3), number * 7, np.uint8)
        originals.append(cv2.imencode(".jpg", flat)[1].tobytes())
    (folder / "images").mkdir()
    entries = []
    for number in range(images):
        name = f"{number:012d}.jpg"
        content = originals[number % len(originals)] + number.to_bytes(8)
        (folder / "images" / name).write_bytes(content)
        height, width = SIZES[number % len(SIZES)]
        entries.append({"id": number, "file_name": name, "height": height, "width": width})
    categories = [{"id": i + 1, "name": f"class {i + 1}"} for i in range(CLASSES)]
    path = folder / "instances.json"
    with path.open("w") as file:
        head = json.dumps({"images": entries, "categories": categories})
        file.write(head[:-1] + ', "annotations": [')
        for number in range(objects):
            label = _annotation(rng, number, entries[int(rng.integers(images))])
            file.write((", " if number else "") + json.dumps(label))
        file.write("]}")
    return path


def _annotation(rng: np.random.Generator, number: int, image: dict[str, Any]) -> dict[str, Any]:
    rings = [_ring(rng, image) for _ in range(1 + (number % 10 == 0))]
    if number % 100 == 0:
        rings[0] = [*rings[0][:2], *rings[0]]  # a repeated vertex
    points = np.concatenate([np.reshape(ring, (-1, 2)) for ring in rings])
    low, high = points.min(axis=0), points.max(axis=0)
    return {
        "id": number + 1,
        "image_id": image["id"],
        "category_id": int(rng.integers(CLASSES)) + 1,
        "segmentation": rings,
        "area": round(float(np.prod(high - low)) * 0.7, 2),
        "bbox": [*low.tolist(), *(high - low).round(2).tolist()],
        "iscrowd": 0,
    }


def _ring(rng: np.random.Generator, image: dict[str, Any]) -> list[float]:
    """A star-shaped outline of 8 to 46 vertices, as many as COCO's have on average."""
    count = int(rng.integers(8, 47))
    angle = (np.arange(count) + rng.random(count) * 0.8) * 2 * np.pi / count
    radius = rng.uniform(8, 60) * rng.uniform(0.7, 1, count)
    centre = rng.uniform(70, (image["width"] - 70, image["height"] - 70))
    ring = centre + radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return ring.round(2).ravel().tolist()


def measure(tree: Path, labels: Path, images: Path, cache: Path) -> dict[str, float]:
    """Reads the labels with the code of a tree, in a process of its own."""
    script = cache / "measure.py"
    script.write_text(MEASURE)
    environment = os.environ | {"PYTHONPATH": str(tree), "XDG_CACHE_HOME": str(cache)}
    reply = subprocess.run(
        [sys.executable, script, labels, images],
        env=environment,
        cwd=tree,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(reply.stdout.splitlines()[-1])


def table(rows: dict[str, dict[str, float]], images: int, objects: int, size: float) -> str:
    """The results as Markdown."""
    lines = [
        "# Labels at the start of a run",
        "",
        f"{images:,} images, {objects:,} objects, {size:.0f} MB of JSON; {os.cpu_count()} CPU "
        "cores. Reproduce with `python benchmarks/label_startup.py`.",
        "",
        "| | start, s | peak memory, MB | pickled for a worker, MB | memory of a worker, MB |",
        "|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        values = (row["seconds"], row["peak_mb"], row["pickled_mb"], row["own_mb"])
        lines.append(f"| {name} | {' | '.join(f'{value:.1f}' for value in values)} |")
    lines += [
        "",
        "The memory of a worker is what it alone holds after it has looked at all images; pages "
        "of the cached file are shared by all processes.",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=118_000)
    parser.add_argument("--objects", type=int, default=860_000)
    parser.add_argument("--against", default="7b8e14b", help="older revision")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".md"))
    arguments = parser.parse_args()
    git = ["git", "-C", str(REPO), "worktree"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        labels = write_labels(folder, arguments.images, arguments.objects)
        old = folder / "old"
        subprocess.run([*git, "add", "-q", "--detach", str(old), arguments.against], check=True)
        try:
            rows = {}
            for title, tree in (
                (arguments.against, old),
                ("this revision, first time", REPO),
                ("this revision, cached", REPO),
            ):
                rows[title] = measure(tree, labels, folder / "images", folder)
                print(title, rows[title], flush=True)
        finally:
            subprocess.run([*git, "remove", "--force", str(old)], check=True)
        size = labels.stat().st_size / 1e6
    counts = (arguments.images, arguments.objects, size)
    arguments.output.write_text(table(rows, *counts))
    result = {"images": counts[0], "objects": counts[1], "json_mb": size, "rows": rows}
    arguments.output.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
