"""The benchmark of tracks: its disturbance, its peers, and how it counts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from e2ec_core.tracking import Tracker

pytest.importorskip("pycocotools", reason="pycocotools is not installed")


def test_disturbed_finds_are_those_that_are_described(
    load_benchmark: Callable[[str], ModuleType],
) -> None:
    sets = load_benchmark("track_sets")
    video = sets.drive(3, 30)
    finds = sets.disturbed(video, 7)
    objects = sum(len(image.tracks) for image in video)
    seen = sum((one.tracks >= 0).sum() for one in finds)
    assert seen == pytest.approx(0.85 * objects, rel=0.1)
    assert [(one.tracks < 0).sum() for one in finds] == [1, 0, 0, 0, 0] * 6
    for image, one in zip(video, finds, strict=True):
        for track, box in zip(one.tracks, one.contours.boxes_xyxy, strict=True):
            if track >= 0:
                outline = image.outlines[image.tracks == track][0]
                size = outline.max(axis=0) - outline.min(axis=0)
                error = np.abs(box.reshape(2, 2) - (outline.min(axis=0), outline.max(axis=0)))
                assert (error <= 0.076 * size + 0.51).all()  # the image cuts half a pixel
    again = sets.disturbed(video, 7)
    assert all((a.tracks == b.tracks).all() for a, b in zip(finds, again, strict=True))


@pytest.mark.parametrize(("longest", "same"), [(1, False), (10, True)])
def test_sort_forgets_after_one_image_unless_told(
    load_benchmark: Callable[[str], ModuleType], longest: int, same: bool
) -> None:
    images = list(load_benchmark("track_sets").crowd(1, 12))
    sort = load_benchmark("track_peers").Sort(longest)
    for step in (0, 1, 2, 3, 4, 5, 6, 7):
        assert sort.update(images[step], step / 10).track_ids.tolist() == [0]
    for step in (8, 9):
        assert len(sort.update(images[step][:0], step / 10)) == 0
    assert (sort.update(images[10], 1.0).track_ids.tolist() == [0]) == same


def test_numbers_are_those_of_a_case_that_can_be_counted(
    load_benchmark: Callable[[str], ModuleType],
) -> None:
    pytest.importorskip("trackeval", reason="trackeval is not installed")
    sets, tracks = load_benchmark("track_sets"), load_benchmark("tracks")
    video = sets.drive(3, 10)
    finds = {"drive": sets.exact(video)}
    rows = tracks.measure({"drive": video}, finds)
    perfect = rows["car", tracks.TRUTH]
    assert perfect["HOTA, boxes"] == pytest.approx(1.0)
    assert (perfect["MOTA"], perfect["id switches"]) == (pytest.approx(1.0), 0)


@pytest.mark.parametrize("sequence", ["0012", "0014"])
def test_tracks_hold_on_to_people_and_cars_of_a_real_street(
    load_benchmark: Callable[[str], ModuleType], shared_dir: Path, sequence: str
) -> None:
    sets = load_benchmark("track_sets")
    video = sets.read_mots(shared_dir / "data" / "kitti_mots_tracks" / f"{sequence}.txt")
    for finds, allowed in ((sets.exact(video), 0.03), (sets.disturbed(video, 0), 0.08)):
        tracker, last, switches, seen = Tracker(), {}, 0, 0
        for image, one in zip(video, finds, strict=True):
            ids = tracker.update(one.contours, image.seconds).track_ids
            assert ids is not None
            for truth, track in zip(one.tracks.tolist(), ids.tolist(), strict=True):
                if truth != sets.NOBODY:
                    switches += last.get(truth, track) != track
                    last[truth], seen = track, seen + 1
        assert switches <= allowed * seen
