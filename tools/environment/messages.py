"""Compiles the package's messages and writes the paths that commands need."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from environment.steps import REPO, VENV, run_quietly, step, venv_python

BUILD = VENV / "build"  # not REPO / "build", where colcon builds
# Outside site-packages: there the generated `e2ec_ros` would hide that of the source tree.
GENERATED_PYTHON = "lib/e2ec_ros_python"


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
