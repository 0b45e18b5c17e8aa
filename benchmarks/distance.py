"""Distances from contours and lidar against the labelled 3-D boxes of KITTI.

python benchmarks/distance.py FOLDER [FOLDER ...] [--weights FILE] reads folders of KITTI's object
benchmark (image_2, velodyne, calib, label_2) or of its tracking benchmark (training/image_02 and
its neighbours) and writes `distance.md` beside this file.

A contour belongs to the label of the like class whose 2-D box overlaps its own most, by an IoU of
at least .5. Boxes of hidden objects enclose what is hidden, so two labels may overlap with one
contour that much; the table has a second row in which the nearest of them is its object, as
contours are of what is seen. Boxes of objects that leave the image go on outside, where their
near side may be; the third row leaves these out.

The table of those outside names every label whose box overlaps enough. Seen in the pictures with
the weights that ship: in 000049 the outline of a parked car also encloses the trunk of a tree that
stands before its middle, and another outline has the points of the car's front; in 000068 the
outline and the points are those of the nearer car, and the box of the car behind, which is mostly
hidden, has the larger IoU because the nearer car's own box goes on behind bicycles.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from e2ec_core.contours import Contours
from e2ec_core.distance import Location, locate, project_cloud

OUTPUT = Path(__file__).resolve().with_suffix(".md")
LEAST_IOU = 0.5
LEAST_POINTS = 20
ROAD = ("car", "truck", "bus", "train")
LIKE = {  # the classes of KITTI and those of COCO that may be the same objects
    "Car": ROAD,
    "Van": ROAD,
    "Truck": ROAD,
    "Tram": ROAD,
    "Pedestrian": ("person",),
    "Person_sitting": ("person",),
    "Cyclist": ("person", "bicycle", "motorcycle"),
}

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Label:
    """One labelled object; camera frame (x right, y down, z forward), m.

    Attributes:
        kind: KITTI's class.
        truncated: which share of it lies outside the image.
        box_xyxy: 2-D box, float64 [4], px.
        size: length, height and width, float64 [3].
        bottom: the middle of its bottom, float64 [3].
        yaw: rad about the y axis.
    """

    kind: str
    truncated: float
    box_xyxy: Array
    size: Array
    bottom: Array
    yaw: float

    def outside(self, point: Array) -> Array:
        """How far a point [3] is beyond the box's sides, along its axes; float64 [3], m."""
        moved = point - self.bottom
        c, s = np.cos(self.yaw), np.sin(self.yaw)
        along = np.array(
            [c * moved[0] - s * moved[2], moved[1] + self.size[1] / 2, s * moved[0] + c * moved[2]]
        )
        return np.abs(along) - self.size / 2

    @property
    def near(self) -> float:
        """The distance from the camera to the nearest point of the box, m."""
        return float(np.linalg.norm(np.maximum(self.outside(np.zeros(3)), 0)))


@dataclass(frozen=True, kw_only=True)
class Frame:
    """One image with its scan, float32 [n, 4], calibration and labels."""

    image: Path
    cloud: NDArray[np.float32]
    projection: Array
    extrinsic: Array
    labels: list[Label]


def read_calibration(path: Path) -> tuple[Array, Array]:
    """P of the left colour camera [3, 4], and lidar to rectified camera frame [4, 4]."""
    lines = [line.replace(":", " ").split() for line in path.read_text().splitlines()]
    values = {words[0]: np.array(words[1:], np.float64) for words in lines if words}
    turn, move = np.eye(4), np.eye(4)
    turn[:3, :3] = values.get("R0_rect", values.get("R_rect")).reshape(3, 3)  # type: ignore[union-attr]
    move[:3] = values.get("Tr_velo_to_cam", values.get("Tr_velo_cam")).reshape(3, 4)  # type: ignore[union-attr]
    return values["P2"].reshape(3, 4), turn @ move


def read_labels(path: Path, frame: int | None = None) -> list[Label]:
    """The objects of an object label file, or of one frame of a tracking label file."""
    labels = []
    for line in path.read_text().splitlines():
        words = line.split()
        if frame is not None:
            if int(words[0]) != frame:
                continue
            words = words[2:]
        if words[0] in LIKE:
            n = np.array(words[1:15], np.float64)
            labels.append(
                Label(
                    kind=words[0],
                    truncated=n[0],
                    box_xyxy=n[3:7],
                    size=n[[9, 7, 8]],
                    bottom=n[10:13],
                    yaw=n[13],
                )
            )
    return labels


def read_frames(folder: Path) -> Iterator[Frame]:
    """The frames of a folder of KITTI's object or tracking benchmark."""
    tracking = (folder / "training/image_02").is_dir()
    images = "training/image_02/*/*.png" if tracking else "image_2/*.png"
    for image in sorted(folder.glob(images)):
        name = image.parent.name
        if tracking:
            base = folder / "training"
            scan = base / f"velodyne/{name}/{image.stem}.bin"
            labels = read_labels(base / f"label_02/{name}.txt", int(image.stem))
            calibration = read_calibration(base / f"calib/{name}.txt")
        else:
            scan = folder / f"velodyne/{image.stem}.bin"
            labels = read_labels(folder / f"label_2/{image.stem}.txt")
            calibration = read_calibration(folder / f"calib/{image.stem}.txt")
        cloud = np.fromfile(scan, np.float32).reshape(-1, 4)
        projection, extrinsic = calibration
        yield Frame(
            image=image, cloud=cloud, projection=projection, extrinsic=extrinsic, labels=labels
        )


def ious(box: Array, others: Sequence[Label]) -> Array:
    """IoU of a box [4] with those of labels, float64 [n]."""
    boxes = np.array([label.box_xyxy for label in others]).reshape(-1, 4)
    sides = np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2])
    shared = np.maximum(sides, 0).prod(axis=1)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1) + (box[2:] - box[:2]).prod()
    return np.asarray(shared / (areas - shared))


def match(
    contours: Contours, labels: Sequence[Label], names: Sequence[str]
) -> Iterator[tuple[int, Label, Label]]:
    """Contours with the label that overlaps most, and the nearest that overlaps enough."""
    free = list(labels)
    for i, box in enumerate(contours.boxes_xyxy.astype(np.float64)):
        like = [label for label in free if names[contours.class_ids[i]] in LIKE[label.kind]]
        overlaps = ious(box, like)
        enough = [like[j] for j in np.flatnonzero(overlaps >= LEAST_IOU)]
        if enough:
            most = like[int(overlaps.argmax())]
            free.remove(most)
            yield i, most, min(enough, key=lambda label: label.near)


def outside(name: str, location: Location, contour: Array, labels: Sequence[Label]) -> str:
    """One line of the table of objects outside: the labels that overlap enough, by IoU."""
    overlaps = ious(contour, labels)
    enough = [j for j in np.argsort(-overlaps) if overlaps[j] >= LEAST_IOU]
    told = [
        f"{labels[j].kind} from {labels[j].near:.1f} m, IoU {overlaps[j]:.2f}, "
        f"{'inside' if (labels[j].outside(location.position) <= 0).all() else 'outside'}"
        for j in enough
    ]
    box = ", ".join(f"{value:.0f}" for value in contour)
    distance = float(np.linalg.norm(location.position))
    return f"| {name} | {box} | {distance:.1f} | {location.points} | {'; '.join(told)} |"


def measure(location: Location, label: Label) -> dict[str, Any]:
    """What one located object adds to the table."""
    return {
        "inside": bool((label.outside(location.position) <= 0).all()),
        "near_error": location.near - label.near,
        "truncated": bool(label.truncated > 0),
    }


def run(folders: Sequence[Path], weights: Path | None) -> dict[str, Any]:
    """Measures all frames."""
    from e2ec_core.inference import Predictor

    predictor = Predictor.from_checkpoint(weights) if weights else Predictor.from_pretrained()
    names = predictor.info.config.class_names
    lists = ("most", "nearest", "few", "ms", "points", "outside")
    found: dict[str, Any] = {name: [] for name in lists}
    for frame in (frame for folder in folders for frame in read_frames(folder)):
        image = cv2.cvtColor(cv2.imread(str(frame.image)), cv2.COLOR_BGR2RGB)  # type: ignore[arg-type]
        contours = predictor(image).contours
        started = time.thread_time()
        samples = project_cloud(
            frame.cloud, frame.projection, frame.extrinsic, contours.image_size
        )
        locations, _ = locate(samples, list(contours.vertices), contours.image_size)
        found["ms"].append(1e3 * (time.thread_time() - started))
        found["points"].append(len(frame.cloud))
        for i, most, nearest in match(contours, frame.labels, names):
            if locations[i].points >= LEAST_POINTS:
                found["most"].append(measure(locations[i], most))
                found["nearest"].append(measure(locations[i], nearest))
                if not found["most"][-1]["inside"]:
                    box = contours.boxes_xyxy[i].astype(np.float64)
                    line = outside(frame.image.stem, locations[i], box, frame.labels)
                    found["outside"].append(line)
            else:
                found["few"].append(locations[i].points)
    return found


def row(name: str, rows: Sequence[dict[str, Any]]) -> str:
    """One line of the table."""
    errors = np.abs([one["near_error"] for one in rows])
    inside = sum(one["inside"] for one in rows)
    median, high = np.percentile(errors, (50, 90))
    bias = np.median([one["near_error"] for one in rows])
    return (
        f"| {name} | {len(rows)} | {inside / len(rows):.3f} ({len(rows) - inside} outside) "
        f"| {median:.2f} | {high:.2f} | {bias:+.2f} |"
    )


def table(found: dict[str, Any]) -> str:
    """The Markdown file."""
    whole = [one for one in found["nearest"] if not one["truncated"]]
    text = (__doc__ or "").partition("\n\n")[2].strip()
    return "\n".join(
        [
            "# Distance",
            "",
            text,
            "",
            f"{len(found['ms'])} frames, contours of the weights that ship, objects with at least "
            f"{LEAST_POINTS} points; {len(found['few'])} more had fewer.",
            "",
            "| label of a contour | objects | position in the 3-D box "
            "| error of the near side, m, median | 90 % | bias, m, median |",
            "|---|---|---|---|---|---|",
            row("of the largest IoU", found["most"]),
            row("nearest of IoU >= .5", found["nearest"]),
            row("the same, whole in the image", whole),
            "",
            "Outside by the first row:",
            "",
            "| frame | box of the contour, px | distance, m | points | labels, by IoU |",
            "|---|---|---|---|---|",
            *found["outside"],
            "",
            f"Time of one frame (CPU time of the thread; {min(found['points'])} to "
            f"{max(found['points'])} points): median {np.median(found['ms']):.1f} ms, "
            f"largest {max(found['ms']):.1f} ms.",
            "",
        ]
    )


def main() -> None:
    """Measures and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--output", type=Path, default=OUTPUT)
    arguments = parser.parse_args()
    found = run(arguments.folders, arguments.weights)
    arguments.output.write_text(table(found))
    print(table(found))


if __name__ == "__main__":
    main()
