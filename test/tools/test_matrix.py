"""The matrix of versions: what a cell installs, which Pythons are found, what the table tells."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def matrix(
    load_script: Callable[[str], ModuleType],
    repo_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> ModuleType:
    """The script, with its working folder elsewhere."""
    monkeypatch.syspath_prepend(repo_dir / "tools")
    module = load_script("tools/matrix.py")
    monkeypatch.setattr(module, "WORK", tmp_path)
    return module


def test_every_cell_has_a_name_of_its_own(matrix: ModuleType) -> None:
    assert len({cell.name for cell in matrix.CELLS}) == len(matrix.CELLS)


def test_the_first_cell_is_what_the_constraints_say(matrix: ModuleType, repo_dir: Path) -> None:
    if not (repo_dir / ".git").exists():
        pytest.skip("no clone of git here")
    # The committed one: a cell's own has its versions.
    lines = matrix.git("show", "HEAD:constraints.txt").splitlines()
    cell = matrix.CELLS[0]
    assert f"opencv-python-headless=={cell.opencv}" in lines
    assert f'numpy=={cell.numpy}; python_version >= "3.11"' in lines
    assert f"ros-{cell.ros}-rclpy" in matrix.git("show", "HEAD:tools/ros_wheels.txt")


def test_a_cell_pins_its_own_versions_and_ros(
    matrix: ModuleType, repo_dir: Path, tmp_path: Path
) -> None:
    if not (repo_dir / ".git").exists():
        pytest.skip("no clone of git here")
    (tmp_path / "tools").mkdir()
    for name in ("constraints.txt", "tools/ros_wheels.txt"):
        (tmp_path / name).write_text(matrix.git("show", f"HEAD:{name}") + "\n")
    matrix.pin(matrix.Cell("name", "", "3.12", "jazzy", "1.26.4", "4.6.0.66"), tmp_path)
    pins = (tmp_path / "constraints.txt").read_text().splitlines()
    assert [pin for pin in pins if pin.startswith("numpy")] == ["numpy==1.26.4"]
    assert [pin for pin in pins if pin.startswith("opencv")] == [
        "opencv-python-headless==4.6.0.66"
    ]
    assert not [pin for pin in pins if pin.startswith("ros-")]
    wheels = (tmp_path / "tools/ros_wheels.txt").read_text()
    assert "\nros-jazzy-rclpy\n" in wheels
    assert "kilted" not in wheels


def test_a_python_on_the_path_is_found(
    matrix: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    monkeypatch.setenv("PATH", f"{sys.base_prefix}/bin")
    found = sys.modules["environment.pythons"].find_python(version)
    if found is None:
        pytest.skip(f"no python{version} in {sys.base_prefix}, or one without ensurepip")
    said = subprocess.run([found, "--version"], capture_output=True, text=True, check=True).stdout
    assert said.startswith(f"Python {version}.")


def test_a_python_that_nobody_has_is_a_row_with_the_reason(
    matrix: ModuleType, tmp_path: Path
) -> None:
    if not (matrix.REPO / ".git").exists():
        pytest.skip("no clone of git here")
    cell = matrix.Cell("future", "the future", "3.99", "kilted", "2.4.6", "5.0.0.93")
    result = matrix.run(cell)
    assert result.notes == ["no CPython 3.99 found, nor a Debian that has it"]
    assert not result.counts
    assert list(tmp_path.iterdir()) == []


def test_the_table_has_what_ran_what_failed_and_what_could_not(
    matrix: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("ran", "failed", "could not", "not yet")
    cells = [matrix.Cell(n, f"like {n}", "3.12", "jazzy", "1", "4") for n in names]
    monkeypatch.setattr(matrix, "CELLS", tuple(cells))
    versions = {
        "python": "3.12.1",
        "numpy": "1.26.4",
        "opencv": "4.6.0",
        "torch": "",
        "rclpy": "7.1.6",
    }
    counts = {"passed": 7, "failed": 0, "skipped": 2, "seconds": 240}
    bad = counts | {"failed": 1}
    results = {
        "ran": matrix.Result("ran", "abc", "2026-01-02", versions, counts, [], []),
        "failed": matrix.Result("failed", "abc", "2026-01-02", versions, bad, ["test.a"], []),
        "could not": matrix.Result("could not", "abc", "2026-01-02", {}, {}, [], ["no wheel"]),
    }
    ran, failed, could_not, not_yet = matrix.table(results).splitlines()[-4:]
    expected = (
        "| like ran | 3.12.1 | Jazzy, rclpy 7.1.6 | 1.26.4 | 4.6.0 | - | 7 | 0 | 2 | 4 min |"
        " 2026-01-02 abc |  |"
    )
    assert ran == expected
    assert failed.endswith("| failed: `test.a` |")
    assert could_not == (
        "| like could not | 3.12 | Jazzy | 1 | 4 | - | - | - | - | not run | 2026-01-02 abc |"
        " no wheel |"
    )
    assert not_yet.endswith("| not run | - | not tried yet |")
