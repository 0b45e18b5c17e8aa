"""Every tensor of a published checkpoint has its place in our model, or is known to be unused."""

from __future__ import annotations

import numpy as np
from published_numbers import COMMITTED

from e2ec_core.config import ModelConfig
from e2ec_core.convert import published_name
from e2ec_core.data.class_names import SBD
from e2ec_core.model.build import build_model


def test_names_and_shapes_equal_the_published_list() -> None:
    lines = str(np.load(COMMITTED)["state_dict_keys"]).splitlines()
    rows = [line.split("\t") for line in lines if not line.startswith("#")]
    published = {row[0]: row[1].replace(" ", "") for row in rows}
    model = build_model(ModelConfig(preset="e2ec_dla34", class_names=SBD, vertices=128))
    ours = {
        published_name(key): str(tuple(value.shape)).replace(" ", "")
        for key, value in model.state_dict().items()
    }
    unused = ("dla.base.fc.", "dla.base.level3.project.", "dla.base.level4.project.")
    used = {key: shape for key, shape in published.items() if not key.startswith(unused)}
    assert ours == used
