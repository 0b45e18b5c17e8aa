"""The street: its course, its cross-section and what stands along it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Street:
    """A gently winding street with traffic on the right.

    Positions are given as `along` (m, world x) and `across` (m from the centre line, positive to
    the left of driving direction).

    Attributes:
        seed: Seed of everything that stands along the street.
        lanes: Lanes per direction.
        lane_width: m.
        cycling: Width of the cycle lane on both sides, m; 0 for none.
        parking: Width of the parking strip on both sides, m; 0 for none.
        pavement: Width of the pavements, m.
        setback: Distance from the pavement to the houses, m.
        town: 0 (suburb: gaps, hedges, low houses) .. 1 (closed rows of high houses).
        winding: Amplitudes, m, wave lengths / (2 pi), m, and phases of the course, `[3][2]`.
    """

    seed: int
    lanes: int
    lane_width: float
    cycling: float
    parking: float
    pavement: float
    setback: float
    town: float
    winding: tuple[tuple[float, float], tuple[float, float], tuple[float, float]]

    @property
    def kerb(self) -> float:
        """Distance of the kerbs from the centre line, m."""
        return self.lanes * self.lane_width + self.cycling + self.parking

    @property
    def facade(self) -> float:
        """Distance of the house fronts from the centre line, m."""
        return self.kerb + self.pavement + self.setback

    def lane_center(self, lane: int) -> float:
        """`across` of lane 0, 1, .. in driving direction (negative: -1, -2, .. oncoming)."""
        return -(lane + 0.5) * self.lane_width

    def center(self, along: NDArray[np.float64] | float) -> NDArray[np.float64]:
        """World y of the centre line."""
        amplitudes, lengths, phases = self.winding
        terms = zip(amplitudes, lengths, phases, strict=True)
        return np.asarray(sum(a * np.sin(np.asarray(along) / w + p) for a, w, p in terms))

    def heading(self, along: float) -> float:
        """Direction of the centre line, rad."""
        amplitudes, lengths, phases = self.winding
        terms = zip(amplitudes, lengths, phases, strict=True)
        return float(np.arctan(sum(a / w * np.cos(along / w + p) for a, w, p in terms)))

    def place(self, along: float, across: float) -> tuple[float, float]:
        """World `(x, y)` of a place on the street, m."""
        return along, float(self.center(along)) + across


def random_street(seed: int) -> Street:
    """A street of a town or suburb."""
    rng = np.random.default_rng([seed, 11])
    amplitudes = (float(rng.uniform(2, 9)), float(rng.uniform(0.5, 3)))
    lengths = (float(rng.uniform(90, 160)), float(rng.uniform(45, 70)))
    phases = (float(rng.uniform(0, 6.28)), float(rng.uniform(0, 6.28)))
    return Street(
        seed=seed,
        lanes=int(rng.choice([1, 1, 2])),
        lane_width=float(rng.uniform(3.1, 3.6)),
        cycling=float(rng.choice([0.0, 1.5])),
        parking=float(rng.choice([0.0, 2.2, 2.3])),
        pavement=float(rng.uniform(2.6, 4.5)),
        setback=float(rng.choice([0.0, 0.5, 4.0])),
        town=float(rng.uniform(0, 1)),
        winding=(amplitudes, lengths, phases),
    )


@lru_cache(maxsize=20)
def noise_tile(seed: int, size: int = 512, falloff: float = 1.0) -> NDArray[np.float32]:
    """A tileable noise texture, float32 `[size, size]`, mean 0, standard deviation 1.

    The spectrum falls with frequency to the power `-falloff`: 0 is grain, 2 is clouds.
    """
    rng = np.random.default_rng([seed, size])
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None]) * size
    spectrum = np.fft.rfft2(rng.standard_normal((size, size)))
    spectrum *= np.maximum(frequency, 1.0) ** -falloff
    spectrum[0, 0] = 0
    tile = np.fft.irfft2(spectrum, s=(size, size))
    return np.asarray(tile / tile.std(), np.float32)
