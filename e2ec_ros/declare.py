"""Parameter dataclasses as ROS parameters: declared once, checked on every change, read as one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Generic, TypeVar

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.node import Node
from rclpy.parameter import Parameter

from e2ec_ros.parameters import CHANGE_HELP, Change, ParameterSpec, Value, specs

T = TypeVar("T")

# The changes that each state of a node allows.
ALLOWED: dict[Change, frozenset[Change]] = {
    "live": frozenset({"live"}),
    "inactive": frozenset({"live", "inactive"}),
    "unconfigured": frozenset({"live", "inactive", "unconfigured"}),
    "start": frozenset({"live", "inactive", "unconfigured", "start"}),
}


class DeclaredParameters(Generic[T]):
    """The ROS parameters of a node, declared from a dataclass and kept as an instance of it.

    An impossible start value (from a launch file or YAML) does not end the node: the default is
    declared instead and the problem is kept until the parameter is set to something possible.

    Attributes:
        value: the current snapshot; replaced as a whole on every accepted change.
        problems: parameter name to what was wrong with its start value.
    """

    def __init__(self, node: Node, kind: type[T], state: Callable[[], Change]) -> None:
        """Declares the parameters.

        Args:
            node: the node that gets them.
            kind: a dataclass of `parameters.parameter` fields.
            state: which changes the node's state allows now: `live` ones while active, and so on.
        """
        self.problems: dict[str, str] = {}
        self._fields = {spec.name: field for field, spec in specs(kind).items()}
        self._specs = {spec.name: spec for spec in specs(kind).values()}
        self._state = state
        values = {field: self._declare(node, spec) for field, spec in specs(kind).items()}
        self.value: T = kind(**values)
        node.add_on_set_parameters_callback(self._on_set)

    def require_possible(self) -> None:
        """Raises ValueError with every start value that was impossible and not mended since."""
        if self.problems:
            raise ValueError("; ".join(self.problems.values()))

    def _declare(self, node: Node, spec: ParameterSpec) -> Value:
        # Declared loosely first: with its real type, a wrong start value would only raise, with a
        # message that says neither the name nor what to give.
        loose = ParameterDescriptor(dynamic_typing=True)
        given: object = node.declare_parameter(spec.name, spec.default, loose).value
        node.undeclare_parameter(spec.name)
        try:
            value = spec.accept(given)
        except ValueError as error:
            self.problems[spec.name] = str(error)
            value = spec.default
        node.declare_parameter(spec.name, value, descriptor(spec), ignore_override=True)
        return value

    def _on_set(self, changed: Sequence[Parameter[Any]]) -> SetParametersResult:
        changes: dict[str, Any] = {}
        try:
            for item in changed:
                if item.name in self._specs:  # use_sim_time and the like are not ours
                    spec = self._specs[item.name]
                    changes[self._fields[item.name]] = self._accept(spec, item.value)
        except ValueError as error:
            return SetParametersResult(successful=False, reason=str(error))
        for item in changed:
            self.problems.pop(item.name, None)
        # replace() is generic over dataclasses, which T is by contract.
        self.value = replace(self.value, **changes)  # type: ignore[type-var]
        return SetParametersResult(successful=True)

    def _accept(self, spec: ParameterSpec, value: object) -> Value:
        if spec.change not in ALLOWED[self._state()]:
            raise ValueError(
                f"parameter {spec.name} cannot change now: {spec.reason}; "
                f"{CHANGE_HELP[spec.change]}"
            )
        return spec.accept(value)


def descriptor(spec: ParameterSpec) -> ParameterDescriptor:
    """What `ros2 param describe` shows of a parameter."""
    notes = [spec.range_text] if spec.choices else []
    if spec.change != "live":
        notes.append(f"changes only when {spec.change}: {spec.reason}")
    result = ParameterDescriptor(
        description=spec.description, additional_constraints="; ".join(notes)
    )
    if spec.minimum is None or spec.maximum is None:
        return result
    if isinstance(spec.default, float):
        result.floating_point_range = [
            FloatingPointRange(from_value=spec.minimum, to_value=spec.maximum)
        ]
    else:
        result.integer_range = [
            IntegerRange(from_value=int(spec.minimum), to_value=int(spec.maximum), step=1)
        ]
    return result
