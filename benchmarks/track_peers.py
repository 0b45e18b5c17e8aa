"""The trackers that benchmarks/tracks.py compares, in one form."""

from __future__ import annotations

import logging
from dataclasses import replace
from importlib.util import find_spec
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from e2ec_core.contours import Contours
from e2ec_core.tracking import Tracker

Floats = NDArray[np.float64]


class Peer(Protocol):
    """Gives the contours of each image their `track_ids`."""

    def update(self, contours: Contours, seconds: float) -> Contours: ...


class Confirmed:
    """`e2ec_core.tracking`, as the node has it: the contours of `~/tracks`."""

    def __init__(self) -> None:
        self._tracker = Tracker()

    def update(self, contours: Contours, seconds: float) -> Contours:
        self._tracker.update(contours, seconds)
        return self._tracker.confirmed()


class Sort:
    """SORT as its paper has it (Bewley et al., 2016), for each class.

    Args:
        longest: images that a track lasts unseen; 1 in the paper.
    """

    MIN_IOU = 0.3

    def __init__(self, longest: int = 1) -> None:
        self._longest = longest
        self._tracks: list[_SortTrack] = []
        self._next = 0

    def update(self, contours: Contours, seconds: float) -> Contours:
        boxes = contours.boxes_xyxy.astype(np.float64)
        overlap = np.zeros((len(self._tracks), len(boxes)))
        for row, track in enumerate(self._tracks):
            overlap[row] = box_iou(track.predict(), boxes)
            overlap[row, contours.class_ids != track.class_id] = 0.0
        rows, columns = linear_sum_assignment(overlap, maximize=True)
        pairs = zip(rows.tolist(), columns.tolist(), strict=True)
        owner = {j: self._tracks[i] for i, j in pairs if overlap[i, j] >= self.MIN_IOU}
        for j, box in enumerate(boxes):
            if j in owner:
                owner[j].correct(box)
            else:
                owner[j] = _SortTrack(box, int(contours.class_ids[j]), self._next)
                self._next += 1
                self._tracks.append(owner[j])
        self._tracks = [one for one in self._tracks if one.unseen <= self._longest]
        ids = np.array([owner[j].number for j in range(len(boxes))], np.int64)
        return replace(contours, track_ids=ids)


class _SortTrack:
    """A Kalman filter of constant speed over centre, area and aspect ratio of a box."""

    STEP = np.eye(7) + np.eye(7, k=4)
    NOISE = np.diag([1, 1, 1, 1, 1e-2, 1e-2, 1e-4])
    MEASURED = np.diag([1.0, 1, 10, 10])

    def __init__(self, box: Floats, class_id: int, number: int) -> None:
        self.class_id, self.number = class_id, number
        self.unseen = 0
        self._state = np.concatenate([_centre_area_ratio(box), np.zeros(3)])
        self._covariance = np.diag([10.0, 10, 10, 10, 1e4, 1e4, 1e4])

    def predict(self) -> Floats:
        """Moves on by one image; returns the box x_min, y_min, x_max, y_max."""
        if self._state[2] + self._state[6] <= 0:
            self._state[6] = 0.0
        self._state = self.STEP @ self._state
        self._covariance = self.STEP @ self._covariance @ self.STEP.T + self.NOISE
        self.unseen += 1
        x, y, area, ratio = self._state[:4]
        width = np.sqrt(max(area * ratio, 1e-9))
        half = np.array([width, area / width]) / 2
        return np.concatenate([(x, y) - half, (x, y) + half])

    def correct(self, box: Floats) -> None:
        """Takes the box that was seen."""
        innovation = self._covariance[:4, :4] + self.MEASURED
        gain = self._covariance[:, :4] @ np.linalg.inv(innovation)
        self._state = self._state + gain @ (_centre_area_ratio(box) - self._state[:4])
        self._covariance = self._covariance - gain @ self._covariance[:4]
        self.unseen = 0


def _centre_area_ratio(box: Floats) -> Floats:
    width, height = np.maximum(box[2:] - box[:2], 1e-3)
    return np.array([*((box[:2] + box[2:]) / 2), width * height, width / height])


class Norfair:
    """norfair on boxes, as its examples set it up, for tracks that last ten images unseen."""

    def __init__(self) -> None:
        from norfair import Tracker as NorfairTracker

        # Its filter makes boxes of hidden objects negative and says so in each image.
        logging.getLogger("norfair").setLevel(logging.ERROR)
        self._tracker = NorfairTracker(
            "iou", distance_threshold=0.9, hit_counter_max=10, initialization_delay=0
        )
        self._images = 0

    def update(self, contours: Contours, seconds: float) -> Contours:
        from norfair import Detection

        self._images += 1
        boxes = contours.boxes_xyxy.reshape(-1, 2, 2).astype(np.float64)
        found: list[Any] = [
            Detection(box, label=int(class_id), data=(self._images, row))
            for row, (box, class_id) in enumerate(zip(boxes, contours.class_ids, strict=True))
        ]
        self._tracker.update(found)
        ids = np.zeros(len(found), np.int64)
        for track in self._tracker.tracked_objects:
            image, row = track.last_detection.data
            if image == self._images:
                ids[row] = track.global_id
        without = ids == 0  # norfair counts from 1
        ids[without] = 10**9 + int(1000 * seconds) * 100 + np.arange(without.sum())
        return replace(contours, track_ids=ids)


def norfair_exists() -> bool:
    """Whether norfair can be imported."""
    return find_spec("norfair") is not None


def box_iou(box: Floats, boxes: Floats) -> Floats:
    """Intersection over union of a box with others [K, 4] (x_min, y_min, x_max, y_max), [K]."""
    low, high = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:])
    shared = np.maximum(high - low, 0).prod(axis=1)
    areas = (box[2:] - box[:2]).prod(), (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    return shared / np.maximum(areas[0] + areas[1] - shared, 1e-9)
