"""The README says what the code says."""

from __future__ import annotations

import re
from pathlib import Path

from e2ec_ros.distance_parameters import DistanceParameters
from e2ec_ros.parameter_specs import table
from e2ec_ros.parameters import CameraParameters, NodeParameters


def test_parameter_tables_are_those_of_the_code(repo_dir: Path) -> None:
    readme = (repo_dir / "README.md").read_text()
    assert table(NodeParameters) in readme
    assert table(CameraParameters) in readme
    assert table(DistanceParameters) in readme


def test_files_and_commands_that_the_readme_names_exist(repo_dir: Path) -> None:
    readme = (repo_dir / "README.md").read_text()
    paths = re.findall(r"(?:weights|config|docs|training|benchmarks|launch)/[\w/.-]*\w", readme)
    missing = [p for p in paths if not (repo_dir / p).exists() and "e2ec_kins" not in p]
    assert not missing
    targets = set(re.findall(r"make (\w[\w-]*)", readme)) - {"sure"}
    makefile = (repo_dir / "Makefile").read_text()
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)
