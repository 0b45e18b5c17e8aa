"""Writes `docs/reference.md`, and the table of ten parameters in the README, from the code.

Run through `make reference`. Needs neither ROS nor a model; a test compares what is committed.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPO))

from e2ec_ros.distance_parameters import DistanceParameters  # noqa: E402
from e2ec_ros.parameter_specs import CHANGE_HELP, ParameterSpec, specs  # noqa: E402
from e2ec_ros.parameters import CameraParameters, NodeParameters  # noqa: E402

NODES = {
    "Segmentation node `e2ec`": NodeParameters,
    "Camera node `camera`": CameraParameters,
    "Distance node `distance`": DistanceParameters,
}
FIRST = (
    "weights",
    "backend",
    "device",
    "score_threshold",
    "max_instances",
    "classes",
    "short_side",
    "amodal",
    "tracks",
    "lazy",
)
"""What people change first, for the README."""
MARKS = ("<!-- parameters: make reference -->\n", "<!-- end of parameters -->\n")
HEAD = """\
# Parameters and messages

Written by `make reference` from the code. Change it there.

A running node says the same: `ros2 param describe /e2ec NAME`. *May change* says when
`ros2 param set` is accepted: at any time; in the lifecycle state `inactive` or `unconfigured`
only; at the start only. A wrong value is refused with the reason. A name that does not exist and
a file that reaches no node get a warning.

A parameter file:

```yaml
/**:
  ros__parameters:
    score_threshold: 0.4
    classes: [car, person]
    overlay:
      fill: 0.0          # overlay.fill of the table
```

```sh
ros2 launch e2ec_ros e2ec.launch.py params:=/path/to/mine.yaml
ros2 run e2ec_ros e2ec_node --ros-args --params-file mine.yaml -p lazy:=true
ros2 param set /e2ec score_threshold 0.4
```
"""


def table(kind: type, names: tuple[str, ...] = ()) -> str:
    """Returns a Markdown table of the parameters of `kind`, of those in `names` where given."""
    lines = ["| parameter | default | accepted | may change | meaning |", "|---|---|---|---|---|"]
    chosen = [spec for spec in specs(kind).values() if not names or spec.name in names]
    return "\n".join([*lines, *map(row, chosen), ""])


def row(spec: ParameterSpec) -> str:
    """Returns a parameter's line of the table."""
    default = f"`{spec.default!r}`" if spec.default not in ("", ()) else "(empty)"
    if isinstance(spec.default, tuple) and len(spec.default) > 4:
        default = f"{len(spec.default)} times `{spec.default[0]!r}`"
    change = CHANGE_HELP[spec.change] if spec.change == "live" else f"{spec.change} only"
    accepted = spec.range_text or "any"
    return f"| `{spec.name}` | {default} | {accepted} | {change} | {spec.description} |"


def reference() -> str:
    """Returns the page."""
    parts = [HEAD]
    parts += [f"## {title}\n\n{table(kind)}" for title, kind in NODES.items()]
    for folder, title in (("msg", "Messages"), ("srv", "Services")):
        parts.append(f"## {title}\n")
        for path in sorted((REPO / folder).iterdir()):
            name = f"e2ec_ros/{folder}/{path.stem}"
            parts.append(f"### {path.stem}\n\n`{name}`\n\n```text\n{path.read_text()}```\n")
    return "\n".join(parts)


def with_first_parameters(readme: str) -> str:
    """Returns the README with the table of `FIRST` between its two marks."""
    block = f"{MARKS[0]}{table(NodeParameters, FIRST)}{MARKS[1]}"
    pattern = f"{re.escape(MARKS[0])}.*?{re.escape(MARKS[1])}"
    written, count = re.subn(pattern, lambda _: block, readme, flags=re.DOTALL)
    if count != 1:
        raise SystemExit(f"error: README.md has {count} blocks {MARKS[0].strip()}; give it one")
    return written


if __name__ == "__main__":
    (REPO / "docs/reference.md").write_text(reference())
    page = REPO / "README.md"
    page.write_text(with_first_parameters(page.read_text()))
