"""Who may import whom: geometry <- model <- predictor <- training and ROS, never backwards."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

ROS = {"rclpy", "e2ec_ros", "sensor_msgs", "std_msgs", "geometry_msgs", "ament_index_python"}
# Folder of e2ec_core -> what nothing in it may import.
FORBIDDEN = {
    "geometry": {"torch", "e2ec_core.model", "e2ec_core.data", "e2ec_core.inference"},
    "data": {"torch", "e2ec_core.model", "e2ec_core.learning", "e2ec_core.inference"},
    "model": {"e2ec_core.learning", "e2ec_core.inference", "e2ec_core.evaluation"},
    "inference": {"e2ec_core.learning", "e2ec_core.evaluation"},
    "evaluation": {"e2ec_core.learning"},
    "recordings": {"torch", "e2ec_core.learning", "e2ec_core.evaluation"},
}
# Parts of the node that are tested and understood without a running ROS.
WITHOUT_RCLPY = {
    *(
        "calibration",
        "contour_messages",
        "demo/children",
        "diagnostics",
        "distance_parameters",
        "foxglove_messages",
        "images",
        "label_images",
        "markers",
        "messages",
        "model",
        "pairing",
        "parameter_specs",
        "parameters",
        "point_clouds",
    ),
    *("parameter_files", "position_detections", "position_markers", "positions"),
    *("playback/prefetch", "playback/source_types", "playback/sources"),
    *(
        "playback/live",
        "resources",
        "statistics",
        "tracks",
        "vision_messages",
        "worker",
    ),
}


def imported(path: Path) -> set[str]:
    """Returns the dotted names that a file imports, anywhere in it, and all their parents."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return {".".join(n.split(".")[:i]) for n in names for i in range(1, n.count(".") + 2)}


def core_files(repo_dir: Path) -> Iterator[Path]:
    files = sorted((repo_dir / "e2ec_core").rglob("*.py"))
    assert files
    yield from files


def test_the_library_knows_nothing_of_ros(repo_dir: Path) -> None:
    wrong = {str(p): i for p in core_files(repo_dir) if (i := imported(p) & ROS)}
    assert not wrong


def test_command_lines_are_read_in_commands_alone(repo_dir: Path) -> None:
    forbidden = {"argparse", "jsonargparse", "e2ec_core.commands"}
    commands = repo_dir / "e2ec_core" / "commands"
    files = [path for path in core_files(repo_dir) if commands not in path.parents]
    assert len(files) > 50
    wrong = {str(p): i for p in files if (i := imported(p) & forbidden)}
    assert not wrong


def test_the_node_needs_nothing_of_the_commands(repo_dir: Path) -> None:
    files = sorted((repo_dir / "e2ec_ros").rglob("*.py"))
    assert files
    wrong = {str(p) for p in files if imported(p) & {"jsonargparse", "e2ec_core.commands"}}
    assert not wrong


@pytest.mark.parametrize("folder", FORBIDDEN)
def test_imports_go_one_way(repo_dir: Path, folder: str) -> None:
    files = sorted((repo_dir / "e2ec_core" / folder).rglob("*.py"))
    assert files
    wrong = {str(p): i for p in files if (i := imported(p) & FORBIDDEN[folder])}
    assert not wrong


def test_only_node_side_files_import_rclpy(repo_dir: Path) -> None:
    wrong = {n for n in WITHOUT_RCLPY if "rclpy" in imported(repo_dir / "e2ec_ros" / f"{n}.py")}
    assert not wrong
    trainings = sorted((repo_dir / "training").glob("*.py"))
    assert not [p for p in trainings if imported(p) & ROS]


def test_messages_need_neither_torch_nor_the_model() -> None:
    pytest.importorskip("rclpy", reason="no ROS 2 here: run `make test`")
    program = (
        "import sys, e2ec_ros.msg, e2ec_ros.srv\n"
        "print([name for name in ('torch', 'cv2', 'e2ec_core') if name in sys.modules])"
    )
    reply = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert reply.stdout.strip() == "[]"


def test_the_library_imports_without_ros(repo_dir: Path) -> None:
    """In a process where every ROS package is missing; those of the extras may be too."""
    extras = {"triton", "torch", "safetensors", "pycocotools", "shapely"}
    absent = sorted(name for name in extras if find_spec(name) is None)
    program = (
        "import pkgutil, sys, importlib\n"
        f"sys.modules.update(dict.fromkeys({sorted(ROS)!r}))\n"
        "import e2ec_core\n"
        "for module in pkgutil.walk_packages(e2ec_core.__path__, 'e2ec_core.'):\n"
        "    try:\n"
        "        importlib.import_module(module.name)\n"
        "    except ModuleNotFoundError as error:\n"
        f"        assert error.name in {absent}, error\n"
        "    print(module.name)\n"
    )
    reply = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=repo_dir, check=False
    )
    assert reply.returncode == 0, reply.stderr
    assert "e2ec_core.contours" in reply.stdout.split()


def test_prediction_is_imported_without_torch(repo_dir: Path) -> None:
    """In a process where torch is missing; only the predictor that runs it needs it."""
    program = (
        "import sys\n"
        "sys.modules['torch'] = None\n"
        "import e2ec_core.commands.predict, e2ec_core.commands.predict_run\n"
        "import e2ec_core.inference.onnx_predictor, e2ec_core.inference.agreement\n"
    )
    if find_spec("std_msgs") is not None:  # where ROS is
        program += "import e2ec_ros.model\n"
    reply = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=repo_dir, check=False
    )
    assert reply.returncode == 0, reply.stderr


def test_street_scenes_and_the_library_do_not_know_each_other(repo_dir: Path) -> None:
    scenes = sorted((repo_dir / "street_scenes").glob("*.py"))
    assert scenes
    assert not [p for p in scenes if imported(p) & (ROS | {"torch", "e2ec_core"})]
    commands = repo_dir / "e2ec_core" / "commands"
    library = [p for p in core_files(repo_dir) if not p.is_relative_to(commands)]
    assert not [p for p in library if "street_scenes" in imported(p)]
