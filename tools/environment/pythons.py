"""Finds CPythons, or makes a Debian that has one, and runs commands of a clone with it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from environment.steps import REPO

WORK = REPO / ".matrix"
SHARED = Path(os.environ.get("E2EC_SHARED", REPO.parent / "shared"))
DEBIANS = {"3.11": "bookworm", "3.13": "trixie", "3.14": "forky"}
"""Python to the Debian that has it."""
DEBIAN_PACKAGES = "python3-venv,python3-dev,g++,cmake,git,ca-certificates"
# Of the shell that calls, these are of another Python or ROS.
FOREIGN = ("VIRTUAL_ENV", "PYTHONPATH", "LD_LIBRARY_PATH", "AMENT_PREFIX_PATH", "ROS_DISTRO")


class CannotRunError(Exception):
    """Why a cell cannot run; one line."""


class Place:
    """Where the commands of a cell run: this system, or a Debian that has its Python.

    Attributes:
        python: the command that is this Python.
        inside: the Python of the cell's environment.
    """

    def __init__(self, version: str, folder: Path) -> None:
        self.folder, self.inside = folder, str(folder / ".venv/bin/python")
        self._prefix: list[str] = []
        found = find_python(version)
        self.python = found or f"/usr/bin/python{version}"
        if not found:
            self._prefix = enter_debian(version, folder)

    def call(self, command: Sequence[str], name: str, limit: float | None = None) -> str:
        """Runs a command in the cell's folder and returns its output.

        Raises:
            CannotRunError: it failed, or took more than `limit` s; what it said is in a log.
        """
        base = WORK / f"{self.folder.name}.{name}"
        log, error_log = base.with_name(f"{base.name}.log"), base.with_name(f"{base.name}.err.log")
        environment = {k: v for k, v in os.environ.items() if k not in FOREIGN}
        environment["E2EC_SHARED"] = str(SHARED)
        with log.open("w") as output, error_log.open("w") as errors:
            process = subprocess.Popen(
                [*self._prefix, *command],
                cwd=self.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                start_new_session=True,
            )
            try:
                status = process.wait(limit)
            except BaseException as error:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                if isinstance(error, subprocess.TimeoutExpired):
                    raise CannotRunError(f"{name} took more than {limit:g} s") from None
                raise
        said = log.read_text(errors="replace")
        if status not in (0, 1 if name == "tests" else 0):
            lines = (said + error_log.read_text(errors="replace")).splitlines()
            causes = [line for line in lines if re.match(r"error|E ", line, re.IGNORECASE)]
            cause = (causes or lines or ["failed"])[-1].strip().replace(f"{self.folder}/", "")
            raise CannotRunError(f"{name}: {cause}")
        return said


def find_python(version: str) -> str | None:
    """Returns a CPython of this system that can make environments, from PATH, pyenv or uv."""
    name = f"python{version}"
    places = [Path(folder) / name for folder in os.get_exec_path()]
    for pattern in (f".pyenv/versions/{version}.*", f".local/share/uv/python/cpython-{version}.*"):
        places += sorted(Path.home().glob(f"{pattern}/bin/{name}"), reverse=True)
    test = "import ensurepip, venv, sqlite3, ssl, sys; print('%d.%d' % sys.version_info[:2])"
    for place in places:
        if place.is_file():
            said = subprocess.run([place, "-c", test], capture_output=True, text=True, check=False)
            if said.stdout.strip() == version:
                return str(place)
    return None


def enter_debian(version: str, folder: Path) -> list[str]:
    """Makes the Debian that has a Python, once; returns what runs a command in it.

    The command sees the cell's folder and the reference data at their own paths.
    """
    missing = f"no CPython {version} found"
    if version not in DEBIANS:
        raise CannotRunError(f"{missing}, nor a Debian that has it")
    if os.geteuid() or not shutil.which("debootstrap"):
        raise CannotRunError(f"{missing}; root and debootstrap make one from Debian")
    debian = DEBIANS[version]
    root = WORK / "roots" / debian
    if not (root / "usr/bin" / f"python{version}").exists():
        shutil.rmtree(root, ignore_errors=True)
        root.parent.mkdir(parents=True, exist_ok=True)
        mirror, scripts = "http://deb.debian.org/debian", Path("/usr/share/debootstrap/scripts")
        script = scripts / (debian if (scripts / debian).exists() else "sid")
        with (WORK / f"{debian}.log").open("w") as log:
            made = subprocess.run(
                ["debootstrap", "--variant=minbase", f"--include={DEBIAN_PACKAGES}"]
                + [debian, str(root), mirror, str(script)],
                stdout=log,
                stderr=log,
                check=False,
            )
        if made.returncode:
            raise CannotRunError(f"{missing}; debootstrap {debian} failed")
    shutil.copy("/etc/hosts", root / "etc/hosts")
    mounts = ["mount -t proc proc $0/proc", "mount --rbind /dev $0/dev"]
    for path in (folder, SHARED, Path("/etc/ssl/certs")):
        if path == folder or path.is_dir():
            mounts += [f"mkdir -p $0{path}", f"mount --bind {path} $0{path}"]
    program = " && ".join([*mounts, f'exec chroot $0 env -C {folder} "$@"'])
    folder.parent.mkdir(parents=True, exist_ok=True)
    return ["unshare", "--mount", "sh", "-c", program, str(root)]
