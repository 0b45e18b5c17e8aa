"""From image to contours: scale and padding undone, settings checked, results repeatable."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from e2ec_core.checkpoint import CheckpointError, CheckpointInfo, read_checkpoint, save_checkpoint
from e2ec_core.config import ModelConfig
from e2ec_core.contours import Contours
from e2ec_core.inference import NonFiniteError, Predictor, PredictorSettings
from e2ec_core.inference.frames import labels_to_input_px, place, to_image_px
from e2ec_core.inference.postprocess import box_iou
from e2ec_core.inference.torch_predictor import TorchPredictor
from e2ec_core.model.build import build_model

SETTINGS = PredictorSettings(short_side=224, long_side=320)


@pytest.fixture(scope="module")
def weights(repo_dir: Path) -> Path:
    return repo_dir / "weights" / "e2ec_lite.safetensors"


@pytest.fixture(scope="module")
def shipped(weights: Path) -> Predictor:
    """The shipped model."""
    return Predictor.from_checkpoint(weights, device="cpu", settings=SETTINGS)


@pytest.fixture
def predictor(shipped: Predictor) -> Iterator[Predictor]:
    """The shipped model, its settings put back afterwards."""
    yield shipped
    shipped.settings = SETTINGS


@pytest.fixture(scope="module")
def kitti(shared_dir: Path) -> np.ndarray:
    """A street with cars, 375 x 1242."""
    folder = shared_dir / "data" / "kitti_raw_seq8" / "image_02" / "data"
    image = cv2.imread(str(sorted(folder.glob("*.png"))[0]))
    return np.ascontiguousarray(image[..., ::-1])


@pytest.fixture(scope="module")
def street(kitti: np.ndarray) -> np.ndarray:
    """The part of it with the nearest objects, 375 x 500."""
    return np.ascontiguousarray(kitti[:, 150:650])


GREY = np.full((120, 160, 3), 127, np.uint8)


def test_a_grey_image_holds_nothing(predictor: Predictor) -> None:
    contours = predictor(GREY).contours
    assert len(contours) == 0
    assert contours.vertices.shape[1:] == (predictor.info.config.contour_vertices, 2)
    assert contours.image_size == (120, 160)
    assert contours.boxes_xyxy.shape == (0, 4)


def test_shipped_weights_find_the_cars_of_a_street(
    predictor: Predictor, kitti: np.ndarray
) -> None:
    predictor.settings = PredictorSettings()
    contours = predictor(kitti).contours
    names = [predictor.info.config.class_names[i] for i in contours.class_ids]
    assert names.count("car") >= 2
    assert contours.image_size == (375, 1242)
    assert contours.areas.min() > 20


def test_results_have_their_types_and_order(predictor: Predictor, street: np.ndarray) -> None:
    predictor.settings = replace(SETTINGS, score_threshold=0.05)
    prediction = predictor(street)
    contours = prediction.contours
    assert len(contours) > 3
    assert contours.vertices.dtype == np.float32
    assert contours.scores.dtype == np.float32
    assert contours.class_ids.dtype == np.int64
    assert bool((np.diff(contours.scores) <= 0).all())
    timing = prediction.timing
    assert min(timing.preprocess, timing.inference, timing.postprocess) > 0


def test_the_same_image_gives_the_same_contours(predictor: Predictor, street: np.ndarray) -> None:
    first = predictor(street).contours
    predictor(GREY)
    second = predictor(street).contours
    np.testing.assert_array_equal(first.vertices, second.vertices)
    np.testing.assert_array_equal(first.scores, second.scores)


def test_only_the_classes_asked_for_are_found_and_none_takes_their_place(
    predictor: Predictor, kitti: np.ndarray
) -> None:
    low = replace(SETTINGS, score_threshold=0.02, max_instances=100, nms_iou=1.0)
    predictor.settings = low
    found, names = predictor(kitti).contours, predictor.info.config.class_names
    rare = list(dict.fromkeys(found.class_ids.tolist()))[-1]  # whose best instance is weakest
    expected = found[found.class_ids == rare]
    assert expected.scores[0] < found.scores[0]
    predictor.settings = replace(low, classes=(names[rare],), max_instances=1)
    alone = predictor(kitti).contours
    np.testing.assert_array_equal(alone.class_ids, [rare])
    np.testing.assert_allclose(alone.vertices, expected.vertices[:1], atol=0.05)
    np.testing.assert_allclose(alone.scores, expected.scores[:1], atol=1e-5)
    predictor.settings = replace(low, classes=names)
    np.testing.assert_array_equal(predictor(kitti).contours.scores, found.scores)


@pytest.mark.parametrize(
    ("classes", "words"),
    [
        (("caar",), "classes names 'caar', which the model does not know; did you mean 'car'?"),
        (("car", "Traffic Light"), "did you mean 'traffic light'?"),
        (("qqq",), "it knows person, bicycle, car, motorcycle"),
    ],
)
def test_an_unknown_class_is_refused_with_the_nearest_one(
    predictor: Predictor, weights: Path, classes: tuple[str, ...], words: str
) -> None:
    wrong = replace(SETTINGS, classes=classes)
    with pytest.raises(ValueError, match=re.escape(words)):
        predictor.settings = wrong
    assert predictor.settings == SETTINGS
    with pytest.raises(ValueError, match=re.escape(words)):
        Predictor.from_checkpoint(weights, device="cpu", settings=wrong)


def test_classes_are_a_tuple_of_names() -> None:
    with pytest.raises(ValueError, match="classes is 'car'; give a tuple of names"):
        PredictorSettings(classes="car")  # type: ignore[arg-type]


def test_the_image_is_not_changed_and_may_be_a_view(
    predictor: Predictor, street: np.ndarray
) -> None:
    expected = predictor(street).contours
    reversed_channels = np.ascontiguousarray(street[..., ::-1])
    view = reversed_channels[..., ::-1]
    view.setflags(write=False)
    np.testing.assert_array_equal(predictor(view).contours.vertices, expected.vertices)
    padded = np.zeros((400, 520, 3), np.uint8)
    padded[10:385, 5:505] = street
    inside = padded[10:385, 5:505]
    np.testing.assert_array_equal(predictor(inside).contours.vertices, expected.vertices)


def _agreement(a: Contours, b: Contours) -> np.ndarray:
    """IoU of each sure instance of `a` with the best of `b`'s boxes."""
    sure = a[a.scores > 0.4]
    assert len(sure) > 0
    boxes = np.concatenate([sure.boxes_xyxy, b.boxes_xyxy])
    return box_iou(boxes)[: len(sure), len(sure) :].max(axis=1)


@pytest.mark.parametrize("size", [(375, 500), (374, 499), (281, 377), (500, 667)])
def test_contours_lie_where_the_objects_are_at_any_size_of_the_image(
    predictor: Predictor, street: np.ndarray, size: tuple[int, int]
) -> None:
    """The same picture at other resolutions: contours scale with it."""
    expected = predictor(street).contours
    height, width = size
    resized = cv2.resize(street, (width, height), interpolation=cv2.INTER_AREA)
    found = predictor(resized).contours
    assert found.image_size == size
    factor = np.array([width / 500, height / 375])
    scaled = ((expected.vertices + 0.5) * factor - 0.5).astype(np.float32)
    assert _agreement(replace(expected, vertices=scaled), found).min() > 0.8


def test_contours_do_not_depend_much_on_the_input_s_scale(
    predictor: Predictor, street: np.ndarray
) -> None:
    """Padding of another amount on the right and below is undone as well."""
    expected = predictor(street).contours
    for long_side in (333, 352, 366):
        predictor.settings = replace(SETTINGS, short_side=0, long_side=long_side)
        assert np.median(_agreement(expected, predictor(street).contours)) > 0.8


def test_flat_padding_moves_contours_with_the_picture(
    predictor: Predictor, street: np.ndarray
) -> None:
    """Objects shift by what stands left of and above them (scale kept by the long side)."""
    predictor.settings = replace(SETTINGS, short_side=0, long_side=320)
    shifted = np.zeros((415, 500, 3), np.uint8)
    shifted[40:] = street
    expected = predictor(street).contours
    moved = replace(expected, vertices=expected.vertices + np.float32([0, 40]))
    assert np.median(_agreement(moved, predictor(shifted).contours)) > 0.8


@pytest.mark.parametrize("size", [(375, 1242), (33, 41), (100, 57), (600, 600)])
def test_what_lies_on_a_square_s_edges_comes_back_to_its_edges(size: tuple[int, int]) -> None:
    """Square over pixels 10..19: labels give its edges, 10 and 20; centres give 9.5 and 19.5."""
    placement = place(size, "fit", SETTINGS)
    edges = np.array([[10, 10], [10, 20], [20, 20], [20, 10]], np.float64)
    height, width = placement.content_size or (0, 0)
    factor = np.array([width / size[1], height / size[0]])
    taught = (edges * factor).astype(np.float32)  # edges of the scaled image
    np.testing.assert_allclose(to_image_px(taught, placement, "corner"), edges - 0.5, atol=1e-4)


RULES = ["fit", "sbd", "kins", "cityscapes", "coco"]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("origin", ["corner", "centre"])
def test_labels_come_back_from_the_input(rule: Any, origin: Any) -> None:
    placement = place((375, 1242), rule, PredictorSettings())
    edges = np.array([[100, 100], [100, 150], [150, 150], [150, 100]], np.float64)
    taught = labels_to_input_px(edges, placement, origin)
    found = to_image_px(taught.astype(np.float32), placement, origin)
    np.testing.assert_allclose(found, edges - 0.5, atol=1e-3)


def test_the_origin_is_worth_a_quarter_pixel_on_kins() -> None:
    """Half an image px less half an input px, at about twice the size."""
    placement = place((375, 1242), "kins", PredictorSettings())
    labels = np.array([[100.0, 100.0]])
    corner, centre = (labels_to_input_px(labels, placement, o) for o in ("corner", "centre"))
    scale = 2496 / 1242
    np.testing.assert_allclose((centre - corner) / scale, (scale - 1) / 2 / scale, atol=1e-6)


def test_only_scores_above_the_threshold_are_reported(
    predictor: Predictor, street: np.ndarray
) -> None:
    counts = []
    for threshold in (0.0, 0.1, 0.3, 0.6, 1.0):
        predictor.settings = replace(SETTINGS, score_threshold=threshold, nms_iou=1.0)
        contours = predictor(street).contours
        assert bool((contours.scores >= threshold).all())
        assert bool((contours.scores > 0).all())
        counts.append(len(contours))
    assert counts == sorted(counts, reverse=True)
    assert counts[0] == SETTINGS.max_instances
    assert counts[-1] == 0


def test_the_best_instances_stay_when_slots_are_few(
    predictor: Predictor, street: np.ndarray
) -> None:
    predictor.settings = replace(SETTINGS, score_threshold=0.05, nms_iou=1.0)
    many = predictor(street).contours
    predictor.settings = replace(SETTINGS, score_threshold=0.05, nms_iou=1.0, max_instances=2)
    few = predictor(street).contours
    assert len(few) == 2
    np.testing.assert_allclose(few.vertices, many.vertices[:2], atol=0.05)


def test_repeated_detections_of_one_class_are_dropped(
    predictor: Predictor, street: np.ndarray
) -> None:
    predictor.settings = replace(SETTINGS, score_threshold=0.02, nms_iou=0.3)
    contours = predictor(street).contours
    overlap = np.triu(box_iou(contours.boxes_xyxy), k=1)
    same = contours.class_ids[:, None] == contours.class_ids
    assert (overlap * same).max() < 0.3


@pytest.mark.parametrize("stage", ["initial", "coarse", "final"])
def test_the_stage_asked_for_is_reported(
    predictor: Predictor, street: np.ndarray, stage: Any
) -> None:
    expected = predictor(street).contours
    predictor.settings = replace(SETTINGS, stage=stage)
    contours = predictor(street).contours
    assert contours.stage == stage
    np.testing.assert_array_equal(contours.scores, expected.scores)
    assert np.array_equal(contours.vertices, expected.vertices) == (stage == "final")
    assert _agreement(contours, expected).min() > 0.5


def test_warming_up_takes_any_size(predictor: Predictor) -> None:
    predictor.warm_up((48, 64), runs=1)


@pytest.mark.parametrize("shape", [(1, 1), (5, 3), (32, 32), (31, 97)])
def test_small_and_odd_images_are_taken(predictor: Predictor, shape: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    predictor.settings = PredictorSettings(short_side=32, long_side=32, score_threshold=0.01)
    contours = predictor(image).contours
    assert contours.image_size == shape
    assert bool(np.isfinite(contours.vertices).all())


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((10, 10), np.uint8),
        np.zeros((10, 10, 4), np.uint8),
        np.zeros((10, 10, 3), np.float32),
        np.zeros((0, 10, 3), np.uint8),
        np.zeros((10, 0, 3), np.uint8),
        np.zeros((1, 10, 10, 3), np.uint8),
    ],
)
def test_arrays_that_are_no_rgb_images_are_named(predictor: Predictor, image: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"image (is|has)") as error:
        predictor(image)
    assert str(image.shape) in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"score_threshold": 1.5}, "score_threshold is 1.5; give 0 to 1"),
        ({"score_threshold": float("nan")}, "score_threshold is nan"),
        ({"max_instances": 0}, "max_instances is 0; give 1 to 200"),
        ({"max_instances": 201}, "max_instances is 201; give 1 to 200"),
        ({"max_instances": True}, "max_instances is True; give a whole number, 1 to 200"),
        ({"max_instances": 2.0}, "max_instances is 2.0; give a whole number, 1 to 200"),
        ({"score_threshold": "high"}, "score_threshold is 'high'; give a number, 0 to 1"),
        ({"nms_iou": 0.0}, "nms_iou is 0.0"),
        ({"nms_iou": 1.1}, "nms_iou is 1.1"),
        ({"stage": "last"}, "stage is 'last'; choose one of initial, coarse, final"),
        ({"short_side": 0, "long_side": 0}, "short_side is 0 and long_side 0"),
        ({"short_side": -1}, "short_side is -1"),
        ({"short_side": 20, "long_side": 31}, "32 px or more"),
        ({"short_side": 4096, "long_side": 8192}, "would have 34 million px or more; give sides"),
        ({"short_side": 4096, "long_side": 0}, "would have 17 million px"),
    ],
)
def test_settings_that_cannot_work_are_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(SETTINGS, **change)


def test_device_and_precision_that_cannot_work_are_named(weights: Path) -> None:
    with pytest.raises(ValueError, match="device is 'gpu'"):
        Predictor.from_checkpoint(weights, device="gpu")
    with pytest.raises(ValueError, match="'fp16' on the CPU"):
        Predictor.from_checkpoint(weights, device="cpu", precision="fp16")
    with pytest.raises(ValueError, match="'int8'; choose fp32, fp16 or bf16"):
        Predictor.from_checkpoint(weights, device="cpu", precision="int8")  # type: ignore[arg-type]


def test_bfloat16_finds_the_same_objects(
    predictor: Predictor, weights: Path, street: np.ndarray
) -> None:
    half = Predictor.from_checkpoint(weights, device="cpu", precision="bf16", settings=SETTINGS)
    contours = half(street).contours
    assert contours.vertices.dtype == np.float32
    assert _agreement(predictor(street).contours, contours).min() > 0.8


def test_a_missing_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="does not exist"):
        Predictor.from_checkpoint(tmp_path / "none.safetensors")


def test_weights_of_another_architecture_are_refused(weights: Path, tmp_path: Path) -> None:
    info, _ = read_checkpoint(weights)
    other = build_model(replace(info.config, vertices=16))
    save_checkpoint(tmp_path / "mixed.safetensors", other, info.config)
    with pytest.raises(CheckpointError, match=r"mixed\.safetensors does not fit the model"):
        Predictor.from_checkpoint(tmp_path / "mixed.safetensors")


@pytest.mark.parametrize(
    ("rule", "changes", "size"),
    [
        ("kins", {}, (768, 2496)),  # as published
        ("kins", {"short_side": 320}, (320, 1088)),  # as the user says
        ("coco", {"short_side": 0, "long_side": 640}, (224, 640)),
        ("fit", {}, (384, 1280)),
    ],
)
def test_sides_that_are_set_win_over_the_published_scale(
    rule: Any, changes: dict[str, Any], size: tuple[int, int]
) -> None:
    placement = place((375, 1242), rule, replace(PredictorSettings(), **changes))
    assert placement.input_size == size


@pytest.mark.parametrize(
    ("image", "rule", "changes"),
    [
        ((2160, 3840), "kins", {}),  # 4320 x 7680 by its rule
        ((9000, 9000), "coco", {}),
        ((8000, 8000), "fit", {"short_side": 0, "long_side": 8192}),
    ],
)
def test_the_network_s_input_is_bounded(
    image: tuple[int, int], rule: Any, changes: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    height, width = place(image, rule, replace(PredictorSettings(), **changes)).input_size
    assert 8_000_000 < height * width <= 9_000_000
    assert height % 32 == width % 32 == 0
    assert f"{image[1]}x{image[0]} px would need" in caplog.text
    assert f"it is scaled to {width}x{height} px" in caplog.text


def test_weights_that_come_with_the_library_are_found(weights: Path) -> None:
    predictor = Predictor.from_pretrained(device="cpu")
    assert predictor.info.sha256 == read_checkpoint(weights)[0].sha256


@pytest.mark.parametrize("name", ["detector.heads.0.classes.bias", "evolutions.0"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_no_contour_comes_out_of_nan(weights: Path, name: str, value: float) -> None:
    """Also where NaN would hide every object: a heatmap of NaN has no peak."""
    broken = Predictor.from_checkpoint(weights, device="cpu", settings=SETTINGS)
    broken.settings = replace(SETTINGS, score_threshold=0.0)
    parameter = next(p for n, p in broken.model.named_parameters() if n.startswith(name))
    torch.nn.init.constant_(parameter, value)
    with pytest.raises(NonFiniteError, match="holds NaN or inf; check the weights"):
        broken.warm_up((48, 64), runs=1)


def test_weights_that_are_no_numbers_are_refused(weights: Path, tmp_path: Path) -> None:
    info, state = read_checkpoint(weights)
    model = build_model(info.config)
    model.load_state_dict(state)
    torch.nn.init.constant_(model.detector.heads[0].classes.bias, float("nan"))
    save_checkpoint(tmp_path / "broken.safetensors", model, info.config)
    with pytest.raises(CheckpointError, match=r"holds NaN or inf in 'detector\.heads"):
        Predictor.from_checkpoint(tmp_path / "broken.safetensors")


@pytest.mark.slow
def test_a_fresh_model_of_the_other_preset_runs() -> None:
    torch.manual_seed(0)
    config = ModelConfig(preset="e2ec_dla34", class_names=("car",), placement="fit")
    info = CheckpointInfo(name="fresh", config=config)
    settings = PredictorSettings(short_side=0, long_side=64, score_threshold=0.0, nms_iou=1.0)
    device = torch.device("cpu")
    predictor = TorchPredictor(build_model(config), info, device=device, settings=settings)
    image = np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8)
    contours = predictor(image).contours
    assert 0 < len(contours) <= 32
    assert contours.vertices.shape[1] == 128
