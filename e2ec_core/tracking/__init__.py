"""Stable ids for objects over the images of a video; needs NumPy and SciPy alone."""

from e2ec_core.tracking.tracker import Tracker

__all__ = ["Tracker"]
