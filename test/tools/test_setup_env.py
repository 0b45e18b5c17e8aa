"""The environment set-up: clear errors on machines that lack something, quick second runs."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

BASE_PYTHON = f"{sys.base_prefix}/bin/python{sys.version_info[0]}.{sys.version_info[1]}"


def run_setup(repo_dir: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs the set-up of the source tree with these environment variables only."""
    return subprocess.run(
        [BASE_PYTHON, str(repo_dir / "tools/setup_env.py")],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_missing_compiler_is_named_with_its_package(repo_dir: Path, tmp_path: Path) -> None:
    if sys.version_info > (3, 14):
        pytest.skip("there are no wheels of ROS 2 for this Python, which is said before")
    reply = run_setup(repo_dir, PATH=str(tmp_path))
    assert reply.returncode == 1
    assert len(reply.stderr.splitlines()) == 1
    assert "sudo apt install" in reply.stderr
    assert "g++" in reply.stderr


def test_a_sourced_ros_of_another_python_is_told(repo_dir: Path, tmp_path: Path) -> None:
    environment = {"ROS_DISTRO": "jazzy", "AMENT_PREFIX_PATH": str(tmp_path)}
    reply = run_setup(repo_dir, PATH=os.environ["PATH"], **environment)
    assert reply.returncode == 1
    assert len(reply.stderr.splitlines()) == 1
    assert "jazzy" in reply.stderr
    assert "make PYTHON=" in reply.stderr


def test_the_second_run_does_nothing(repo_dir: Path) -> None:
    if not (repo_dir / ".venv/e2ec_stamp.json").is_file():
        pytest.skip("no environment made by `make env` here")
    if "torch" not in (repo_dir / ".venv/e2ec_stamp.json").read_text():
        pytest.skip("the environment was made without PyTorch: make env")
    before = (repo_dir / ".venv/e2ec_stamp.json").stat().st_mtime_ns
    names = ("PATH", "ROS_DISTRO", "AMENT_PREFIX_PATH", "PYTHONPATH", "LD_LIBRARY_PATH")
    started = time.monotonic()
    reply = run_setup(repo_dir, **{n: os.environ[n] for n in names if n in os.environ})
    assert (reply.returncode, reply.stdout, reply.stderr) == (0, "", "")
    assert (repo_dir / ".venv/e2ec_stamp.json").stat().st_mtime_ns == before
    assert time.monotonic() - started < 10.0


def test_the_runner_asks_for_the_environment(repo_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "tools").mkdir()
    runner = tmp_path / "tools/with_ros"
    runner.write_bytes((repo_dir / "tools/with_ros").read_bytes())
    runner.chmod(0o755)
    reply = subprocess.run([str(runner), "true"], capture_output=True, text=True, check=False)
    assert (reply.returncode, reply.stderr) == (1, "error: no environment yet: make env\n")


def test_the_runner_gives_every_command_ros(repo_dir: Path, tmp_path: Path) -> None:
    pytest.importorskip("rclpy", reason="no ROS 2 here: run `make test`")
    if not (repo_dir / ".venv/ros.sh").is_file():
        pytest.skip("no environment made by `make env` here")
    program = (
        "import e2ec_ros.node, e2ec_ros.msg, rclpy\n"
        "from ament_index_python import get_package_share_directory\n"
        "print(e2ec_ros.node.__file__)\n"
        "print(get_package_share_directory('e2ec_ros'))\n"
    )
    reply = subprocess.run(
        [str(repo_dir / "tools/with_ros"), "python", "-c", program],
        env={"PATH": os.environ["PATH"]},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert reply.returncode == 0, reply.stderr
    node, share = reply.stdout.split("\n")[:2]
    assert Path(node) == repo_dir / "e2ec_ros/node.py"
    assert (Path(share) / "launch/e2ec.launch.py").is_file()


def test_the_runner_knows_the_command_e2ec(repo_dir: Path, tmp_path: Path) -> None:
    if not (repo_dir / ".venv/ros.sh").is_file():
        pytest.skip("no environment made by `make env` here")
    reply = subprocess.run(
        [str(repo_dir / "tools/with_ros"), "e2ec"],
        env={"PATH": os.environ["PATH"]},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert reply.returncode == 0, reply.stderr
    assert reply.stdout.startswith("usage: e2ec COMMAND")
