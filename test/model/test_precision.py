"""Coordinates stay float32 under autocast and in models of half precision."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from e2ec_core.config import ModelConfig, Preset
from e2ec_core.model.build import build_model
from e2ec_core.model.precision import in_float32
from e2ec_core.model.published.evolution import ContourEvolution, ContourNet
from e2ec_core.model.published.folding import halve_weights
from e2ec_core.model.structures import Features, Seeds

HALVES = (torch.float16, torch.bfloat16)


def _large_contour() -> Tensor:
    """A wavy ring in a box of about 760 px, [1, 1, 64, 2]."""
    angle = torch.arange(64) * (2 * torch.pi / 64)
    ring = torch.stack([angle.sin(), angle.cos()], -1) * (1 + 0.1 * (5 * angle).sin())[:, None]
    return (400 + 345 * ring)[None, None]


@pytest.mark.parametrize("half", ["autocast", "weights"])
def test_an_evolution_moves_large_contours_as_in_float32(half: str) -> None:
    """In bfloat16, neighbouring numbers at 700 px lie 4 px apart; features may be that coarse."""
    torch.manual_seed(0)
    net = ContourNet(6, state=16, kernel=5, dilations=(1, 2), fusion=16)
    for module in net.modules():
        if isinstance(module, nn.Conv1d):
            nn.init.normal_(module.weight, std=(0.5 / module.weight[0].numel()) ** 0.5)
    evolution = ContourEvolution(net).eval()
    for parameter in evolution.parameters():  # the same numbers in both precisions
        parameter.data = parameter.bfloat16().float()
    feature = torch.randn(1, 4, 200, 200).bfloat16()
    seeds, contour = Seeds(torch.full((1, 1, 2), 100.0)), _large_contour()
    with torch.no_grad():
        exact = evolution(Features(feature.float()), seeds, contour)
        assert float((exact - contour).abs().max()) > 5
        half_evolution = copy.deepcopy(evolution)
        if half == "weights":
            half_evolution.bfloat16()
        with torch.autocast("cpu", torch.bfloat16, enabled=half == "autocast"):
            moved = half_evolution(Features(feature), seeds, contour)
    assert moved.dtype == torch.float32
    assert float((moved - exact).abs().mean()) < 0.1
    assert float((moved - exact).abs().max()) < 0.3


def test_in_float32_keeps_gradients_in_the_weights_of_the_layer() -> None:
    layer, x = nn.Linear(4, 2), torch.randn(3, 4)
    with torch.autocast("cpu", torch.bfloat16):
        out = in_float32(layer, x)
        assert layer(x).dtype == torch.bfloat16
    assert torch.equal(out, layer(x))
    out.sum().backward()
    assert layer.weight.grad is not None


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize(
    "settings",
    [{}, {"initial": "octagon"}, {"components": True}],
    ids=["plain", "octagon", "parts"],
)
def test_half_precision_weights_give_float32_contours(dtype: torch.dtype, settings: dict) -> None:
    torch.manual_seed(0)
    model = build_model(ModelConfig(class_names=("a", "b"), vertices=16, **settings)).eval()
    images = 255 * torch.rand(1, 3, 64, 96)
    with torch.inference_mode():
        exact = model.detect(images)
        seeds = Seeds(torch.tensor([[[8.0, 8.0]]]), torch.tensor([[[-300.0, -300, 400, 390]]]))
        expected = model.grow(exact, seeds, clip=False)
        model.to(dtype)
        features = model.detect(images.to(dtype))
        assert model.propose(features, 2).boxes.dtype == torch.float32
        for ours, wanted in zip(model.grow(features, seeds, clip=False), expected, strict=True):
            assert ours.dtype == torch.float32
            # Fresh offsets are a small share of the box, so what is left is the box itself.
            torch.testing.assert_close(ours, wanted, rtol=0, atol=1.0)
        found = model(images.to(dtype), max_instances=2)
        assert found.contours.dtype == torch.float32
        assert bool(found.contours.isfinite().all())


@pytest.mark.parametrize("preset", ["e2ec_dla34", "e2ec_lite"])
def test_halved_weights_give_what_autocast_gives(preset: Preset) -> None:
    """Only that autocast need not round them for every image."""
    torch.manual_seed(0)
    model = build_model(ModelConfig(preset=preset, class_names=("car", "person"))).eval()
    images = torch.randint(0, 256, (1, 3, 64, 96)).float()
    halved = copy.deepcopy(model)
    halve_weights(halved, torch.bfloat16)
    count = sum(p.numel() for p in halved.parameters() if p.dtype == torch.bfloat16)
    assert count > 1_000_000
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        expected, found = (m(images, max_instances=8) for m in (model, halved))
    assert torch.equal(found.contours, expected.contours)
    assert torch.equal(found.scores, expected.scores)
