"""The paper's ablations (Table 1) on synthetic amodal street scenes that anyone can regenerate.

python benchmarks/ablation.py [--output runs/ablation] [--seeds 0 1 2] makes the scenes in KINS's
format, trains one detector for all, trains and measures every row with the commands of
`training/`, and writes `ablation.json` and `ablation.md`. Finished parts are not repeated, so a
stopped run goes on where it was; after a change of settings give another folder. The validation
split is for choosing settings; the tables are of the test split. A run takes about 6 minutes on
one CPU core.
"""

from __future__ import annotations

import argparse
import json
import shlex
import statistics
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
CONFIG = ROOT / "config" / "training" / "ablation.yaml"
WEIGHTS = ROOT / "weights" / "e2ec_lite.safetensors"
SIZE = (480, 288)
SPLITS = {"train": (320, 1), "val": (40, 2), "test": (100, 3)}
"""Scenes and seed of each split."""
LABELLED = ("--max-occlusion", 0.8, "--min-area", 200)
"""As in KINS, what is hardly seen and what is tiny has no label."""
COLUMNS = {
    "mask/AP": "AP mask",
    "mask/AP50": "AP50",
    "mask/AP75": "AP75",
    "boundary/AP": "AP boundary",
    "boundary/AP50": "boundary AP50",
    "boundary/AP75": "boundary AP75",
    "iou": "IoU in true boxes",
}
DETECTOR = {
    "start": WEIGHTS,
    "freeze_detector": "false",
    "model.evolutions": 0,
    "model.deformation": "none",
    "epochs": 4,
    "batch_size": 4,
    "contours_per_view": 4,
    "optimizer.lr": 3e-4,
    "optimizer.ema": 0.98,
}

Scores = dict[str, dict[int, list[dict[str, Any]]]]
"""By row and seed, the numbers of every stage."""
SMOOTH_L1 = {"loss.last_stage": "smooth_l1"}


@dataclass(frozen=True)
class Row:
    """One setting of the method.

    Attributes:
        name: also of its folder.
        settings: what differs from `config/training/ablation.yaml`.
        paper: mask and boundary AP in the paper's Table 1 (SBD, DLA-34), if it has the row.
        repeated: trained with every seed, not with the first alone.
    """

    name: str
    settings: Mapping[str, Any]
    paper: tuple[float, float] | None = None
    repeated: bool = False


BASELINE = Row(
    "baseline",
    {"model.initial": "octagon", "model.deformation": "none", "loss.directions": 1} | SMOOTH_L1,
    paper=(54.4, 10.8),
    repeated=True,
)
ARCH = Row("arch", {"loss.directions": 1} | SMOOTH_L1, paper=(57.5, 17.0), repeated=True)
MDA = Row("mda", SMOOTH_L1, paper=(58.8, 18.0), repeated=True)
DML = Row("dml", {}, paper=(59.2, 19.1), repeated=True)
TWO = Row("directions2", {"loss.directions": 2} | SMOOTH_L1, paper=(58.9, 17.1))
EIGHT = Row("directions8", {"loss.directions": 8} | SMOOTH_L1, paper=(58.4, 17.2))
CHAMFER = Row("chamfer", {"loss.last_stage": "chamfer"}, paper=(58.2, 18.4))
PUBLISHED_START = Row("untrained_last", {"loss.before_matching": "none"})
WINDING = Row("published_alignment", {"loss.alignment": "published"}, repeated=True)
CROPS = Row("published_crops", {"augment.crops": "published"})
ROWS = (BASELINE, ARCH, MDA, DML, EIGHT, TWO, CHAMFER, PUBLISHED_START, WINDING, CROPS)
TABLES = {
    "Components (Table 1a)": {"Baseline": BASELINE, "+Arch": ARCH, "+MDA": MDA, "+DML": DML},
    "Alignment directions M (Table 1b)": {"1": ARCH, "2": TWO, "4": MDA, "8": EIGHT},
    "Loss of the last evolution (Table 1c)": {
        "smooth L1": MDA,
        "Chamfer": CHAMFER,
        "dynamic matching": DML,
    },
    "Alignment": {"always winds once (default)": DML, "may wind twice (published)": WINDING},
    "Other choices": {
        "default": DML,
        "last evolution without loss until matching begins (published)": PUBLISHED_START,
        "crops that never reach the image's sides (published)": CROPS,
    },
}
STAGE_PAPER = {"initial": (49.8, 1.7), "coarse": (55.7, 8.7), "evolution 3": (59.2, 19.1)}


def command(script: str, *arguments: object) -> None:
    """Runs a script of `training/` and shows its command line."""
    words = [sys.executable, str(ROOT / "training" / script), *map(str, arguments)]
    print("$", shlex.join(["python", f"training/{script}", *words[2:]]), flush=True)
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)


def train(folder: Path, output: Path, settings: Mapping[str, Any], seed: int) -> None:
    """Trains into a folder unless that was done; goes on with a run that was stopped."""
    if (folder / "done").exists():
        return
    scenes = output / "scenes"
    labels = scenes / "annotations" / "instances_train.json"
    given = {
        "train": f"[{{format: kins, annotations: {labels}, images: {scenes}/train}}]",
        "start": output / "detector" / "detector.safetensors",
        "output": folder,
        "seed": seed,
    }
    words = [w for key, value in (given | dict(settings)).items() for w in (f"--{key}", value)]
    resume = ["--resume" if (folder / "last.pt").exists() else "--overwrite"]
    command("train.py", "--config", CONFIG, *resume, *words)
    (folder / "done").touch()


def prepare(output: Path) -> None:
    """Makes the scenes and trains the detector."""
    scenes = output / "scenes"
    for split, (count, seed) in SPLITS.items():
        if not (scenes / "annotations" / f"instances_{split}.json").exists():
            options = ["--split", split, "--count", count, "--seed", seed, "--format", "kins"]
            options += ["--size", "{}x{}".format(*SIZE), *LABELLED]
            command("make_scenes.py", scenes, *options)
    train(output / "detector", output, DETECTOR, 0)


def measure(folder: Path, output: Path) -> list[dict[str, Any]]:
    """Scores of every stage on the test split, measured once."""
    result = folder / "test.json"
    if not result.exists():
        scenes = output / "scenes"
        labels = ["--annotations", scenes / "annotations" / "instances_test.json"]
        labels += ["--images", scenes / "test", "--format", "kins", "--boundary"]
        weights = ["--weights", folder / f"{folder.name}.safetensors", "--long-side", max(SIZE)]
        command("evaluate.py", *labels, *weights, "--output", result)
    stages: list[dict[str, Any]] = json.loads(result.read_text())
    return stages


def numbers(stage: Mapping[str, Any]) -> dict[str, Any]:
    """What the tables need of a stage's scores."""
    found = stage["precision"] | {"iou": stage["given_boxes_iou"]["all"]}
    return {"stage": stage["stage"]} | {name: found[name] for name in COLUMNS}


def run_all(output: Path, seeds: Sequence[int]) -> Scores:
    """Trains and measures all rows, those of the main table first."""
    repeated = [(row, seed) for seed in seeds for row in ROWS if row.repeated]
    plan = repeated + [(row, seeds[0]) for row in ROWS if not row.repeated]
    scores: Scores = {}
    for row, seed in plan:
        folder = output / f"{row.name}_{seed}"
        train(folder, output, row.settings, seed)
        scores.setdefault(row.name, {})[seed] = [
            numbers(stage) for stage in measure(folder, output)
        ]
    return scores


def cells(seeds: Iterable[list[dict[str, Any]]], stage: int = -1) -> str:
    """Numbers of one stage in percent, from the stages of several seeds."""
    chosen = [stages[stage] for stages in seeds]
    return " | ".join(spread([100 * row[column] for row in chosen]) for column in COLUMNS)


def spread(values: Sequence[float], sign: str = "") -> str:
    """Mean, and the standard deviation of several values."""
    deviation = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):{sign}.1f}{deviation}"


def header(first: str) -> list[str]:
    """Head of a table whose last columns are the paper's numbers."""
    names = [first, *COLUMNS.values(), "paper: mask", "paper: boundary"]
    return [f"| {' | '.join(names)} |", "|" + "---|" * len(names)]


def reference(paper: tuple[float, float] | None) -> str:
    """The paper's two cells."""
    return " | ".join(f"{value:.1f}" for value in paper) if paper else " | "


def steps(scores: Scores) -> list[str]:
    """What each component adds, paired by seed, beside what it adds in the paper."""
    lines = [
        "| step | AP mask | paper | AP boundary | paper | IoU in true boxes |",
        "|---|---|---|---|---|---|",
    ]
    for before, after in ((BASELINE, ARCH), (ARCH, MDA), (MDA, DML)):
        assert before.paper
        assert after.paper
        mask, boundary, iou = (
            spread(
                [
                    100 * (stages[-1][column] - scores[before.name][seed][-1][column])
                    for seed, stages in scores[after.name].items()
                ],
                sign="+",
            )
            for column in ("mask/AP", "boundary/AP", "iou")
        )
        gain, edge = (b - a for a, b in zip(before.paper, after.paper, strict=True))
        lines.append(
            f"| {before.name} to {after.name} | {mask} | {gain:+.1f} "
            f"| {boundary} | {edge:+.1f} | {iou} |"
        )
    return lines


def report(scores: Scores) -> str:
    """All tables in Markdown; the rows of one are of the same seeds."""
    lines: list[str] = []
    for title, rows in TABLES.items():
        lines += [f"## {title}", "", *header("setting")]
        common = set.intersection(*(set(scores[row.name]) for row in rows.values()))
        for label, row in rows.items():
            measured = cells([scores[row.name][seed] for seed in sorted(common)])
            lines.append(f"| {label} | {measured} | {reference(row.paper)} |")
        lines += ["", f"Seeds: {', '.join(map(str, sorted(common)))}."]
        lines.append("")
        if BASELINE in rows.values():
            lines += [*steps(scores), ""]
    lines += ["## Stages of the full method (Table 1d)", "", *header("stage")]
    for position, stage in enumerate(next(iter(scores[DML.name].values()))):
        name = stage["stage"]
        paper = reference(STAGE_PAPER.get(name))
        lines.append(f"| {name} | {cells(scores[DML.name].values(), position)} | {paper} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=Path("runs/ablation"), help="for all runs")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--prepare", action="store_true", help="make scenes and detector only")
    arguments = parser.parse_args()
    output = arguments.output.resolve()
    prepare(output)
    if arguments.prepare:
        return
    scores = run_all(output, arguments.seeds)
    (output / "ablation.json").write_text(json.dumps(scores, indent=1) + "\n")
    (output / "ablation.md").write_text(report(scores))
    print(report(scores))


if __name__ == "__main__":
    main()
