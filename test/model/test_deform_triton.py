"""The fused deformable convolution: on a GPU as it is, elsewhere in Triton's interpreter."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from e2ec_core.model.published import deform_torch

pytest.importorskip("triton", reason="no triton: pip install '.[triton]'")
from e2ec_core.model.published import deform_triton

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
TOLERANCE = {torch.float32: 2e-5, torch.float16: 2e-3}
"""Of the largest value; float16 has steps of a thousandth."""
CASES = {
    "odd": (2, 5, 3, (7, 9), 1.7),
    "more channels than a block": (1, 70, 66, (5, 13), 1.7),
    "several blocks of pixels": (3, 16, 16, (11, 17), 1.7),
    "far outside": (1, 4, 4, (6, 5), 1e4),
    "one cell": (1, 1, 1, (1, 1), 0.4),
}
"""Images, channels in and out, size, and standard deviation of the offsets in cells."""


@pytest.fixture(autouse=True)
def exact_products(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


def _inputs(case: str, dtype: torch.dtype, kernel: int = 3) -> list[Tensor]:
    """Image, offset, mask, weight and bias, all of which float16 can hold."""
    batch, channels, out, size, reach = CASES[case]
    generator = torch.Generator().manual_seed(7)

    def random(*shape: int, scale: float = 1.0) -> Tensor:
        values = scale * torch.randn(*shape, generator=generator)
        return values.half().to(DEVICE, dtype)

    taps = kernel * kernel
    return [
        random(batch, channels, *size),
        random(batch, 2 * taps, *size, scale=reach),
        random(batch, taps, *size).sigmoid(),
        random(out, channels, kernel, kernel, scale=(taps * channels) ** -0.5),
        random(out),
    ]


def _assert_near(found: Tensor, exact: Tensor, dtype: torch.dtype) -> None:
    assert found.shape == exact.shape
    assert found.dtype == dtype
    largest = float(exact.abs().max())
    torch.testing.assert_close(
        found.cpu().double(), exact, rtol=0, atol=TOLERANCE[dtype] * max(largest, 1e-3)
    )


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("case", CASES)
def test_values_are_those_of_the_reference_in_float64(case: str, dtype: torch.dtype) -> None:
    inputs = _inputs(case, dtype)
    exact = deform_torch.forward(*(t.cpu().double() for t in inputs))
    _assert_near(deform_triton.forward(*inputs), exact, dtype)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("case", CASES)
def test_gradients_are_those_of_the_reference_in_float64(case: str, dtype: torch.dtype) -> None:
    image, offset, mask, weight, _ = _inputs(case, dtype)
    grad = torch.randn(len(image), len(weight), *image.shape[2:]).half().to(DEVICE, dtype)
    given = (grad, image, offset, mask, weight)
    exact = deform_torch.backward(*(t.cpu().double() for t in given))
    found = deform_triton.backward(*given)
    for ours, wanted in zip(found, exact, strict=True):
        _assert_near(ours, wanted, dtype)
    if case == "far outside":
        assert float(exact[1].abs().max()) == float(found[1].abs().max()) == 0


def test_other_kernel_sizes_and_memory_layouts() -> None:
    inputs = _inputs("odd", torch.float32, kernel=5)
    inputs = [
        t if t.dim() < 4 else t.contiguous(memory_format=torch.channels_last) for t in inputs
    ]
    exact = deform_torch.forward(*(t.cpu().double() for t in inputs))
    out = deform_triton.forward(*inputs)
    _assert_near(out, exact, torch.float32)
    assert out.is_contiguous(memory_format=torch.channels_last)


def test_float32_offsets_serve_a_float16_image() -> None:
    """A position of 1500.25 would round to 1500 in float16."""
    image = torch.zeros(1, 1, 1, 1600, dtype=torch.float16, device=DEVICE)
    image[..., 1501] = 1.0
    offset = torch.zeros(1, 18, 1, 1600, device=DEVICE)
    offset[:, 9] = 0.25
    weight = torch.zeros(1, 1, 3, 3, dtype=torch.float16, device=DEVICE)
    weight[..., 1, 1] = 1.0
    mask = torch.ones(1, 9, 1, 1600, dtype=torch.float16, device=DEVICE)
    out = deform_triton.forward(image, offset, mask, weight, weight[0, 0, 0, :1])
    assert float(out[0, 0, 0, 1500]) == pytest.approx(0.25, abs=1e-3)


def test_what_is_not_finite_shows_and_reads_no_foreign_memory() -> None:
    image, offset, mask, weight, bias = _inputs("odd", torch.float32)
    offset[0, 0, 2, 3] = torch.nan
    offset[0, 2, 4, 5] = torch.inf
    out = deform_triton.forward(image, offset, mask, weight, bias)
    expected = deform_torch.forward(image, offset, mask, weight, bias)
    assert bool(expected[0, :, 2, 3].isnan().all())
    torch.testing.assert_close(out, expected, rtol=1e-4, atol=1e-4, equal_nan=True)
