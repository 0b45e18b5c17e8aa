"""Settings that are declared once: default, meaning and accepted values of a dataclass field.

Commands, YAML files and ROS parameters take all three from the declaration.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar, cast

V = TypeVar("V")
_KEY = "setting"


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What is known of one setting.

    Attributes:
        text: its meaning, one sentence with the unit.
        low: smallest value, inclusive; numbers only.
        high: largest value, inclusive; numbers only.
        choices: accepted values; empty accepts all.
        optional: None is accepted too, as it is where it is the default.
    """

    text: str
    low: float | None = None
    high: float | None = None
    choices: tuple[Any, ...] = ()
    optional: bool = False

    @property
    def accepted(self) -> str:
        """The accepted values in words; empty if every value of the type is accepted."""
        if self.choices:
            return "one of " + ", ".join(map(str, self.choices))
        if self.low is None:
            return "" if self.high is None else f"at most {self.high:g}"
        return f"{self.low:g} or more" if self.high is None else f"{self.low:g} to {self.high:g}"

    def accepts(self, value: Any) -> bool:
        """Whether a value of the right type is finite, in range and among the choices."""
        if isinstance(value, float) and not math.isfinite(value):
            return False
        if self.choices and value not in self.choices:
            return False
        if self.low is None and self.high is None:
            return True
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return False
        above = self.low is None or value >= self.low
        return above and (self.high is None or value <= self.high)


def setting(
    default: V,
    text: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[Any, ...] = (),
    optional: bool = False,
) -> V:
    """A dataclass field with its meaning and accepted values; arguments as in `Setting`."""
    declared = Setting(text=text, low=low, high=high, choices=choices, optional=optional)
    # The type checker wants the field's type, a dataclass wants the field.
    made: Any = {"default": default}
    if isinstance(default, dict):  # a dataclass takes no mutable default
        made = {"default_factory": default.copy}
    return cast("V", field(**made, metadata={_KEY: declared}))


def settings_of(kind: type) -> dict[str, Setting]:
    """The declared settings of a dataclass by field name, in order."""
    return {item.name: item.metadata[_KEY] for item in fields(kind) if _KEY in item.metadata}


def check(instance: Any, prefix: str = "") -> None:
    """Checks type, range and choices of every declared setting; call it in `__post_init__`.

    The type is that of the default; whole numbers pass for floats.

    Args:
        instance: the dataclass.
        prefix: what users write before its names, e.g. `optimizer.`.

    Raises:
        ValueError: one line that names setting, value and what is accepted.
    """
    for item in fields(instance):
        declared = item.metadata.get(_KEY)
        value = getattr(instance, item.name)
        if declared is None or (value is None and (item.default is None or declared.optional)):
            continue
        if not _has_type_of(value, item.default):
            kind = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
            hint = ", ".join(filter(None, [kind.get(type(item.default), ""), declared.accepted]))
            raise ValueError(f"{prefix}{item.name} is {value!r}; give {hint}")
        if not declared.accepts(value):
            verb = "choose" if declared.choices else "give"
            accepted = declared.accepted or "a finite number"
            raise ValueError(f"{prefix}{item.name} is {value!r}; {verb} {accepted}")


def _has_type_of(value: Any, default: Any) -> bool:
    # True is an int for Python, but no number for users.
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(default, bool) == isinstance(value, bool)
    if isinstance(default, float):
        return isinstance(value, (int, float))
    return not isinstance(default, (int, str)) or isinstance(value, type(default))
