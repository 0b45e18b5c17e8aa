"""Stable ids for objects over the images of a video.

Every track predicts where its object is now. Tracks and objects of one class are paired so that
the sum of their overlaps is largest. The numbers that this package uses were chosen on KITTI MOTS,
see benchmarks/tracks.py.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import Any

import numpy as np

from e2ec_core.contours import Contours
from e2ec_core.tracking.motion import TrackRows, begin, speed_around
from e2ec_core.tracking.objects import NOTHING, objects_of, share_inside
from e2ec_core.tracking.pairing import pair

PERIOD = 0.1  # s between images whose stamps do not tell
SURE = 0.15  # sizes of the object: how sure the place of one is that is told of, though missed
CERTAIN = 0.5  # score from which an object is confirmed at first sight
KEPT = 8  # images that are kept for that; an object missed in more is not told of any longer


class Tracker:
    """Gives objects ids that stay with them from image to image and are never used again.

    A new object gets its id at once. A track whose object is not seen goes on at its last speed
    and ends after `memory` seconds. All tracks end when time goes back or jumps, and when the size
    of the images changes. Objects of different classes never share a track.

    Args:
        memory: how long a track lasts unseen, and the longest time between two images, s.
        confirm_after: images in which an object must be seen until its track is confirmed, unless
            it once has a score of `CERTAIN` or more.

    Attributes:
        memory: the same; may change between images.
    """

    def __init__(self, memory: float = 1.0, confirm_after: int = 2) -> None:
        if not memory > 0:
            raise ValueError(f"memory is {memory}; give a number of seconds above 0")
        if confirm_after < 1:
            raise ValueError(f"confirm_after is {confirm_after}; give 1 or more")
        self.memory = memory
        self._confirm_after = confirm_after
        self._next_id = 0
        self._seconds: float | None = None
        self._image_size: tuple[int, int] | None = None
        self.reset()

    def reset(self) -> None:
        """Ends all tracks."""
        self._tracks = begin(NOTHING, 0, np.zeros((0, 2)))
        self._recent: deque[Contours] = deque(maxlen=KEPT)  # the newest last
        self._seconds, self._period = None, PERIOD

    def update(self, contours: Contours, seconds: float) -> Contours:
        """Takes the contours of the next image.

        Args:
            contours: what was found; contours of one object (`instance_ids`) share a track.
            seconds: time of the image, s, counted from anywhere. A time that repeats the one
                before counts as one image later.

        Returns:
            the same contours with their `track_ids`.
        """
        elapsed = self._elapsed(contours.image_size, seconds)
        groups = contours.by_instance()
        objects = objects_of(contours, groups)
        tracks = self._tracks
        tracks.predict(elapsed)
        row = pair(tracks, objects)
        known, new = row >= 0, np.flatnonzero(row < 0)
        tracks.correct(row[known], objects.take(known))
        row[new] = len(tracks.ids) + np.arange(len(new))
        first = objects.take(new)
        speed = speed_around(first, tracks, contours.image_size)
        tracks = tracks.join(begin(first, self._next_id, speed))
        self._next_id += len(new)
        track_ids = np.zeros(len(contours), np.int64)
        for track, group in zip(tracks.ids[row], groups, strict=True):
            track_ids[group] = track
        self._tracks = tracks.take(tracks.unseen < self.memory)
        self._recent.append(replace(contours, track_ids=track_ids))
        return self._recent[-1]

    def confirmed(self) -> Contours:
        """The objects of confirmed tracks, whether seen in the latest image or missed.

        Short gaps are filled: an object that was missed has its last contour where its track
        expects it now, with a score of 0, as long as the track is sure enough of that place
        (`SURE`) and unless it has left the image by half. `instance_ids` are the `track_ids`.

        Raises:
            ValueError: no image was there yet.
        """
        if not self._recent:
            raise ValueError("no image was there yet; call update first")
        latest, tracks = self._recent[-1], self._tracks
        tracks = tracks.take(
            (tracks.times_seen >= self._confirm_after) | (tracks.scores >= CERTAIN)
        )
        assert latest.track_ids is not None
        seen = latest[np.isin(latest.track_ids, tracks.ids)]
        missed = (tracks.missed > 0) & (tracks.missed < len(self._recent)) & (tracks.unsure < SURE)
        missed &= share_inside(tracks.boxes_xyxy, latest.image_size) >= 0.5
        parts = [seen, *(self._moved(row) for row in tracks.take(missed).rows())]
        return _joined([one for one in parts if one.vertices.shape[1] == seen.vertices.shape[1]])

    def _moved(self, track: TrackRows) -> Contours:
        """The contours of one track when it was last seen, moved to where it should be now."""
        last = self._recent[-1 - int(track.missed[0])]
        assert last.track_ids is not None
        found = last[last.track_ids == track.ids[0]]
        points = found.vertices.reshape(-1, 2)
        low, size = points.min(axis=0), np.maximum(np.ptp(points, axis=0), 1.0)
        moved = (found.vertices - low) / size * track.size[0] + track.boxes_xyxy[0, :2]
        return replace(
            found, vertices=moved.astype(np.float32), scores=np.zeros_like(found.scores)
        )

    def _elapsed(self, image_size: tuple[int, int], seconds: float) -> float:
        """Time since the image before, s; ends all tracks where there is no going on from it."""
        elapsed = 0.0 if self._seconds is None else seconds - self._seconds
        if elapsed < 0 or elapsed > self.memory or image_size != self._image_size:
            self.reset()
        elif elapsed > 0:
            self._period = elapsed
        self._seconds, self._image_size = seconds, image_size
        return elapsed or self._period


def _joined(parts: list[Contours]) -> Contours:
    """Contours of several images as those of the first, with their tracks as instances."""
    names = ("vertices", "scores", "class_ids", "track_ids")
    both: dict[str, Any] = {
        name: np.concatenate([getattr(part, name) for part in parts]) for name in names
    }
    return replace(parts[0], **both, instance_ids=both["track_ids"])
