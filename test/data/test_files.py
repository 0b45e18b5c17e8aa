"""Labels beside image files that are others than the labels say."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from image_bytes import encoded, picture, turned_jpeg

from e2ec_core.data import problems as defects
from e2ec_core.data.dataset import CocoDataset
from e2ec_core.evaluation.ground_truth import ground_truth
from e2ec_core.learning.config import DataConfig
from e2ec_core.learning.source import load_data

BOX = [10, 20, 30, 20, 30, 35, 10, 35]
HEIGHT, WIDTH = 40, 64


def _load(
    folder: Path,
    files: dict[str, bytes],
    sizes: dict[str, tuple[int, int]],
    polygons: dict[str, list[float]] | None = None,
) -> CocoDataset:
    """Reads labels of some files; sizes are the (height, width) that the labels say."""
    for name, data in files.items():
        (folder / name).write_bytes(data)
    images = [
        {"id": n, "file_name": name.split("#")[0], "height": h, "width": w}
        for n, (name, (h, w)) in enumerate(sizes.items())
    ]
    labels: list[dict[str, Any]] = [
        {"image_id": n, "category_id": 1, "segmentation": [(polygons or {}).get(name, BOX)]}
        for n, name in enumerate(sizes)
    ]
    content = {
        "images": images,
        "annotations": labels,
        "categories": [{"id": 1, "name": "car"}],
    }
    (folder / "labels.json").write_text(json.dumps(content))
    config = DataConfig(annotations=str(folder / "labels.json"), images=str(folder))
    return load_data(config, None, held_out=False)


JPEG = encoded(picture(HEIGHT, WIDTH))


def test_a_photograph_labelled_upright_is_read_upright(tmp_path: Path) -> None:
    files = {"a.jpg": turned_jpeg(picture(HEIGHT, WIDTH), 6)}
    data = _load(tmp_path, files, {"a.jpg": (WIDTH, HEIGHT)})
    (image,) = data.images
    assert data.problems == {defects.UPRIGHT: 1}
    assert (image.height, image.width) == (WIDTH, HEIGHT)
    assert image.read().shape == (WIDTH, HEIGHT, 3)
    np.testing.assert_array_equal(image.instances[0].parts[0], np.reshape(BOX, (-1, 2)))
    assert ground_truth(data)["images"][0]["height"] == WIDTH


def test_a_photograph_labelled_as_stored_stays_as_it_is(tmp_path: Path) -> None:
    files = {"a.jpg": turned_jpeg(picture(HEIGHT, WIDTH), 6)}
    data = _load(tmp_path, files, {"a.jpg": (HEIGHT, WIDTH)})
    assert not data.problems
    assert data.images[0].read().shape == (HEIGHT, WIDTH, 3)


def test_a_photograph_upside_down_goes_with_those_that_tell(tmp_path: Path) -> None:
    files = {"a.jpg": turned_jpeg(picture(HEIGHT, WIDTH), 3)}
    alone = _load(tmp_path, files, {"a.jpg": (HEIGHT, WIDTH)})
    assert alone.problems == {defects.MAYBE_UPRIGHT: 1}
    assert not alone.images[0].upright
    files["b.jpg"] = turned_jpeg(picture(HEIGHT, WIDTH), 8)
    both = _load(tmp_path, files, {"a.jpg": (HEIGHT, WIDTH), "b.jpg": (WIDTH, HEIGHT)})
    assert both.problems == {defects.UPRIGHT: 2}
    assert [image.upright for image in both.images] == [True, True]


def test_swapped_sizes_are_put_right_where_the_outlines_tell(tmp_path: Path) -> None:
    wide = [10, 5, 60, 5, 60, 30, 10, 30]  # beyond 40 px of width
    files = {"a.jpg": JPEG, "b.jpg": JPEG + b"0"}
    sizes = {"a.jpg": (WIDTH, HEIGHT), "b.jpg": (WIDTH, HEIGHT)}
    data = _load(tmp_path, files, sizes, {"a.jpg": wide})
    assert data.problems == {defects.SWAPPED: 2}
    assert [(i.height, i.width) for i in data.images] == [(HEIGHT, WIDTH)] * 2
    np.testing.assert_array_equal(data.images[0].instances[0].parts[0], np.reshape(wide, (-1, 2)))


def test_swapped_sizes_are_left_out_where_nothing_tells(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a\.jpg: 64 x 40 px, labels 40 x 64"):
        _load(tmp_path, {"a.jpg": JPEG}, {"a.jpg": (WIDTH, HEIGHT)})


def test_outlines_of_resized_images_are_scaled(tmp_path: Path) -> None:
    data = _load(tmp_path, {"a.jpg": JPEG}, {"a.jpg": (2 * HEIGHT, 2 * WIDTH)})
    (image,) = data.images
    assert data.problems == {defects.RESIZED: 1}
    assert (image.height, image.width) == (HEIGHT, WIDTH)
    np.testing.assert_array_equal(image.instances[0].box_xyxy, [5, 10, 15, 17.5])
    (label,) = ground_truth(data)["annotations"]
    assert label["bbox"] == [5, 10, 10, 7.5]
    assert label["area"] == pytest.approx(75, abs=10)


def test_outlines_in_px_of_the_file_are_not_scaled(tmp_path: Path) -> None:
    """The size in the labels is small, but an outline reaches beyond it."""
    data = _load(tmp_path, {"a.jpg": JPEG}, {"a.jpg": (HEIGHT // 2, WIDTH // 2)})
    np.testing.assert_array_equal(data.images[0].instances[0].box_xyxy, [10, 20, 30, 35])


def test_other_shapes_truncated_and_unreadable_files_are_left_out(tmp_path: Path) -> None:
    files = {"a.jpg": JPEG, "b.jpg": JPEG, "c.jpg": JPEG[:-300], "d.jpg": b"text", "e.jpg": b""}
    sizes = dict.fromkeys(files, (HEIGHT, WIDTH)) | {"b.jpg": (HEIGHT, 2 * WIDTH)}
    data = _load(tmp_path, files, sizes)
    assert [image.name for image in data.images] == ["a.jpg"]
    assert data.problems == {defects.OTHER_SIZE: 1, defects.TRUNCATED: 1, defects.UNREADABLE: 2}
    assert data.problems.losses == 4
    report = "\n".join(data.report())
    assert "b.jpg: 64 x 40 px, labels 128 x 40" in report
    assert "d.jpg' cannot be read" in report


def test_objects_of_one_file_under_two_ids_come_together(tmp_path: Path) -> None:
    other = [1, 1, 5, 1, 5, 5]
    sizes = {"a.jpg": (HEIGHT, WIDTH), "a.jpg#2": (HEIGHT, WIDTH), "a.jpg#3": (HEIGHT, WIDTH)}
    data = _load(tmp_path, {"a.jpg": JPEG}, sizes, {"a.jpg#2": other})
    (image,) = data.images
    assert data.problems == {defects.ONE_FILE: 2, defects.OBJECT_TWICE: 1}
    assert [len(i.parts[0]) for i in image.instances] == [4, 3]  # the third repeats the first
    assert len(ground_truth(data)["annotations"]) == 2


def _one_file_twice(folder: Path) -> None:
    (folder / "x").mkdir()


def _symbolic_link(folder: Path) -> None:
    (folder / "b.jpg").symlink_to("a.jpg")


def _hard_link(folder: Path) -> None:
    (folder / "b.jpg").hardlink_to(folder / "a.jpg")


@pytest.mark.parametrize("link", [_one_file_twice, _symbolic_link, _hard_link])
def test_one_file_is_known_under_any_path(tmp_path: Path, link: Callable[[Path], None]) -> None:
    (tmp_path / "a.jpg").write_bytes(JPEG)
    link(tmp_path)
    other = "x/../a.jpg" if link is _one_file_twice else "b.jpg"
    sizes = {"a.jpg": (HEIGHT, WIDTH), other: (HEIGHT, WIDTH)}
    data = _load(tmp_path, {}, sizes, {other: [1, 1, 5, 1, 5, 5]})
    (image,) = data.images
    assert len(image.instances) == 2
    assert data.problems == {defects.ONE_FILE: 1}


def test_one_file_labelled_upright_and_as_stored_stays_two_images(tmp_path: Path) -> None:
    files = {"a.jpg": turned_jpeg(picture(HEIGHT, WIDTH), 6)}
    sizes = {"a.jpg": (HEIGHT, WIDTH), "a.jpg#2": (WIDTH, HEIGHT)}
    data = _load(tmp_path, files, sizes)
    assert [(i.height, i.upright) for i in data.images] == [(HEIGHT, False), (WIDTH, True)]


def test_copies_are_named_and_stay_apart(tmp_path: Path) -> None:
    other = encoded(picture(HEIGHT, WIDTH, seed=1))
    same_end = JPEG[:300] + b"\xff\xff" + JPEG[302:] + bytes(5000)
    files = {"a.jpg": JPEG, "b.jpg": other, "c.jpg": JPEG, "d.jpg": JPEG + bytes(5000)}
    files["e.jpg"] = same_end
    assert len(files["d.jpg"]) == len(same_end)
    data = _load(tmp_path, files, dict.fromkeys(files, (HEIGHT, WIDTH)))
    assert len(data) == 5
    assert data.report() == [
        "1 x image file of the same bytes as another (kept), e.g. c.jpg of a.jpg"
    ]


def test_orientations_are_told_by_outlines_where_labels_give_no_size(tmp_path: Path) -> None:
    files = {"a.jpg": turned_jpeg(picture(HEIGHT, WIDTH), 6)}
    files["b.jpg"] = turned_jpeg(picture(HEIGHT, WIDTH, seed=1), 6)
    sizes: dict[str, Any] = dict.fromkeys(files, (None, None))
    tall, wide = [5, 5, 30, 5, 30, 60, 5, 60], [5, 5, 60, 5, 60, 30, 5, 30]
    upright = _load(tmp_path, files, sizes, {"a.jpg": tall})
    assert upright.problems == {defects.UPRIGHT: 2}
    assert [(i.height, i.width, i.upright) for i in upright.images] == [(WIDTH, HEIGHT, True)] * 2
    assert upright.images[0].read().shape == (WIDTH, HEIGHT, 3)
    for polygons in ({"a.jpg": wide}, {}):
        stored = _load(tmp_path, files, sizes, polygons)
        assert stored.problems == {defects.MAYBE_UPRIGHT: 2}
        assert [(i.height, i.width) for i in stored.images] == [(HEIGHT, WIDTH)] * 2


def test_labels_without_sizes_that_reach_beyond_their_files_are_left_out(tmp_path: Path) -> None:
    files = {f"{n}.jpg": encoded(picture(HEIGHT, WIDTH, seed=n)) for n in range(3)}
    sizes: dict[str, Any] = dict.fromkeys(files, (None, None))
    far = [60, 5, 100, 5, 100, 30, 60, 30]
    with pytest.raises(
        ValueError, match="3 x image without a size in labels whose outlines reach"
    ):
        _load(tmp_path, files, sizes, {"0.jpg": far, "1.jpg": far})
    one = _load(tmp_path, files, sizes, {"0.jpg": far})  # as one slip costs no image
    assert one.problems == {defects.LEAVING: 1}


@pytest.mark.parametrize("name", ["a.JPG", "a", "../images/a.JPG", "/data/upload/a"])
def test_endings_in_another_case_or_missing_are_found(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.jpg").write_bytes(JPEG)
    data = _load(tmp_path, {}, {name: (HEIGHT, WIDTH)})
    assert data.images[0].path == tmp_path / "a.jpg"
    assert data.problems == {defects.OTHER_ENDING: 1}
    assert data.problems.examples[defects.OTHER_ENDING] == [f"{name} for a.jpg"]


def test_endings_that_could_be_several_or_others_are_not_guessed(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(JPEG)
    with pytest.raises(ValueError, match=r"a\.png' \(there is 'a\.jpg'\); check the folder"):
        _load(tmp_path, {}, {"a.png": (HEIGHT, WIDTH)})
    (tmp_path / "a.jpeg").write_bytes(JPEG)
    with pytest.raises(ValueError, match="1 of 1 image files are missing"):
        _load(tmp_path, {}, {"a": (HEIGHT, WIDTH)})


def test_blanks_of_names_count_where_the_file_has_them(tmp_path: Path) -> None:
    files = {" a.jpg": JPEG, "b.jpg": encoded(picture(HEIGHT, WIDTH, seed=1))}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    sizes = {" a.jpg": (HEIGHT, WIDTH), " b.jpg ": (HEIGHT, WIDTH)}
    found = _load(tmp_path, {}, sizes)
    assert [image.path.name for image in found.images] == list(files)
    assert not found.problems


def test_names_too_long_for_a_file_cost_only_their_image(tmp_path: Path) -> None:
    sizes = {"a.jpg": (HEIGHT, WIDTH), "x" * 5000: (HEIGHT, WIDTH)}
    (tmp_path / "a.jpg").write_bytes(JPEG)
    with pytest.raises(ValueError, match="1 of 2 image files are missing"):
        _load(tmp_path, {}, sizes)
