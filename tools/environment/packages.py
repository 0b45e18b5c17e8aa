"""Installs packages with pip: of the tested versions, but beside a sourced ROS with its NumPy."""

from __future__ import annotations

import json
import os
import shutil
import threading
import urllib.request
from collections.abc import Iterable
from pathlib import Path

from environment.messages import repair_cmake_exports
from environment.steps import BASE_PYTHON, REPO, VENV, run_quietly, say, step, venv_python

NODE_EXTRAS = ("ros",)
TEST_EXTRAS = ("tracks", "dev")
TORCH_EXTRAS = ("torch", "train", "evaluate", "export")
"""Of pyproject.toml: what the nodes and the demo need, what tests need too, and with PyTorch."""
FITS_NUMPY = (
    "ml-dtypes",
    "opencv-python-headless",
    "pycocotools",
    "scikit-image",
    "scipy",
    "shapely",
)
"""Packages whose tested versions may not work with another NumPy."""
NODE_IMPORTS = (
    "cv2, jsonargparse, onnxruntime, skimage.io, skimage.data, rclpy.lifecycle, rosbags.highlevel"
)
TEST_IMPORTS = "scipy.optimize, hypothesis, pytest"
TORCH_IMPORTS = "torch, torch.nn.attention, pycocotools.coco"
TORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"


def install_packages(ros: str | None) -> None:
    """Installs what the nodes need and, without a sourced ROS, the ROS 2 wheels."""
    requirements = list(project_requirements(NODE_EXTRAS))
    if not ros:
        requirements += ["-r", str(REPO / "tools/ros_wheels.txt")]
    if not shutil.which("cmake"):
        requirements.append("cmake")
    pip_install("Installing packages", ros, requirements, NODE_IMPORTS)
    if not ros:
        repair_cmake_exports()


def install_tests(ros: str | None) -> None:
    """Installs what tests need that run without torch."""
    more = list(project_requirements((*NODE_EXTRAS, *TEST_EXTRAS)))
    pip_install("Installing what tests need", ros, more, TEST_IMPORTS)


def install_torch(ros: str | None) -> None:
    """Installs torch and all else that training needs."""
    index = torch_index()
    more = list(project_requirements((*NODE_EXTRAS, *TEST_EXTRAS, *TORCH_EXTRAS)))
    options = ["--extra-index-url", index] if index else []
    title = "Installing PyTorch and what training needs"
    pip_install(title, ros, [*options, *more], TORCH_IMPORTS)


def pip_install(title: str, ros: str | None, words: list[str], imports: str) -> None:
    """Installs packages of the tested versions and compiles the modules that are used."""
    constraints = REPO / "constraints.txt"
    if ros:
        constraints = system_constraints(constraints)
    pip = [venv_python(), "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
    step(
        f"{title} (minutes where they are downloaded)",
        [*pip, "--no-compile", "-c", str(constraints), *words],
    )
    # In place of pip's compiling of all; also where the user keeps Python from writing bytecode,
    # as torch would then be compiled at every start.
    writing = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    step("Importing them once", [venv_python(), "-c", f"import {imports}"], environment=writing)


def project_requirements(extras: Iterable[str]) -> Iterable[str]:
    """Yields the requirements that pyproject.toml names, those of the extras included."""
    program = (
        "import json, sys\n"
        "try: import tomllib\n"
        "except ImportError: from pip._vendor import tomli as tomllib\n"
        "print(json.dumps(tomllib.load(open(sys.argv[1], 'rb'))['project']))"
    )
    reply = run_quietly([venv_python(), "-c", program, str(REPO / "pyproject.toml")])
    project = json.loads(reply.stdout)
    wanted = [project["dependencies"], *(project["optional-dependencies"][e] for e in extras)]
    # Extras that name others of this project say nothing that is not listed.
    yield from (r for rs in wanted for r in rs if not r.startswith(project["name"]))


def system_constraints(constraints: Path) -> Path:
    """Writes constraints that keep the NumPy of the sourced ROS, and a torch made for the machine.

    What ROS compiled needs its own NumPy, and other packages must fit that one. A Jetson has a
    torch of its own.
    """
    names = ("numpy", "torch", *FITS_NUMPY)
    program = (
        "import importlib.metadata, json, sys\n"
        "found = importlib.metadata.distributions()\n"
        "have = {d.metadata['Name'].lower(): d.version for d in found}\n"
        "print(json.dumps({n: have[n] for n in sys.argv[1:] if n in have}))"
    )
    have = json.loads(run_quietly([BASE_PYTHON, "-c", program, *names]).stdout)
    free = tuple(f"{name}==" for name in {*have, *FITS_NUMPY})
    lines = [line for line in constraints.read_text().splitlines() if not line.startswith(free)]
    path = VENV / "constraints.txt"
    path.write_text("\n".join([*lines, *(f"{n}=={v}" for n, v in have.items()), ""]))
    return path


def has_nvidia() -> bool:
    """Returns whether a working NVIDIA driver is here."""
    return bool(shutil.which("nvidia-smi")) and not run_quietly(["nvidia-smi", "-L"]).returncode


def torch_index() -> str:
    """Returns the extra package index to take torch from, empty for none.

    PyPI's torch for Linux brings several gigabytes of CUDA libraries, so without a working NVIDIA
    driver PyTorch's own index of CPU builds is asked too, where it can be reached.
    """
    if "TORCH_INDEX" in os.environ:
        return os.environ["TORCH_INDEX"]
    if has_nvidia():
        return ""
    answers: list[int] = []

    def ask() -> None:
        try:
            with urllib.request.urlopen(f"{TORCH_CPU_INDEX}/torch/", timeout=5) as reply:
                answers.append(reply.status)
        except OSError:
            pass

    thread = threading.Thread(
        target=ask, daemon=True
    )  # a name look-up has no time limit of its own
    thread.start()
    thread.join(6)
    if answers == [200]:
        return TORCH_CPU_INDEX
    say(f"  {TORCH_CPU_INDEX} cannot be reached: torch comes from the configured index")
    return ""
