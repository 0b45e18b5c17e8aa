"""The detector of the lite preset: its layers as TensorFlow's, its outputs as the original's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from e2ec_core.checkpoint import read_checkpoint
from e2ec_core.model.lite.detector import LiteDetector
from e2ec_core.model.lite.mobilenet import SameConv2d, SqueezeExcite, hard_swish
from e2ec_core.model.structures import Features


def test_hard_swish_of_known_values() -> None:
    x = torch.tensor([-4.0, -3.0, -1.0, 0.0, 1.0, 3.0, 5.0])
    expected = torch.tensor([0.0, 0.0, -1 / 3, 0.0, 2 / 3, 3.0, 5.0])
    torch.testing.assert_close(hard_swish(x), expected, rtol=1e-3, atol=0)


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("size", [8, 14])
def test_stride_two_pads_as_tensorflow_does(kernel: int, size: int) -> None:
    """SAME for an even size: the total is kernel - 2, its odd pixel right and below."""
    conv = SameConv2d(1, 1, kernel, stride=2).double()
    x = torch.randn(1, 1, size, size, dtype=torch.float64)
    out = conv(x)
    assert out.shape == (1, 1, size // 2, size // 2)
    before = (kernel - 2) // 2
    padded = F.pad(x, (before, kernel - 2 - before) * 2)
    assert conv.bias is not None
    for row, column in ((0, 0), (1, 2), (size // 2 - 1, size // 2 - 1)):
        window = padded[0, 0, 2 * row : 2 * row + kernel, 2 * column : 2 * column + kernel]
        expected = (window * conv.weight[0, 0]).sum() + conv.bias[0]
        torch.testing.assert_close(out[0, 0, row, column], expected)


@pytest.mark.parametrize("kernel", [3, 5])
def test_stride_one_pads_evenly(kernel: int) -> None:
    conv = SameConv2d(4, 4, kernel, groups=4)
    x = torch.randn(2, 4, 9, 11)
    expected = F.conv2d(x, conv.weight, conv.bias, padding=kernel // 2, groups=4)
    torch.testing.assert_close(conv(x), expected)


def test_squeeze_excite_scales_whole_channels() -> None:
    torch.manual_seed(0)
    block, x = SqueezeExcite(6, 3), torch.rand(2, 6, 5, 7) + 0.5
    ratio = block(x) / x
    torch.testing.assert_close(ratio, ratio[:, :, :1, :1].expand_as(ratio))
    assert bool((ratio >= 0).all())
    assert bool((ratio <= 1.001).all())


@pytest.fixture(scope="module")
def fresh() -> LiteDetector:
    torch.manual_seed(0)
    return LiteDetector(3).eval()


@pytest.mark.parametrize("size", [(32, 32), (64, 96)])
def test_maps_have_their_strides(fresh: LiteDetector, size: tuple[int, int]) -> None:
    height, width = size
    with torch.inference_mode():
        features: Features = fresh(255 * torch.rand(2, 3, height, width))
    assert features.heatmap.shape == (2, 3, height // 4, width // 4)
    assert features.feature.shape[2:] == (height // 4, width // 4)
    assert features.fine is not None
    assert features.fine.shape[2:] == (height // 2, width // 2)
    assert features.box_sides is not None
    assert features.box_sides.shape == (2, 4, height // 4, width // 4)


def test_images_of_a_batch_do_not_mix(fresh: LiteDetector) -> None:
    images = 255 * torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        together, alone = fresh(images), fresh(images[1:])
    torch.testing.assert_close(together.heatmap[1:], alone.heatmap, rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def original(shared_dir: Path) -> dict[str, np.ndarray]:
    """Outputs of the original network in TensorFlow.js for two KITTI crops."""
    with np.load(shared_dir / "reference" / "lite_start.npz") as archive:
        return {name: archive[name] for name in archive.files}


@pytest.fixture(scope="module")
def shipped(repo_dir: Path) -> LiteDetector:
    """The detector inside the shipped weights."""
    info, state = read_checkpoint(repo_dir / "weights" / "e2ec_lite.safetensors")
    detector = LiteDetector(len(info.config.class_names))
    own = {k.removeprefix("detector."): v for k, v in state.items() if k.startswith("detector.")}
    detector.load_state_dict(own)
    return detector.eval()


def _channels_last(tensor: Tensor) -> np.ndarray:
    return tensor[0].permute(1, 2, 0).numpy()


@pytest.mark.parametrize("crop", [0, 1])
def test_shipped_detector_is_the_original(
    shipped: LiteDetector, original: dict[str, np.ndarray], crop: int
) -> None:
    image = torch.from_numpy(original[f"{crop}/image_rgb"]).permute(2, 0, 1)[None].float()
    with torch.inference_mode():
        stem = hard_swish(shipped.backbone.stem(image))
        features: Features = shipped(image)
    expected = original[f"{crop}/keypoints"]
    np.testing.assert_allclose(_channels_last(features.heatmap.sigmoid()), expected, atol=1e-3)
    np.testing.assert_allclose(
        _channels_last(stem), original[f"{crop}/stem"].astype(np.float32), rtol=2e-3, atol=2e-3
    )
    np.testing.assert_allclose(
        _channels_last(features.feature),
        original[f"{crop}/feature"].astype(np.float32),
        rtol=2e-2,
        atol=2e-2,
    )
    assert features.box_sides is not None
    sides = _channels_last(features.box_sides)
    wanted = original[f"{crop}/wh"]
    likely = expected.max(axis=2) > 0.1  # sides mean something where an object is
    assert likely.sum() > 20
    np.testing.assert_allclose(sides[likely], wanted[likely], rtol=5e-3, atol=0.1)
    np.testing.assert_allclose(sides, wanted, rtol=2e-2, atol=1.0)
