"""What a ROS parameter is here: name, default, range, description, and when it may change."""

from __future__ import annotations

import array
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any, Literal, TypeVar

from e2ec_core.predictor_settings import split_names
from e2ec_core.settings import settings_of

Change = Literal["live", "inactive", "unconfigured", "start"]
Value = bool | int | float | str | tuple[float, ...] | tuple[str, ...]
V = TypeVar("V", bool, int, float, str, tuple[float, ...], tuple[str, ...])

# What a change needs, in the words of the refusal and of the page of parameters.
CHANGE_HELP: dict[Change, str] = {
    "live": "any time",
    "inactive": "deactivate the node first",
    "unconfigured": "deactivate and clean up the node first",
    "start": "restart the node",
}


@dataclass(frozen=True, kw_only=True)
class ParameterSpec:
    """One ROS parameter.

    Attributes:
        name: dotted ROS name.
        default: its type is the parameter's type; an empty tuple is a list of names.
        description: one sentence, with the unit.
        change: when it may be changed.
        reason: why not at any time; empty for `live`.
        minimum: smallest value, inclusive; numbers only.
        maximum: largest value, inclusive; numbers only.
        choices: accepted values; strings only.
        check: raises ValueError, which names value and remedy, for what type and range allow.
    """

    name: str
    default: Value
    description: str
    change: Change = "live"
    reason: str = ""
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    check: Callable[[Value], object] | None = None

    @property
    def range_text(self) -> str:
        """The accepted values in words, empty when anything of the type goes."""
        if self.choices:
            return "one of " + ", ".join(self.choices)
        if self.minimum is None or self.maximum is None:
            return ""
        return f"{self.minimum:g} to {self.maximum:g}"

    def accept(self, value: object) -> Value:
        """Checks a value that ROS gives.

        Args:
            value: of any type. Integers are taken for floats (`1` in YAML), arrays for tuples,
                text for the names in it that commas separate.

        Returns:
            the value, of the type of the default.

        Raises:
            ValueError: wrong type or out of range; names the value and what is accepted.
        """
        accepted = self._converted(value)
        outside = bool(self.choices) and accepted not in self.choices
        if isinstance(accepted, (int, float)) and self.minimum is not None:
            outside = not self.minimum <= accepted <= (self.maximum or 0.0)
        if outside:
            raise ValueError(f"parameter {self.name} is {value!r}; give {self.range_text}")
        if self.check is not None:
            try:
                self.check(accepted)
            except ValueError as error:
                raise ValueError(f"parameter {self.name} is {error}") from None
        return accepted

    def _converted(self, value: object) -> Value:
        default = self.default
        if default == ():
            return self._names(value)
        if isinstance(default, tuple) and isinstance(value, (list, tuple, array.array)):
            if len(value) == len(default) and all(isinstance(v, (int, float)) for v in value):
                return tuple(float(v) for v in value)
        elif isinstance(default, float) and type(value) is int:
            return float(value)
        elif isinstance(default, str) and type(value) is int:
            return str(value)  # `source:=0` is the first camera
        # Not isinstance: True would pass for a number.
        elif isinstance(value, (bool, int, float, str)) and type(value) is type(default):
            return value
        kind = f"of type {type(default).__name__}"
        if isinstance(default, tuple):
            kind = f"{len(default)} numbers"
        raise ValueError(
            f"parameter {self.name} is {value!r}, which is not {kind}; give e.g. {default!r}"
        )

    def _names(self, value: object) -> tuple[str, ...]:
        given = split_names(value) if isinstance(value, str) else value
        if not given:  # None: `[]` in YAML; b"": an empty list without a type
            return ()
        if isinstance(given, (list, tuple)) and all(isinstance(name, str) for name in given):
            return tuple(name for name in given if name)
        raise ValueError(
            f"parameter {self.name} is {value!r}, which is not a list of names; "
            "give e.g. ['car', 'person'] or []"
        )


def parameter(
    name: str,
    default: V,
    description: str,
    *,
    change: Change = "live",
    reason: str = "",
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[str, ...] = (),
    check: Callable[[Value], object] | None = None,
) -> V:
    """A dataclass field that is a ROS parameter; arguments as in `ParameterSpec`."""
    spec = ParameterSpec(
        name=name,
        default=default,
        description=description,
        change=change,
        reason=reason,
        minimum=minimum,
        maximum=maximum,
        choices=choices,
        check=check,
    )
    return field(default=default, metadata={"spec": spec})


def shared(kind: type, name: str) -> Any:
    """A parameter, live, that is declared as a setting of the library's dataclass `kind`."""
    declared = settings_of(kind)[name]
    return parameter(
        name,
        getattr(kind, name),
        declared.text,
        minimum=declared.low,
        maximum=declared.high,
        choices=declared.choices,
    )


def specs(kind: type) -> dict[str, ParameterSpec]:
    """The parameters of a parameter dataclass by its field names, in order."""
    return {item.name: item.metadata["spec"] for item in fields(kind)}
