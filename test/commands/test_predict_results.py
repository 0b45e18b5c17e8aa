"""What e2ec predict writes besides pictures: rows, COCO results, labels, frames, bags."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from films import damage, write_film
from numpy.typing import NDArray

from e2ec_core.contours import Contours, clip_to_image
from e2ec_core.inference import Predictor, PredictorSettings
from e2ec_core.recordings.rows import contours_of

SIDES = {"short_side": 128, "long_side": 128}
FAST = ("--device", "cpu", "--short-side", "128", "--long-side", "128")


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    settings = PredictorSettings(**SIDES)
    return Predictor.from_pretrained(device="cpu", settings=settings)


@pytest.fixture
def film(portrait: Path, tmp_path: Path) -> tuple[Path, list[NDArray[np.uint8]]]:
    """A video of 40 frames in which the portrait moves, and its frames as they are decoded."""
    picture = cv2.imread(str(portrait))[..., ::-1]
    moved = (np.roll(picture, 2 * i, axis=1) for i in range(40))
    path = write_film(tmp_path / "walk.avi", moved)
    video = cv2.VideoCapture(str(path))
    return path, [video.read()[1][..., ::-1].copy() for _ in range(40)]


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def same(row: dict[str, Any], wanted: Contours) -> bool:
    found = contours_of(row, "final")
    assert found is not None
    assert found.image_size == wanted.image_size
    names = ("vertices", "scores", "class_ids", "amodal_vertices")
    pairs = [(getattr(found, name), getattr(wanted, name)) for name in names]
    assert all((a is None) == (b is None) for a, b in pairs)
    return all(a is None or (a.dtype == b.dtype and np.array_equal(a, b)) for a, b in pairs)


@pytest.mark.parametrize("amodal", [False, True])
def test_a_row_keeps_every_bit_of_a_frame(
    e2ec: Callable, predictor: Predictor, portrait: Path, tmp_path: Path, amodal: bool
) -> None:
    words = ("--write", "jsonl", *FAST, *(["--amodal", "true"] if amodal else []))
    assert e2ec("predict", portrait, *words, "--output", tmp_path / "out").status == 0
    (row,) = rows_of(tmp_path / "out/contours.jsonl")
    predictor.settings = PredictorSettings(**SIDES, amodal=amodal)
    rgb = cv2.imread(str(portrait))[..., ::-1].copy()
    wanted = clip_to_image(predictor(rgb).contours)
    assert len(wanted) > 0
    assert same(row, wanted)
    assert (row["source"], row["frame"], row["width"], row["height"]) == (
        *(str(portrait), 0),
        *rgb.shape[1::-1],
    )
    best = row["instances"][0]
    assert best["class"] == "person"
    assert ("hidden" in best) == ("amodal_contour" in best) == amodal
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["contours.jsonl"]


def test_every_frame_of_a_video_has_its_row_also_those_that_cannot_be_decoded(
    e2ec: Callable, predictor: Predictor, film: tuple[Path, list[Any]], tmp_path: Path
) -> None:
    path, frames = film
    damage(path, [31, 35])  # the last of a part, and one in the middle of the next
    reply = e2ec("predict", path, *FAST, "--write", "jsonl", "--output", tmp_path / "out")
    assert reply.status == 1
    assert f"frame 31 of {str(path)!r} cannot be decoded and 1 more" in reply.err
    rows = rows_of(tmp_path / "out/contours.jsonl")
    assert [row["frame"] for row in rows] == list(range(40))
    assert [row["frame"] for row in rows if "error" in row] == [31, 35]
    predictor.settings = PredictorSettings(**SIDES)
    for index in (0, 30, 32, 39):
        assert same(rows[index], clip_to_image(predictor(frames[index]).contours))


def test_labels_and_pictures_of_frames_are_single_files(
    e2ec: Callable, portrait: Path, film: tuple[Path, list[Any]], tmp_path: Path
) -> None:
    words = (film[0], portrait, *FAST, "--write", "labels,pictures")
    assert e2ec("predict", *words, "--output", tmp_path / "out").status == 0
    files = sorted(p.relative_to(tmp_path / "out") for p in (tmp_path / "out").rglob("*.png"))
    single = [Path("astronaut.png"), *(Path(f"walk/{i:06d}.png") for i in range(40))]
    assert files == sorted([*single, *(Path("labels") / path for path in single)])
    labels = cv2.imread(str(tmp_path / "out/labels/walk/000039.png"), cv2.IMREAD_UNCHANGED)
    assert labels.dtype == np.uint16
    assert labels.max() >= 1
    reply = e2ec("predict", *words, "--output", tmp_path / "out")
    assert (reply.status, "exists; give --overwrite" in reply.error) == (2, True)


def test_no_result_is_written_over_another(e2ec: Callable, tmp_path: Path) -> None:
    inputs = tmp_path / "col"
    inputs.mkdir()
    names = ("labels.mp4", "x.png.mp4", "contours.jsonl.avi", ".e2ec_predict.avi")
    for name in names:
        write_film(tmp_path / "film.avi", (np.full((48, 64, 3), i, np.uint8) for i in range(2)))
        (tmp_path / "film.avi").rename(inputs / name)
    for name in ("000000.jpg", "000001.jpg", "x.png"):
        cv2.imwrite(str(inputs / name), np.zeros((48, 64, 3), np.uint8))
    words = (inputs, inputs / names[-1], *FAST, "--write", "pictures,labels,jsonl")
    reply = e2ec("predict", *words, "--output", tmp_path / "out")
    assert reply.status == 0, reply.err
    files = [path for path in (tmp_path / "out").rglob("*.png") if path.is_file()]
    assert len(files) == 2 * (3 + 2 * len(names))
    for file in files:
        kind = np.uint16 if file.parts[len(tmp_path.parts) + 1] == "labels" else np.uint8
        assert cv2.imread(str(file), cv2.IMREAD_UNCHANGED).dtype == kind
    assert len(rows_of(tmp_path / "out/contours.jsonl")) == 3 + 2 * len(names)


def test_no_frame_of_an_old_film_stays_among_those_of_a_new_one(
    e2ec: Callable, tmp_path: Path
) -> None:
    words = (tmp_path / "a.avi", *FAST, "--write", "pictures,labels", "--output", tmp_path / "out")
    for count in (5, 3):
        write_film(words[0], (np.full((48, 64, 3), i, np.uint8) for i in range(count)))
        (tmp_path / "out/a").mkdir(parents=True, exist_ok=True)
        (tmp_path / "out/a/mine.png").touch()
        assert e2ec("predict", *words, "--overwrite").status == 0
    frames = {f"{i:06d}.png" for i in range(3)}
    assert {path.name for path in (tmp_path / "out/a").iterdir()} == frames | {"mine.png"}
    assert {path.name for path in (tmp_path / "out/labels/a").iterdir()} == frames
    (tmp_path / "frame.png").write_bytes((tmp_path / "out/a/000000.png").read_bytes())
    (tmp_path / "out/a/000009.png").symlink_to(tmp_path / "frame.png")
    reply = e2ec("predict", tmp_path / "out/a/000009.png", *words, "--overwrite")
    assert (reply.status, "holds an input" in reply.error) == (2, True)
    assert (tmp_path / "out/a/000009.png").is_symlink()


def test_coco_results_lie_where_the_masks_do(
    e2ec: Callable, predictor: Predictor, portrait: Path, tmp_path: Path
) -> None:
    masks = pytest.importorskip("pycocotools.mask")
    (tmp_path / "000000000042.png").write_bytes(portrait.read_bytes())
    words = (tmp_path / "000000000042.png", *FAST, "--write", "coco")
    assert e2ec("predict", *words, "--output", tmp_path / "out").status == 0
    results = json.loads((tmp_path / "out/coco_results.json").read_text())
    told = json.loads((tmp_path / "out/coco_images.json").read_text())
    rgb = cv2.imread(str(portrait))[..., ::-1].copy()
    height, width = rgb.shape[:2]
    assert told["images"] == [
        {"id": 42, "file_name": str(words[0]), "frame": 0, "width": width, "height": height}
    ]
    assert {"id": 90, "name": "toothbrush"} in told["categories"]
    predictor.settings = PredictorSettings(**SIDES)
    contours = clip_to_image(predictor(rgb).contours)
    assert results[0]["category_id"] == 1  # person
    for one, mask in zip(results, contours.masks(), strict=True):
        assert one["image_id"] == 42
        drawn = masks.decode(masks.frPyObjects(one["segmentation"], height, width))[..., 0] > 0
        assert (drawn & mask).sum() / (drawn | mask).sum() > 0.97
        x, y, w, h = one["bbox"]
        rows, columns = np.nonzero(mask)
        assert abs(np.array([x, y, x + w, y + h]) - [
            *(columns.min(), rows.min()), *(columns.max() + 1, rows.max() + 1),
        ]).max() < 1.0  # fmt: skip


def test_frames_are_counted_where_names_are_no_numbers(
    e2ec: Callable, portrait: Path, tmp_path: Path
) -> None:
    words = ("none.png", portrait, *FAST, "--write", "coco", "--output", tmp_path / "out")
    assert e2ec("predict", *words).status == 1
    told = json.loads((tmp_path / "out/coco_images.json").read_text())
    assert [image["id"] for image in told["images"]] == [2]  # 1 is the one that is missing


@pytest.mark.parametrize(
    ("write", "message"),
    [
        ("jsonl,masks", "write is 'jsonl,masks'; give some of pictures, video, jsonl"),
        ("", "write is ''; give some of"),
        ("video", "write is 'video', which these inputs do not give; add pictures or jsonl"),
        ("bag", "write is 'bag', which these inputs do not give"),
    ],
)
def test_a_wrong_kind_of_result_is_told(
    e2ec: Callable, portrait: Path, tmp_path: Path, write: str, message: str
) -> None:
    reply = e2ec("predict", portrait, "--write", write, "--output", tmp_path / "out")
    assert reply.status == 2
    assert message in reply.error
