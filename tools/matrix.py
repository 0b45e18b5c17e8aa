"""Runs the tests with other Pythons, ROS releases, NumPys and OpenCVs: `make matrix`.

`make matrix CELLS="jazzy trixie"` runs these of the cells below; without CELLS all that have not
run on this commit; with the word --without-torch the ONNX side alone. Each is a clone of the last
commit in `.matrix/NAME`, with an environment of its own that goes once all tests passed. A Python
that is not found is made where root and debootstrap are there: a Debian of its own in
`.matrix/roots`. Results go one by one to `.matrix/results.jsonl`, then the newest of each cell to
docs/distros.md.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from xml.etree import ElementTree

from environment.packages import FITS_NUMPY
from environment.pythons import WORK, CannotRunError, Place
from environment.steps import REPO

RESULTS = WORK / "results.jsonl"
TABLE = REPO / "docs/distros.md"
TIME_LIMIT = 7200  # s for the tests of one cell
SHOWN_FAILURES = 5
VERSIONS = """
import importlib.metadata as m, json, platform, cv2, numpy
def version(name):
    try: return m.version(name)
    except m.PackageNotFoundError: return ""
print(json.dumps({"python": platform.python_version(), "numpy": numpy.__version__,
    "opencv": cv2.__version__, "torch": version("torch"), "rclpy": version("ros-rclpy")}))
"""


@dataclass(frozen=True)
class Cell:
    """What is tried together.

    Attributes:
        name: of the cell and its folder.
        like: where these versions are found together.
        python: such as 3.12.
        ros: the ROS whose wheels are installed; where there are none, the library alone is tested.
        numpy, opencv: versions on PyPI.
        torch: whether PyTorch is installed; without it ONNX Runtime does the work.
    """

    name: str
    like: str
    python: str
    ros: str
    numpy: str
    opencv: str
    torch: bool = True


CELLS = (
    Cell("constraints", "`constraints.txt`", "3.11", "kilted", "2.4.6", "5.0.0.93"),
    Cell("jazzy", "Jazzy on Ubuntu 24.04", "3.12", "jazzy", "1.26.4", "4.6.0.66"),
    Cell("kilted", "Kilted on Ubuntu 24.04", "3.12", "kilted", "1.26.4", "4.6.0.66"),
    Cell("jazzy310", "an old Python", "3.10", "jazzy", "1.26.4", "4.8.1.78"),
    Cell("trixie", "Debian 13", "3.13", "kilted", "2.2.6", "4.10.0.84"),
    Cell("newest", "the newest of all", "3.13", "jazzy", "2.5.5", "5.0.0.93"),
    Cell("kilted310", "an old Python", "3.10", "kilted", "2.2.6", "5.0.0.93", torch=False),
    Cell("humble", "Humble's Python", "3.10", "humble", "1.26.4", "4.6.0.66", torch=False),
    Cell("lyrical", "Lyrical on Ubuntu 26.04", "3.14", "lyrical", "2.3.5", "4.10.0.84"),
)


@dataclass(frozen=True)
class Result:
    """What became of a cell.

    Attributes:
        cell, commit, date: which, of what, when.
        versions: what was installed, by name; empty where nothing could be.
        counts: `passed`, `failed`, `skipped` and `seconds` of the tests.
        failures: the tests that failed.
        notes: what could not run, and why.
    """

    cell: str
    commit: str
    date: str
    versions: dict[str, str]
    counts: dict[str, int]
    failures: list[str]
    notes: list[str]


def main() -> int:
    """Runs the cells that are due and writes the table; returns 1 if a test failed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("cells", nargs="*", choices=[[], *(cell.name for cell in CELLS)])
    parser.add_argument("--keep", action="store_true", help="keep environments that passed")
    parser.add_argument("--without-torch", action="store_true", help="the ONNX side alone")
    arguments = parser.parse_args()
    WORK.mkdir(exist_ok=True)
    commit = git("rev-parse", "--short=10", "HEAD")
    results = newest_results()
    for cell in CELLS:
        done = results.get(cell.name)
        due = cell.name in arguments.cells if arguments.cells else not done
        if due or (not arguments.cells and done and done.commit != commit):
            print(f"{cell.name}: {cell.like}", flush=True)
            if arguments.without_torch:
                cell = replace(cell, torch=False)
            results[cell.name] = result = run(cell)
            with RESULTS.open("a") as file:
                file.write(json.dumps(asdict(result)) + "\n")
            print(f"  {result.counts} {result.notes} {result.failures}", flush=True)
            if result.counts and not result.failures and not arguments.keep:
                shutil.rmtree(WORK / cell.name)
    TABLE.write_text(table(results))
    return int(any(result.failures for result in results.values()))


def newest_results() -> dict[str, Result]:
    """Returns the last result of each cell by its name."""
    lines = RESULTS.read_text().splitlines() if RESULTS.is_file() else []
    results = [Result(**json.loads(line)) for line in lines]
    return {result.cell: result for result in results}


def run(cell: Cell) -> Result:
    """Makes a cell's environment of the last commit and runs the tests in it."""
    commit = git("rev-parse", "--short=10", "HEAD")
    result = Result(cell.name, commit, time.strftime("%Y-%m-%d"), {}, {}, [], [])
    folder = WORK / cell.name
    try:
        place = Place(cell.python, folder)
        if not folder.is_dir():
            git("clone", "--quiet", str(REPO), str(folder))
        git("fetch", "--quiet", "origin", "HEAD", folder=folder)
        git("reset", "--quiet", "--hard", commit, folder=folder)
        pin(cell, folder)
        result = replace(result, notes=make_environment(cell, place))
        versions = json.loads(place.call([place.inside, "-c", VERSIONS], "versions"))
        result = replace(result, versions=versions)
        counts, failures = run_tests(place, with_ros=bool(versions["rclpy"]))
        return replace(result, counts=counts, failures=failures)
    except CannotRunError as error:
        return replace(result, notes=[*result.notes, str(error)])


def pin(cell: Cell, folder: Path) -> None:
    """Writes a cell's versions into the lists of packages of its clone."""
    constraints = folder / "constraints.txt"
    wanted = {"numpy": cell.numpy, "opencv-python-headless": cell.opencv}
    lines = constraints.read_text().splitlines()
    names = {*wanted, *(FITS_NUMPY if cell.numpy.startswith("1.") else ())}
    free = (*(f"{name}==" for name in names), *(["ros-"] if cell.ros != "kilted" else []))
    lines = [line for line in lines if not line.startswith(free)]
    constraints.write_text("\n".join([*lines, *(f"{n}=={v}" for n, v in wanted.items()), ""]))
    wheels = folder / "tools/ros_wheels.txt"
    wheels.write_text(wheels.read_text().replace("kilted", cell.ros))


def make_environment(cell: Cell, place: Place) -> list[str]:
    """Installs a cell's packages; returns what could not be installed, and why."""
    notes = []
    place.call([place.python, "-m", "venv", ".matrix/probe"], "venv")
    download = [".matrix/probe/bin/python", "-m", "pip", "download", "--no-deps", "-d", ".matrix"]
    try:
        place.call([*download, f"ros-{cell.ros}-rclpy"], "wheels")
        with_ros = True
    except CannotRunError as error:
        notes.append(f"no ROS ({error}): the library alone")
        with_ros = False
    if with_ros:
        place.call([place.python, "tools/setup_env.py", "test"], "set-up")
        install = [place.python, "tools/setup_env.py"]
    else:
        place.call([place.python, "-m", "venv", ".venv"], "venv")
        pip = [place.inside, "-m", "pip", "install", "-c", "constraints.txt"]
        place.call([*pip, ".[ros,tracks,dev]"], "set-up")
        install = [*pip, ".[train,evaluate,export]"]
    if not cell.torch:
        return [*notes, "run without PyTorch"]
    try:
        place.call(install, "torch")
    except CannotRunError as error:
        notes.append(f"no PyTorch ({error}): the ONNX side alone")
    return notes


def run_tests(place: Place, *, with_ros: bool) -> tuple[dict[str, int], list[str]]:
    """Returns the counts of a cell's tests, and the names of those that failed."""
    python = ["tools/with_ros", "python"] if with_ros else [place.inside]
    report = place.folder / ".matrix.xml"
    report.unlink(missing_ok=True)
    options = ["-n", "auto", "--maxprocesses=4", "--dist=loadfile", "-m", "not slow"]
    command = [*python, "-m", "pytest", *options, f"--junit-xml={report}"]
    place.call(command, "tests", TIME_LIMIT)
    suite = next(ElementTree.parse(report).iter("testsuite"))
    total, failed, skipped = (
        sum(int(suite.get(name, 0)) for name in names)
        for names in (("tests",), ("failures", "errors"), ("skipped",))
    )
    failures = [
        f"{case.get('classname')}.{case.get('name')}"
        for case in suite.iter("testcase")
        if case.find("failure") is not None or case.find("error") is not None
    ]
    passed, seconds = total - failed - skipped, round(float(suite.get("time", 0)))
    counts = {"passed": passed, "failed": failed, "skipped": skipped, "seconds": seconds}
    return counts, failures


def table(results: dict[str, Result]) -> str:
    """Returns the page of all cells."""
    rows = []
    for cell in CELLS:
        result = results.get(cell.name)
        if result is None:
            result = Result(cell.name, "", "-", {}, {}, [], ["not tried yet"])
        versions, counts, notes = result.versions, result.counts, list(result.notes)
        if result.failures:
            more = len(result.failures) - SHOWN_FAILURES
            names = [f"`{name}`" for name in result.failures[:SHOWN_FAILURES]]
            notes.append(f"failed: {', '.join(names)}{f' and {more} more' if more > 0 else ''}")
        ros = cell.ros.title() if versions.get("rclpy") or not versions else "-"
        rclpy = f", rclpy {versions['rclpy']}" if versions.get("rclpy") else ""
        columns = [
            cell.like,
            versions.get("python", cell.python),
            ros + rclpy,
            versions.get("numpy", cell.numpy),
            versions.get("opencv", cell.opencv),
            versions.get("torch") or "-",
            *(str(counts[name]) if counts else "-" for name in ("passed", "failed", "skipped")),
            f"{counts['seconds'] / 60:.0f} min" if counts else "not run",
            f"{result.date} {result.commit}".strip(),
            "; ".join(notes),
        ]
        rows.append("| " + " | ".join(columns) + " |")
    return PAGE + "\n".join(rows) + "\n"


def git(*words: str, folder: Path = REPO) -> str:
    """Runs git in a folder and returns what it said."""
    command = ["git", "-C", str(folder), *words]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


PAGE = """# Proven versions

Written by `make matrix`: the tests of `make test` with other versions of what the package stands
on, each row in an environment of its own. Versions are those that ran. ROS is the real one, in
wheels from PyPI; what these do not hold (launch, TF, RViz) skips.

| as in | CPython | ROS | NumPy | OpenCV | PyTorch | passed | failed | skipped | time | run | notes |
|---|---|---|---|---|---|---|---|---|---|---|---|
"""  # noqa: E501

if __name__ == "__main__":
    sys.exit(main())
