"""Numbers of the published model: all of the reference data, or the part that is committed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

COMMITTED = Path(__file__).resolve().parent / "parity" / "data" / "published.npz"


class PublishedNumbers(Mapping[str, NDArray]):
    """Arrays by name; a test that asks for one that is not here is skipped, saying so.

    Args:
        paths: `.npz` files, the first that has a name counts.
    """

    def __init__(self, *paths: Path) -> None:
        self._archives = [np.load(path) for path in paths if path.is_file()]

    def __getitem__(self, name: str) -> NDArray:
        for archive in self._archives:
            if name in archive.files:
                return archive[name]
        pytest.skip(f"{name!r} is in the reference data alone: set E2EC_SHARED to their folder")

    def __iter__(self) -> Iterator[str]:
        return iter({name for archive in self._archives for name in archive.files})

    def __len__(self) -> int:
        return len(list(iter(self)))
