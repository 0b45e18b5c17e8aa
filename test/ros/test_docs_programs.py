"""The programs of docs/consuming.md, run as they stand there beside the real nodes."""

from __future__ import annotations

import importlib.util
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import ros_positions as scene
from ament_index_python.packages import PackageNotFoundError, get_package_prefix
from ros_bags import raw, write_messages
from sensor_msgs.msg import CameraInfo, PointCloud2

from e2ec_core.commands.__main__ import main as e2ec
from e2ec_ros.msg import InstanceContourArray

if TYPE_CHECKING:
    from ros_bench import Bench

    Start = Callable[..., "Program"]

PAGE = Path(__file__).resolve().parents[2] / "docs/consuming.md"
PROGRAMS = dict(
    re.findall(
        r"^```(?:python|cpp)\n(?:#|//) (\w+\.\w+)\n(.*?)^```",
        PAGE.read_text(),
        re.DOTALL | re.MULTILINE,
    )
)


PACKAGE = """<package format="3">
<name>cars</name><version>0.0.0</version><description>of the page</description>
<maintainer email="nobody@example.com">nobody</maintainer><license>Apache-2.0</license>
<buildtool_depend>ament_cmake</buildtool_depend><depend>e2ec_ros</depend><depend>rclcpp</depend>
</package>
"""


class Program:
    """A program of the page in a process of its own."""

    def __init__(self, bench: Bench, folder: Path, name: str, *arguments: str) -> None:
        self.bench = bench
        path = folder / name
        path.write_text(PROGRAMS[name])
        self.log = folder / f"{name}.log"
        with self.log.open("wb") as stream:
            self.process = subprocess.Popen(
                [sys.executable, str(path), *arguments],
                stdout=stream,
                stderr=stream,
                env=bench.environment,
            )

    def says(self, pattern: str) -> str:
        """Waits for a line of its output that matches; AssertionError if none comes."""

        def line() -> str:
            text = self.log.read_text(errors="replace")
            assert self.process.poll() in (None, 0), text
            found = re.search(rf"^{pattern}$", text, re.MULTILINE)
            return found[0] if found else ""

        try:
            self.bench.wait(line)
        except AssertionError:
            raise AssertionError(f"no {pattern!r} in {self.log.read_text()!r}") from None
        return line()

    def end(self, number: int = signal.SIGTERM) -> int:
        """Ends it by a signal. Returns its exit status."""
        self.process.send_signal(number)
        return self.process.wait(30.0)


@pytest.fixture
def start(bench: Bench, tmp_path: Path) -> Iterator[Start]:
    """Starts a program of the page by its name."""
    programs: list[Program] = []

    def run(name: str, *arguments: str) -> Program:
        programs.append(Program(bench, tmp_path, name, *arguments))
        return programs[-1]

    yield run
    for program in programs:
        program.process.kill()
        program.process.wait()


@pytest.fixture
def drive(bench: Bench) -> None:
    """The segmentation node, active, with tracks, and a camera that plays the built-in drive."""
    image = ("-r", "image:=/camera/image")
    bench.start(
        "e2ec_ros.node", ["--ros-args", "-p", "autostart:=true", "-p", "tracks:=true", *image]
    )
    bench.start(
        "e2ec_ros.playback.camera_node",
        ["--ros-args", "-p", "loop:=true", "-p", "rate:=4.0", "-r", "__ns:=/camera"],
    )
    contours = bench.listen(InstanceContourArray, "/e2ec/contours")
    bench.wait(lambda: any(message.instances for message in contours))


def test_every_program_of_the_page_is_tried_here() -> None:
    blocks = re.findall(r"^```(?:python|cpp)$", PAGE.read_text(), re.MULTILINE)
    assert len(blocks) == len(PROGRAMS)
    assert all(name in Path(__file__).read_text() for name in PROGRAMS)


@pytest.mark.usefixtures("drive")
def test_programs_beside_the_segmentation_node(bench: Bench, start: Start, tmp_path: Path) -> None:
    people = start("people.py")
    people.says(r"\d+ people of [1-9]\d* objects")
    people.says(r"  at \d+, \d+ px, score 0\.\d\d, hidden \d\.\d\d")
    assert people.end(signal.SIGINT) == 0
    assert "Traceback" not in people.log.read_text()

    masks = start("masks.py")
    line = masks.says(r"car: \d+ px, \d+ of them in front")
    pixels, seen = map(int, re.findall(r"\d+", line))
    assert pixels > 0
    assert 0 <= seen <= pixels
    masks.end()

    cars = start("cars.py")
    cars.says(r"[1-9]\d* cars so far")
    cars.end()

    cv2 = pytest.importorskip("cv2")
    astronaut = pytest.importorskip("skimage.data").astronaut()
    cv2.imwrite(str(tmp_path / "image.png"), astronaut[..., ::-1])
    ask = start("ask.py", str(tmp_path / "image.png"))
    ask.says(r"\[\('person', 0\.\d+\).*\]")
    assert ask.process.wait(30.0) == 0


@pytest.mark.usefixtures("drive")
@pytest.mark.skipif(
    importlib.util.find_spec("message_filters") is None,
    reason="message_filters is not on PyPI; it comes with ROS 2",
)
def test_images_and_contours_in_pairs(start: Start) -> None:
    start("pairs.py").says(r"640 x 384 px with \d+ objects")


def test_nearest_object(bench: Bench, start: Start) -> None:
    extrinsic = "[" + ", ".join(map(str, scene.EXTRINSIC)) + "]"
    bench.start("e2ec_ros.distance_node", ["--ros-args", "-p", f"extrinsic:={extrinsic}"])
    contours = bench.node.create_publisher(InstanceContourArray, "/e2ec/contours", 10)
    info = bench.node.create_publisher(CameraInfo, "/camera_info", 10)
    points = bench.node.create_publisher(PointCloud2, "/points", 10)
    for publisher in (contours, info, points):
        bench.wait(lambda p=publisher: p.get_subscription_count() > 0)
    nearest = start("nearest.py")
    bench.wait(lambda: bench.node.count_subscribers("/distance/positions") > 0)

    def send() -> None:
        info.publish(scene.info())
        points.publish(scene.cloud(20.0))
        contours.publish(scene.contours(20.0))

    bench.node.create_timer(0.2, send)
    assert " at " in nearest.says(r"car: 10\.\d m, at -?\d\.\d, -?\d\.\d, 10\.\d")


def test_a_bag_is_read_without_ros(tmp_path: Path, start: Start) -> None:
    astronaut = pytest.importorskip("skimage.data").astronaut()
    write_messages(tmp_path / "drive", [("/image", 5.0, raw(astronaut))])
    words = ["predict", str(tmp_path / "drive"), "--write", "bag", "--output"]
    assert e2ec([*words, str(tmp_path / "out")]) == 0
    program = start("read_bag.py", str(tmp_path / "out/drive_contours"))
    program.says(r"/e2ec/contours 5 \[64(, 64)*\]")


@pytest.mark.slow
@pytest.mark.usefixtures("drive")
def test_the_cpp_program(bench: Bench, tmp_path: Path) -> None:
    try:
        get_package_prefix("rclcpp")
    except PackageNotFoundError:
        pytest.skip("rclcpp is not on PyPI; it comes with ROS 2")
    (tmp_path / "cars.cpp").write_text(PROGRAMS["cars.cpp"])
    cmake = re.findall(r"^```cmake\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    (tmp_path / "CMakeLists.txt").write_text(cmake[0])
    (tmp_path / "package.xml").write_text(PACKAGE)
    for command in (["cmake", "-B", "build"], ["cmake", "--build", "build"]):
        subprocess.run(command, cwd=tmp_path, env=bench.environment, check=True, timeout=300)
    log = tmp_path / "cars.log"
    with (
        log.open("wb") as stream,
        subprocess.Popen(
            [tmp_path / "build/cars"], stdout=stream, stderr=stream, env=bench.environment
        ) as program,
    ):
        try:
            bench.wait(lambda: re.search(r"car at \d+, \d+ px, \d+ px2", log.read_text()))
        finally:
            program.terminate()
