"""The deformable convolution against plain convolution, a naive loop and numerical gradients."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from e2ec_core.model.published.deform_conv import DeformConv, deform_conv2d


def _inputs(
    dtype: torch.dtype, *, channels: int = 3, out: int = 2, size: tuple[int, int] = (4, 5)
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(7)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    offset = random(2, 18, *size) * 1.7  # far enough that samples leave the map on every side
    mask = random(2, 9, *size).sigmoid()
    return random(2, channels, *size), offset, mask, random(out, channels, 3, 3), random(out)


def _naive(image: Tensor, offset: Tensor, mask: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The definition, one output value at a time."""
    batch, channels, height, width = image.shape
    out = torch.zeros(batch, weight.shape[0], height, width, dtype=image.dtype)

    def pixel(b: int, c: int, y: int, x: int) -> float:
        return float(image[b, c, y, x]) if 0 <= y < height and 0 <= x < width else 0.0

    for b in range(batch):
        for row in range(height):
            for column in range(width):
                for tap in range(9):
                    y = row + tap // 3 - 1 + float(offset[b, 2 * tap, row, column])
                    x = column + tap % 3 - 1 + float(offset[b, 2 * tap + 1, row, column])
                    y0, x0 = math.floor(y), math.floor(x)
                    dy, dx = y - y0, x - x0
                    for c in range(channels):
                        value = (
                            pixel(b, c, y0, x0) * (1 - dy) * (1 - dx)
                            + pixel(b, c, y0, x0 + 1) * (1 - dy) * dx
                            + pixel(b, c, y0 + 1, x0) * dy * (1 - dx)
                            + pixel(b, c, y0 + 1, x0 + 1) * dy * dx
                        ) * float(mask[b, tap, row, column])
                        out[b, :, row, column] += weight[:, c, tap // 3, tap % 3] * value
    return out + bias[:, None, None]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_zero_offsets_and_unit_mask_equal_plain_convolution(
    dtype: torch.dtype, tolerance: float
) -> None:
    image, offset, mask, weight, bias = _inputs(dtype, channels=5, out=4, size=(7, 9))
    out = deform_conv2d(image, torch.zeros_like(offset), torch.ones_like(mask), weight, bias)
    expected = F.conv2d(image, weight, bias, padding=1)
    torch.testing.assert_close(out, expected, rtol=0, atol=tolerance)


def test_integer_offset_of_all_taps_shifts_the_image() -> None:
    image, offset, mask, weight, bias = _inputs(torch.float64, size=(6, 6))
    shift = torch.zeros_like(offset)
    shift[:, 1::2] = 2.0  # dx
    out = deform_conv2d(image, shift, torch.ones_like(mask), weight, bias)
    expected = F.conv2d(F.pad(image, (0, 2))[..., 2:], weight, bias, padding=1)
    # In column 0 the plain convolution sees its padding where the image goes on.
    torch.testing.assert_close(out[..., 1:], expected[..., 1:], rtol=0, atol=1e-12)


def test_random_offsets_equal_the_definition() -> None:
    inputs = _inputs(torch.float64)
    torch.testing.assert_close(deform_conv2d(*inputs), _naive(*inputs), rtol=0, atol=1e-12)


def test_gradients_equal_numerical_ones() -> None:
    inputs = [tensor.requires_grad_() for tensor in _inputs(torch.float64, size=(3, 4))]
    assert torch.autograd.gradcheck(deform_conv2d, inputs, atol=1e-6)


def test_operator_is_registered_consistently() -> None:
    inputs = tuple(tensor.requires_grad_() for tensor in _inputs(torch.float32))
    torch.library.opcheck(deform_conv2d, inputs)


def test_half_precision_keeps_positions_exact() -> None:
    """In float16 a position of 1500.25 would round to 1500; the operator must not do that."""
    width = 1600
    image = torch.zeros(1, 1, 1, width, dtype=torch.float16)
    image[..., 1501] = 1.0
    offset = torch.zeros(1, 18, 1, width, dtype=torch.float16)
    offset[:, 9] = 0.25
    weight = torch.zeros(1, 1, 3, 3, dtype=torch.float16)
    weight[..., 1, 1] = 1.0
    mask, bias = torch.ones(1, 9, 1, width).half(), torch.zeros(1).half()
    out = deform_conv2d(image, offset, mask, weight, bias)
    assert out.dtype == torch.float16
    assert float(out[0, 0, 0, 1500]) == pytest.approx(0.25, abs=1e-3)


def test_module_starts_as_half_a_plain_convolution() -> None:
    layer = DeformConv(4, 6).double()
    x = torch.randn(1, 4, 8, 8, dtype=torch.float64)
    expected = F.conv2d(x, layer.weight, padding=1) / 2
    torch.testing.assert_close(layer(x), expected, rtol=0, atol=1e-12)


def test_wrong_offset_channels_are_named() -> None:
    image, offset, mask, weight, bias = _inputs(torch.float32)
    with pytest.raises(ValueError, match=r"offset has shape \(2, 16, 4, 5\)"):
        deform_conv2d(image, offset[:, :16], mask, weight, bias)
