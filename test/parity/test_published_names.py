"""Every tensor of a published checkpoint has its place in our model, or is known to be unused."""

from __future__ import annotations

from pathlib import Path

from e2ec_core.convert import published_name
from e2ec_core.model.e2ec import E2EC


def test_names_and_shapes_equal_the_published_list(
    published_model: E2EC, parity_dir: Path
) -> None:
    lines = (parity_dir / "state_dict_keys.tsv").read_text().splitlines()
    rows = [line.split("\t") for line in lines if not line.startswith("#")]
    published = {row[0]: row[1].replace(" ", "") for row in rows}
    ours = {
        published_name(key): str(tuple(value.shape)).replace(" ", "")
        for key, value in published_model.state_dict().items()
    }
    unused = ("dla.base.fc.", "dla.base.level3.project.", "dla.base.level4.project.")
    used = {key: shape for key, shape in published.items() if not key.startswith(unused)}
    assert ours == used
