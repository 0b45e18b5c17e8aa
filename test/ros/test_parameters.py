"""The parameter table: one declaration, from which the page, the YAML file and ROS follow."""

from __future__ import annotations

import array
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from e2ec_core.predictor_settings import PredictorSettings
from e2ec_ros.distance_parameters import DistanceParameters
from e2ec_ros.parameter_specs import ParameterSpec, specs
from e2ec_ros.parameters import CameraParameters, NodeParameters

KINDS = (NodeParameters, CameraParameters, DistanceParameters)


@pytest.mark.parametrize("kind", KINDS)
def test_every_default_is_accepted_and_every_parameter_explained(kind: type) -> None:
    for field, spec in specs(kind).items():
        assert spec.accept(spec.default) == spec.default == getattr(kind(), field)
        assert spec.description.endswith(".")
        assert (spec.change == "live") == (spec.reason == "")


def test_the_defaults_are_those_of_the_library() -> None:
    assert NodeParameters().predictor_settings() == PredictorSettings()


def test_sides_that_cannot_go_together_are_named() -> None:
    with pytest.raises(ValueError, match="short_side is 4096 and long_side 8192"):
        NodeParameters(short_side=4096, long_side=8192)


def flat(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def test_the_yaml_file_holds_all_parameters_at_their_defaults(repo_dir: Path) -> None:
    content = yaml.safe_load((repo_dir / "config/e2ec.yaml").read_text())
    written = dict(flat(content["/**"]["ros__parameters"]))
    defaults = {spec.name: spec for spec in specs(NodeParameters).values()}
    assert list(written) == list(defaults)
    for name, value in written.items():
        assert defaults[name].accept(value) == defaults[name].default, name


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("score_threshold", 1.5, "score_threshold is 1.5; give 0 to 1"),
        ("score_threshold", float("nan"), "give 0 to 1"),
        ("score_threshold", "high", "'high', which is not of type float"),
        ("max_instances", 0, "max_instances is 0; give 1 to 200"),
        ("max_instances", 5.0, "not of type int"),
        ("max_instances", True, "not of type int"),
        ("stage", "finale", "'finale'; give one of initial, coarse, final"),
        ("overlay_labels", 1, "not of type bool"),
        ("weights", None, "not of type str"),
        ("classes", [1, 2], "classes is [1, 2], which is not a list of names; give e.g. ['car'"),
        ("input_range", "0..99999", "input.range is '0..99999'; give full, auto or LOW..HIGH"),
    ],
)
def test_impossible_values_are_named(name: str, value: object, words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        specs(NodeParameters)[name].accept(value)


def test_whole_numbers_pass_for_numbers() -> None:
    assert specs(NodeParameters)["score_threshold"].accept(1) == 1.0
    spec: ParameterSpec = specs(CameraParameters)["intrinsics"]
    assert spec.accept([700, 700, 320, 240]) == (700.0, 700.0, 320.0, 240.0)
    assert spec.accept(array.array("d", [1, 2, 3, 4])) == (1.0, 2.0, 3.0, 4.0)
    with pytest.raises(ValueError, match="not 4 numbers"):
        spec.accept([1.0, 2.0])


def test_names_come_as_lists_or_separated_by_commas() -> None:
    spec = specs(NodeParameters)["classes"]
    both = ("car", "traffic light")
    for value in (list(both), both, "car, traffic light", "car,traffic light,"):
        assert spec.accept(value) == both
    for nothing in ([], (), [""], "", None, b"", array.array("d")):
        assert spec.accept(nothing) == ()
