"""The package in a colcon workspace of its own, as a ROS user builds it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="no ROS 2 here: run `make test-slow`")
pytestmark = pytest.mark.slow

BUILD_TIMEOUT = 1200.0  # s; seconds on an idle machine, minutes on a busy one
START_TIMEOUT = 60.0  # s for the node to wait for its first transition


@pytest.fixture(scope="module")
def colcon(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The colcon command: the installed one, else one from PyPI in an environment of its own."""
    installed = shutil.which("colcon")
    if installed:
        return installed
    folder = tmp_path_factory.mktemp("colcon")
    base = getattr(sys, "_base_executable", sys.executable)
    subprocess.run([base, "-m", "venv", str(folder)], check=True)
    pip = [str(folder / "bin/python"), "-m", "pip", "install", "-q", "colcon-common-extensions"]
    reply = subprocess.run(pip, capture_output=True, text=True, check=False)
    if reply.returncode:
        pytest.skip(f"no colcon here and none from pip: {reply.stderr.strip().splitlines()[-1]}")
    return str(folder / "bin/colcon")


@pytest.fixture
def workspace(repo_dir: Path, tmp_path: Path) -> Path:
    """A workspace that holds a copy of the source tree."""
    package = tmp_path / "src/e2ec_ros"
    package.mkdir(parents=True)
    for name in ("CMakeLists.txt", "package.xml", "pyproject.toml"):
        shutil.copy(repo_dir / name, package)
    for name in (
        "cmake",
        "config",
        "e2ec_core",
        "e2ec_ros",
        "launch",
        "msg",
        "srv",
        "street_scenes",
        "tools",
        "weights",
    ):
        shutil.copytree(
            repo_dir / name, package / name, ignore=shutil.ignore_patterns("__pycache__")
        )
    return tmp_path


def run_in(workspace: Path, command: str) -> subprocess.CompletedProcess[str]:
    """Runs a shell command in the built workspace's environment."""
    return subprocess.run(
        ["bash", "-c", f". install/setup.bash && {command}"],
        cwd=workspace,
        capture_output=True,
        text=True,
        timeout=START_TIMEOUT,
        check=False,
    )


def build(colcon: str, workspace: Path, *options: str) -> None:
    """Builds the workspace."""
    # colcon's own choice of flags would wait for a machine that is busy elsewhere to calm down.
    environment = os.environ | {"MAKEFLAGS": f"-j{os.cpu_count() or 1}"}
    made = subprocess.run(
        ["timeout", f"{BUILD_TIMEOUT}", colcon, "build", *options],
        cwd=workspace,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stderr


def test_messages_alone(colcon: str, workspace: Path) -> None:
    build(colcon, workspace, "--cmake-args", "-DE2EC_MESSAGES_ONLY=ON")
    program = (
        "import sys, e2ec_ros.srv;"
        "from e2ec_ros.contour_messages import masks_of;"
        "from e2ec_ros.msg import InstanceContour, InstanceContourArray;"
        "square = InstanceContour(contour=[1.0, 1.0, 1.0, 4.0, 4.0, 4.0, 4.0, 1.0]);"
        "message = InstanceContourArray(width=8, height=8, instances=[square]);"
        "print(masks_of(message).sum(), e2ec_ros.srv.__file__);"
        "print({'torch', 'onnxruntime', 'rclpy', 'cv2'} & set(sys.modules))"
    )
    reply = run_in(workspace, f'{sys.executable} -c "{program}"')
    assert reply.returncode == 0, reply.stderr
    pixels, path, loaded = reply.stdout.split(maxsplit=2)
    install = workspace / "install/e2ec_ros"
    assert (pixels, loaded) == ("9", "set()\n")
    assert Path(path).is_relative_to(install)
    assert not list(install.rglob("node.py"))
    assert not list(install.rglob("e2ec.launch.py"))


def test_colcon_test_runs_the_tests(colcon: str, workspace: Path, repo_dir: Path) -> None:
    package = workspace / "src/e2ec_ros"
    (package / "test/ros").mkdir(parents=True)
    helpers = ("conftest.py", "published_numbers.py", "ros_contours.py")
    for name in (*helpers, "test_contours.py", "ros/test_messages.py"):
        shutil.copy(repo_dir / "test" / name, package / "test" / name)
    build(colcon, workspace)
    subprocess.run(
        [colcon, "test", "--return-code-on-test-failure"], cwd=workspace, check=True, timeout=600
    )
    results = list((workspace / "build").rglob("pytest.xunit.xml"))
    assert len(results) == 1
    suite = ET.parse(results[0]).getroot().find("testsuite")
    assert suite is not None
    assert int(suite.attrib["tests"]) > 10


@pytest.mark.parametrize("options", [[], ["--symlink-install"]], ids=["copied", "symlinked"])
def test_builds_and_runs(colcon: str, workspace: Path, options: list[str]) -> None:
    build(colcon, workspace, *options)
    install = workspace / "install/e2ec_ros"
    for name in (
        "launch/e2ec.launch.py",
        "launch/three_cameras.launch.py",
        "config/e2ec.yaml",
        "config/presets/cpu.yaml",
        "package.xml",
    ):
        assert (install / "share/e2ec_ros" / name).is_file()

    program = (
        "import e2ec_core, e2ec_ros.node, e2ec_ros.msg, e2ec_ros.srv;"
        "print(e2ec_core.__file__, e2ec_ros.node.__file__, e2ec_ros.msg.__file__)"
    )
    reply = run_in(workspace, f'{sys.executable} -c "{program}"')
    assert reply.returncode == 0, reply.stderr
    for path in reply.stdout.split():
        assert Path(path).is_relative_to(install)
    assert_node_runs(workspace)


def assert_node_runs(workspace: Path) -> None:
    """Starts the installed executable, which must offer its services and end on SIGINT."""
    domain = "84"
    environment = os.environ | {
        "ROS_DOMAIN_ID": domain,
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
    }
    command = ". install/setup.bash && exec install/e2ec_ros/lib/e2ec_ros/e2ec_node"
    with subprocess.Popen(
        ["bash", "-c", command], cwd=workspace, env=environment, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert sees_node(int(domain))
        finally:
            process.send_signal(signal.SIGINT)
        assert process.wait(30.0) == 0
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()


def sees_node(domain: int) -> bool:
    """Whether the node's lifecycle service appears in this domain in time."""
    import rclpy
    from rclpy.context import Context
    from rclpy.node import Node

    context = Context()
    rclpy.init(context=context, domain_id=domain)
    observer = Node("observer", context=context)
    try:
        end = time.monotonic() + START_TIMEOUT
        while time.monotonic() < end:
            if "/e2ec/change_state" in dict(observer.get_service_names_and_types()):
                return True
            time.sleep(0.1)
        return False
    finally:
        observer.destroy_node()
        rclpy.try_shutdown(context=context)
