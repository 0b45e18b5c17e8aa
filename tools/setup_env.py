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
import subprocess
import sys
import sysconfig
import threading
import time
import urllib.request
from collections.abc import Iterable
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent
VENV = REPO / ".venv"
STAMP = VENV / "e2ec_stamp.json"
BUILD = VENV / "build"  # not REPO / "build", where colcon builds
LOG = VENV / "setup.log"
# Outside site-packages: there the generated `e2ec_ros` would hide that of the source tree.
GENERATED_PYTHON = "lib/e2ec_ros_python"
NODE_EXTRAS = ("ros",)
TEST_EXTRAS = ("tracks", "dev")
TORCH_EXTRAS = ("torch", "train", "evaluate", "export")
"""Of pyproject.toml: what the nodes and the demo need, what tests need too, and with PyTorch."""
FITS_NUMPY = ("opencv-python-headless", "pycocotools", "scikit-image", "scipy", "shapely")
NODE_IMPORTS = (
    "cv2, jsonargparse, onnxruntime, skimage.io, skimage.data, rclpy.lifecycle, rosbags.highlevel"
)
TEST_IMPORTS = "scipy.optimize, hypothesis, pytest"
TORCH_IMPORTS = "torch, torch.nn.attention, pycocotools.coco"
TORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"
# The Python that made the virtual environment, also when this script runs inside it.
BASE_PYTHON = getattr(sys, "_base_executable", sys.executable)


class SetupError(Exception):
    """A cause that the user can remove; its text is one line that names the remedy."""


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


def repair_cmake_exports() -> None:
    """Points the wheels' CMake files to this Python and NumPy.

    The wheels name the include folders of the machine they were built on, and CMake stops on a
    folder that does not exist.
    """
    program = (
        "import numpy, sysconfig\nprint(numpy.get_include())\nprint(sysconfig.get_path('include'))"
    )
    reply = run_quietly([venv_python(), "-c", program]).stdout
    numpy_include, python_include = reply.splitlines()
    version = f"{sys.version_info[0]}{sys.version_info[1]}"
    built = f"/opt/python/cp{version}-cp{version}"
    python = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    for path in VENV.glob("share/*/cmake/*Export.cmake"):
        text = path.read_text()
        fixed = text.replace(
            f"{built}/lib/{python}/site-packages/numpy/_core/include", numpy_include
        )
        fixed = fixed.replace(f"{built}/include/{python}", python_include)
        if fixed != text:
            path.write_text(fixed)


def build_messages(ros: str | None) -> None:
    """Generates and compiles the package's messages into `.venv` with plain CMake."""
    environment = os.environ | {
        "PATH": os.pathsep.join([str(VENV / "bin"), os.environ["PATH"]]),
        "CMAKE_BUILD_PARALLEL_LEVEL": str(os.cpu_count() or 1),
    }
    for name in ("AMENT_PREFIX_PATH", "CMAKE_PREFIX_PATH"):
        inherited = [os.environ[name]] if ros and os.environ.get(name) else []
        environment[name] = os.pathsep.join([str(VENV), *inherited])
    environment.pop("MAKEFLAGS", None)  # the calling make's job server is not ours
    generator = ["-G", "Ninja"] if shutil.which("ninja") else []
    cmake = shutil.which("cmake") or str(VENV / "bin/cmake")
    # Jazzy exports NumPy's include folder, and CMake refuses to export what lies below the source.
    source = VENV / "source"
    source.unlink(missing_ok=True)
    source.symlink_to(REPO)
    step(
        "Compiling the messages",
        [
            cmake,
            "-S",
            str(source),
            "-B",
            str(BUILD),
            *generator,
            "-DBUILD_TESTING=OFF",
            f"-DCMAKE_INSTALL_PREFIX={VENV}",
            f"-DPYTHON_INSTALL_DIR={GENERATED_PYTHON}",
            f"-DPython3_EXECUTABLE={venv_python()}",
            "-DAMENT_CMAKE_SYMLINK_INSTALL=1",
        ],
        [cmake, "--build", str(BUILD)],
        [cmake, "--install", str(BUILD)],
        environment=environment,
    )
    write_environment_files(ros)


def write_environment_files(ros: str | None) -> None:
    """Writes `.venv/ros.sh`, the command `e2ec` and the path file of the source tree."""
    site_packages = Path(
        run_quietly(
            [venv_python(), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
        ).stdout.strip()
    )
    python_path = [str(REPO), str(VENV / GENERATED_PYTHON)]
    (site_packages / "e2ec_source_tree.pth").write_text("\n".join([*python_path, ""]))
    command = VENV / "bin/e2ec"
    command.write_text(
        f"#!{venv_python()}\nimport sys\nfrom e2ec_core.commands.__main__ import main\n"
        "sys.exit(main())\n"
    )
    command.chmod(0o755)
    libraries = [str(VENV / "lib"), *map(str, sorted(site_packages.glob("ros_*.libs")))]
    lines = ["# Written by tools/setup_env.py; source it, or use tools/with_ros."]
    for name, values in (
        ("PATH", [str(VENV / "bin")]),
        ("PYTHONPATH", python_path),
        ("LD_LIBRARY_PATH", libraries),
        ("AMENT_PREFIX_PATH", [str(VENV)]),
        ("CMAKE_PREFIX_PATH", [str(VENV)]),
    ):
        lines.append(f'export {name}="{":".join(values)}${{{name}:+:${name}}}"')
    if not ros:
        # The wheels re-execute every Python once to set LD_LIBRARY_PATH; here it is set.
        lines.append("export _ROS_WHEELS_BOOTSTRAP_COMPLETE=1")
    (VENV / "ros.sh").write_text("\n".join([*lines, ""]))


def message_inputs() -> list[Path]:
    """Returns the files whose content decides the compiled messages."""
    names = ("CMakeLists.txt", "cmake/node.cmake", "package.xml", "tools/ros_executable.in")
    inputs = [REPO / name for name in names]
    return inputs + sorted([*REPO.glob("msg/*.msg"), *REPO.glob("srv/*.srv")])


def installed_names() -> str:
    """Returns the names of the share files, which CMake installs as links.

    Python files are left out: they are imported from the source tree.
    """
    paths = (path for folder in ("launch", "config") for path in REPO.glob(f"{folder}/**/*"))
    return "\n".join(sorted(str(path) for path in paths if "__pycache__" not in path.parts))


def digest(paths: Iterable[Path], more: str) -> str:
    """Returns a fingerprint of the files' content and a text."""
    sha = hashlib.sha256(more.encode())
    for path in paths:
        sha.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return sha.hexdigest()


def venv_python() -> str:
    """Returns the path of the virtual environment's interpreter."""
    return str(VENV / "bin/python")


def ros_name(ros: str | None) -> str:
    """Returns how to call the ROS in use."""
    if ros:
        return f"ROS {ros} as sourced"
    wheels = (REPO / "tools/ros_wheels.txt").read_text()
    (distro,) = re.findall(r"^ros-(\w+)-rclpy$", wheels, re.MULTILINE)
    return f"ROS 2 {distro.title()} from PyPI"


def run_quietly(command: list[str]) -> subprocess.CompletedProcess[str]:
    """Runs a short command and returns what it said."""
    return subprocess.run(command, capture_output=True, text=True, check=False)


def step(title: str, *commands: list[str], environment: dict[str, str] | None = None) -> None:
    """Runs commands with their output in the log; raises SetupError with its end on failure."""
    started = time.monotonic()
    say(f"{title} ...", end="")
    for command in commands:
        with LOG.open("a") as log:
            done = subprocess.run(
                command, cwd=VENV, env=environment, stdout=log, stderr=log, check=False
            )
        if done.returncode:
            say("")
            tail = LOG.read_text(errors="replace").splitlines()[-25:]
            print("\n".join(tail), file=sys.stderr)
            raise SetupError(f"{title} failed (above, and in {LOG})")
    say(f" {time.monotonic() - started:.0f} s")


def say(text: str, end: str = "\n") -> None:
    """Prints progress at once."""
    print(text, end=end, flush=True)


STAGES = {
    "venv": make_venv,
    "packages": install_packages,
    "messages": build_messages,
    "tests": install_tests,
    "torch": install_torch,
}

if __name__ == "__main__":
    sys.exit(main())
