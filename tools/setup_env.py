"""Makes the project's environment in `.venv`: packages, ROS 2 and the compiled messages.

Run through `make env`. The word `test` leaves out PyTorch and what needs it, `demo` (of `make
demo`) what tests need too; with an NVIDIA GPU it leaves nothing out. Where a ROS 2 is sourced, its
rclpy is used; elsewhere ROS 2 comes from PyPI, by the list `tools/ros_wheels.txt`. A second run
compares fingerprints and returns at once. `tools/with_ros COMMAND` (or sourcing `.venv/ros.sh`)
then gives a command the right paths.

Environment variables: TORCH_INDEX, the package index with the wanted torch build (empty: none).
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import sys
import sysconfig
import time
from collections.abc import Iterable
from pathlib import Path

from environment.messages import build_messages, installed_names, message_inputs
from environment.packages import has_nvidia, install_packages, install_tests, install_torch
from environment.steps import BASE_PYTHON, REPO, VENV, SetupError, run_quietly, say, step

STAMP = VENV / "e2ec_stamp.json"


def main() -> int:
    """Brings the environment up to date; returns the exit status."""
    try:
        ros = sourced_ros()
        check_machine(ros)
        with Path(__file__).open() as lock:  # two at once would take each other's files away
            fcntl.flock(lock, fcntl.LOCK_EX)
            bring_up_to_date(ros, left_out(sys.argv[1:]))
    except SetupError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def left_out(words: list[str]) -> tuple[str, ...]:
    """Returns the stages that the words of the command line leave out."""
    if words == ["test"]:
        return ("torch",)
    return ("tests", "torch") if words == ["demo"] and not has_nvidia() else ()


def bring_up_to_date(ros: str | None, without: Iterable[str]) -> None:
    """Runs the stages whose inputs changed, and those after them.

    Args:
        ros: the sourced ROS.
        without: stages to leave out.
    """
    packages = digest(
        [REPO / "constraints.txt", REPO / "tools/ros_wheels.txt"],
        (REPO / "pyproject.toml").read_text().partition("[tool.")[0],
    )
    wanted = {
        "venv": f"{sys.version_info[:2]} {ros} {VENV}",
        "packages": packages,
        "messages": digest(message_inputs(), installed_names()),
        "tests": packages,
        "torch": packages,
    }
    for stage in without:
        del wanted[stage]
    made = json.loads(STAMP.read_text()) if STAMP.is_file() else {}
    if wanted.items() <= made.items():
        return
    started = time.monotonic()
    done: dict[str, str] = {}
    for stage, make in STAGES.items():
        if stage in wanted and made.get(stage) != wanted[stage]:
            made = {}
            if done:
                STAMP.write_text(json.dumps(done))  # an interrupted run goes on from here
            make(ros)
        if stage in wanted:
            done[stage] = wanted[stage]
            STAMP.write_text(json.dumps(done))
    say(f"Environment ready in {time.monotonic() - started:.0f} s ({ros_name(ros)}).")


def sourced_ros() -> str | None:
    """Returns the name of the ROS distribution that this shell has sourced, or None."""
    prefixes = [p for p in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if p]
    own = all(Path(p).resolve().is_relative_to(VENV) for p in prefixes)
    distro = os.environ.get("ROS_DISTRO")
    if not distro and (own or not prefixes):
        return None
    if run_quietly([BASE_PYTHON, "-c", "import rclpy"]).returncode:
        raise SetupError(
            f"ROS {distro or ''} is sourced, but {BASE_PYTHON} cannot import rclpy: give its"
            " Python (make PYTHON=/usr/bin/python3), or open a shell without ROS"
        )
    return distro or "unknown"


def check_machine(ros: str | None) -> None:
    """Raises one SetupError that names everything missing and the packages that hold it."""
    version = sys.version_info[:2]
    if version < (3, 10):
        raise SetupError(f"Python 3.10 or newer is needed, not {sys.version.split()[0]}")
    if ros is None and (version > (3, 13) or sysconfig.get_platform() != "linux-x86_64"):
        raise SetupError(
            "ROS 2 from PyPI exists for CPython 3.10 to 3.13 on Linux x86-64, this is"
            f" {version[0]}.{version[1]} on {sysconfig.get_platform()}: install and source ROS 2,"
            " or give another Python (make PYTHON=python3.12)"
        )
    missing = {
        "python3-venv": run_quietly([BASE_PYTHON, "-c", "import ensurepip, venv"]).returncode != 0,
        "python3-dev": not Path(sysconfig.get_path("include"), "Python.h").is_file(),
        "g++": not (os.environ.get("CXX") or shutil.which("c++") or shutil.which("g++")),
    }
    packages = [name for name, absent in missing.items() if absent]
    if packages:
        raise SetupError(f"missing on this machine: sudo apt install {' '.join(packages)}")


def make_venv(ros: str | None) -> None:
    """Creates `.venv` anew; with ROS sourced it sees the packages of the system."""
    shutil.rmtree(VENV, ignore_errors=True)
    VENV.mkdir()
    options = ["--system-site-packages"] if ros else []
    step(f"Creating {VENV}", [BASE_PYTHON, "-m", "venv", *options, str(VENV)])


def digest(paths: Iterable[Path], more: str) -> str:
    """Returns a fingerprint of the files' content and a text."""
    sha = hashlib.sha256(more.encode())
    for path in paths:
        sha.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return sha.hexdigest()


def ros_name(ros: str | None) -> str:
    """Returns how to call the ROS in use."""
    if ros:
        return f"ROS {ros} as sourced"
    wheels = (REPO / "tools/ros_wheels.txt").read_text()
    (distro,) = re.findall(r"^ros-(\w+)-rclpy$", wheels, re.MULTILINE)
    return f"ROS 2 {distro.title()} from PyPI"


STAGES = {
    "venv": make_venv,
    "packages": install_packages,
    "messages": build_messages,
    "tests": install_tests,
    "torch": install_torch,
}

if __name__ == "__main__":
    sys.exit(main())
