"""The config of a model: its plain form, what is refused and how it is said."""

from __future__ import annotations

import json
from typing import Any

import pytest

from e2ec_core.config import ModelConfig, model_config, to_dict


def test_a_model_config_survives_json() -> None:
    config = ModelConfig(
        preset="e2ec_dla34", class_names=("car", "tram"), vertices=64, outlines=("amodal",)
    )
    assert model_config(json.loads(json.dumps(to_dict(config)))) == config


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"preset": "e2ec_big"}, "preset is 'e2ec_big'; choose one of e2ec_dla34, e2ec_lite"),
        ({"class_names": []}, "class_names is empty"),
        ({"class_names": "car"}, "class_names is 'car'; give a list of names"),
        ({"class_names": [1]}, r"class_names is \(1,\); give a list of names"),
        ({"vertices": 7}, "vertices is 7; give 8 to 4096"),
        ({"vertices": 10**8}, "vertices is 100000000; give 8 to 4096"),
        ({"vertices": 16.5}, "vertices is 16.5; give a whole number"),
        ({"vertices": "many"}, "vertices is 'many'; give 8 to 4096"),
        ({"evolutions": 9}, "evolutions is 9; give 0 to 8"),
        ({"evolutions": True}, "evolutions is True; give a whole number, 0 to 8"),
        ({"outlines": ["whole"]}, r"outlines is \[.whole.\]; give \[visible\], \[amodal\] or"),
        (
            {"preset": "e2ec_dla34", "outlines": ["visible", "amodal"]},
            r"outlines \[visible, amodal\] is for e2ec_lite",
        ),
        ({"placement": "near"}, "placement is 'near'; choose one of fit"),
        ({"deformation": "paper"}, "deformation 'paper' is not for e2ec_lite"),
        ({"vertexes": 64}, "unknown key 'vertexes'; a model has .*vertices"),
    ],
)
def test_impossible_models_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        model_config({"class_names": ["car"]} | settings)


@pytest.mark.parametrize("values", [None, [], 3, "name"])
def test_anything_but_a_mapping_is_refused(values: Any) -> None:
    with pytest.raises(ValueError, match="it must be a mapping"):
        model_config(values)


def test_presets_have_their_own_number_of_vertices() -> None:
    assert ModelConfig(preset="e2ec_dla34", class_names=("a",)).contour_vertices == 128
    assert ModelConfig(preset="e2ec_lite", class_names=("a",)).contour_vertices == 64
    assert ModelConfig(class_names=("a",), vertices=32).contour_vertices == 32


@pytest.mark.parametrize(("old", "outlines"), [(True, ("amodal",)), (False, ("visible",))])
def test_weights_from_before_there_were_two_outlines_still_load(
    old: bool, outlines: tuple[str, ...]
) -> None:
    config = model_config({"class_names": ["car"], "amodal": old})
    assert config.outlines == outlines
    assert config.amodal is old
