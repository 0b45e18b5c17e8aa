"""The command that checks data sets before a run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

from e2ec_core.data.coco import read_coco

pytest.importorskip("pycocotools", reason="pycocotools is not installed")


@pytest.fixture
def check(e2ec: Callable) -> Callable:
    """Runs the command; gives its exit status and what it printed."""

    def run(*words: str | Path) -> tuple[int, str]:
        reply = e2ec("check", *words)
        return reply.status, reply.out + reply.err

    return run


def _broken(shapes_dir: Path, folder: Path, *labels: dict[str, Any]) -> Path:
    content = json.loads((shapes_dir / "instances.json").read_text())
    content["annotations"] += [{"image_id": 0, "category_id": 1, "id": 90, **la} for la in labels]
    path = folder / "broken.json"
    path.write_text(json.dumps(content))
    return path


def test_sound_labels_are_counted(check: Callable, shapes_dir: Path) -> None:
    status, shown = check(
        *("--annotations", shapes_dir / "instances.json"),
        *("--images", shapes_dir / "images", "--read-images"),
    )
    assert status == 0
    assert "6 images, 12 objects" in shown
    assert "| disc | 6 | 6 | 0 | 0 |" in shown
    assert "is sound" in shown


def test_bad_labels_are_named_with_what_is_done(
    check: Callable, shapes_dir: Path, tmp_path: Path
) -> None:
    path = _broken(
        shapes_dir,
        tmp_path,
        {"segmentation": [[1, 2, 3, 4]]},
        {"segmentation": [[10, 10, 30, 30, 30, 10, 10, 30]], "id": 91},
        {"segmentation": [[5, 5, 9, 5, 9, 9]], "category_id": 77, "id": 92},
        {"segmentation": [[5, 5, 9, 5, 9, 9]], "image_id": 77, "id": 93},
    )
    status, shown = check("--annotations", path, "--images", shapes_dir / "images")
    assert status == 1
    assert "| polygon with fewer than three points | 1 | left out | annotation 90 |" in shown
    assert "| polygon that crosses itself | 1 | repaired | annotation 91 |" in shown
    assert "does not define | 1 | left out | annotation 92 |" in shown
    assert "does not list | 1 | left out | annotation 93 |" in shown


def test_missing_and_wrong_images_are_named(
    check: Callable, shapes_dir: Path, tmp_path: Path
) -> None:
    for path in sorted((shapes_dir / "images").iterdir())[1:]:
        (tmp_path / path.name).write_bytes(path.read_bytes())
    cv2.imwrite(str(tmp_path / "3.png"), np.zeros((20, 30, 3), np.uint8))
    (tmp_path / "4.png").write_text("no image")
    words = ("--annotations", shapes_dir / "instances.json", "--images", tmp_path)
    status, shown = check(*words, "--read-images")
    assert status == 1
    assert "image file that is missing | 1 |" in shown
    assert "3.png: 30 x 20 px, labels 160 x 128" in shown
    assert "4.png' cannot be read" in shown


def test_what_cannot_be_used_is_refused(check: Callable, shapes_dir: Path, tmp_path: Path) -> None:
    labels = shapes_dir / "instances.json"
    assert check("--annotations", tmp_path / "no.json", "--images", tmp_path)[0] == 2
    status, shown = check("--annotations", labels, "--images", tmp_path)
    assert status == 2
    assert "6 of 6 image files are missing" in shown
    content = json.loads(labels.read_text()) | {"annotations": []}
    (tmp_path / "empty.json").write_text(json.dumps(content))
    status, shown = check(
        "--annotations", tmp_path / "empty.json", "--images", shapes_dir / "images"
    )
    assert status == 2
    assert "has nothing to learn or to measure" in shown
    assert "6 x image without objects" in shown
    assert check("--format", "kins")[0] == 2


def test_sets_of_a_run_are_drawn_as_the_network_sees_them(
    check: Callable, shapes_dir: Path, tmp_path: Path
) -> None:
    source = {
        "annotations": str(shapes_dir / "instances.json"),
        "images": str(shapes_dir / "images"),
    }
    config = {
        "model": {"class_names": ["disc", "box"]},
        "train": [source],
        "validation": {**source, "hold_out": 2},
        "augment": {"size": [96, 128], "base_side": 128},
    }
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(config))
    words = ("--config", tmp_path / "run.yaml", "--pictures", tmp_path / "seen", "--count", "2")
    status, _ = check(*words)
    assert status == 0
    pictures = sorted((tmp_path / "seen").rglob("*.png"))
    assert [p.parent.name for p in pictures] == ["set_0", "set_0", "set_1", "set_1"]
    pixels = cv2.imread(str(pictures[0]))
    assert pixels is not None
    assert pixels.shape == (96, 128, 3)
    assert (pixels[..., ::-1] == (255, 255, 255)).all(axis=2).any()  # key vertices


def test_pictures_replace_nothing_of_the_users(check: Callable, tmp_path: Path) -> None:
    """Not the images that are checked, not those of an earlier check, and not each other."""
    names = ("set_0/x.png", "b/x.png")
    labels: dict[str, Any] = {"categories": [{"id": 1, "name": "disc"}], "images": []}
    labels["annotations"] = []
    for number, name in enumerate(names):
        (tmp_path / name).parent.mkdir()
        cv2.imwrite(str(tmp_path / name), np.full((64, 64, 3), 90, np.uint8))
        size = {"file_name": name, "height": 64, "width": 64}
        labels["images"].append({"id": number, **size})
        box = {"segmentation": [[8, 8, 50, 8, 50, 50, 8, 50]], "bbox": [8, 8, 42, 42]}
        labels["annotations"].append(
            {"id": number, "image_id": number, "category_id": 1, "area": 1764, **box}
        )
    (tmp_path / "a.json").write_text(json.dumps(labels))
    before = (tmp_path / names[0]).read_bytes()
    words = ("--annotations", tmp_path / "a.json", "--images", tmp_path, "--pictures")
    for more in ((), ("--overwrite",)):
        status, shown = check(*words, tmp_path, *more)
        reason = "is an input, which is never replaced; give another"
        assert (status, shown.splitlines()[-1]) == (
            2,
            f"check: {str(tmp_path / names[0])!r} {reason}",
        )
    assert (tmp_path / names[0]).read_bytes() == before
    assert check(*words, tmp_path / "seen")[0] == 0
    seen = sorted(path.name for path in (tmp_path / "seen" / "set_0").iterdir())
    assert seen == ["x.png", "x_2.png"]
    status, shown = check(*words, tmp_path / "seen")
    assert status == 2
    assert shown.splitlines()[-1].endswith(
        "x.png' and 1 more exists; give --overwrite, or another place"
    )
    assert check(*words, tmp_path / "seen", "--overwrite")[0] == 0


def test_labels_are_converted_to_coco(check: Callable, shapes_dir: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "coco.json"
    words = ("--annotations", shapes_dir / "instances.json", "--images", shapes_dir / "images")
    assert check(*words, "--write-coco", out)[0] == 0
    before = read_coco(shapes_dir / "instances.json", shapes_dir / "images")
    after = read_coco(out, shapes_dir / "images")
    assert [len(i.instances) for i in after.images] == [len(i.instances) for i in before.images]
    assert check(*words, "--write-coco", out) == (
        2,
        f"check: {str(out)!r} exists; give --overwrite, or another place\n",
    )
    labels = shapes_dir / "instances.json"
    status, shown = check(*words, "--write-coco", labels, "--overwrite")
    assert status == 2
    assert "is an input, which is never replaced" in shown


def test_some_files_are_decoded_and_it_is_said_how_many(
    check: Callable, shapes_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("e2ec_core.data.check.SAMPLE", 3)
    for path in sorted((shapes_dir / "images").iterdir()):
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 0xFF  # within the compressed pixels
        (tmp_path / path.name).write_bytes(data)
    words = ("--annotations", shapes_dir / "instances.json", "--images", tmp_path)
    status, shown = check(*words)
    assert status == 2
    assert shown.count("is damaged") == 3
    assert "3 image files were decoded, of the others only the headers were read" in shown
    assert "of no use" in shown
    (tmp_path / "0.png").write_bytes((shapes_dir / "images" / "0.png").read_bytes())
    assert check(*words)[0] == 1
    status, shown = check(*words, "--read-images")
    assert status == 1
    assert shown.count("is damaged") == 5
    assert "headers were read" not in shown


def test_a_set_of_damaged_files_is_no_background(
    check: Callable, shapes_dir: Path, tmp_path: Path
) -> None:
    labels, images = shapes_dir / "instances.json", shapes_dir / "images"
    for path in images.iterdir():
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 0xFF
        (tmp_path / path.name).write_bytes(data)
    sets = [{"annotations": str(labels), "images": str(f)} for f in (images, tmp_path)]
    config = {"model": {"class_names": ["disc", "box"]}, "train": sets}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(config))
    assert check("--config", tmp_path / "run.yaml")[0] == 2


def test_doubtful_labels_are_not_sound(check: Callable, shapes_dir: Path, tmp_path: Path) -> None:
    content = json.loads((shapes_dir / "instances.json").read_text())
    for label in content["annotations"]:
        label["bbox"] = [1, 1, 2, 2]
    (tmp_path / "x.json").write_text(json.dumps(content))
    status, shown = check("--annotations", tmp_path / "x.json", "--images", shapes_dir / "images")
    assert status == 1
    assert "either may be wrong; look at them | 12 | doubtful |" in shown
    assert "usable, but look at the above" in shown
