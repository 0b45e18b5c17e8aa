"""Road wheels of cars, lorries and buses."""

from __future__ import annotations

import numpy as np

from street_scenes.mesh import Color, Mesh, disc, join, loft

TYRE: Color = (0.035, 0.035, 0.038)


def wheel(
    radius: float,
    width: float,
    rim: Color,
    facing: int,
    *,
    segments: int = 18,
    spokes: int = 5,
    first_layer: int = 4,
) -> Mesh:
    """A wheel centred on the origin; its tread is painted before the body, its face after it.

    Args:
        radius: m.
        width: m.
        rim: RGB.
        facing: 1 for a wheel on the left, whose face looks to y = +inf, -1 on the right.
        segments: Corners of the tyre.
        spokes: Number of spokes; 0 for a plain steel wheel.
        first_layer: Layer of the tyre's face; rim, spokes and hub follow.
    """
    angles = np.arange(segments) * (2 * np.pi / segments)
    circle = np.stack([np.cos(angles), np.zeros(segments), np.sin(angles)], 1) * radius
    shift = np.array([0, width / 2, 0])
    hub = shift * facing
    dark = tuple(channel * (0.35 if spokes else 0.8) for channel in rim)
    tyre, ring, bars, cap = (first_layer + step for step in range(4))
    look: dict[str, int] = {"facing": facing, "segments": segments}
    parts = [
        loft(np.stack([circle - shift, circle + shift]), TYRE, layer=0),
        disc(hub, 0, radius, TYRE, layer=tyre, **look),
        disc(hub, 0, radius * 0.66, (dark[0], dark[1], dark[2]), layer=ring, gloss=0.3, **look),
        disc(hub, radius * 0.58, radius * 0.66, rim, layer=bars, gloss=0.4, **look),
        disc(hub, 0, radius * 0.17, rim, layer=cap, gloss=0.4, **look),
    ]
    if segments < 10:
        return join(parts[:3])
    if spokes:
        bar = _spokes(radius, rim, facing, spokes, bars)
        parts.append(bar.moved(0, float(hub[1])))
    return join(parts)


def wheel_arch(radius: float, facing: int, *, floor: float, segments: int, layer: int = 3) -> Mesh:
    """The dark opening around a wheel, cut off at height `floor` below the hub, m."""
    return disc(
        (0, 0, 0), 0, radius, (0.02, 0.02, 0.02), facing=facing, layer=layer, floor=floor,
        segments=segments,
    )  # fmt: skip


def _spokes(radius: float, rim: Color, facing: int, count: int, layer: int) -> Mesh:
    angles = np.arange(count) * (2 * np.pi / count) + 0.3
    zero = np.zeros(count)
    along = np.stack([np.cos(angles), zero, np.sin(angles)], 1) * radius
    across = np.stack([-np.sin(angles), zero, np.cos(angles)], 1) * radius
    corners = [
        along * 0.1 - across * 0.12, along * 0.62 - across * 0.09,
        along * 0.62 + across * 0.09, along * 0.1 + across * 0.12,
    ]  # fmt: skip
    faces = np.arange(4 * count).reshape(4, count).T
    return Mesh.of(
        np.concatenate(corners),
        # In the x-z plane this order turns from x to z, which looks to y = -inf.
        faces if facing < 0 else faces[:, ::-1],
        rim,
        gloss=0.4,
        layer=layer,
        side=facing,
    )
