"""Settings declared once: their meaning can be read, and impossible values are named."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import pytest

from e2ec_core.settings import Setting, check, setting, settings_of


@dataclass(frozen=True, kw_only=True)
class Example:
    count: int = setting(3, "Number of things.", low=1, high=200)
    share: float = setting(0.5, "Share of them.", low=0, high=1)
    rate: float = setting(1e-3, "Speed.", low=0)
    kind: str = setting("a", "Which.", choices=("a", "b"))
    loud: bool = setting(False, "Say it.")
    limit: int | None = setting(None, "Most things, all by default.", low=1)
    plain: int = 7

    def __post_init__(self) -> None:
        check(self)


def test_declarations_can_be_read() -> None:
    assert list(settings_of(Example)) == ["count", "share", "rate", "kind", "loud", "limit"]
    assert settings_of(Example)["count"] == Setting(text="Number of things.", low=1, high=200)
    words = [declared.accepted for declared in settings_of(Example).values()]
    assert words == ["1 to 200", "0 to 1", "0 or more", "one of a, b", "", "1 or more"]


@pytest.mark.parametrize(
    "values", [{}, {"share": 1}, {"rate": 0}, {"limit": 5}, {"plain": -1}, {"loud": True}]
)
def test_possible_values_pass(values: dict[str, Any]) -> None:
    example = Example(**values)
    assert {name: getattr(example, name) for name in values} == values


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"count": 0}, "count is 0; give 1 to 200"),
        ({"count": 2.5}, "count is 2.5; give a whole number, 1 to 200"),
        ({"count": True}, "count is True; give a whole number, 1 to 200"),
        ({"count": "many"}, "count is 'many'; give a whole number, 1 to 200"),
        ({"count": None}, "count is None; give a whole number, 1 to 200"),
        ({"share": float("nan")}, "share is nan; give 0 to 1"),
        ({"share": 1.01}, "share is 1.01; give 0 to 1"),
        ({"rate": -1}, "rate is -1; give 0 or more"),
        ({"rate": float("inf")}, "rate is inf; give 0 or more"),
        ({"rate": "fast"}, "rate is 'fast'; give a number, 0 or more"),
        ({"kind": "c"}, "kind is 'c'; choose one of a, b"),
        ({"loud": 1}, "loud is 1; give true or false"),
        ({"limit": 0}, "limit is 0; give 1 or more"),
    ],
)
def test_impossible_values_are_named(values: dict[str, Any], line: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(line)}$"):
        Example(**values)
