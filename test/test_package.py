"""The package's metadata is what the tools of ROS accept, and names all that the code imports."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest

catkin_package = pytest.importorskip("catkin_pkg.package", reason="no catkin_pkg: run `make test`")

# Module -> package where the names differ.
PACKAGES = {"tf2_ros": "tf2_ros_py", "numpy": "python3-numpy", "cv2": "python3-opencv"}
PACKAGES |= {"yaml": "python3-yaml", "scipy": "python3-scipy"}
# Looked for and left out where they are not installed, or brought by pip (docs/install.md).
OPTIONAL = {"bond", "foxglove_msgs", "vision_msgs", "rosbags", "skimage", "torch", "onnxruntime"}
OWN = {"e2ec_core", "e2ec_ros", "street_scenes"}


def test_release_tools_accept_it(repo_dir: Path) -> None:
    from catkin_pkg.changelog import get_changelog_from_path

    package = catkin_package.parse_package(str(repo_dir / "package.xml"))
    package.validate()
    assert {url.type for url in package.urls} >= {"repository", "bugtracker"}
    assert package.maintainers[0].email
    pyproject = (repo_dir / "pyproject.toml").read_text()
    assert f'version = "{package.version}"' in pyproject
    changelog = get_changelog_from_path(str(repo_dir), package.name)
    assert changelog is not None
    assert "Forthcoming" in changelog.rst or package.version in changelog.rst


def test_what_is_imported_is_depended_on(repo_dir: Path) -> None:
    package = catkin_package.parse_package(str(repo_dir / "package.xml"))
    named = {d.name for d in (*package.exec_depends, *package.buildtool_depends)}
    imported = set()
    for folder in ("e2ec_ros", "launch"):
        for path in (repo_dir / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Import):
                    imported |= {alias.name.partition(".")[0] for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                    imported.add(node.module.partition(".")[0])
    needed = imported - set(sys.stdlib_module_names) - OPTIONAL - OWN
    assert {PACKAGES.get(name, name) for name in needed} | {"ros2launch"} <= named


def test_cmake_finds_what_the_package_depends_on(repo_dir: Path) -> None:
    package = catkin_package.parse_package(str(repo_dir / "package.xml"))
    kinds = (package.build_depends, package.buildtool_depends, package.test_depends)
    named = {d.name for kind in kinds for d in kind}
    text = "".join(
        p.read_text() for p in (repo_dir / "CMakeLists.txt", repo_dir / "cmake/node.cmake")
    )
    found = set(re.findall(r"find_package\((\w+)", text))
    assert found == named - {"python3-pytest"}
