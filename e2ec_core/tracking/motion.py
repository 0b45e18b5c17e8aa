"""How tracks move: one Kalman filter for each, all in one step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from e2ec_core.tracking.objects import Floats, Ints, Objects

MEASURED = 0.05  # standard deviation of a detected box, in sizes of the object ...
PIXELS = 0.3  # ... and in px, which counts for small objects
ACCELERATION = 1.0  # of objects and camera together, sizes per s^1.5 (white noise)
FIRST_SPEED = 3.0  # standard deviation of a new object's speed, sizes per s
HIDING = 4.0  # how much less a box counts that changes its size: something hides a part of it
AROUND = 0.15  # of the image: how far away tracks tell a new object's speed
SETTLED = 3  # images after which a track's own speed is known
OTHER_CLASS = 0.2  # how much tracks of other classes count for that
REST = 0.3  # as much as this many tracks, all objects are expected at rest


@dataclass(kw_only=True)
class TrackRows(Objects):
    """Tracks, one a row, each with a Kalman filter of constant speed.

    Its noise is a share of the object's size, so that one covariance serves both axes. Sizes have
    no speed: what changes them is hiding more often than distance.

    Attributes:
        scores: float64 [T], the best so far.
        ids: int64 [T].
        times_seen: int64 [T], images in which the object was seen.
        missed: int64 [T], images since it was last seen.
        unseen: float64 [T], s since it was last seen.
        speed: float64 [T, 2] of the centre (x, y), px/s.
        covariance: float64 [T, 3], of place with place, place with speed, speed with speed, in
            sizes of the object.
    """

    ids: Ints
    times_seen: Ints
    missed: Ints
    unseen: Floats
    speed: Floats
    covariance: Floats

    @property
    def unsure(self) -> Floats:
        """Standard deviation of the places, in sizes of the object, float64 [T]."""
        return np.sqrt(self.covariance[:, 0])

    def predict(self, seconds: float) -> None:
        """Moves all tracks on in time."""
        self.missed += 1
        self.unseen += seconds
        self.place[:, :2] += seconds * self.speed
        place, both, speed = self.covariance.T
        noise = ACCELERATION**2
        self.covariance = np.stack(
            [
                place + seconds * (2 * both + seconds * speed) + noise * seconds**3 / 3,
                both + seconds * speed + noise * seconds**2 / 2,
                speed + noise * seconds,
            ],
            axis=1,
        )

    def correct(self, rows: Ints, seen: Objects) -> None:
        """Corrects the tracks `rows` by the objects they were paired with."""
        place, both, speed = self.covariance[rows].T
        error = seen.place - self.place[rows]
        changed = np.abs(error[:, 2:]).max(axis=1)
        total = place + _measured(seen) * (1 + (HIDING * changed) ** 2)
        gain, speed_gain = place / total, both / total
        self.place[rows] += gain[:, None] * error
        self.speed[rows] += speed_gain[:, None] * error[:, :2]
        self.covariance[rows] = np.stack(
            [place * (1 - gain), both * (1 - gain), speed - speed_gain * both], axis=1
        )
        self.shapes[rows] = seen.shapes
        self.scores[rows] = np.maximum(self.scores[rows], seen.scores)
        self.times_seen[rows] += 1
        self.missed[rows] = 0
        self.unseen[rows] = 0.0


def begin(new: Objects, first_id: int, speed: Floats) -> TrackRows:
    """Tracks of new objects with the next ids; `speed` [K, 2] in px/s."""
    count = len(new.class_ids)
    covariance = np.tile([0.0, 0.0, FIRST_SPEED**2], (count, 1))
    covariance[:, 0] = _measured(new)
    return TrackRows(
        class_ids=new.class_ids,
        scores=new.scores,
        place=new.place,
        shapes=new.shapes,
        ids=first_id + np.arange(count),
        times_seen=np.ones(count, np.int64),
        missed=np.zeros(count, np.int64),
        unseen=np.zeros(count),
        speed=speed,
        covariance=covariance,
    )


def speed_around(new: Objects, tracks: TrackRows, image_size: tuple[int, int]) -> Floats:
    """The speed that new objects should have, as the tracks around them have it.

    Mostly the camera moves, and what stands at the same place of the image moves alike there.

    Args:
        new: the objects.
        tracks: all tracks.
        image_size: (height, width), px.

    Returns:
        float64 [K, 2] (x, y), px/s.
    """
    tracks = tracks.take((tracks.times_seen >= SETTLED) & (tracks.missed <= 1))
    feet, known = (one.place[:, :2] + [0, 0.5] * one.size for one in (new, tracks))
    apart = (feet[:, None] - known) / (AROUND * np.array(image_size[::-1]))
    weights = np.exp(-0.5 * (apart**2).sum(axis=2))
    weights[new.class_ids[:, None] != tracks.class_ids] *= OTHER_CLASS
    return np.asarray(weights @ tracks.speed / (weights.sum(axis=1, keepdims=True) + REST))


def _measured(seen: Objects) -> Floats:
    """The variance of the places of detected boxes, in sizes of the object, [K]."""
    return np.asarray(MEASURED**2 + PIXELS**2 / seen.size.prod(axis=1))
