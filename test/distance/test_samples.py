"""Points and pixels: there and back, and calibrations that cannot be."""

from __future__ import annotations

import numpy as np
import pytest

from e2ec_core.distance import lift_depth, project_cloud

K = np.array([[100.0, 0, 60], [0, 100, 40], [0, 0, 1]])
P = np.c_[K, [4.0, -3.0, 0.01]]  # beside the origin, as KITTI's colour camera is
LIDAR = np.array([[0.0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1]])  # x ahead, z up
SIZE = (80, 120)


def test_a_point_straight_ahead_of_the_lidar_is_in_the_middle() -> None:
    samples = project_cloud(np.array([[5.0, 0, 0, 0.3]]), K, LIDAR, SIZE)
    np.testing.assert_allclose(samples.points, [[0, 0, 5]])
    np.testing.assert_allclose(samples.pixels, [[60, 40]])
    left_and_up = project_cloud(np.array([[10.0, 1, 2]]), K, LIDAR, SIZE)
    np.testing.assert_allclose(left_and_up.pixels, [[50, 20]])


def test_what_the_camera_does_not_see_is_left_out() -> None:
    cloud = np.array(
        [[-5.0, 0, 0], [0, 0, 0], [5, 4, 0], [5, 0, 3], [np.nan, 0, 0], [5, np.inf, 0], [7, 0, 0]]
    )
    assert project_cloud(cloud, K, LIDAR, SIZE).rows.tolist() == [6]
    assert len(project_cloud(np.zeros((0, 4)), K, LIDAR, SIZE)) == 0


def test_a_depth_image_gives_points_that_project_to_their_pixels() -> None:
    depth = np.random.default_rng(3).uniform(1, 30, SIZE)
    depth[2, 3], depth[4, 5], depth[6, 7] = 0.0, np.nan, np.inf
    samples = lift_depth(depth, P)
    assert len(samples) == depth.size - 3
    seen = samples.points @ P[:, :3].T + P[:, 3]
    np.testing.assert_allclose(seen[:, :2] / seen[:, 2:], samples.pixels, atol=1e-9)
    np.testing.assert_array_equal(samples.points[:, 2], depth.reshape(-1)[samples.rows])
    again = project_cloud(samples.points, P, np.eye(4), SIZE)
    np.testing.assert_allclose(again.pixels, samples.pixels, atol=1e-9)


def test_a_depth_image_is_thinned_and_limited() -> None:
    wanted = np.zeros(SIZE, np.uint8)
    wanted[30:40, 50:70] = 1
    samples = lift_depth(np.full(SIZE, 2.0), K, step=2, wanted=wanted)
    assert len(samples) == 5 * 10
    assert (samples.pixels % 2 == 0).all()
    rows, columns = np.divmod(samples.rows, SIZE[1])
    np.testing.assert_array_equal(np.stack([columns, rows], axis=1), samples.pixels)


def test_a_raw_depth_image_follows_the_rays_of_its_pixels() -> None:
    def rectify(pixels: np.ndarray) -> np.ndarray:
        return np.where(pixels[:, :1] < 2, np.nan, pixels + [3, -2])

    samples = lift_depth(np.full(SIZE, 2.0), K, rectify=rectify)
    assert samples.pixels[:, 0].min() == 2
    assert samples.rows[0] == 2
    straight = lift_depth(np.full(SIZE, 2.0), K)
    moved = straight.points[straight.rows == 10 * SIZE[1] + 23]
    np.testing.assert_allclose(samples.points[samples.rows == 12 * SIZE[1] + 20], moved)


@pytest.mark.parametrize(
    ("projection", "extrinsic", "words"),
    [
        (np.zeros((3, 4)), LIDAR, "which is no calibrated camera's"),
        (np.full((3, 4), np.nan), LIDAR, "which is no calibrated camera's"),
        (np.eye(4), LIDAR, r"the projection has shape \(4, 4\); give P \[3, 4\] or K"),
        (P, np.zeros((4, 4)), "left 3 x 3 numbers must be a rotation"),
        (P, np.diag([2.0, 2, 2, 1]), "left 3 x 3 numbers must be a rotation"),
        (P, np.diag([1.0, 1, -1, 1]), "left 3 x 3 numbers must be a rotation"),
        (P, LIDAR.T + np.eye(4)[[3, 3, 3, 0]], "its last row 0, 0, 0, 1"),
        (P, np.full((4, 4), np.nan), "the extrinsic is"),
        (P, np.eye(3), r"the extrinsic has shape \(3, 3\)"),
    ],
)
def test_impossible_calibrations_are_refused_in_one_line(
    projection: np.ndarray, extrinsic: np.ndarray, words: str
) -> None:
    with pytest.raises(ValueError, match=words) as refused:
        project_cloud(np.ones((1, 3)), projection, extrinsic, SIZE)
    assert "\n" not in str(refused.value)


def test_rounded_calibrations_are_taken() -> None:
    turned = LIDAR.copy()
    turned[:3, :3] = np.round(turned[:3, :3] + 1e-5, 6)
    assert len(project_cloud(np.array([[5.0, 0, 0]]), K, turned[:3], SIZE)) == 1
