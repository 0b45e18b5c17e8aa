"""A drive through traffic, frame by frame."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from street_scenes.camera import Camera
from street_scenes.light import Light, random_light
from street_scenes.render import render
from street_scenes.scene import SyntheticScene, check_size
from street_scenes.street import Street, random_street
from street_scenes.traffic import street_actors


class Drive:
    """An endless drive through one street; any frame can be asked for at any time.

    The same seed, size and frame index give the same pixels on the same OpenCV version.
    """

    def __init__(self, seed: int, width: int = 640, height: int = 384, fps: float = 20.0) -> None:
        """Set up a drive.

        Args:
            seed: Any non-negative integer.
            width: Image width, px.
            height: Image height, px.
            fps: Frames per second of the drive.

        Raises:
            ValueError: If a value is out of range.
        """
        check_size(seed, width, height)
        if not fps > 0:
            raise ValueError(f"fps must be positive, got {fps}")
        self.seed, self.width, self.height, self.fps = seed, width, height, fps
        rng = np.random.default_rng([seed, 51])
        self.speed = float(rng.uniform(7, 11))
        self._focal = width * float(rng.uniform(0.75, 0.95))
        self._eye = float(rng.uniform(1.45, 1.75))

    @cached_property
    def street(self) -> Street:
        """The street of this drive."""
        return random_street(self.seed)

    @cached_property
    def light(self) -> Light:
        """The weather of this drive."""
        return random_light(np.random.default_rng([self.seed, 52]))

    def frame(self, index: int) -> SyntheticScene:
        """Render frame `index` (any integer)."""
        seconds = index / self.fps
        actors = list(street_actors(self.street, self._along(seconds), seconds, self.speed))
        camera = self.camera(seconds)
        return render(
            camera, self.light, self.street, actors, seed=self.seed, noise_seed=abs(index)
        )

    def camera(self, seconds: float) -> Camera:
        """The camera behind the windscreen of the car that drives."""
        along = self._along(seconds)
        x, y = self.street.place(along, self.street.lane_center(0))
        return Camera(
            width=self.width,
            height=self.height,
            focal_px=self._focal,
            position=(x, y, self._eye),
            yaw=self.street.heading(along),
            pitch=0.03 + 0.003 * float(np.sin(seconds * 5.1)),
            horizon=0.48,
        )

    def _along(self, seconds: float) -> float:
        return self.speed * seconds
