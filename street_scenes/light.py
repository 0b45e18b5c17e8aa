"""Daylight: colours of sun and sky, and how they shade faces."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Rgb = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class Light:
    """One kind of weather at one time of day. Colours are linear factors, about 0..1.

    Attributes:
        sun_direction: Unit vector `(x, y, z)` from the ground towards the sun, world frame.
        sun: Sunlight; small under an overcast sky.
        sky: Light from above.
        zenith: Colour of the sky overhead.
        horizon: Colour of the sky at the horizon, and of haze.
        clouds: Share of the sky covered by clouds, 0..1.
        haze_m: Distance at which haze covers 63 % of an object.
    """

    sun_direction: tuple[float, float, float]
    sun: Rgb
    sky: Rgb
    zenith: Rgb
    horizon: Rgb
    clouds: float
    haze_m: float

    @property
    def shadow_strength(self) -> float:
        """Share of the light on the ground that an object in the sun takes away, 0..1."""
        sunny = sum(self.sun) * self.sun_direction[2]
        return sunny / (sunny + sum(self.sky))


def random_light(rng: np.random.Generator) -> Light:
    """Clear noon, low warm sun, broken clouds or an overcast day."""
    azimuth = rng.uniform(0, 2 * np.pi)
    mood = rng.choice(4, p=[0.4, 0.2, 0.25, 0.15])
    elevation = np.deg2rad([rng.uniform(35, 65), rng.uniform(14, 28), 50.0, 55.0][mood])
    direction = (
        float(np.cos(elevation) * np.cos(azimuth)),
        float(np.cos(elevation) * np.sin(azimuth)),
        float(np.sin(elevation)),
    )
    suns = [(0.82, 0.78, 0.7), (0.95, 0.72, 0.48), (0.5, 0.49, 0.47), (0.12, 0.12, 0.12)]
    skies = [(0.48, 0.53, 0.62), (0.5, 0.52, 0.6), (0.52, 0.55, 0.6), (0.7, 0.72, 0.75)]
    zeniths = [(0.25, 0.47, 0.82), (0.33, 0.45, 0.7), (0.42, 0.55, 0.76), (0.66, 0.7, 0.75)]
    horizons = [(0.78, 0.87, 0.95), (0.97, 0.83, 0.66), (0.84, 0.87, 0.91), (0.83, 0.85, 0.87)]
    return Light(
        sun_direction=direction,
        sun=suns[mood],
        sky=skies[mood],
        zenith=zeniths[mood],
        horizon=horizons[mood],
        clouds=float([rng.uniform(0.1, 0.4), 0.35, 0.65, 1.0][mood]),
        haze_m=float(rng.uniform(250, 900)),
    )


def shade(
    light: Light,
    colors: NDArray[np.float64],
    gloss: NDArray[np.float64],
    normals: NDArray[np.float64],
    views: NDArray[np.float64],
    heights: NDArray[np.float64],
    distance: float,
) -> NDArray[np.float64]:
    """Shade faces: sun, sky and ground light, a reflected street for glossy paint, haze.

    Args:
        light: The weather.
        colors: `[F, 3]` RGB albedo, 0..1.
        gloss: `[F]`, 0..1.
        normals: `[F, 3]`, unit, outward, world frame.
        views: `[F, 3]`, unit, from the face to the camera.
        heights: `[F]`, height of the face above the ground, m.
        distance: Distance of the object, m.

    Returns:
        `[F, 3]` RGB, 0..1.
    """
    sun_direction = np.asarray(light.sun_direction)
    sunlit = np.clip(normals @ sun_direction, 0, None)
    upward = 0.5 + 0.5 * normals[:, 2]
    # The road below keeps light from the flanks of what stands on it: without this darkening
    # vehicles seem to float.
    openness = 0.55 + 0.45 * np.clip(heights / 0.7, 0, 1)
    ambient = np.asarray(light.sky) * (0.5 + 0.7 * upward * openness)[:, None]
    diffuse = colors * (ambient + np.asarray(light.sun) * sunlit[:, None])
    facing = np.clip((normals * views).sum(1), 0, 1)
    mirror = 2 * facing[:, None] * normals - views
    fresnel = gloss * (0.08 + 0.72 * (1 - facing) ** 4)
    reflected = _street_reflection(light, mirror[:, 2])
    spark = gloss * np.clip(mirror @ sun_direction, 0, None) ** 50 * 0.8
    result = diffuse * (1 - fresnel[:, None]) + reflected * fresnel[:, None]
    result += spark[:, None] * np.asarray(light.sun)
    # A camera's shoulder: white paint in the sun keeps its shape.
    result = np.where(result > 0.7, 1 - 0.3 * np.exp((0.7 - result) / 0.3), result)
    haze = 1 - np.exp(-distance / light.haze_m)
    result = result * (1 - haze) + np.asarray(light.horizon) * haze
    return np.asarray(np.clip(result, 0, 1))


def _street_reflection(light: Light, elevation: NDArray[np.float64]) -> NDArray[np.float64]:
    """What a mirror shows by the z component of its ray: road, houses, bright sky, zenith."""
    stops = [-1.0, -0.02, 0.02, 0.22, 0.3, 1.0]
    horizon, zenith = np.asarray(light.horizon), np.asarray(light.zenith)
    levels = np.stack([[0.2] * 3, [0.28] * 3, [0.22] * 3, [0.3] * 3, horizon, zenith])
    return np.stack([np.interp(elevation, stops, levels[:, c]) for c in range(3)], 1)
