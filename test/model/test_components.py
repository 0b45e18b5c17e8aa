"""Components of instances: found in boxes, suppressed, and grouped in a fixed number of slots."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from e2ec_core.config import ModelConfig
from e2ec_core.model.build import build_model
from e2ec_core.model.component_detection import (
    GRID,
    ComponentHead,
    ComponentMaps,
    decode_components,
    first_true,
    greedy_nms,
)
from e2ec_core.model.sampling import MapLayout, place_in_boxes, unit_grid
from e2ec_core.model.structures import Features, Proposals, plant_seeds

CONFIG = ModelConfig(
    preset="e2ec_lite",
    class_names=("car", "person"),
    vertices=16,
    evolutions=1,
    components=True,
)
ROWS, COLUMNS = GRID
LAYOUT = MapLayout(channels=4, stride=4, shift=0.5)


def _maps(*parts: list[tuple[int, int, float, float, float]]) -> ComponentMaps:
    """Maps of one image: for each instance (column, row, width, height, logit) of its parts."""
    heat = torch.full((1, len(parts), ROWS, COLUMNS), -9.0)
    size = torch.zeros(1, len(parts), 2, ROWS, COLUMNS)
    for k, instance in enumerate(parts):
        for x, y, wide, high, logit in instance:
            heat[0, k, y, x] = logit
            size[0, k, :, y, x] = torch.tensor([wide, high])
    return ComponentMaps(heat, size)


class _Painted(ComponentHead):
    """A head that gives the maps it was told."""

    def __init__(self, maps: ComponentMaps, unsplit: list[bool]) -> None:
        super().__init__(LAYOUT, unsplit, hidden=4, slots=5)
        self.maps = maps

    def forward(self, features: Features, boxes: Tensor) -> ComponentMaps:
        return self.maps


def _features(*boxes: tuple[float, float, float, float]) -> tuple[Features, Tensor]:
    """A 64 x 64 cell map with box sides at the boxes' centre cells, and these [1, K, 2]."""
    sides = torch.zeros(1, 4, 64, 64)
    cells = []
    for x1, y1, x2, y2 in boxes:
        x, y = round((x1 + x2) / 8), round((y1 + y2) / 8)
        sides[0, :, y, x] = torch.tensor([4 * x - x1, 4 * y - y1, x2 - 4 * x, y2 - 4 * y])
        cells.append([x, y])
    maps = torch.zeros(1, 4, 64, 64)
    return Features(heatmap=maps[:, :2], feature=maps, box_sides=sides), torch.tensor(
        [cells], dtype=torch.float32
    )


def _found(
    features: Features, cells: Tensor, scores: list[float], class_ids: list[int]
) -> Proposals:
    seeds = plant_seeds(features, cells)
    return Proposals(seeds, torch.tensor([scores]), torch.tensor([class_ids]), boxes=seeds.boxes)


TWO_PARTS = [(6, 7, 12.0, 14.0, 4.0), (42, 7, 28.0, 14.0, 3.0)]


def test_points_of_a_grid_are_the_centres_of_its_cells() -> None:
    boxes = torch.tensor([[[10.0, 20.0, 66.0, 34.0]]])
    points = place_in_boxes(unit_grid(*GRID, boxes), boxes)
    assert points.shape == (1, 1, ROWS * COLUMNS, 2)
    assert points[0, 0, 0].tolist() == [10.5, 20.5]
    assert points[0, 0, 1].tolist() == [11.5, 20.5]
    assert points[0, 0, -1].tolist() == [65.5, 33.5]


def test_the_head_reads_its_own_box() -> None:
    """Features that change outside a box leave its maps alone."""
    torch.manual_seed(0)
    head = ComponentHead(LAYOUT, [False], hidden=8)
    features, _ = _features((40, 40, 120, 100))
    boxes = torch.tensor([[[40.0, 40.0, 120.0, 100.0], [160.0, 40.0, 220.0, 100.0]]])
    features = features._replace(feature=torch.randn(1, 4, 64, 64))
    with torch.no_grad():
        before = head(features, boxes)
    changed = features.feature.clone()
    changed[..., 35:] += 1
    with torch.no_grad():
        after = head(features._replace(feature=changed), boxes)
    assert before.heat.shape == (1, 2, ROWS, COLUMNS)
    assert before.size.shape == (1, 2, 2, ROWS, COLUMNS)
    torch.testing.assert_close(after.heat[:, 0], before.heat[:, 0])
    assert not torch.allclose(after.heat[:, 1], before.heat[:, 1])


def test_a_fresh_head_is_unsure_everywhere() -> None:
    head = ComponentHead(LAYOUT, [False], hidden=8)
    with torch.no_grad():
        heat = head(_features((8, 8, 90, 90))[0], torch.tensor([[[8.0, 8.0, 90.0, 90.0]]])).heat
    assert float((heat.sigmoid() - 0.1).abs().max()) < 0.08


def test_a_cell_of_the_grid_becomes_a_box_in_input_px() -> None:
    boxes = torch.tensor([[[100.0, 50.0, 212.0, 92.0]]])  # cells of 2 x 3 px
    found = decode_components(_maps([(10, 4, 20.0, 6.0, 2.0)]), boxes, 3, 0.25)
    assert found.found[0, 0].tolist() == [True, False, False]
    centre = (100 + 2 * 10.5, 50 + 3 * 4.5)
    expected = [centre[0] - 20, centre[1] - 9, centre[0] + 20, centre[1] + 9]
    assert found.boxes[0, 0, 0].tolist() == pytest.approx(expected)


def test_suppression_is_greedy() -> None:
    """B goes because of A, and so leaves C alone, which it overlaps."""
    boxes = torch.tensor([[0.0, 0, 10, 10], [6, 0, 16, 10], [12, 0, 22, 10], [0, 0, 10, 9]])
    found = torch.tensor([True, True, True, True])
    assert greedy_nms(boxes, found, 0.1).tolist() == [True, False, True, False]
    found[0] = False  # what is not there suppresses nothing
    assert greedy_nms(boxes, found, 0.1).tolist() == [False, True, False, False]
    apart = ~torch.eye(4, dtype=torch.bool)
    assert greedy_nms(boxes, found, 0.1, apart=apart).tolist() == [False, True, True, True]


def test_first_true_keeps_the_order_and_marks_what_is_missing() -> None:
    flags = torch.tensor([[False, True, False, True, True], [False] * 5])
    index, filled = first_true(flags, 2)
    assert index[0].tolist() == [1, 3]
    assert filled.tolist() == [[True, True], [False, False]]
    assert first_true(flags, 4)[1][0].tolist() == [True, True, True, False]


def test_two_parts_give_two_seeds_of_one_instance() -> None:
    boxes = ((20, 40, 132, 68), (40, 150, 152, 178))
    features, cells = _features(*boxes)
    head = _Painted(_maps(TWO_PARTS, TWO_PARTS[:1]), [False, True])
    found = head.propose(features, _found(features, cells, [0.9, 0.6], [0, 0]))
    assert found.scores[0].tolist() == pytest.approx([0.9, 0.9, 0.6, 0.0])
    assert found.instance_ids is not None
    assert found.instance_ids[0, :3].tolist() == [0, 0, 1]
    assert found.seeds.boxes is not None
    parts = [[21.0, 41.0, 45.0, 69.0], [77.0, 41.0, 133.0, 69.0]]  # quantised to grid cells
    torch.testing.assert_close(found.seeds.boxes[0, :2], torch.tensor(parts))
    assert found.seeds.cells[0, :2].tolist() == [[8, 14], [26, 14]]
    assert found.boxes is not None
    assert found.boxes[0, :3].tolist() == [[*boxes[0]], [*boxes[0]], [*boxes[1]]]


def test_an_unsplit_class_keeps_the_whole_box() -> None:
    features, cells = _features((20, 40, 132, 68))
    found = _Painted(_maps(TWO_PARTS), [False, True]).propose(
        features, _found(features, cells, [0.9], [1])
    )
    assert found.scores[0].tolist() == pytest.approx([0.9, 0.0])
    assert found.seeds.boxes is not None
    assert found.seeds.boxes[0, 0].tolist() == [20, 40, 132, 68]
    assert torch.equal(found.seeds.cells[0, 0], cells[0, 0])


def test_an_instance_without_a_component_keeps_the_whole_box() -> None:
    features, cells = _features((20, 40, 132, 68))
    weak = [(6, 7, 12.0, 14.0, -1.2)]  # 0.23
    found = _Painted(_maps(weak), [False]).propose(features, _found(features, cells, [0.9], [0]))
    assert found.seeds.boxes is not None
    assert found.seeds.boxes[0, 0].tolist() == [20, 40, 132, 68]
    assert found.scores[0].tolist() == pytest.approx([0.9, 0.0])


def test_a_doubled_instance_goes_unless_its_class_differs() -> None:
    boxes = ((20, 40, 132, 68), (24, 40, 136, 68))
    features, cells = _features(*boxes)
    head = _Painted(_maps(TWO_PARTS, TWO_PARTS), [True, True])
    same = head.propose(features, _found(features, cells, [0.9, 0.8], [0, 0]))
    other = head.propose(features, _found(features, cells, [0.9, 0.8], [0, 1]))
    assert int((same.scores > 0).sum()) == 1
    assert int((other.scores > 0).sum()) == 2


@pytest.mark.parametrize("preset", ["e2ec_lite", "e2ec_dla34"])
def test_the_model_fills_a_fixed_number_of_slots(preset: str) -> None:
    torch.manual_seed(0)
    model = build_model(replace(CONFIG, preset=preset)).eval()
    with torch.no_grad():
        for slots in (1, 5):
            found = model(torch.rand(2, 3, 64, 96) * 255, max_instances=slots)
            assert found.contours.shape == (2, 2 * slots, 16, 2)
            assert found.scores.shape == found.instance_ids.shape == (2, 2 * slots)
            assert bool((found.scores.diff(dim=1) <= 0).all())


def test_no_shape_and_no_branch_depends_on_the_data() -> None:
    """Meta tensors have no values: whatever asks for one fails."""
    model = build_model(CONFIG).eval().to("meta")
    found = model(torch.rand(1, 3, 64, 96, device="meta"), max_instances=4)
    assert found.contours.shape == (1, 8, 16, 2)


def test_without_components_nothing_changes() -> None:
    plain = build_model(replace(CONFIG, components=False))
    assert plain.component_head is None
    keys = set(build_model(CONFIG).state_dict())
    assert {k for k in keys if not k.startswith("component_head.")} == set(plain.state_dict())
    assert plain(torch.rand(1, 3, 64, 64), max_instances=3).instance_ids is None


def test_unsplit_classes_are_found_by_name() -> None:
    assert build_model(CONFIG).component_head.unsplit.tolist() == [False, True]
    every = build_model(replace(CONFIG, unsplit_classes=())).component_head
    assert every.unsplit.tolist() == [False, False]
