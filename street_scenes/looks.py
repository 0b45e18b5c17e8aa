"""Bodies and clothes of people."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from street_scenes.mesh import Color

SKINS: tuple[Color, ...] = (
    (0.87, 0.68, 0.56), (0.8, 0.58, 0.44), (0.62, 0.42, 0.29), (0.42, 0.27, 0.18),
    (0.28, 0.18, 0.12), (0.9, 0.74, 0.64),
)  # fmt: skip
HAIRS: tuple[Color, ...] = (
    (0.06, 0.05, 0.04), (0.16, 0.1, 0.06), (0.32, 0.2, 0.1), (0.6, 0.45, 0.22), (0.55, 0.54, 0.52),
)  # fmt: skip
FABRICS: tuple[Color, ...] = (
    (0.08, 0.09, 0.12), (0.14, 0.18, 0.32), (0.24, 0.33, 0.5), (0.85, 0.85, 0.84),
    (0.6, 0.1, 0.1), (0.75, 0.55, 0.15), (0.2, 0.4, 0.25), (0.45, 0.45, 0.47),
    (0.5, 0.38, 0.26), (0.8, 0.45, 0.5), (0.3, 0.55, 0.7), (0.9, 0.5, 0.15),
)  # fmt: skip
TROUSERS: tuple[Color, ...] = (
    (0.1, 0.12, 0.2), (0.16, 0.22, 0.38), (0.06, 0.06, 0.07), (0.4, 0.34, 0.25),
    (0.3, 0.31, 0.33), (0.24, 0.33, 0.5),
)  # fmt: skip
SHOES: tuple[Color, ...] = ((0.05, 0.05, 0.05), (0.8, 0.8, 0.8), (0.25, 0.15, 0.08))


@dataclass(frozen=True, kw_only=True)
class Look:
    """Body and clothes of one person. Lengths in m, colours as RGB albedo.

    Attributes:
        height: Standing height.
        build: Girth factor, about 1.
        skin, hair, top, bottom, shoes: Colours.
        sleeves: Share of the arm that is covered, 0..1.
        legs: Share of the leg that the trousers or skirt cover, 0..1.
        skirt: Whether the lower garment is a skirt.
        coat: How far the upper garment reaches down the thighs, 0..1.
        long_hair: Whether hair falls to the shoulders.
        backpack: Colour of a backpack, if any.
        helmet: Colour of a helmet, if any.
    """

    height: float
    build: float
    skin: Color
    hair: Color
    top: Color
    bottom: Color
    shoes: Color
    sleeves: float
    legs: float
    skirt: bool
    coat: float
    long_hair: bool
    backpack: Color | None
    helmet: Color | None


def random_look(rng: np.random.Generator, *, helmet: bool = False, rider: bool = False) -> Look:
    """A random adult or child, or a rider, who is grown up and wears trousers."""
    child = rng.random() < 0.1 and not rider
    skirt = bool(rng.random() < 0.15) and not rider
    short = bool(rng.random() < 0.2)
    return Look(
        height=float(rng.uniform(1.15, 1.45) if child else rng.normal(1.72, 0.08)),
        build=float(rng.uniform(0.9, 1.2)),
        skin=SKINS[rng.integers(len(SKINS))],
        hair=HAIRS[rng.integers(len(HAIRS))],
        top=FABRICS[rng.integers(len(FABRICS))],
        bottom=TROUSERS[rng.integers(len(TROUSERS))],
        shoes=SHOES[rng.integers(len(SHOES))],
        sleeves=float(rng.choice([0.45, 1.0, 1.0])),
        legs=0.55 if skirt or short else 1.0,
        skirt=skirt,
        coat=float(rng.choice([0.0, 0.0, 0.35, 0.9])) * (not rider),
        long_hair=bool(rng.random() < 0.35),
        backpack=FABRICS[rng.integers(len(FABRICS))] if rng.random() < 0.22 else None,
        helmet=FABRICS[rng.integers(len(FABRICS))] if helmet else None,
    )
