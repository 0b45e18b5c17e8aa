"""What `pip install .` brings: the command e2ec with its weights, which work in any folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SOURCES = ("e2ec_core", "msg", "street_scenes", "weights")
FILES = ("pyproject.toml", "setup.py", "README.md", "LICENSE")


def _run(*words: str | Path, cwd: Path, **variables: str) -> str:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | variables
    reply = subprocess.run(
        [str(word) for word in words],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert reply.returncode == 0, reply.stderr
    return reply.stdout


@pytest.mark.slow
def test_an_installed_wheel_draws_with_its_own_weights(
    repo_dir: Path, portrait: Path, tmp_path: Path
) -> None:
    pytest.importorskip("setuptools", minversion="77", reason="setuptools 77 builds the wheel")
    source, empty = tmp_path / "source", tmp_path / "empty"
    for name in SOURCES:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(repo_dir / name, source / name, ignore=ignored)
    for name in FILES:
        shutil.copy(repo_dir / name, source)
    empty.mkdir()
    build = ("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", tmp_path, source)
    _run(sys.executable, "-m", "pip", *build, cwd=empty)
    (wheel,) = tmp_path.glob("*.whl")
    environment = tmp_path / "environment"
    _run(sys.executable, "-m", "venv", "--without-pip", environment, cwd=empty)
    python = environment / "bin/python"
    install = ("--python", python, "install", "--no-deps", "--no-index", wheel)
    _run(sys.executable, "-m", "pip", *install, cwd=empty)
    shutil.copy(portrait, empty / "portrait.png")
    # The packages of this environment, but not the source tree of this repository.
    source_tree = {repo_dir, repo_dir / "test"}
    packages = [path for path in sys.path if path and Path(path) not in source_tree]
    packages.insert(
        0, _run(python, "-c", "import site; print(site.getsitepackages()[0])", cwd=empty).strip()
    )
    command = environment / "bin/e2ec"
    said = _run(
        command,
        "predict",
        "portrait.png",
        "--device=cpu",
        cwd=empty,
        PYTHONPATH=":".join(packages),
    )
    assert "person" in said
    assert (empty / "contours/portrait.png").is_file()
    assert (Path(packages[0]) / "e2ec_core/msg/InstanceContourArray.msg").is_file()
    where = "import e2ec_core; print(e2ec_core.__file__)"
    installed = _run(python, "-c", where, cwd=empty, PYTHONPATH=":".join(packages)).strip()
    assert Path(installed).is_relative_to(environment)
