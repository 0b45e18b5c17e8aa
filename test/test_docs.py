"""The README and the pages say what the code says."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from e2ec_core.commands.__main__ import main as e2ec
from e2ec_ros.distance_parameters import DistanceParameters
from e2ec_ros.parameter_specs import specs
from e2ec_ros.parameters import CameraParameters, NodeParameters

REPO = Path(__file__).resolve().parent.parent
PAGES = [REPO / "README.md", *sorted((REPO / "docs").glob("*.md"))]
KINDS = (NodeParameters, CameraParameters, DistanceParameters)
OTHERS = {
    "_ARRAY_API not found",
    "numpy.core.multiarray failed to import",
    "has no attribute",
    "No module named 'e2ec_ros.msg'",
    "No module named 'torch'",
    "configure failed: …",
    "parameter score_threshold is 1.5; give 0 to 1",
}
"""Of other programs, or put together from parts."""

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def shell_of(page: Path) -> str:
    """Returns the shell commands of a page: its blocks, and what stands in backquotes."""
    text = page.read_text()
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    prose = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    return "\n".join([*blocks, *re.findall(r"`([^`\n]+)`", prose)])


def anchors_of(page: Path) -> set[str]:
    """Returns the anchors that GitHub makes of a page's headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


def test_the_reference_is_fresh(load_script: Callable[[str], ModuleType]) -> None:
    writer = load_script("tools/write_reference.py")
    page, readme = REPO / "docs/reference.md", (REPO / "README.md").read_text()
    assert page.read_text() == writer.reference(), "run `make reference`"
    assert readme == writer.with_first_parameters(readme), "run `make reference`"


def test_the_reference_has_every_parameter_and_every_field(
    load_script: Callable[[str], ModuleType],
) -> None:
    page = load_script("tools/write_reference.py").reference()
    for kind in KINDS:
        for spec in specs(kind).values():
            assert re.search(
                rf"^\| `{re.escape(spec.name)}` .*{re.escape(spec.description)}", page, re.M
            )
    for field in ("float32[] contour", "geometry_msgs/Point low", "bool success"):
        assert f"\n{field}" in page


def test_the_reference_is_written_without_ros_and_torch() -> None:
    code = (
        "import sys; sys.modules['rclpy'] = None; sys.modules['torch'] = None; "
        "import runpy; page = runpy.run_path(sys.argv[1])['reference'](); print(len(page))"
    )
    script = REPO / "tools/write_reference.py"
    done = subprocess.run(
        [sys.executable, "-c", code, str(script)], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) > 10_000


@each_page
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if link.startswith("http"):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors_of(target), link


@each_page
def test_files_and_commands_that_are_named_exist(page: Path) -> None:
    text = page.read_text()
    paths = re.findall(
        r"(?<![\w/-])(?:weights|config|docs|training|benchmarks|launch|test|tools|locks)/[\w/.-]*\w",
        text,
    )
    assert not [p for p in paths if not (REPO / p).exists() and "e2ec_kins" not in p]
    makefile = (REPO / "Makefile").read_text()
    for target in re.findall(r"(?:^|[`;] *)make (\w[\w-]*)", shell_of(page), re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    for module in re.findall(r"python3? -m (e2ec\w+(?:\.\w+)*)", text):
        path = REPO / module.replace(".", "/")
        assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file(), module


@each_page
def test_launch_arguments_exist(page: Path) -> None:
    cameras = {"front", "left", "rear"}  # of three_cameras.launch.py
    known = cameras
    for name in ("e2ec", "rviz"):
        tree = ast.parse((REPO / f"launch/{name}.launch.py").read_text())
        for call in ast.walk(tree):
            if isinstance(call, ast.Call) and getattr(call.func, "id", "") in (
                "argument",
                "DeclareLaunchArgument",
            ):
                first = call.args[0]
                known = known | ({first.value} if isinstance(first, ast.Constant) else set())
    parameters = {spec.name for kind in KINDS for spec in specs(kind).values()}
    for line in shell_of(page).splitlines():
        given = set(re.findall(r"(?<!-p )(?<!-r )(?<!\S)([\w.]+):=", line))
        if "--ros-args" in line:
            assert set(re.findall(r"-p ([\w.]+):=", line)) <= parameters, line
        elif line.startswith("ros2 launch") or given:
            assert given <= known, line


@each_page
def test_parameters_exist(page: Path) -> None:
    text = shell_of(page)
    names = {spec.name for spec in specs(NodeParameters).values()}
    everywhere = {spec.name for kind in KINDS for spec in specs(kind).values()}
    for name in re.findall(r"ros2 param (?:set|get|describe) /\S*e2ec ([a-z][\w.]*)", text):
        assert name in names, name
    for name in re.findall(r"-p ([\w.]+):=", text):
        assert name in everywhere | {"use_sim_time"}, name


def test_messages_of_the_troubleshooting_page_are_the_programs() -> None:
    folders = ("e2ec_ros", "e2ec_core", "launch")
    sources = [path.read_text() for name in folders for path in (REPO / name).rglob("*.py")]
    # Neighbouring pieces of text are one, as Python has them.
    code = " ".join(re.sub(r'"\s*\n?\s*f?"', "", source) for source in sources)
    page = (REPO / "docs/troubleshooting.md").read_text()
    messages = [
        message
        for first in re.findall(r"^\| (.+?) \| ", page, re.MULTILINE)
        for message in re.findall(r"`([^`]+)`", first)
        if len(message.split()) > 2 and message not in OTHERS and "ros2 " not in message
    ]
    assert len(messages) > 20
    for message in messages:
        pieces = re.split(r"[…:;,]|'[^']*'|\(.*?\)|\S*/\S*|\S*\d\S*", message)
        long = [piece.strip() for piece in pieces if len(piece.strip()) >= 12]
        assert any(piece in code for piece in long), (message, long)


@each_page
def test_options_of_e2ec_exist(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch", reason="commands beside predict need PyTorch")
    for line in shell_of(page).splitlines():
        words = line.partition("#")[0].split()
        if "e2ec" not in words[:2] or len(words) < 2 or words[-1] == "e2ec":
            continue
        command = words[words.index("e2ec") + 1]
        options = {re.sub(r"[\[\]=].*", "", word) for word in words if word.startswith("--")}
        if command.startswith(("-", "…")):
            continue
        with pytest.raises(SystemExit) as end:
            e2ec([command, "--help"])
        known = capsys.readouterr().out.replace("_", "-")
        assert end.value.code == 0, line
        assert all(
            re.search(rf"{re.escape(option.replace('_', '-'))}\b", known) for option in options
        ), line


def test_programs_without_ros(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cv2 = pytest.importorskip("cv2")
    monkeypatch.chdir(tmp_path)
    pixels = pytest.importorskip("skimage.data").astronaut()
    cv2.imwrite("street.jpg", pixels[..., ::-1])
    (program,) = re.findall(r"^```python\n(.*?)^```", PAGES[0].read_text(), re.DOTALL | re.M)
    names: dict[str, object] = {}
    exec(program, names)
    assert names["labels"].any()  # type: ignore[attr-defined]
    assert names["predictor"](names["image"]).contours.amodal_vertices is not None  # type: ignore[operator]

    page = (REPO / "docs/recordings.md").read_text()
    (program,) = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.M)
    assert e2ec(["predict", "street.jpg", "--write", "jsonl"]) == 0
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert re.match(r"street.jpg 0 \[\('person', 0\.\d+\)", done.stdout)
