"""e2ec predict --resume: nothing is lost or done twice, whenever the process is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from films import damage, write_film
from predict_runs import FAST, PATIENCE, begun, command, contents, wait_for
from ros_bags import raw, write_messages

from e2ec_core.commands.predict_job import PART_FRAMES, Segment, cut
from e2ec_core.recordings.recording import Recording, frames_of, open_recording
from e2ec_core.value_range import FULL

FRAMES = 5 * PART_FRAMES


@pytest.fixture
def inputs(portrait: Path, tmp_path: Path) -> list[Path]:
    """A video with damaged frames, a bag, and images of which one is broken."""
    small = cv2.resize(cv2.imread(str(portrait)), (64, 64))[..., ::-1]
    moved = [np.roll(small, i, axis=1) for i in range(FRAMES)]
    film = write_film(tmp_path / "walk.avi", moved)
    damage(film, [PART_FRAMES - 1, PART_FRAMES, 70])
    sent = [("/cam/image", 1 + i / 10, raw(moved[i], 1 + i / 10)) for i in range(40)]
    bag = write_messages(tmp_path / "drive", sent)
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(40):
        cv2.imwrite(str(folder / f"{i}.png"), moved[i])
    (folder / "7.png").write_bytes(b"no picture")
    return [film, bag, folder]


WRITE = ("--write", "pictures,video,jsonl,coco,labels,bag")


@pytest.mark.slow
def test_a_killed_run_goes_on_and_ends_as_one_that_was_not(
    e2ec: Callable, repo_dir: Path, inputs: list[Path], tmp_path: Path
) -> None:
    """Killed in the middle of the parts three times, and while it makes its results."""
    whole, out = tmp_path / "whole", tmp_path / "out"
    assert e2ec("predict", *inputs, *FAST, *WRITE, "--output", whole).status == 1
    words = (*inputs, *FAST, *WRITE, "--output", out, "--resume")
    state = out / ".e2ec_predict"
    seen: dict[Path, int] = {}
    for parts in (1, 3, 6):
        run = command(repo_dir, *words)
        wait_for(lambda parts=parts: len(list(state.glob("part-*"))) >= parts, run)
        os.kill(run.pid, signal.SIGKILL)
        run.communicate()
        assert all(path.stat().st_mtime_ns == then for path, then in seen.items())
        seen = {path: path.stat().st_mtime_ns for path in state.glob("part-*")}
        assert parts <= len(seen) < 9
    run = command(repo_dir, *words)
    wait_for(lambda: (out / "contours.jsonl").exists(), run)
    os.kill(run.pid, signal.SIGKILL)
    run.communicate()
    run = command(repo_dir, *words)
    _, errors = run.communicate(timeout=PATIENCE)
    assert run.returncode == 1, errors
    assert "left out: frames of" in errors
    wanted = contents(whole)
    assert {"walk.mp4", "38.png", "labels/walk/000159.png", "coco_results.json"} < set(wanted)
    assert contents(out) == wanted
    assert len(wanted["contours.jsonl"].splitlines()) == FRAMES + 40 + 40
    assert [path.name for path in state.iterdir()] == ["manifest.json"]
    again = command(repo_dir, *words)
    said, errors = again.communicate(timeout=PATIENCE)
    assert again.returncode == 1
    assert "all was done before" in said
    assert "2 of 42 left out: frames of" in errors
    assert contents(out) == wanted


def test_only_a_run_with_the_same_inputs_and_options_goes_on(
    e2ec: Callable, film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [film, tmp_path / "other.avi"]
    paths[1].write_bytes(film.read_bytes())
    rest = (*FAST, "--output", tmp_path / "out")
    begun(e2ec, (*paths, *rest), monkeypatch)
    reply = e2ec("predict", *paths, *rest)
    assert reply.status == 2
    assert "an unfinished run is in" in reply.error
    others = {
        "stage is 'coarse', was 'final'": (*paths, *rest, "--stage", "coarse"),
        "range is 'auto', was 'full'": (*paths, *rest, "--range", "auto"),
        "write is 'jsonl', was 'pictures,video'": (*paths, *rest, "--write", "jsonl"),
        "classes is 'cat', was ''": (*paths, *rest, "--classes", "cat"),
        "it has 1 inputs, had 2": (*paths[1:], *rest),
        f"path of input {str(paths[1])!r} is": (*paths[::-1], *rest),
    }
    for message, words in others.items():
        reply = e2ec("predict", *words, "--resume")
        assert reply.status == 2
        assert f"cannot go on: {message}" in reply.error
        assert "; give what it was begun with, or --overwrite" in reply.error
    state = tmp_path / "out/.e2ec_predict"
    content = paths[1].read_bytes()
    paths[1].write_bytes(content + b"more")
    reply = e2ec("predict", *paths, *rest, "--resume")
    assert f"cannot go on: size of input {str(paths[1])!r} is" in reply.error
    assert len(list(state.glob("part-*"))) == 1
    reply = e2ec("predict", *paths, *rest, "--overwrite")
    assert reply.status == 0
    assert not state.exists()


def test_an_unfinished_run_is_not_thrown_away_by_chance(
    e2ec: Callable, film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rest = (*FAST, "--write", "jsonl", "--output", tmp_path / "out")
    begun(e2ec, (film, *rest), monkeypatch)
    reply = e2ec("predict", film, *rest)
    assert reply.status == 2
    assert "1 of 2 parts are done; give --resume to go on" in reply.error
    reply = e2ec("predict", film, *rest, "--resume")
    assert reply.status == 0
    rows = [json.loads(line) for line in (tmp_path / "out/contours.jsonl").open()]
    assert [row["frame"] for row in rows] == list(range(40))


def test_two_processes_do_not_write_to_one_folder(
    e2ec: Callable, film: Path, tmp_path: Path
) -> None:
    from e2ec_core.commands.predict_state import RunState

    rest = (*FAST, "--output", tmp_path / "out")
    with RunState(tmp_path / "out").alone():
        reply = e2ec("predict", film, *rest)
    assert reply.status == 2
    assert f"another e2ec predict writes to {str(tmp_path / 'out')!r}" in reply.error


@pytest.mark.parametrize("lost", [[], [31], [32], [31, 32], [39]])
@pytest.mark.parametrize("length", [40, 33, 32, 31])
def test_parts_read_alone_give_what_one_reading_gives(
    film: Path, lost: list[int], length: int
) -> None:
    """Also where frames are damaged, and where the file ends before what it says."""
    damage(film, lost)
    content = film.read_bytes()
    film.write_bytes(content[: int(len(content) * length / 40)])

    def told(begin: int, end: int | None) -> list[tuple[int, str, bytes]]:
        recording = Recording(path=str(film), kind="video", length=40)
        frames = frames_of(recording, FULL, begin)
        found = [(f.index, f.error, b"" if f.rgb is None else f.rgb.tobytes()) for f in frames]
        return [one for one in found if end is None or one[0] < end]

    assert open_recording(film, "", FULL).length == 40
    assert told(0, 32) + told(32, None) == told(0, None)


def test_parts_hold_images_together_and_pieces_of_videos() -> None:
    image = Recording(path="a.png", kind="image")
    video = Recording(path="b.mp4", kind="video", length=PART_FRAMES + 1)
    parts = cut([image, image, video, *[image] * (PART_FRAMES + 1)])
    assert parts == [
        (Segment(0, 0, 1), Segment(1, 0, 1)),
        (Segment(2, 0, PART_FRAMES),),
        (Segment(2, PART_FRAMES, None),),
        tuple(Segment(3 + i, 0, 1) for i in range(PART_FRAMES)),
        (Segment(3 + PART_FRAMES, 0, 1),),
    ]


def test_tries_that_fail_leave_nothing_on_a_full_disk(
    e2ec: Callable, repo_dir: Path, tmp_path: Path
) -> None:
    """Full for the copy of the bag alone: no file may be larger than it."""
    image = raw(np.zeros((300, 400, 3), np.uint8), 1.0)
    bag = write_messages(tmp_path / "drive", [("/image", 1.0 + i, image) for i in range(20)])
    words = (bag, *FAST, "--write", "bag", "--output", tmp_path / "out", "--resume")
    scratch = tmp_path / "out/.e2ec_predict/scratch"
    program = "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (2**21, 2**21));"
    program += "from e2ec_core.commands.__main__ import main; sys.exit(main(sys.argv[1:]))"
    for _ in range(2):
        run = subprocess.run(
            [sys.executable, "-c", program, "predict", *map(str, words)],
            cwd=repo_dir,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert run.returncode == 2, run.stderr
        assert "drive_contours' cannot be written" in run.stderr
        assert list(scratch.iterdir()) == []
    (scratch / "of a killed process").mkdir()
    (scratch / "of a killed process/file").write_bytes(b"much")
    assert list(scratch.parent.glob("part-*"))
    assert e2ec("predict", *words).status == 0
    assert (tmp_path / "out/drive_contours/metadata.yaml").is_file()
    assert not scratch.exists()
