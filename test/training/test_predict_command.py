"""predict.py as a command: pictures, one line per image, errors without a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import cv2
import pytest


def _predict(repo: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "training/predict.py", *map(str, words)],
        cwd=repo,
        env=os.environ | {"PYTHONPATH": str(repo)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture(scope="module")
def portrait(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The photograph of an astronaut that scikit-image ships."""
    data = pytest.importorskip("skimage.data")
    path = tmp_path_factory.mktemp("images") / "astronaut.png"
    cv2.imwrite(str(path), data.astronaut()[..., ::-1])
    return path


def test_help_names_the_options(repo_dir: Path) -> None:
    result = _predict(repo_dir, "--help")
    assert result.returncode == 0
    for option in ("--output", "--weights", "--score", "--stage", "--short-side"):
        assert option in result.stdout


def test_a_photograph_gives_a_picture_and_a_line(
    repo_dir: Path, portrait: Path, tmp_path: Path
) -> None:
    result = _predict(repo_dir, portrait, "--output", tmp_path / "out", "--device", "cpu")
    assert result.returncode == 0, result.stderr
    assert "person" in result.stdout
    assert result.stdout.count("\n") == 1
    drawn = cv2.imread(str(tmp_path / "out" / "astronaut.png"))
    original = cv2.imread(str(portrait))
    assert drawn.shape == original.shape
    changed = (drawn != original).any(axis=2).mean()
    assert 0.02 < changed < 0.95


@pytest.fixture(scope="module")
def script(load_script: Callable[[str], ModuleType]) -> ModuleType:
    """training/predict.py as a module."""
    return load_script("training/predict.py")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["none.png"], "image 'none.png' does not exist"),
        (["README.md"], "image 'README.md' cannot be read"),
        (["README.md", "--weights", "none.safetensors"], "'none.safetensors' does not exist"),
        (["README.md", "--weights", "README.md"], "cannot be read as safetensors"),
        (["README.md", "--score", "3"], "score_threshold is 3.0"),
        (["README.md", "--device", "tpu"], "device is 'tpu'"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    script: ModuleType,
    repo_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(repo_dir)
    monkeypatch.setattr(sys, "argv", ["predict.py", *words, "--output", str(tmp_path)])
    assert script.main() == 2
    said = capsys.readouterr().err
    assert said.startswith("predict: ")
    assert message in said
    assert said.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_an_error_ends_the_command_with_code_2(repo_dir: Path) -> None:
    result = _predict(repo_dir, "none.png")
    assert result.returncode == 2
    assert result.stderr.startswith("predict: image 'none.png'")
    assert "Traceback" not in result.stderr


def test_images_of_one_name_get_pictures_of_their_own(script: ModuleType) -> None:
    paths = [Path("a/x.png"), Path("b/x.jpg"), Path("y.png"), Path("x.png")]
    assert script.picture_names(paths) == ["x.png", "x_2.png", "y.png", "x_3.png"]


def test_a_folder_that_cannot_be_written_is_named(
    script: ModuleType,
    portrait: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "file").write_text("in the way")
    words = ["predict.py", str(portrait), "--output", str(tmp_path / "file")]
    monkeypatch.setattr(sys, "argv", words)
    assert script.main() == 2
    assert "file" in capsys.readouterr().err
