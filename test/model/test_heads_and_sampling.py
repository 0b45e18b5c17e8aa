"""Reading maps at points and cells, against the dense computation and plain loops."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from e2ec_core.model.peaks import decode_peaks
from e2ec_core.model.published.heads import ConvHead, gather_patches
from e2ec_core.model.sampling import HALF_PIXEL_SHIFT, gather_cells, sample_vertices
from e2ec_core.model.structures import Features, plant_seeds


def _all_cells(height: int, width: int) -> Tensor:
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([x, y], dim=-1).view(1, -1, 2).double()


def test_head_at_cells_equals_the_dense_head_borders_included() -> None:
    head = ConvHead(5, 7, hidden=11).double()
    feature = torch.randn(2, 5, 6, 9, dtype=torch.float64)
    sparse = head.at_cells(feature, _all_cells(6, 9).expand(2, -1, -1))
    dense = head(feature).flatten(2).transpose(1, 2)
    torch.testing.assert_close(sparse, dense, rtol=0, atol=1e-12)


def test_head_at_cells_gives_the_dense_head_s_gradients() -> None:
    head = ConvHead(3, 4, hidden=5).double()
    feature = torch.randn(1, 3, 5, 6, dtype=torch.float64, requires_grad=True)
    cells = torch.tensor([[[0.0, 0.0], [5.0, 4.0], [2.0, 1.0]]], dtype=torch.float64)
    weight = torch.randn(1, 3, 4, dtype=torch.float64)
    inputs = [feature, *head.parameters()]
    sparse = torch.autograd.grad((head.at_cells(feature, cells) * weight).sum(), inputs)
    dense = torch.autograd.grad((gather_cells(head(feature), cells) * weight).sum(), inputs)
    for ours, expected in zip(sparse, dense, strict=True):
        torch.testing.assert_close(ours, expected, rtol=0, atol=1e-12)


def test_patches_are_ordered_like_convolution_weights() -> None:
    feature = torch.arange(2 * 4 * 5, dtype=torch.float32).view(1, 2, 4, 5)
    patch = gather_patches(feature, torch.tensor([[[2.0, 1.0]]])).view(2, 3, 3)
    torch.testing.assert_close(patch, feature[0, :, 0:3, 1:4])


def _bilinear(feature: Tensor, x: float, y: float) -> Tensor:
    """[C] at an index of [C, h, w], zeros outside."""
    _, height, width = feature.shape
    out = torch.zeros(feature.shape[0], dtype=feature.dtype)
    for j in (math.floor(y), math.floor(y) + 1):
        for i in (math.floor(x), math.floor(x) + 1):
            if 0 <= i < width and 0 <= j < height:
                out += feature[:, j, i] * (1 - abs(x - i)) * (1 - abs(y - j))
    return out


@pytest.mark.parametrize(("stride", "shift"), [(4, HALF_PIXEL_SHIFT), (2, 0.75), (4, 0.0)])
def test_sampling_equals_a_plain_loop(stride: int, shift: float) -> None:
    feature = torch.randn(2, 3, 5, 7, dtype=torch.float64)
    span = torch.tensor([7.0 * stride, 5.0 * stride], dtype=torch.float64)
    points = (torch.rand(2, 4, 6, 2, dtype=torch.float64) * 1.4 - 0.2) * span
    sampled = sample_vertices(feature, points, stride=stride, shift=shift)
    assert sampled.shape == (2, 4, 3, 6)
    for b in range(2):
        for k in range(4):
            for p in range(6):
                x, y = (points[b, k, p] / stride - shift).tolist()
                expected = _bilinear(feature[b], x, y)
                torch.testing.assert_close(sampled[b, k, :, p], expected, rtol=0, atol=1e-12)


def test_exact_sampling_at_a_cell_reads_the_cell() -> None:
    feature = torch.randn(1, 3, 4, 6, dtype=torch.float64)
    cells = _all_cells(4, 6)
    sampled = sample_vertices(feature, cells[:, :, None] * 4, stride=4, shift=0.0)
    torch.testing.assert_close(sampled[..., 0], gather_cells(feature, cells))


def test_published_sampling_mixes_half_the_padding_at_the_border() -> None:
    feature = torch.ones(1, 1, 4, 4)
    points = torch.tensor([[[[0.0, 8.0], [8.0, 0.0], [0.0, 0.0]]]])
    sampled = sample_vertices(feature, points, stride=4)
    torch.testing.assert_close(sampled.flatten(), torch.tensor([0.5, 0.5, 0.25]))


def test_float16_features_are_sampled_at_float32_positions() -> None:
    feature = torch.zeros(1, 1, 1, 1024, dtype=torch.float16)
    feature[..., 1001] = 1.0
    points = torch.tensor([[[[4 * 1000.75, 0.0]]]])
    sampled = sample_vertices(feature, points, stride=4, shift=0.0)
    assert sampled.dtype == torch.float16
    assert float(sampled) == pytest.approx(0.75, abs=1e-3)


def test_single_peak_is_found_and_the_rest_is_empty() -> None:
    heatmap = torch.full((1, 3, 6, 8), -30.0)
    heatmap[0, 2, 4, 5] = 2.0
    peaks = decode_peaks(heatmap, 4)
    assert peaks.class_ids[0, 0] == 2
    assert peaks.cells[0, 0].tolist() == [5.0, 4.0]
    assert float(peaks.scores[0, 0]) == pytest.approx(1 / (1 + math.exp(-2)))
    assert float(peaks.scores[0, 1:].max()) < 1e-12


def test_peaks_equal_a_plain_search_over_classes_and_cells() -> None:
    heatmap = torch.randn(2, 3, 7, 9, dtype=torch.float64)
    peaks = decode_peaks(heatmap, 12)
    for b in range(2):
        found = []
        for c in range(3):
            for y in range(7):
                for x in range(9):
                    window = heatmap[b, c, max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2]
                    if heatmap[b, c, y, x] == window.max():
                        found.append((float(heatmap[b, c, y, x].sigmoid()), c, x, y))
        found.sort(reverse=True)
        for slot, (score, c, x, y) in enumerate(found[:12]):
            assert float(peaks.scores[b, slot]) == pytest.approx(score, abs=1e-12)
            assert peaks.class_ids[b, slot] == c
            assert peaks.cells[b, slot].tolist() == [x, y]


def test_more_slots_than_cells_stay_empty() -> None:
    peaks = decode_peaks(torch.randn(2, 1, 2, 3), 20)
    assert peaks.scores.shape == (2, 20)
    assert float(peaks.scores[:, 6:].abs().max()) == 0
    assert bool((peaks.cells >= 0).all())


def test_seeds_carry_the_boxes_of_the_box_head() -> None:
    sides = torch.zeros(1, 4, 3, 5)
    sides[0, :, 2, 3] = torch.tensor([1.0, 2.0, 5.0, 7.0])  # left, top, right, bottom
    features = Features(torch.zeros(1, 1, 3, 5), box_sides=sides)
    seeds = plant_seeds(features, torch.tensor([[[3.0, 2.0]]]))
    assert seeds.boxes is not None
    assert seeds.boxes[0, 0].tolist() == [11.0, 6.0, 17.0, 15.0]
