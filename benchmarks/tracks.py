"""How well tracks hold on to objects: HOTA, MOTA and id switches, beside SORT and norfair.

python benchmarks/tracks.py LABELS [--seeds 5] [--drives 3]

LABELS is a folder of KITTI MOTS labels as text files (cvlibs.net: MOTS; 0000.txt and so on). The
numbers are trackeval's, which brings a second OpenCV; norfair is measured where it can be
imported. Both go into a folder of their own, with what is missing here:

    tools/with_ros pip install --no-deps --target /tmp/peers trackeval==1.3.0 tabulate \\
        norfair-enough==2.4.3 rich markdown-it-py mdurl
    tools/with_ros env PYTHONPATH=.:/tmp/peers python benchmarks/tracks.py LABELS

It writes tracks.md and takes some minutes.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask
from track_peers import Confirmed, Norfair, Peer, Sort, norfair_exists
from track_sets import (
    CLASSES,
    NOBODY,
    Found,
    Image,
    Video,
    crowd,
    disturbed,
    drive,
    exact,
    read_mots,
)

from e2ec_core.contours import Contours
from e2ec_core.geometry import contours_to_rle
from e2ec_core.tracking import Tracker

Ints = NDArray[np.int64]
Scores = dict[str, float]
PEERS: dict[str, Callable[[], Peer]] = {
    "`~/contours`": Tracker,
    "`~/tracks`": Confirmed,
    "SORT": Sort,
    "SORT, tracks of 10 images": lambda: Sort(longest=10),
}
if norfair_exists():
    PEERS["norfair"] = Norfair
TRUTH = "the true ids"
COLUMNS = ("HOTA, boxes", "HOTA, masks", "DetA", "AssA", "MOTA", "id switches")


def true_ids(found: Sequence[Found]) -> list[Contours]:
    """What a tracker without fault gives, one that fills no gaps: each false object is its own."""
    count, result = 0, []
    for one in found:
        false = one.tracks == NOBODY
        ids = np.where(false, -1 - count - np.cumsum(false), one.tracks)
        result.append(replace(one.contours, track_ids=ids))
        count += int(false.sum())
    return result


def follow(peer: Peer, video: Video, found: Sequence[Found]) -> list[Contours]:
    """What a tracker gives, for each image."""
    return [
        peer.update(one.contours, image.seconds) for image, one in zip(video, found, strict=True)
    ]


def overlaps(image: Image, given: Contours, masks: bool) -> NDArray[np.float64]:
    """Intersection over union of the objects of an image and what is given, [objects, given]."""
    if not len(image.masks) or not len(given):
        return np.zeros((len(image.masks), len(given)))
    crowds = [0] * len(image.masks)
    if masks:
        found = contours_to_rle(given.vertices, *image.size)
        return np.asarray(coco_mask.iou(found, image.masks, crowds), np.float64).T
    truth = np.concatenate([image.outlines.min(axis=1), image.outlines.max(axis=1)], axis=1)
    return np.asarray(coco_mask.iou(_xywh(given.boxes_xyxy), _xywh(truth), crowds), np.float64).T


def _xywh(boxes_xyxy: NDArray[np.float32]) -> NDArray[np.float64]:
    low, high = boxes_xyxy[:, :2], boxes_xyxy[:, 2:]
    return np.concatenate([low, high - low], axis=1, dtype=np.float64)


def trackeval_data(
    video: Video, given: Sequence[Contours], class_id: int, masks: bool
) -> dict[str, Any]:
    """One class of a video as trackeval's metrics take it."""
    truth, found, shares = [], [], []
    numbers: dict[int, int] = {}
    tracks: dict[int, int] = {}
    for image, contours in zip(video, given, strict=True):
        assert contours.track_ids is not None
        here, there = image.class_ids == class_id, contours.class_ids == class_id
        truth.append(_renumbered(image.tracks[here], numbers))
        found.append(_renumbered(contours.track_ids[there], tracks))
        shares.append(overlaps(image, contours, masks)[np.ix_(here, there)])
    return {
        "gt_ids": truth,
        "tracker_ids": found,
        "similarity_scores": shares,
        "num_gt_ids": len(numbers),
        "num_tracker_ids": len(tracks),
        "num_gt_dets": sum(map(len, truth)),
        "num_tracker_dets": sum(map(len, found)),
        "num_timesteps": len(video),
    }


def _renumbered(ids: Ints, numbers: dict[int, int]) -> Ints:
    return np.array([numbers.setdefault(int(one), len(numbers)) for one in ids], np.int64)


def score(data: Mapping[str, tuple[dict[str, Any], dict[str, Any]]]) -> Scores:
    """trackeval's numbers over all videos; `data` has each video's by boxes and by masks."""
    from trackeval.metrics import CLEAR, HOTA

    hota, clear = HOTA(), CLEAR({"PRINT_CONFIG": False})
    with contextlib.redirect_stdout(io.StringIO()):
        by_box = hota.combine_sequences({n: hota.eval_sequence(d) for n, (d, _) in data.items()})
        by_mask = hota.combine_sequences({n: hota.eval_sequence(d) for n, (_, d) in data.items()})
        mota = clear.combine_sequences({n: clear.eval_sequence(d) for n, (d, _) in data.items()})
    values = [by_box["HOTA"], by_mask["HOTA"], by_box["DetA"], by_box["AssA"]]
    means = [float(value.mean()) for value in values]
    return dict(zip(COLUMNS, [*means, float(mota["MOTA"]), float(mota["IDSW"])], strict=True))


def measure(
    videos: Mapping[str, Video], finds: Mapping[str, Sequence[Found]]
) -> dict[tuple[str, str], Scores]:
    """The scores by class and tracker, for one set of finds."""
    given = {TRUTH: {name: true_ids(found) for name, found in finds.items()}}
    for peer, make in PEERS.items():
        given[peer] = {name: follow(make(), videos[name], finds[name]) for name in videos}
    rows = {}
    for class_id, class_name in CLASSES.items():
        for peer, of_video in given.items():
            data = {}
            for name, video in videos.items():
                by_box, by_mask = (
                    trackeval_data(video, of_video[name], class_id, masks)
                    for masks in (False, True)
                )
                if by_box["num_gt_dets"] or by_box["num_tracker_dets"]:
                    data[name] = by_box, by_mask
            rows[class_name, peer] = score(data)
    return rows


def table(title: str, videos: Mapping[str, Video], seeds: int) -> list[str]:
    """Markdown: exact finds, and the mean over seeds of disturbed ones."""
    lines = [
        f"## {title}",
        "",
        f"| finds | class | tracker | {' | '.join(COLUMNS)} |",
        "|---" * (3 + len(COLUMNS)) + "|",
    ]
    sets = {"exact": [{name: exact(video) for name, video in videos.items()}]}
    sets["disturbed"] = [
        {name: disturbed(video, seed) for name, video in videos.items()} for seed in range(seeds)
    ]
    for label, repeats in sets.items():
        measured = [measure(videos, finds) for finds in repeats]
        for class_name, peer in measured[0]:
            runs = [rows[class_name, peer] for rows in measured]
            means = {column: float(np.mean([run[column] for run in runs])) for column in COLUMNS}
            cells = [f"{means[column]:.3f}" for column in COLUMNS[:-1]]
            cells.append(f"{means[COLUMNS[-1]]:.0f}")
            lines.append(f"| {label} | {class_name} | {peer} | {' | '.join(cells)} |")
            print(lines[-1], flush=True)
    return [*lines, ""]


def times(objects: int = 50, length: int = 100) -> list[str]:
    """Markdown: CPU time of an image."""
    lines = ["## Time", "", f"| tracker | ms an image of {objects} objects |", "|---|---|"]
    for peer, make in PEERS.items():
        tracker, spent = make(), []
        for step, contours in enumerate(crowd(objects, length)):
            started = time.thread_time()
            tracker.update(contours, step / 10)
            spent.append(1000 * (time.thread_time() - started))
        lines.append(f"| {peer} | {np.median(spent):.2f} |")
        print(lines[-1], flush=True)
    return [*lines, ""]


INTRODUCTION = """# Tracks

Written by `python benchmarks/tracks.py LABELS` (Python {python}, NumPy {numpy}); numbers of
trackeval 1.3.0. The videos are sequences of KITTI MOTS (10 Hz; Voigtlaender et al., CVPR 2019),
{names},
and synthetic drives; masks become contours of 128 vertices. *Exact* finds are these contours.
*Disturbed* ones miss 15 % of the objects, have a false one in every fifth image, and boxes whose
centre and size are each off by up to 5 % of the size, evenly, in x and y (means of
{seeds} seeds).

HOTA is trackeval's mean over thresholds of overlap from .05 to .95, once by the overlap of boxes
and once by that of masks; DetA, AssA, MOTA and id switches (at an overlap of .5) are by boxes.
*{truth}* are those of a tracker that never errs and only gives ids to what is found, as
`~/contours` (its `track_id`), SORT and norfair do; `~/tracks` also fills gaps while it is sure of
the place, and leaves out what was found once with a score below .5. All scores here are 1, so the
false objects are in it. SORT and norfair see boxes. The settings of our tracker were chosen on the
KITTI sequences with the seeds 50 to 82 and on the drives 100 to 103; the table has other ones.
"""


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("labels", type=Path)
    parser.add_argument("--seeds", type=int, default=5, help="of the disturbance")
    parser.add_argument("--drives", type=int, default=3, help="synthetic drives of 100 images")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".md"))
    options = parser.parse_args()
    paths = sorted(options.labels.glob("*.txt"))
    if not paths:
        parser.error(f"{options.labels} has no .txt files")
    lines = [
        INTRODUCTION.format(
            python=platform.python_version(),
            numpy=np.__version__,
            names=", ".join(path.stem for path in paths),
            seeds=options.seeds,
            truth=TRUTH.capitalize(),
        )
    ]
    lines += table("KITTI MOTS", {path.stem: read_mots(path) for path in paths}, options.seeds)
    drives = {f"drive {seed}": drive(seed, 100) for seed in range(options.drives)}
    lines += table("Synthetic drives, 640 x 384 px, 10 Hz", drives, options.seeds)
    lines += times()
    options.output.write_text("\n".join(lines))


if __name__ == "__main__":
    main()
