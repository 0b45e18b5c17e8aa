"""How tracks move: one Kalman filter for each, all in one step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from e2ec_core.tracking.objects import Floats, Ints, Objects

MEASURED = 0.05  # standard deviation of a detected box, in sizes of the object
ACCELERATION = 1.0  # of objects and camera together, sizes per s^1.5 (white noise)
FIRST_SPEED = 2.0  # standard deviation of a new object's speed, sizes per s
HIDING = 4.0  # how much less a box counts that changes its size: something hides a part of it


@dataclass(kw_only=True)
class TrackRows(Objects):
    """Tracks, one a row, each with a Kalman filter of constant speed.

    Its noise is a share of the object's size, so that one covariance serves both axes. Sizes have
    no speed: what changes them is hiding more often than distance.

    Attributes:
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
        total = place + MEASURED**2 * (1 + (HIDING * changed) ** 2)
        gain, speed_gain = place / total, both / total
        self.place[rows] += gain[:, None] * error
        self.speed[rows] += speed_gain[:, None] * error[:, :2]
        self.covariance[rows] = np.stack(
            [place * (1 - gain), both * (1 - gain), speed - speed_gain * both], axis=1
        )
        self.shapes[rows] = seen.shapes
        self.times_seen[rows] += 1
        self.missed[rows] = 0
        self.unseen[rows] = 0.0


def begin(new: Objects, first_id: int) -> TrackRows:
    """Tracks of new objects, at rest, with the next ids."""
    count = len(new.class_ids)
    return TrackRows(
        class_ids=new.class_ids,
        place=new.place,
        shapes=new.shapes,
        ids=first_id + np.arange(count),
        times_seen=np.ones(count, np.int64),
        missed=np.zeros(count, np.int64),
        unseen=np.zeros(count),
        speed=np.zeros((count, 2)),
        covariance=np.tile([MEASURED**2, 0.0, FIRST_SPEED**2], (count, 1)),
    )
