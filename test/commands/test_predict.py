"""e2ec predict: pictures and videos, one bad file costs one file, nothing is overwritten."""

from __future__ import annotations

import errno
import os
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from films import damage, write_film

from e2ec_core.commands.outputs import NotWritten, write_file

FAST = ("--device", "cpu", "--short-side", "64", "--long-side", "96")


def test_help_names_the_options(e2ec: Callable) -> None:
    reply = e2ec("predict", "--help")
    assert reply.status == 0
    for name in ("output", "weights", "score_threshold", "stage", "short_side", "precision"):
        assert f"--{name}" in reply.out
    assert "Exit status: 0 all was drawn" in reply.out
    assert "0 to 1" in reply.out  # of the score


def test_a_photograph_gives_a_picture_and_a_line(
    repo_dir: Path, portrait: Path, tmp_path: Path
) -> None:
    words = [str(portrait), "--output", str(tmp_path / "out"), "--device=cpu"]
    reply = subprocess.run(
        [sys.executable, str(repo_dir / "training/predict.py"), *words],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": f"{repo_dir}:{os.environ.get('PYTHONPATH', '')}"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert reply.returncode == 0, reply.stderr
    assert "person" in reply.stdout
    assert reply.stdout.count("\n") == 1
    drawn, original = cv2.imread(str(tmp_path / "out/astronaut.png")), cv2.imread(str(portrait))
    assert drawn.shape == original.shape
    assert 0.02 < (drawn != original).any(axis=2).mean() < 0.95


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--weights", "none.safetensors"], "'none.safetensors' does not exist"),
        (["--weights", "notes.md"], "cannot be read as safetensors"),
        (["--score", "3"], "score_threshold is 3.0; give 0 to 1"),
        (["--score=much"], "score_threshold is 'much'; it must be float"),
        (["--max-instances", "0"], "max_instances is 0; give 1 to 200"),
        (["--device", "tpu"], "device is 'tpu'"),
        (["--stage", "last"], "stage is 'last'; choose one of 'initial', 'coarse', 'final'"),
        (["--precision", "fp8"], "precision is 'fp8'; choose one of 'fp32', 'fp16', 'bf16'"),
        (["--classes", "cat,persn"], "does not know; did you mean 'person'?"),
        (["--treshold", "0.3"], "unknown setting 'treshold'; did you mean 'score_threshold'?"),
        (["--threads", "-1"], "threads is -1; give 0 or more"),
        (["--topics", "/camera"], "topics is '/camera', but no input is a bag; leave it out"),
        (["--output", "notes.md"], "folder 'notes.md' cannot be made: File exists"),
    ],
)
def test_a_wrong_option_is_said_in_one_line(
    e2ec: Callable,
    portrait: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    message: str,
) -> None:
    if "safetensors" in message:
        pytest.importorskip("torch", reason="PyTorch is not installed")
    (tmp_path / "notes.md").write_text("no weights")
    monkeypatch.chdir(tmp_path)
    reply = e2ec("predict", portrait, *words)
    assert reply.status == 2
    assert reply.error.startswith("predict: ")
    assert message in reply.error
    assert not list(tmp_path.rglob("*.png"))


def test_only_the_classes_asked_for_are_drawn(
    e2ec: Callable, portrait: Path, tmp_path: Path
) -> None:
    found = []
    for number, classes in enumerate(("person", "cat, traffic light", "")):
        words = ("--output", tmp_path / str(number), "--device=cpu", "--classes", classes)
        found.append(e2ec("predict", portrait, *words).out)
    assert "person" in found[0]
    assert "nothing found" in found[1]
    assert "person" in found[2]


def test_bad_files_cost_themselves_alone(e2ec: Callable, portrait: Path, tmp_path: Path) -> None:
    folder = tmp_path / "photographs"
    folder.mkdir()
    content = portrait.read_bytes()
    for name in ("frame10.png", "frame2.png", "._frame2.png"):
        (folder / name).write_bytes(content)
    (folder / "empty.jpg").touch()
    (folder / "cut.png").write_bytes(content[: len(content) // 2])
    (folder / "huge.png").write_bytes(content[:16] + b"\x7f\xff\xff\xff" * 2 + content[24:])
    (folder / "notes.md").write_text("no picture")
    reply = e2ec("predict", "none.png", folder, *FAST, "--output", tmp_path / "out")
    assert reply.status == 1
    drawn = [line.partition(":")[0] for line in reply.out.splitlines()]
    assert drawn == [str(tmp_path / "out" / f"frame{n}.png") for n in (2, 10)]
    *_, last = reply.err.splitlines()
    assert last.startswith("predict: 4 of 6 left out: 'none.png'")
    assert "; passed over are 2 files '._frame2.png', 'notes.md'" in reply.err
    for name in ("none.png", "empty.jpg", "cut.png", "huge.png"):
        assert sum(name in line and "left out" not in line for line in reply.err.split("\n")) == 1
    assert "Traceback" not in reply.err


def test_inputs_are_never_replaced(
    e2ec: Callable, portrait: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    original = portrait.read_bytes()
    Path("a.png").write_bytes(original)
    Path("out").mkdir()
    Path("out/b.png").symlink_to(tmp_path / "a.png")
    os.link("a.png", "b.png")
    for words in (("a.png", "--output", "."), ("b.png", "--output", "out")):
        reply = e2ec("predict", *words, "--overwrite")
        assert reply.status == 2
        assert "is an input, which is never replaced; give another" in reply.error
    assert Path("a.png").read_bytes() == original


def test_results_are_replaced_on_request_only(
    e2ec: Callable, portrait: Path, tmp_path: Path
) -> None:
    target = tmp_path / "out/astronaut.png"
    target.parent.mkdir()
    target.write_text("mine")
    words = ("predict", portrait, *FAST, "--output", target.parent)
    reply = e2ec(*words)
    assert reply.status == 2
    assert reply.error == f"predict: {str(target)!r} exists; give --overwrite, or another place"
    assert target.read_text() == "mine"
    assert e2ec(*words, "--overwrite").status == 0
    assert cv2.imread(str(target)) is not None
    assert [path.name for path in target.parent.iterdir()] == ["astronaut.png"]


def _write_video(path: Path, frames: int) -> None:
    pictures = (np.full((64, 96, 3), 10 * (level % 20), np.uint8) for level in range(frames))
    write_film(path, pictures, rate=10.0)


def _levels(path: Path) -> list[float]:
    film = cv2.VideoCapture(str(path))
    levels = []
    while (read := film.read())[0]:
        levels.append(read[1].mean())
    return levels


def test_a_video_becomes_a_video_of_the_same_frames(e2ec: Callable, tmp_path: Path) -> None:
    _write_video(tmp_path / "drive.avi", 4)
    (tmp_path / "broken.mp4").write_text("no video")
    words = (tmp_path / "drive.avi", tmp_path / "broken.mp4", tmp_path / "none.mp4")
    reply = e2ec("predict", *words, *FAST, "--output", tmp_path / "out")
    assert reply.status == 1
    assert "drive.mp4: 4 frames, nothing found" in reply.out
    assert "broken.mp4' cannot be read" in reply.err
    assert "none.mp4' does not exist" in reply.err
    np.testing.assert_allclose(_levels(tmp_path / "out/drive.mp4"), [0, 10, 20, 30], atol=4)
    assert cv2.VideoCapture(str(tmp_path / "out/drive.mp4")).get(cv2.CAP_PROP_FPS) == 10.0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["drive.mp4"]


def test_a_video_that_ends_early_is_drawn_as_far_and_told(e2ec: Callable, tmp_path: Path) -> None:
    _write_video(tmp_path / "drive.avi", 40)
    content = (tmp_path / "drive.avi").read_bytes()
    (tmp_path / "drive.avi").write_bytes(content[: len(content) // 2])
    reply = e2ec("predict", tmp_path / "drive.avi", *FAST, "--output", tmp_path / "out")
    assert reply.status == 1
    drawn = len(_levels(tmp_path / "out/drive.mp4"))
    assert f"ends after {drawn} of 40 frames" in reply.err
    assert 0 < drawn < 25


@pytest.mark.parametrize("lost", [[0], [5], [4, 5, 9], [17]])
def test_damaged_frames_cost_only_themselves(
    e2ec: Callable, tmp_path: Path, lost: list[int]
) -> None:
    path = tmp_path / "drive.avi"
    _write_video(path, 20)
    damage(path, lost)
    reply = e2ec("predict", path, *FAST, "--output", tmp_path / "out")
    assert reply.status == 1
    want = [10 * level for level in range(20) if level not in lost]
    np.testing.assert_allclose(_levels(tmp_path / "out/drive.mp4"), want, atol=4)
    said, last = reply.err.splitlines()
    more = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
    assert said == (
        f"predict: frame {lost[0]} of {str(path)!r} cannot be decoded{more}; "
        f"{str(tmp_path / 'out/drive.mp4')!r} has the other {20 - len(lost)} frames"
    )
    assert last == f"predict: 1 of 1 left out: frames of {str(path)!r}"


def test_where_nothing_is_drawn_the_status_is_2(
    e2ec: Callable, portrait: Path, tmp_path: Path
) -> None:
    words = ("--output", tmp_path / "out", *FAST)
    assert e2ec("predict", "none.png", *words).status == 2
    assert e2ec("predict", tmp_path / "none.txt", *words).status == 2
    assert e2ec("predict", "none.png", portrait, *words).status == 1


@pytest.mark.parametrize(("text", "want"), [("full", 8), ("0..4095", 128), ("auto", 0)])
def test_12_bit_images_are_shown_in_their_range(
    e2ec: Callable, tmp_path: Path, text: str, want: int
) -> None:
    cv2.imwrite(str(tmp_path / "wide.png"), np.full((64, 96), 2048, np.uint16))
    words = (tmp_path / "wide.png", "--range", text, "--score=1", *FAST)
    assert e2ec("predict", *words, "--output", tmp_path).status == 2  # an input
    assert e2ec("predict", *words, "--output", tmp_path / "out").status == 0
    assert (cv2.imread(str(tmp_path / "out/wide.png")) == want).all()


def test_what_cannot_be_decoded_gives_one_line_and_no_noise(
    repo_dir: Path, portrait: Path, tmp_path: Path
) -> None:
    """Also libpng's, libjpeg's and OpenCV's own; the library leaves them as they are."""
    flipped = bytearray(portrait.read_bytes())
    flipped[len(flipped) // 2] ^= 255
    (tmp_path / "flip.png").write_bytes(flipped)
    cv2.imwrite(str(tmp_path / "holes.jpg"), cv2.imread(str(portrait)))
    holes = bytearray((tmp_path / "holes.jpg").read_bytes())
    holes[len(holes) // 3 : len(holes) // 2] = bytes(len(holes) // 2 - len(holes) // 3)
    (tmp_path / "holes.jpg").write_bytes(holes)
    cv2.imwrite(str(tmp_path / "float.tif"), np.ones((20, 30), np.float32))
    for ending, ((at, form), *_) in {".bmp": [(18, "<ii")], ".ppm": [(3, "text")]}.items():
        cv2.imwrite(str(tmp_path / f"huge{ending}"), np.zeros((64, 64, 3), np.uint8))
        data = bytearray((tmp_path / f"huge{ending}").read_bytes())
        if form == "text":
            data[at : data.index(b"\n255")] = b"30000 30000"
        else:
            struct.pack_into(form, data, at, 30_000, 30_000)
        (tmp_path / f"huge{ending}").write_bytes(data)
    names = ("flip.png", "float.tif", "huge.bmp", "huge.ppm", "holes.jpg")
    words = ["-m", "e2ec_core.commands", "predict", *names, *FAST]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("OPENCV")}
    environment["PYTHONPATH"] = f"{repo_dir}:{os.environ.get('PYTHONPATH', '')}"

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *words],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    reply = run(*words)
    assert reply.returncode == 1
    assert reply.stdout.startswith("contours/holes.png: ")
    large = "is too large; at most 268435456 px are read"
    said = {
        "flip.png": "is damaged; copy it again",
        "float.tif": "holds float32 values; 8 or 16 bits can be read",
        "huge.bmp": large,
        "huge.ppm": large,
    }
    lines = [f"predict: image {name!r} {reason}" for name, reason in said.items()]
    last = f"predict: 4 of 5 left out: {', '.join(map(repr, said))}"
    assert reply.stderr.splitlines() == [*lines, last]
    program = "from e2ec_core.image_files import read_image; read_image('holes.jpg')"
    assert "Corrupt JPEG" in run("-c", program).stderr


def test_a_full_disk_is_said_and_leaves_no_half_file(tmp_path: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full here")
    (tmp_path / ".x.png.part").symlink_to(full)
    with pytest.raises(NotWritten, match=os.strerror(errno.ENOSPC)):
        write_file(tmp_path / "x.png", b"content" * 10000)
    assert list(tmp_path.iterdir()) == []
