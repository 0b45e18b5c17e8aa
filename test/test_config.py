"""Config dataclasses: what is read, what is refused and how it is said."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest
import yaml

from e2ec_core.config import ModelConfig, from_dict, to_dict


@dataclass(frozen=True, kw_only=True)
class _Inner:
    rate: float = 1.0
    steps: int = 3


@dataclass(frozen=True, kw_only=True)
class _Outer:
    name: str
    kind: Literal["a", "b"] = "a"
    sizes: tuple[float, ...] = (1.0,)
    many: tuple[_Inner, ...] = ()
    inner: _Inner = field(default_factory=_Inner)
    maybe: int | None = None
    quiet: bool = False


def test_defaults_fill_what_is_not_given() -> None:
    assert from_dict(_Outer, {"name": "x"}) == _Outer(name="x")


def test_nested_settings_survive_json_and_yaml() -> None:
    config = _Outer(
        name="x", kind="b", sizes=(1.0, 2.5), many=(_Inner(rate=2.0), _Inner(steps=9)), maybe=4
    )
    assert from_dict(_Outer, json.loads(json.dumps(to_dict(config)))) == config
    assert from_dict(_Outer, yaml.safe_load(yaml.safe_dump(to_dict(config)))) == config


def test_model_config_survives_json() -> None:
    config = ModelConfig(
        preset="e2ec_dla34", class_names=("car", "tram"), vertices=64, amodal=True
    )
    assert from_dict(ModelConfig, json.loads(json.dumps(to_dict(config)))) == config


def test_whole_numbers_are_accepted_for_floats() -> None:
    config = from_dict(_Outer, {"name": "x", "inner": {"rate": 2}, "sizes": [1, 2]})
    assert config.inner.rate == 2.0
    assert isinstance(config.inner.rate, float)
    assert all(isinstance(size, float) for size in config.sizes)


def test_yaml_s_exponents_without_a_point_are_numbers() -> None:
    """YAML 1.1 reads 3e-4 as a string; nobody who writes it means one."""
    assert from_dict(_Inner, yaml.safe_load("rate: 3e-4")).rate == 3e-4


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "x", "kindd": "a"}, "'kindd'.*knows.*kind"),
        ({"name": "x", "inner": {"ratee": 1}}, r"inner\.'?ratee"),
        ({"name": "x", "inner": {"steps": 1.5}}, r"inner\.steps is 1\.5; it must be int"),
        ({"name": "x", "inner": {"steps": True}}, r"inner\.steps is True"),
        ({"name": "x", "inner": {"rate": "fast"}}, r"inner\.rate is 'fast'; it must be float"),
        ({"name": "x", "inner": 3}, "inner is 3"),
        ({"name": "x", "inner": None}, "inner is None"),
        ({"name": 3}, "name is 3; it must be str"),
        ({"name": "x", "kind": "c"}, "kind is 'c'; choose one of 'a', 'b'"),
        ({"name": "x", "sizes": 1.0}, "sizes is 1.0; it must be a list"),
        ({"name": "x", "sizes": "12"}, "sizes is '12'; it must be a list"),
        ({"name": "x", "sizes": [1.0, "b"]}, "sizes is 'b'; it must be float"),
        ({"name": "x", "many": [{"rates": 1}]}, "many.*rates"),
        ({"name": "x", "maybe": "no"}, "maybe is 'no'; it must be int"),
        ({"name": "x", "quiet": 1}, "quiet is 1; it must be bool"),
        ({"kind": "a"}, "'name'.*missing"),
    ],
)
def test_a_value_that_does_not_fit_is_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_dict(_Outer, values)


@pytest.mark.parametrize("values", [None, [], 3, "name"])
def test_anything_but_a_mapping_is_refused(values: Any) -> None:
    with pytest.raises(ValueError, match="mapping"):
        from_dict(_Outer, values)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"preset": "e2ec_big"}, "'e2ec_big' is unknown; choose one of e2ec_dla34, e2ec_lite"),
        ({"class_names": ()}, "class_names is empty"),
        ({"vertices": 7}, "vertices is 7"),
        ({"evolutions": 9}, "evolutions is 9; choose 0 to 8"),
        ({"evolutions": -1}, "evolutions is -1"),
    ],
)
def test_impossible_models_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ModelConfig(**({"class_names": ("car",)} | settings))


def test_presets_have_their_own_number_of_vertices() -> None:
    assert ModelConfig(preset="e2ec_dla34", class_names=("a",)).contour_vertices == 128
    assert ModelConfig(preset="e2ec_lite", class_names=("a",)).contour_vertices == 64
    assert ModelConfig(class_names=("a",), vertices=32).contour_vertices == 32
