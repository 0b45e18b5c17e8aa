"""What e2ec predict makes of folders, lists, links, addresses and runs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from e2ec_core.commands.items import Found, result_names, stem_of

FAST = ("--device", "cpu", "--short-side", "64", "--long-side", "96")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with pictures in it and in two folders."""
    monkeypatch.chdir(tmp_path)
    for name in ("tree/p3.png", "tree/a/p1.png", "tree/b b/p2.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(tmp_path / name), np.zeros((20, 30, 3), np.uint8))
    return tmp_path


def found_of(*given: str | Path) -> Found:
    found = Found()
    for one in given:
        found.add(str(one))
    return found


def names_of(found: Found) -> list[str]:
    return [path.as_posix() for path in found.files]


def test_lists_name_files_with_spaces_one_a_line(
    e2ec: Callable, portrait: Path, tmp_path: Path
) -> None:
    (tmp_path / "two words.png").write_bytes(portrait.read_bytes())
    (tmp_path / " lead.png").write_bytes(portrait.read_bytes())
    listed = f"\ufeff{portrait}\r\n  two words.png \r\n lead.png\r\n\r\n"
    (tmp_path / "list.txt").write_bytes(listed.encode())
    (tmp_path / "empty.txt").touch()
    words = (tmp_path / "empty.txt", tmp_path / "list.txt", *FAST)
    reply = e2ec("predict", *words, "--output", tmp_path / "out")
    assert reply.status == 1
    pictures = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert pictures == [" lead.png", "astronaut.png", "two words.png"]
    assert "list" in reply.err
    assert "is empty" in reply.err


def test_files_of_one_name_get_results_of_their_own() -> None:
    names = ("a/x.png", "b/x.jpg", "y.png", "x.png", "x_2.png", "c/X.png", "x.mp4")
    still, film = (lambda name: [f"{name}.png"]), (lambda name: [f"{name}.mp4"])
    results = [film if name == "x.mp4" else still for name in names]
    assert result_names(map(stem_of, names), results) == [
        *("x", "x_2", "y", "x_3", "x_2_2", "X_4", "x")
    ]


def test_a_folder_gives_images_and_videos_in_natural_order(tmp_path: Path) -> None:
    for name in ("f10.jpg", "f9.MP4", "f1.png", ".hidden.mp4", "notes.txt"):
        (tmp_path / name).touch()
    found = Found()
    found.add(str(tmp_path))
    assert [path.name for path in found.files] == ["f1.png", "f9.MP4", "f10.jpg"]
    (tmp_path / "empty").mkdir()
    found.add(str(tmp_path / "empty"))
    assert "holds no images, videos or bags" in found.faults[0][1]


def test_folders_in_a_folder_are_told(folder: Path) -> None:
    found = found_of("tree")
    assert names_of(found) == ["tree/p3.png"]
    rest = "2 folders 'a', 'b b' (give tree/*/ for what they hold)"
    assert found.notes == [f"1 images, videos and bags of folder 'tree'; passed over are {rest}"]
    Path("tree/p3.png").unlink()
    Path("tree/.git").mkdir()
    found = found_of("tree", "tree/a")
    assert names_of(found) == ["tree/a/p1.png"]
    ((name, fault),) = found.faults
    assert name == "'tree'"
    assert fault.endswith(f"); there are {rest}")


def test_what_a_line_says_of_a_folder_is_said_once(e2ec: Callable, folder: Path) -> None:
    Path("empty").mkdir()
    reply = e2ec("predict", "empty", "tree/a", *FAST)
    assert reply.status == 1
    said, last = reply.err.splitlines()
    assert said.startswith("predict: folder 'empty' holds no images, videos or bags (.avi, ")
    assert last == "predict: 1 of 2 left out: 'empty'"


def test_links_to_nothing_cost_themselves(e2ec: Callable, folder: Path) -> None:
    Path("tree/gone.jpg").symlink_to("../.git/annex/objects/x.jpg")
    reply = e2ec("predict", "tree", *FAST)
    assert reply.status == 1
    reason = "is a link to '../.git/annex/objects/x.jpg', which does not exist; fetch that"
    assert f"predict: image 'tree/gone.jpg' {reason}" in reply.err.splitlines()
    assert reply.err.splitlines()[-1] == "predict: 1 of 2 left out: 'tree/gone.jpg'"


@pytest.mark.parametrize("ending", [".mcap", ".db3"])
def test_bags_without_metadata_are_bags_of_a_folder(folder: Path, ending: str) -> None:
    for name in ("tree/cut", "tree/mixed", "tree/whole_v1.2"):
        Path(name).mkdir()
        Path(name, f"x_0{ending}").touch()
    Path("tree/whole_v1.2/metadata.yaml").touch()
    shutil.copy("tree/p3.png", "tree/mixed")  # given alone, it gives more than a bag
    found = found_of("tree")
    assert names_of(found) == ["tree/cut", "tree/p3.png", "tree/whole_v1.2"]
    assert "3 folders 'a', 'b b', ..." in found.notes[0]
    assert list(map(stem_of, found.files)) == ["cut", "p3", "whole_v1.2"]
    assert names_of(found_of("tree/cut")) == ["tree/cut"]
    found = found_of("tree/whole_v1.2/metadata.yaml")
    assert "is a part of a bag; give its folder 'tree/whole_v1.2'" in found.faults[0][1]


def test_lists_may_hold_comments_homes_and_addresses_of_files(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(folder / "tree/a"))
    shutil.copy("tree/p3.png", "#1.png")
    address = (folder / "tree/b b/p2.png").as_uri()
    assert "%20" in address
    lines = ["# comment", "", "~/p1.png", " # more", address, "#1.png", "'tree/p3.png'"]
    lines += ["none.png", "other.txt", "https://example.com/a.jpg"]
    Path("list.txt").write_text("\n".join(lines))
    Path("other.txt").write_text("tree/p3.png")
    found = found_of("list.txt")
    paths = [os.path.relpath(path, folder) for path in found.files]
    assert paths == ["tree/a/p1.png", "tree/b b/p2.png", "#1.png", "'tree/p3.png'", "none.png"]
    assert [name for name, _ in found.faults] == ["'other.txt'", "'https://example.com/a.jpg'"]
    assert found.faults[0][1] == "list 'other.txt' stands in a list; give it as a PATH"
    assert "'https://example.com/a.jpg' is in a network" in found.faults[1][1]
    Path("list.txt").write_text("# nothing but\n# comments\n")
    assert "is empty" in found_of("list.txt").faults[0][1]


def test_every_frame_of_an_animation_is_drawn(e2ec: Callable, folder: Path) -> None:
    pages = [np.full((64, 96, 3), level, np.uint8) for level in range(5)]
    cv2.imwritemulti("pages.tif", pages)
    reply = e2ec("predict", "pages.tif", "tree/a", *FAST)
    assert (reply.status, reply.err) == (0, "")
    assert "contours/pages.mp4: 5 frames, nothing found" in reply.out
    assert cv2.VideoCapture("contours/pages.mp4").get(cv2.CAP_PROP_FRAME_COUNT) == 5


def test_a_file_given_in_several_ways_is_done_once(folder: Path) -> None:
    Path("list.txt").write_text("tree/p3.png\ntree/a/p1.png\n")
    found = found_of("tree", "list.txt", "./tree/../tree/p3.png", folder / "tree/p3.png", "tree/a")
    assert names_of(found) == ["tree/p3.png", "tree/a/p1.png"]


def test_names_that_would_break_a_line_are_quoted(e2ec: Callable, folder: Path) -> None:
    Path("tree/p3.png").rename("tree/two\nlines.png")
    reply = e2ec("predict", "tree", *FAST)
    assert (reply.status, reply.out) == (0, "'contours/two\\nlines.png': nothing found\n")


@pytest.fixture
def run_folder(folder: Path, repo_dir: Path) -> Path:
    """The folder of a run that was renamed."""
    pytest.importorskip("torch", reason="PyTorch is not installed")
    run = folder / "renamed"
    run.mkdir()
    (run / "config.yaml").touch()
    (run / "metrics.jsonl").touch()
    shutil.copy(repo_dir / "weights/e2ec_lite.safetensors", run / "first.safetensors")
    return run


def test_the_folder_of_a_run_gives_the_weights(e2ec: Callable, run_folder: Path) -> None:
    assert e2ec("predict", "--output=one", "renamed", "tree/a", *FAST).status == 0
    assert e2ec("predict", "renamed", "--output=two", "tree/a", *FAST).status == 0
    shutil.copy("renamed/first.safetensors", "renamed/first_best.safetensors")
    assert e2ec("predict", "--output=three", "tree/a", "--weights=renamed", *FAST).status == 0
    for words, said in {
        ("renamed",): "no PATH is given (a run gives the weights alone); give images or videos",
        ("--device=cpu", "renamed"): "no PATH is given (a run gives the weights alone)",
        ("renamed", "tree", "--weights=x.onnx"): "weights of 'renamed', 'x.onnx' are given; give",
        ("tree", "renamed", "renamed"): "weights of 'renamed', 'renamed' are given; give one run",
    }.items():
        reply = e2ec("predict", *words)
        assert reply.status == 2
        assert said in reply.error


def test_a_run_without_one_file_of_weights_is_told(e2ec: Callable, run_folder: Path) -> None:
    Path("renamed/first.safetensors").rename("renamed/a.safetensors")
    shutil.copy("renamed/a.safetensors", "renamed/b.safetensors")
    reply = e2ec("predict", "renamed", "tree", *FAST)
    assert reply.status == 2
    has = "renamed.safetensors; it has 'a.safetensors', 'b.safetensors'"
    assert f"folder 'renamed' holds no weights of a run ({has})" in reply.err
    Path("renamed/a.safetensors").unlink()
    Path("renamed/b.safetensors").unlink()
    reply = e2ec("predict", "renamed", "tree", *FAST)
    assert "(renamed.safetensors; it has none)" in reply.err
