"""KITTI's labels as the benchmark of distances reads them, and its numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest


@pytest.fixture
def benchmark(load_script: Callable[[str], ModuleType]) -> ModuleType:
    return load_script("benchmarks/distance.py")


def test_a_labelled_box_knows_what_is_inside(benchmark: ModuleType, tmp_path: Path) -> None:
    # A car 4 m long, 1.5 high and 2 wide that drives to the right, 10 m ahead.
    path = tmp_path / "label.txt"
    path.write_text(
        "Car 0.25 1 0.0 10 20 30 40 1.5 2.0 4.0 1.0 1.5 10.0 0.0\nDontCare" + " -1" * 14 + "\n"
    )
    (label,) = benchmark.read_labels(path)
    assert label.truncated == 0.25
    np.testing.assert_allclose(label.outside(np.array([3.5, 0.75, 11])), [0.5, -0.75, 0])
    np.testing.assert_allclose(label.outside(np.array([1, -1, 8.5])), [-2, 1, 0.5])
    assert label.near == pytest.approx(9)
    turned = benchmark.Label(**{**vars(label), "yaw": -math.pi / 2})  # it drives away from us
    assert turned.near == pytest.approx(8)
    np.testing.assert_allclose(turned.outside(np.array([1, 0.75, 12.5])), [0.5, -0.75, -1], 1e-9)


@pytest.mark.slow
def test_positions_lie_in_the_labelled_boxes(benchmark: ModuleType, shared_dir: Path) -> None:
    folders = [shared_dir / "data/kitti_lidar_frames", shared_dir / "data/kitti_tracking_0001"]
    found = benchmark.run(folders, None)
    assert len(found["ms"]) == 12
    assert len(found["most"]) > 50
    for rows, share in (("most", 0.95), ("nearest", 0.96)):
        assert np.mean([one["inside"] for one in found[rows]]) >= share
        assert np.median(np.abs([one["near_error"] for one in found[rows]])) < 0.3
