"""The assembled model: stages, clipping, gradients, tracing."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from e2ec_core.config import ModelConfig
from e2ec_core.model.build import build_model
from e2ec_core.model.e2ec import E2EC, clip_to_map
from e2ec_core.model.published.deformation import GlobalDeformation
from e2ec_core.model.published.evolution import ContourEvolution, ContourNet, ContourNorm
from e2ec_core.model.published.initial import InitialContour
from e2ec_core.model.structures import Features, Seeds

VERTICES = 16


class _ReducedImage(nn.Module):
    """A detector whose features are the image itself, at stride 4."""

    def forward(self, images: Tensor) -> Features:
        reduced = nn.functional.avg_pool2d(images, 4)
        return Features(heatmap=reduced[:, :2], feature=reduced)


def _small(*, deformation: bool = True, evolutions: int = 2) -> E2EC:
    """The published stages at small sizes, on features that are given."""
    torch.manual_seed(3)
    model = E2EC(
        detector=_ReducedImage(),
        initial=InitialContour(4, VERTICES, hidden=8),
        deformation=GlobalDeformation(4, VERTICES, hidden=8) if deformation else None,
        evolutions=[
            ContourEvolution(ContourNet(6, state=8, kernel=5, dilations=(1, 2), fusion=8))
            for _ in range(evolutions)
        ],
    ).double()
    for net in model.evolutions:
        nn.init.normal_(net.net.prediction[-1].weight, std=1.0)
    return model.eval()


def _features(batch: int = 1) -> Features:
    generator = torch.Generator().manual_seed(5)
    feature = torch.randn(batch, 4, 16, 24, generator=generator, dtype=torch.float64)
    return Features(heatmap=feature[:, :2], feature=feature)


def _images(batch: int = 1) -> Tensor:
    """Images that reduce to the features above."""
    return nn.functional.interpolate(_features(batch).feature, scale_factor=4)


SEEDS = Seeds(cells=torch.tensor([[[3.0, 4.0], [8.0, 6.0], [15.0, 0.0]]], dtype=torch.float64))


@pytest.mark.parametrize(("stage", "count"), [("initial", 1), ("coarse", 2), ("final", 4)])
def test_grow_stops_at_the_stage_asked_for(stage: str, count: int) -> None:
    model = _small()
    everything = model.grow(_features(), SEEDS, clip=True)
    grown = model.grow(_features(), SEEDS, stage, clip=True)
    assert len(grown) == count
    assert grown[-1].shape == (1, 3, VERTICES, 2)
    for ours, expected in zip(grown, everything, strict=False):
        assert torch.equal(ours, expected)


def test_without_deformation_the_coarse_contour_is_the_initial_one() -> None:
    initial, coarse, *_ = _small(deformation=False).grow(_features(), SEEDS, clip=True)
    assert torch.equal(initial, coarse)


def test_clipping_holds_initial_and_coarse_contours_on_the_map() -> None:
    model = _small()
    nn.init.constant_(model.initial.head.out.bias, 3.0)
    free = model.grow(_features(), SEEDS, "coarse", clip=False)
    clipped = model.grow(_features(), SEEDS, "coarse", clip=True)
    limit = torch.tensor([92.0, 60.0], dtype=torch.float64)  # the last cells' centres
    assert bool((free[0] > limit).any())
    for contour in clipped:
        assert bool((contour >= 0).all())
        assert bool((contour <= limit).all())
    assert torch.equal(clipped[0], clip_to_map(free[0], _features().feature))


def test_empty_slots_have_score_zero_and_stand_last() -> None:
    result = _small()(_images(2), max_instances=800)
    assert result.contours.shape == (2, 800, VERTICES, 2)
    assert bool((result.scores.diff(dim=1) <= 0).all())
    assert float(result.scores[:, -1].max()) == 0


def test_images_of_a_batch_do_not_mix() -> None:
    model, images = _small(), _images(2)
    together = model(images, max_instances=4)
    for b in range(2):
        alone = model(images[b : b + 1], max_instances=4)
        torch.testing.assert_close(alone.contours[0], together.contours[b])


def test_contour_net_commutes_with_rolling_the_contour() -> None:
    net = ContourNet(6, state=8, kernel=5, dilations=(1, 2, 4)).double().eval()
    x = torch.randn(3, 6, 24, dtype=torch.float64)
    rolled = net(x.roll(7, dims=2))
    torch.testing.assert_close(rolled, net(x).roll(7, dims=2), rtol=0, atol=1e-12)


def test_evolution_does_not_depend_on_place_where_features_are_flat() -> None:
    features = Features(torch.ones(1, 4, 30, 30))
    evolution = _small(evolutions=1).evolutions[0].float()
    contour = 40 + 20 * torch.rand(1, 2, VERTICES, 2)
    seeds = Seeds(cells=torch.zeros(1, 2, 2))
    moved = evolution(features, seeds, contour + 17.0)
    torch.testing.assert_close(moved, evolution(features, seeds, contour) + 17.0)


def test_evolution_losses_do_not_reach_the_stages_before() -> None:
    model = _small()
    contours = model.grow(_features(), SEEDS, clip=False)
    earlier = [*model.initial.parameters(), *model.deformation.parameters()]
    gradients = torch.autograd.grad(contours[-1].sum(), earlier, allow_unused=True)
    assert all(gradient is None for gradient in gradients)


def test_the_second_evolution_s_loss_reaches_the_first() -> None:
    model = _small()
    contours = model.grow(_features(), SEEDS, clip=False)
    weight = model.evolutions[0].net.prediction[-1].weight
    (gradient,) = torch.autograd.grad(contours[3].square().sum(), weight)
    assert float(gradient.abs().max()) > 0


def test_coarse_loss_reaches_the_initial_contour_only_through_sampling() -> None:
    """With flat features no sampling position matters, and the added contour is detached."""
    model = _small()
    weight = model.initial.head.out.weight
    coarse = model.grow(_features(), SEEDS, "coarse", clip=False)[1]
    (gradient,) = torch.autograd.grad(coarse.sum(), weight)
    assert float(gradient.abs().max()) > 0
    flat = Features(torch.ones(1, 4, 400, 400, dtype=torch.float64))
    inner = Seeds(cells=torch.full((1, 3, 2), 200.0, dtype=torch.float64))
    coarse = model.grow(flat, inner, "coarse", clip=False)[1]
    (gradient,) = torch.autograd.grad(coarse.sum(), weight)
    assert float(gradient.abs().max()) < 1e-9


@pytest.fixture(scope="module")
def dla34() -> E2EC:
    torch.manual_seed(0)
    config = ModelConfig(preset="e2ec_dla34", class_names=("car", "person", "tram"))
    return build_model(config).eval()


def test_dla34_has_the_published_number_of_parameters(dla34: E2EC) -> None:
    """29,767,714 with 20 classes, less the unused classifier, projections and 17 classes."""
    unused = 513_000 + (64 * 128 + 2 * 128) + (128 * 256 + 2 * 256)
    count = sum(parameter.numel() for parameter in dla34.parameters())
    assert count == 29_767_714 - unused - 17 * 257


def test_fresh_heatmap_expects_few_objects(dla34: E2EC) -> None:
    images = 255 * torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        scores = dla34.detect(images).heatmap.sigmoid()
    assert float(scores.mean()) == pytest.approx(0.1, abs=0.05)


def test_forward_traces_without_a_graph_break(dla34: E2EC) -> None:
    images = 255 * torch.rand(1, 3, 64, 64)
    compiled = torch.compile(dla34, backend="eager", fullgraph=True)
    with torch.no_grad():
        result = compiled(images, max_instances=4)
        expected = dla34(images, max_instances=4)
    torch.testing.assert_close(result.contours, expected.contours)
    assert torch.equal(result.class_ids, expected.class_ids)


def test_forward_exports_with_the_operator_kept_whole(dla34: E2EC) -> None:
    images = 255 * torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        program = torch.export.export(dla34, (images,), {"max_instances": 4})
        exported = program.module()(images, max_instances=4)
        expected = dla34(images, max_instances=4)
    names = [str(node.target) for node in program.graph.nodes]
    assert sum("e2ec.deform_conv2d" in name for name in names) == 16
    torch.testing.assert_close(exported.contours, expected.contours)


def test_padded_slots_do_not_move_the_norms_of_a_training_step() -> None:
    torch.manual_seed(1)
    norm, plain = ContourNorm(5).double(), nn.BatchNorm1d(5).double()
    x = torch.randn(6, 5, 8, dtype=torch.float64, requires_grad=True)
    valid = torch.tensor([True, False, True, True, False, True])
    padded = torch.where(valid[:, None, None], x, torch.nan)
    out, expected = norm(padded, valid)[valid], plain(x[valid])
    torch.testing.assert_close(out, expected)
    torch.testing.assert_close(norm.running_mean, plain.running_mean)
    torch.testing.assert_close(norm.running_var, plain.running_var)
    weight = torch.randn_like(out)
    (gradient,) = torch.autograd.grad((out * weight).sum(), x)
    (wanted,) = torch.autograd.grad((expected * weight).sum(), x)
    torch.testing.assert_close(gradient, wanted)


def test_a_batch_without_instances_moves_no_norm() -> None:
    norm = ContourNorm(3)
    out = norm(torch.randn(4, 3, 8), torch.zeros(4, dtype=torch.bool))
    assert bool(torch.isfinite(out).all())
    assert norm.running_mean is not None
    assert norm.running_mean.tolist() == [0.0, 0.0, 0.0]


def test_padding_of_a_training_batch_leaves_other_contours_as_they_are() -> None:
    model = _small().train()
    seeds = Seeds(SEEDS.cells, valid=torch.tensor([[True, True, False]]))
    elsewhere = SEEDS.cells.clone()
    elsewhere[0, 2] = torch.tensor([1.0, 9.0])
    first = model.grow(_features(), seeds, clip=False)[-1]
    second = model.grow(_features(), seeds._replace(cells=elsewhere), clip=False)[-1]
    torch.testing.assert_close(first[:, :2], second[:, :2])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_keeps_contours_in_float32(dtype: torch.dtype) -> None:
    model, images = _small(), _features().feature.to(dtype)
    exact = model.grow(Features(images.double()), SEEDS, clip=True)
    seeds = Seeds(SEEDS.cells.float())
    half = model.to(dtype).grow(Features(images), seeds, clip=True)
    for ours, expected in zip(half, exact, strict=True):
        assert ours.dtype == torch.float32
        torch.testing.assert_close(ours.double(), expected, rtol=0, atol=1.0)


def test_size_that_is_no_multiple_of_32_is_named(dla34: E2EC) -> None:
    with pytest.raises(ValueError, match="40x64 px"):
        dla34(torch.zeros(1, 3, 40, 64))
