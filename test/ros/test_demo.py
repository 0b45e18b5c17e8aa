"""The demo as a newcomer runs it, and what it says when it cannot."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is missing: run `make test`")

from e2ec_ros.demo.recorder import VideoFile


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "e2ec_ros.demo", *map(str, arguments)]


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), capture_output=True, text=True, timeout=240)


def table_row(output: str, name: str) -> list[float]:
    line = next(line for line in output.splitlines() if line.strip().startswith(name))
    return [float(number) for number in re.findall(r"-?\d+\.?\d*", line.replace(name, "", 1))]


def test_the_built_in_inputs_give_video_pictures_and_table(tmp_path: Path) -> None:
    done = run("--output", tmp_path / "out", "--frames", "3")
    assert done.returncode == 0, done.stderr + done.stdout
    assert table_row(done.stdout, "frames in") == [6]
    assert table_row(done.stdout, "frames out") == [6]
    assert table_row(done.stdout, "dropped") == [0]
    assert table_row(done.stdout, "lost on the way") == [0]
    assert table_row(done.stdout, "instances")[0] >= 3
    p50, p99 = table_row(done.stdout, "total")
    assert 0 < p50 <= p99
    assert str(tmp_path / "out") in done.stdout
    names = {path.name for path in (tmp_path / "out").glob("*.png")}
    assert {"photo_astronaut.png", "photo_chelsea.png", "photo_coffee.png"} <= names
    assert sum(name.startswith("drive_") for name in names) == 3
    video = next((tmp_path / "out").glob("overlay.*"))
    film = cv2.VideoCapture(str(video))
    assert film.read()[1].shape == (384, 640, 3)
    assert film.get(cv2.CAP_PROP_FRAME_COUNT) == 3 + 3 * 15
    drawn = cv2.imread(str(tmp_path / "out" / "photo_coffee.png"))
    assert drawn.shape == (400, 600, 3)


def test_a_folder_plays(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for index in range(2):
        cv2.imwrite(str(tmp_path / "in" / f"{index}.png"), np.full((61, 83, 3), 99, np.uint8))
    done = run("--output", tmp_path / "out", "--input", tmp_path / "in")
    assert done.returncode == 0, done.stderr + done.stdout
    assert table_row(done.stdout, "frames out") == [2]
    assert cv2.imread(str(tmp_path / "out" / "in_0001.png")).shape == (61, 83, 3)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--input", "/nowhere.mp4"], "'/nowhere.mp4' does not exist"),
        (["--input", "{tmp}/torn.avi"], "nor a video"),
        (["--input", "{tmp}/empty"], "holds no images"),
        (["--input", "{tmp}/a.png", "--output", "{tmp}"], "a.png' lies in the folder of the res"),
        (["--frames", "-1"], "--frames is -1"),
        (["--output", "{tmp}/torn.avi/out"], "cannot make the folder"),
        (["--output", "{tmp}"], "holds files that no demo wrote; give another --output"),
        (["--weights", "/no/weights.safetensors"], "/no/weights.safetensors"),
        (["--score-threshold", "7"], "score_threshold is 7"),
    ],
)
def test_what_cannot_be_is_told_in_one_line(
    tmp_path: Path, arguments: list[str], words: str
) -> None:
    if "safetensors" in words:
        pytest.importorskip("torch", reason="PyTorch is not installed")
    (tmp_path / "torn.avi").write_bytes(b"RIFF torn")
    (tmp_path / "empty").mkdir()
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((32, 48, 3), np.uint8))
    given = ["--output", str(tmp_path / "out"), *arguments]
    done = run(*[word.format(tmp=tmp_path) for word in given])
    assert done.returncode == 1
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_the_demo_and_its_children(
    tmp_path: Path, number: signal.Signals
) -> None:
    demo = subprocess.Popen(
        command("--output", tmp_path / "out"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert demo.stdout is not None
    for line in demo.stdout:
        if line.startswith("playing"):
            break
    time.sleep(2.0)
    demo.send_signal(number)
    _, errors = demo.communicate(timeout=30)
    assert demo.returncode == 130, errors
    assert errors.strip() == "interrupted"
    assert session_members(demo.pid) == []


def test_a_killed_demo_leaves_no_process(tmp_path: Path) -> None:
    if not shutil.which("setpriv"):
        pytest.skip("no setpriv here; it comes with util-linux")
    demo = subprocess.Popen(
        command("--output", tmp_path / "out"), stdout=subprocess.PIPE, start_new_session=True
    )
    assert demo.stdout is not None
    for line in demo.stdout:
        if line.startswith(b"playing"):
            break
    time.sleep(1.0)
    assert len(session_members(demo.pid)) == 3
    demo.kill()
    demo.communicate(timeout=30)
    end = time.monotonic() + 30
    while session_members(demo.pid) and time.monotonic() < end:
        time.sleep(0.1)
    assert session_members(demo.pid) == []


def test_a_full_disk_ends_the_video_with_what_came_before(tmp_path: Path) -> None:
    video = VideoFile(tmp_path / "overlay", 10.0)
    picture = np.full((64, 96, 3), 99, np.uint8)
    video.write(picture, 5)
    video.reserve = 10**18
    with pytest.raises(OSError, match=f"the disk of '{tmp_path}' is full"):
        video.write(picture)
    assert video.path is not None
    assert cv2.VideoCapture(str(video.path)).get(cv2.CAP_PROP_FRAME_COUNT) == 5


def session_members(session: int) -> list[int]:
    """Processes that still run in a session."""
    members = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if os.getsid(int(entry.name)) == session:
                    members.append(int(entry.name))
            except ProcessLookupError:
                continue
    return members
