"""Cityscapes' official evaluation on drawn labels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from e2ec_core.contours import Contours
from e2ec_core.data.class_names import CITYSCAPES
from e2ec_core.evaluation.cityscapes import CityscapesEvaluator

pytest.importorskip("cityscapesscripts")

SIZE = (120, 160)
NAMES = ("ulm_000001_000019", "ulm_000002_000019")


def _square(x: float, y: float, side: float) -> np.ndarray:
    corners = [[x, y], [x, y + side], [x + side, y + side], [x + side, y]]
    return np.array(corners, np.float32) - np.float32(0.5)


def _contours(*squares: tuple[float, float, float], names: tuple[str, ...]) -> Contours:
    return Contours(
        vertices=np.stack([_square(*s) for s in squares]).reshape(-1, 4, 2),
        scores=np.linspace(0.9, 0.5, len(squares), dtype=np.float32),
        class_ids=np.array([CITYSCAPES.index(name) for name in names], np.int64),
        stage="final",
        image_size=SIZE,
    )


@pytest.fixture
def truth(tmp_path: Path) -> dict[int, Path]:
    """Two images: a car and a person; a car beside a group of cars. The rest is road."""
    first, second = np.full(SIZE, 7, np.uint16), np.full(SIZE, 7, np.uint16)
    first[10:50, 10:50] = 26000
    first[60:110, 80:130] = 24000
    second[20:70, 20:70] = 26000
    second[20:70, 90:140] = 26
    files = {}
    for number, (name, ids) in enumerate(zip(NAMES, (first, second), strict=True), start=1):
        files[number] = tmp_path / f"{name}_gtFine_instanceIds.png"
        cv2.imwrite(str(files[number]), ids)
    return files


def test_the_truth_is_perfect_and_groups_are_ignored(
    truth: dict[int, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    evaluator = CityscapesEvaluator(truth, CITYSCAPES)
    evaluator.process(1, _contours((10, 10, 40), (80, 60, 50), names=("car", "person")))
    # The second lies on the group: neither right nor wrong.
    evaluator.process(2, _contours((20, 20, 50), (90, 20, 50), names=("car", "car")))
    numbers = evaluator.evaluate()
    assert numbers["car/cityscapes/AP"] == pytest.approx(1)
    assert numbers["person/cityscapes/AP50"] == pytest.approx(1)
    assert numbers["cityscapes/AP"] == pytest.approx(1)
    assert np.isnan(numbers["train/cityscapes/AP"])
    assert not list((tmp_path / "cwd").iterdir())
    assert len(list(tmp_path.glob("*.json"))) == 0
    assert not hasattr(np, "in1d") or np.lib.NumpyVersion(np.__version__) < "2.4.0"


def test_a_miss_halves_and_a_wrong_detection_of_higher_score_lowers_ap(
    truth: dict[int, Path],
) -> None:
    evaluator = CityscapesEvaluator(truth, CITYSCAPES)
    evaluator.process(1, _contours((10, 10, 40), names=("car",)))
    assert evaluator.evaluate()["car/cityscapes/AP"] == pytest.approx(0.5)
    evaluator.process(2, _contours((100, 80, 30), (20, 20, 50), names=("car", "car")))
    numbers = evaluator.evaluate()
    assert 0.5 < numbers["car/cityscapes/AP"] < 1
    assert numbers["person/cityscapes/AP"] == 0
    evaluator.reset()
    assert evaluator.evaluate()["car/cityscapes/AP"] == 0


def test_overlap_decides_at_each_threshold(truth: dict[int, Path]) -> None:
    evaluator = CityscapesEvaluator(truth, ("person",))
    # 50 x 36 of 50 x 50 px: IoU 0.72, right at 0.50, 0.55, 0.60, 0.65 and 0.70 of ten thresholds.
    vertices = np.array([[80, 60], [80, 96], [130, 96], [130, 60]], np.float32) - np.float32(0.5)
    found = Contours(
        vertices=vertices[None],
        scores=np.array([0.7], np.float32),
        class_ids=np.array([0]),
        stage="final",
        image_size=SIZE,
    )
    evaluator.process(1, found)
    numbers = evaluator.evaluate()
    assert numbers["person/cityscapes/AP"] == pytest.approx(0.5)
    assert numbers["person/cityscapes/AP50"] == pytest.approx(1)


def test_all_objects_missed_and_all_detections_ignored_is_an_ap_of_0(
    truth: dict[int, Path],
) -> None:
    evaluator = CityscapesEvaluator({2: truth[2]}, CITYSCAPES)
    evaluator.process(2, _contours((90, 20, 50), names=("car",)))  # on the group
    numbers = evaluator.evaluate()
    assert numbers["car/cityscapes/AP"] == 0
    assert np.isnan(numbers["person/cityscapes/AP"])


def test_what_does_not_fit_is_named(truth: dict[int, Path]) -> None:
    with pytest.raises(ValueError, match="class 'tram' is none of Cityscapes'"):
        CityscapesEvaluator(truth, ("car", "tram"))
    with pytest.raises(ValueError, match="image 9 has no instance ids"):
        CityscapesEvaluator(truth, ("car",)).process(9, _contours((1, 1, 5), names=("car",)))


def test_contours_of_one_instance_are_one_mask(truth: dict[int, Path]) -> None:
    ids = cv2.imread(str(truth[1]), cv2.IMREAD_UNCHANGED)
    ids[10:50, 25:35] = 7  # something stands before the car
    cv2.imwrite(str(truth[1]), ids)
    vertices = [
        [[left, 10], [left, 50], [right, 50], [right, 10]] for left, right in ((10, 25), (35, 50))
    ]
    parts = Contours(
        vertices=np.array(vertices, np.float32) - np.float32(0.5),
        scores=np.array([0.9, 0.9], np.float32),
        class_ids=np.zeros(2, np.int64),
        stage="final",
        image_size=SIZE,
        instance_ids=np.array([5, 5]),
    )
    evaluator = CityscapesEvaluator({1: truth[1]}, CITYSCAPES)
    evaluator.process(1, parts)
    assert evaluator.evaluate()["car/cityscapes/AP"] == pytest.approx(1)
    evaluator.reset()
    evaluator.process(1, replace(parts, instance_ids=None))
    assert evaluator.evaluate()["car/cityscapes/AP"] < 0.5
