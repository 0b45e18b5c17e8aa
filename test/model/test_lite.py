"""The lite preset: box-relative stages, the region encoder, and the assembled model."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from e2ec_core.config import ModelConfig
from e2ec_core.model.build import build_model
from e2ec_core.model.e2ec import E2EC
from e2ec_core.model.lite.region import enlarge, sample_region
from e2ec_core.model.lite.stages import ResidualCircularBlock, normals
from e2ec_core.model.structures import STRIDE, Features, Region, Seeds

CONFIG = ModelConfig(preset="e2ec_lite", class_names=("car", "person"), vertices=32, evolutions=2)
SIZE = 256


def _stages(model: E2EC) -> list[nn.Module]:
    assert model.deformation is not None
    return [model.initial, model.deformation, *model.evolutions]


@pytest.fixture(scope="module")
def model() -> E2EC:
    """In float64, with every parameter of the stages moved away from its quiet start."""
    torch.manual_seed(1)
    model = build_model(CONFIG).double().eval().requires_grad_(False)
    for stage in _stages(model):
        for parameter in stage.parameters():
            parameter.add_(0.015 * torch.randn_like(parameter))
    return model


@pytest.fixture(scope="module")
def features(model: E2EC) -> Features:
    """Of a noisy image."""
    torch.manual_seed(2)
    images = 255 * torch.rand(1, 3, SIZE, SIZE, dtype=torch.float64)
    with torch.no_grad():
        return model.detect(images)


def _seeds(*boxes: tuple[float, float, float, float], dtype: torch.dtype = torch.float64) -> Seeds:
    frames = torch.tensor([boxes], dtype=dtype)
    centres = (frames[..., :2] + frames[..., 2:]) / 2
    return Seeds(cells=(centres / STRIDE).floor(), boxes=frames)


INNER = _seeds((100, 90, 156, 130), (90, 100, 121, 163))


def _mapped(features: Features, change: Callable[[Tensor], Tensor]) -> Features:
    """Every map of the features changed, whatever maps there are."""

    def walk(value: object) -> object:
        if isinstance(value, Tensor):
            return change(value)
        return tuple(walk(item) for item in value) if isinstance(value, tuple) else value

    return Features(*(walk(value) for value in features))  # type: ignore[arg-type]


def _double_area(contours: Tensor) -> Tensor:
    x, y = contours.unbind(-1)
    return (x * y.roll(-1, -1) - x.roll(-1, -1) * y).sum(-1)


def _zeroed(model: E2EC) -> E2EC:
    still = copy.deepcopy(model)
    for stage in _stages(still):
        for parameter in stage.parameters():
            parameter.zero_()
    return still


def test_zero_offsets_give_the_ellipse_in_the_box(model: E2EC, features: Features) -> None:
    boxes = INNER.boxes
    assert boxes is not None
    for contour in _zeroed(model).grow(features, INNER, clip=False):
        torch.testing.assert_close(contour.amin(2), boxes[..., :2])
        torch.testing.assert_close(contour.amax(2), boxes[..., 2:])
        centre, half = (boxes[..., :2] + boxes[..., 2:]) / 2, (boxes[..., 2:] - boxes[..., :2]) / 2
        radius = ((contour - centre[:, :, None]) / half[:, :, None]).norm(dim=-1)
        torch.testing.assert_close(radius, torch.ones_like(radius))


def test_contours_start_at_the_bottom_and_run_counter_clockwise(
    model: E2EC, features: Features
) -> None:
    contour = _zeroed(model).grow(features, INNER, "initial", clip=False)[0]
    assert torch.equal(contour[..., 1].argmax(2), torch.zeros(1, 2, dtype=torch.long))
    assert bool((contour[:, :, 1, 0] > contour[:, :, 0, 0]).all())  # first along the bottom, right
    assert bool((_double_area(contour) < 0).all())


def test_a_fresh_model_starts_from_the_ellipse(features: Features) -> None:
    """Untrained offsets are small against the box, so that training starts from a sane shape."""
    torch.manual_seed(4)
    fresh = build_model(CONFIG).double().eval()
    boxes = INNER.boxes
    assert boxes is not None
    with torch.no_grad():
        contours = fresh.grow(features, INNER, clip=False)
    for contour in contours:
        error = torch.cat([contour.amin(2) - boxes[..., :2], contour.amax(2) - boxes[..., 2:]], 2)
        assert float(error.abs().max()) < 4


@pytest.mark.parametrize("cells", [(8, 0), (-8, 8)])
def test_contours_move_with_the_image(
    model: E2EC, features: Features, cells: tuple[int, int]
) -> None:
    """Whole cells of the coarsest map (32 px), away from the border: nothing else may change."""
    shift = torch.tensor(cells, dtype=torch.float64)

    def roll(feature: Tensor) -> Tensor:
        if feature.ndim < 4:  # the candidates' points, which stages do not read
            return feature
        steps = [c * STRIDE * feature.shape[-1] // SIZE for c in cells]
        return feature.roll((steps[1], steps[0]), dims=(2, 3))

    assert INNER.boxes is not None
    moved_seeds = Seeds(INNER.cells + shift, INNER.boxes + STRIDE * shift.repeat(2))
    here = model.grow(features, INNER, clip=False)
    there = model.grow(_mapped(features, roll), moved_seeds, clip=False)
    assert len(here) == 4
    for before, after in zip(here, there, strict=True):
        torch.testing.assert_close(after, before + STRIDE * shift, rtol=0, atol=1e-8)


def test_every_stage_moves_the_contour(model: E2EC, features: Features) -> None:
    contours = model.grow(features, INNER, clip=False)
    for before, after in pairwise(contours):
        assert float((after - before).norm(dim=-1).mean()) > 0.05


def test_instances_do_not_see_each_other(model: E2EC, features: Features) -> None:
    assert INNER.boxes is not None
    alone = Seeds(INNER.cells[:, 1:], INNER.boxes[:, 1:])
    together = model.grow(features, INNER, clip=False)[-1]
    torch.testing.assert_close(together[:, 1:], model.grow(features, alone, clip=False)[-1])


def test_contours_do_not_depend_on_the_class_scores(model: E2EC, features: Features) -> None:
    assert features.candidates is not None
    changed = features.candidates._replace(logits=torch.zeros_like(features.logits))
    other = features._replace(candidates=changed)
    expected = model.grow(features, INNER, clip=False)[-1]
    assert torch.equal(model.grow(other, INNER, clip=False)[-1], expected)


def test_evolution_commutes_with_the_choice_of_the_first_vertex(
    model: E2EC, features: Features
) -> None:
    seeds = model.encode_regions(features, INNER)
    contour = model.grow(features, seeds, "coarse", clip=False)[-1]
    for evolution in model.evolutions:
        moved = evolution(features, seeds, contour)
        rolled = evolution(features, seeds, contour.roll(5, dims=2))
        torch.testing.assert_close(rolled, moved.roll(5, dims=2), rtol=0, atol=1e-9)


@pytest.mark.parametrize("dilation", [1, 4])
def test_circular_block_commutes_with_rolling(dilation: int) -> None:
    torch.manual_seed(0)
    block, x = (
        ResidualCircularBlock(8, dilation).double(),
        torch.randn(3, 8, 24, dtype=torch.float64),
    )
    torch.testing.assert_close(block(x.roll(7, 2)), block(x).roll(7, 2), rtol=0, atol=1e-12)


def test_circular_block_without_weights_changes_nothing() -> None:
    block, x = ResidualCircularBlock(8, 2), torch.randn(3, 8, 24)
    for parameter in block.conv.parameters():
        nn.init.zeros_(parameter)
    assert torch.equal(block(x), x)


def test_normals_of_a_circle_point_away_from_its_centre() -> None:
    angle = torch.arange(32) * (2 * torch.pi / 32)
    circle = torch.stack([angle.sin(), angle.cos()], dim=1)[None, None]  # from the bottom, right
    outward = normals(50 + 20 * circle)
    torch.testing.assert_close(outward, circle, rtol=0, atol=1e-4)
    inward = normals((50 + 20 * circle).flip(2))
    torch.testing.assert_close(inward, -circle.flip(2), rtol=0, atol=1e-4)


def test_a_contour_in_one_point_has_finite_normals() -> None:
    assert normals(torch.full((1, 1, 8, 2), 3.0)).tolist() == torch.zeros(1, 1, 8, 2).tolist()


def test_enlarging_keeps_the_centre() -> None:
    boxes = torch.tensor([[10.0, 20.0, 30.0, 60.0], [5.0, 5.0, 5.0, 5.0], [9.0, 9.0, 3.0, 3.0]])
    assert enlarge(boxes, 2.0)[0].tolist() == [0, 0, 40, 80]
    assert enlarge(boxes, 1.0)[1].tolist() == [1, 1, 9, 9]  # a degenerate box still has a frame
    assert enlarge(boxes, 1.0)[2].tolist() == [2, 2, 10, 10]  # and so has one inside out


def _plain_region() -> Region:
    """Two regions of 4 x 4 cells over different frames, whose values name their cells."""
    values = torch.arange(2 * 4 * 4, dtype=torch.float64).view(2, 1, 4, 4)
    frame = torch.tensor([[[0.0, 0, 8, 8], [10, 20, 50, 100]]], dtype=torch.float64)
    return Region(feature=values, code=values, mask=values, frame=frame)


def test_region_cells_are_read_at_their_centres() -> None:
    points = torch.tensor([[[[1.0, 1], [7, 1], [3, 5]], [[15, 30], [45, 90], [25, 70]]]]).double()
    sampled = sample_region(_plain_region(), points)
    assert sampled.shape == (1, 2, 1, 3)
    assert sampled[0, 0, 0].tolist() == pytest.approx([0, 3, 9])
    assert sampled[0, 1, 0].tolist() == pytest.approx([16, 31, 16 + 9])


def test_outside_a_region_its_border_goes_on() -> None:
    points = torch.tensor([[[[-50.0, 1], [100, 100]], [[500, 30], [-5, -5]]]]).double()
    sampled = sample_region(_plain_region(), points)[0, :, 0]
    assert sampled.tolist() == [[0, 15], [19, 16]]


def test_a_region_covers_the_box_with_a_margin(model: E2EC, features: Features) -> None:
    region = model.encode_regions(features, INNER).region
    assert region is not None
    assert INNER.boxes is not None
    assert bool((region.frame[..., :2] < INNER.boxes[..., :2]).all())
    assert bool((region.frame[..., 2:] > INNER.boxes[..., 2:]).all())
    assert region.mask.shape[:2] == (1, 2)
    assert region.feature.shape[0] == 2
    assert region.feature.shape[-2:] == region.mask.shape[-2:]


def test_regions_are_encoded_once(model: E2EC, features: Features) -> None:
    seeds = model.encode_regions(features, INNER)
    assert model.encode_regions(features, seeds) is seeds


@pytest.mark.parametrize(
    "box", [(50, 50, 50, 50), (80, 80, 40, 30), (-300, -200, -250, -100), (0, 0, 9000, 9000)]
)
def test_strange_boxes_still_give_finite_contours(
    model: E2EC, features: Features, box: tuple[float, float, float, float]
) -> None:
    seeds = _seeds(box)._replace(cells=torch.full((1, 1, 2), 20.0, dtype=torch.float64))
    for contour in model.grow(features, seeds, clip=False):
        assert bool(contour.isfinite().all())


@pytest.fixture(scope="module")
def single(model: E2EC) -> E2EC:
    """The same model in float32."""
    return copy.deepcopy(model).float()


@pytest.fixture(scope="module")
def images() -> Tensor:
    return 255 * torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(3))


def test_results_keep_the_model_s_precision(model: E2EC, single: E2EC, images: Tensor) -> None:
    exact = model(images.double(), max_instances=4)
    rounded = single(images, max_instances=4)
    assert exact.contours.dtype == exact.scores.dtype == torch.float64
    assert rounded.contours.dtype == rounded.scores.dtype == torch.float32
    assert torch.equal(exact.class_ids, rounded.class_ids)
    torch.testing.assert_close(rounded.contours.double(), exact.contours, rtol=1e-3, atol=0.05)


def test_bfloat16_arithmetic_keeps_contours_in_float32(single: E2EC, images: Tensor) -> None:
    expected = single(images, max_instances=4)
    with torch.autocast("cpu", torch.bfloat16):
        result = single(images, max_instances=4)
    assert result.contours.dtype == torch.float32
    assert bool(result.contours.isfinite().all())
    assert result.contours.shape == expected.contours.shape


@pytest.mark.parametrize("slots", [1, 7, 140])
def test_the_number_of_slots_is_what_was_asked_for(single: E2EC, slots: int) -> None:
    blank = torch.zeros(2, 3, 32, 32)  # 128 cells
    result = single(blank, max_instances=slots)
    assert result.contours.shape == (2, slots, 32, 2)
    assert result.scores.shape == result.class_ids.shape == (2, slots)
    assert bool(result.contours.isfinite().all())
    assert bool((result.scores.diff(dim=1) <= 0).all())


def test_empty_slots_do_not_change_the_others(single: E2EC, images: Tensor) -> None:
    small = images[..., :32, :64]
    few, many = single(small, max_instances=3), single(small, max_instances=120)
    torch.testing.assert_close(many.contours[:, :3], few.contours, rtol=1e-4, atol=1e-3)
    assert float(many.scores[0, -1]) == 0
    assert bool(many.contours.isfinite().all())


def test_earlier_stages_are_prefixes_of_the_whole(single: E2EC, images: Tensor) -> None:
    everything = {
        stage: single(images, max_instances=3, stage=stage).contours
        for stage in ("initial", "coarse", "final")
    }
    assert not torch.equal(everything["initial"], everything["coarse"])
    assert not torch.equal(everything["coarse"], everything["final"])


def test_forward_traces_without_a_graph_break(single: E2EC, images: Tensor) -> None:
    compiled = torch.compile(single, backend="eager", fullgraph=True)
    with torch.no_grad():
        result = compiled(images, max_instances=4)
        expected = single(images, max_instances=4)
    torch.testing.assert_close(result.contours, expected.contours)
    assert torch.equal(result.class_ids, expected.class_ids)


@pytest.mark.slow
def test_forward_exports_without_shapes_that_depend_on_data(single: E2EC, images: Tensor) -> None:
    with torch.no_grad():
        program = torch.export.export(single, (images,), {"max_instances": 4})
        other = 255 - images
        exported = program.module()(other, max_instances=4)
        expected = single(other, max_instances=4)
    torch.testing.assert_close(exported.contours, expected.contours)


def _trained(model: E2EC) -> Iterator[tuple[str, nn.Parameter]]:
    for name, parameter in model.named_parameters():
        if not name.startswith("detector."):
            yield name, parameter


def test_every_parameter_of_the_stages_gets_a_gradient() -> None:
    """Evolutions can die unseen: the loss falls although nothing reaches their weights."""
    torch.manual_seed(5)
    model = build_model(CONFIG).train()
    images = 255 * torch.rand(1, 3, 128, 128)
    features = model.detect(images, learn=False)
    seeds = _seeds((30, 20, 80, 100), (50, 50, 110, 90), dtype=torch.float32)
    seeds = model.encode_regions(features, seeds)
    contours = model.grow(features, seeds, clip=False)
    assert seeds.region is not None
    (sum(c.square().mean() for c in contours) + seeds.region.mask.square().mean()).backward()
    for name, parameter in _trained(model):
        assert parameter.grad is not None, name
        assert bool(parameter.grad.isfinite().all()), name
        assert float(parameter.grad.abs().max()) > 0, name


def test_size_that_is_no_multiple_of_32_is_named(single: E2EC) -> None:
    with pytest.raises(ValueError, match="40x64 px"):
        single(torch.zeros(1, 3, 40, 64))
