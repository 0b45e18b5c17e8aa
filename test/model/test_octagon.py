"""The octagon baseline: diamond, extreme points, even spacing; and models built with it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from e2ec_core.config import ModelConfig
from e2ec_core.geometry import signed_area
from e2ec_core.model.build import build_model
from e2ec_core.model.published.octagon import diamond, extreme_points, octagon, space_evenly

EXTREMES = torch.tensor([[40.0, 90.0], [100.0, 30.0], [60.0, 10.0], [20.0, 50.0]]).double()


def test_a_diamond_joins_the_middles_of_the_sides_from_the_bottom() -> None:
    box = torch.tensor([10.0, 20.0, 30.0, 60.0])
    contour = diamond(box, 8)
    assert contour[::2].tolist() == [[20, 60], [30, 40], [20, 20], [10, 40]]
    assert contour[1].tolist() == [25, 50]
    assert signed_area(contour.numpy()) < 0  # counter-clockwise on the screen


def test_an_octagon_holds_its_extreme_points_and_starts_at_the_bottom() -> None:
    contour = octagon(EXTREMES, 800)
    assert contour[0].tolist() == [40.0, 90.0]
    for point in EXTREMES:
        assert (contour - point).norm(dim=1).min() < 0.25
    assert contour.amin(0).tolist() == pytest.approx([20, 10])
    assert contour.amax(0).tolist() == pytest.approx([100, 90])
    assert signed_area(contour.numpy()) < 0
    # A quarter of the side of 80 px lies on the box.
    assert (contour[:, 1] > 90 - 1e-9).sum() == pytest.approx(20 / 0.3, rel=0.2)


def test_segments_end_at_the_corners_of_the_box() -> None:
    corner = torch.tensor([[100.0, 90.0], [100.0, 90.0], [20.0, 10.0], [20.0, 10.0]]).double()
    contour = octagon(corner, 64)
    assert contour.isfinite().all()
    assert contour.amin(0).tolist() == [20, 10]
    assert contour.amax(0).tolist() == [100, 90]


def test_vertices_are_evenly_spaced() -> None:
    contour = space_evenly(torch.tensor([[0.0, 0.0], [0.0, 0.0], [8.0, 0.0], [8.0, 8.0]]), 64)
    gaps = np.sort((contour.roll(-1, 0) - contour).norm(dim=1).numpy())
    assert np.ptp(gaps[3:]) < 1e-5  # the chords over the corners are shorter


def test_the_octagon_of_a_contour_follows_its_extreme_points_with_gradient() -> None:
    raw = EXTREMES.clone().requires_grad_()
    octagon(raw[None], 32).square().mean().backward()
    assert raw.grad is not None
    assert (raw.grad.norm(dim=1) > 0).all()
    found = extreme_points(torch.randn(3, 5, 20, 2))
    assert found.shape == (3, 5, 4, 2)
    assert (found[..., 0, 1] >= found[..., 1:, 1].amax(-1)).all()


@pytest.mark.parametrize("preset", ["e2ec_lite", "e2ec_dla34"])
@pytest.mark.parametrize(
    ("settings", "stages"),
    [
        ({"initial": "octagon", "deformation": "none", "evolutions": 1}, 3),
        ({"initial": "octagon", "evolutions": 0}, 2),
        ({"deformation": "none", "evolutions": 1}, 3),
        ({"evolutions": 0}, 2),
    ],
)
def test_models_are_built_from_named_components(preset: str, settings: dict, stages: int) -> None:
    torch.manual_seed(0)
    config = ModelConfig(preset=preset, class_names=("a", "b"), vertices=16, **settings)
    model = build_model(config).eval()
    images = torch.rand(1, 3, 64, 96) * 255
    with torch.inference_mode():
        found = model(images, max_instances=3)
        assert found.contours.shape == (1, 3, 16, 2)
        assert found.contours.isfinite().all()
        features = model.detect(images)
        seeds = model.propose(features, 2).seeds
        assert len(model.grow(features, seeds, clip=False)) == stages


def test_the_papers_deformation_is_for_the_papers_preset() -> None:
    config = ModelConfig(class_names=("a",), preset="e2ec_dla34", vertices=16, deformation="paper")
    model = build_model(config)
    assert model.deformation is not None
    assert model.deformation.reduce.weight.shape == (32, 17 * 64)
    with pytest.raises(ValueError, match="deformation 'paper' is not for e2ec_lite"):
        ModelConfig(class_names=("a",), deformation="paper")
