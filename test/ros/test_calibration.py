"""Whether a CameraInfo belongs to an image, and pixels without distortion."""

from __future__ import annotations

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo, RegionOfInterest
from std_msgs.msg import Header

from e2ec_ros.calibration import Calibration, fit_calibration, pinhole

K = [800.0, 0.0, 650.0, 0.0, 810.0, 470.0, 0.0, 0.0, 1.0]
P = [780.0, 0.0, 640.0, -40.0, 0.0, 790.0, 480.0, 2.0, 0.0, 0.0, 1.0, 0.0]
# Strong lenses, each at coefficients of calibrations that people publish.
LENSES = {
    "plumb_bob": [-0.36, 0.14, 0.001, -0.0006, -0.02],
    "rational_polynomial": [0.52, -2.6, 0.0006, -0.0002, 1.5, 0.4, -2.4, 1.46],
    "equidistant": [-0.02, 0.004, -0.006, 0.002],
}


def info(**fields: object) -> CameraInfo:
    """Of 1280x960 px, without distortion."""
    model: dict[str, object] = {"distortion_model": "plumb_bob", "d": [0.0] * 5}
    rotation = np.eye(3).reshape(-1).tolist()
    return CameraInfo(
        **{"height": 960, "width": 1280, "k": K, "r": rotation, "p": P, **model, **fields}
    )  # type: ignore[arg-type]


def test_a_camera_info_of_the_images_size_is_taken_as_it_is() -> None:
    found = fit_calibration(info(d=[0.1, 0.2, 0.3, 0.4, 0.5]), (960, 1280))
    assert found.known
    assert found.k.reshape(-1).tolist() == K
    assert found.p.reshape(-1).tolist() == P
    again = found.fill(CameraInfo(header=Header(frame_id="cam")))
    assert again == info(header=Header(frame_id="cam"), d=[0.1, 0.2, 0.3, 0.4, 0.5])


@pytest.mark.parametrize("size", [(480, 640), (1920, 2560), (240, 320), (481, 641)])
def test_a_scaled_image_scales_the_calibration(size: tuple[int, int]) -> None:
    found = fit_calibration(info(), size)
    x, y = size[1] / 1280, size[0] / 960
    assert found.size == size
    np.testing.assert_allclose(found.k, [[800 * x, 0, 650 * x], [0, 810 * y, 470 * y], [0, 0, 1]])
    want = [[780 * x, 0, 640 * x, -40 * x], [0, 790 * y, 480 * y, 2 * y], [0, 0, 1, 0]]
    np.testing.assert_allclose(found.p, want)


def test_binning_and_region_of_interest_are_honoured() -> None:
    roi = RegionOfInterest(x_offset=100, y_offset=60, width=800, height=600)
    cut = fit_calibration(info(roi=roi), (600, 800))
    np.testing.assert_allclose(cut.k, [[800, 0, 550], [0, 810, 410], [0, 0, 1]])
    binned = fit_calibration(info(roi=roi, binning_x=2, binning_y=4), (150, 400))
    np.testing.assert_allclose(binned.k, [[400, 0, 275], [0, 202.5, 102.5], [0, 0, 1]])
    np.testing.assert_allclose(binned.p[0], [390, 0, 270, -20])
    both = fit_calibration(info(binning_x=2, binning_y=2), (480, 640))
    np.testing.assert_allclose(both.k[0], [400, 0, 325])


@pytest.mark.parametrize(
    ("fields", "size", "words"),
    [
        ({}, (960, 960), "belongs to 1280x960 px, the image has 960x960"),
        ({}, (1280, 960), "the image has 960x1280"),
        ({}, (720, 1280), "the image has 1280x720"),
        ({"height": 0}, (960, 1280), "gives no size"),
        ({"roi": RegionOfInterest(width=800, height=400)}, (600, 800), "the image has 800x600"),
        ({"header": Header(frame_id="left")}, (960, 1280), "frame 'left', the image to 'right'"),
        ({"k": [float("nan")] * 9}, (960, 1280), "not numbers"),
    ],
)
def test_a_camera_info_of_something_else_is_refused(
    fields: dict[str, object], size: tuple[int, int], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        fit_calibration(info(**fields), size, "right")


def test_an_uncalibrated_camera_stays_one_at_every_size() -> None:
    found = fit_calibration(CameraInfo(height=960, width=1280), (100, 300))
    assert not found.known
    assert found.fill(CameraInfo()) == CameraInfo(height=100, width=300)


def test_messages_of_ros_1_are_read() -> None:
    old = SimpleNamespace(
        header=SimpleNamespace(frame_id="/cam"),
        height=960,
        width=1280,
        distortion_model="plumb_bob",
        **{"D": [0.0] * 5, "K": K, "R": np.eye(3).reshape(-1), "P": P},
    )
    assert fit_calibration(old, (960, 1280), "cam").k[0, 2] == 650.0


def grid() -> NDArray[np.float64]:
    """Points of a plane at 2 m, m; the lenses see it up to their edges."""
    x, y = np.meshgrid(np.linspace(-1.3, 1.3, 9), np.linspace(-1.0, 1.0, 7))
    return np.stack([x, y, np.full_like(x, 2.0)], axis=-1).reshape(-1, 3)


@pytest.mark.parametrize("model", LENSES)
def test_pixels_of_raw_images_lose_their_distortion(model: str) -> None:
    d = np.array(LENSES[model])
    still = np.zeros(3)
    project = cv2.fisheye.projectPoints if model == "equidistant" else cv2.projectPoints
    k = np.reshape(K, (3, 3))
    raw = project(grid()[:, None], still, still, k, d)[0].reshape(-1, 2)
    found = fit_calibration(info(distortion_model=model, d=d.tolist()), (960, 1280))
    homogeneous = grid() @ np.reshape(P, (3, 4))[:, :3].T
    want = homogeneous[:, :2] / homogeneous[:, 2:]
    assert np.abs(raw - want).max() > 10  # px that would be wrong
    np.testing.assert_allclose(found.rectified(raw), want, atol=0.01)
    # Without P, K alone tells where the rays go.
    alone = fit_calibration(info(distortion_model=model, d=d.tolist(), p=[0.0] * 12), (960, 1280))
    np.testing.assert_allclose(
        alone.rectified(raw), (grid() @ k.T)[:, :2] / grid()[:, 2:], atol=0.01
    )


def test_a_fisheye_bends_also_with_coefficients_of_zero() -> None:
    found = fit_calibration(
        info(distortion_model="equidistant", d=[0.0] * 4, p=[0.0] * 12), (960, 1280)
    )
    angle = 0.7
    raw = np.array([[650 + 800 * angle, 470.0]])
    np.testing.assert_allclose(found.rectified(raw), [[650 + 800 * np.tan(angle), 470]], atol=0.01)


@pytest.mark.parametrize(
    ("model", "d", "words"),
    [
        ("", [0.1] * 5, "model '' is unknown; known are plumb_bob"),
        ("kannala", [0.1] * 4, "'kannala' is unknown"),
        ("plumb_bob", [0.1] * 3, "'plumb_bob' has 3 coefficients"),
        ("equidistant", [0.1] * 5, "'equidistant' has 5 coefficients"),
        ("plumb_bob", [float("nan")] * 5, "nan"),
    ],
)
def test_models_that_nobody_knows_are_named(model: str, d: list[float], words: str) -> None:
    found = fit_calibration(info(distortion_model=model, d=d), (960, 1280))
    with pytest.raises(ValueError, match=words):
        found.rectified(np.zeros((3, 2)))


def test_without_a_lens_pixels_stay_where_they_are() -> None:
    pixels = np.array([[3.0, 4.0], [500.0, 600.0]])
    np.testing.assert_allclose(pinhole((960, 1280), 500, 510, 640, 480).rectified(pixels), pixels)
    only_p = Calibration(size=(960, 1280), p=np.reshape(P, (3, 4)))
    np.testing.assert_array_equal(only_p.rectified(pixels), pixels)
