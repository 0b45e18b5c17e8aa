"""Shapes and reference numbers for the geometry tests."""

from __future__ import annotations

import numpy as np
import pytest

from e2ec_core.geometry import Polygon


@pytest.fixture
def square() -> Polygon:
    """10 x 10, from (2, 3) to (12, 13), counter-clockwise on the screen."""
    return np.array([[2.0, 3.0], [2.0, 13.0], [12.0, 13.0], [12.0, 3.0]])


@pytest.fixture
def letter_c() -> Polygon:
    """Thick C that opens to the right; the centre of its box lies outside of it."""
    corners = [(0, 0), (0, 20), (20, 20), (20, 16), (4, 16), (4, 4), (20, 4), (20, 0)]
    return np.array(corners, dtype=np.float64)
