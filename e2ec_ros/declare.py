"""Parameter dataclasses as ROS parameters: declared once, checked on every change, read as one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from difflib import get_close_matches
from typing import Any, Generic, TypeVar

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.node import Node
from rclpy.parameter import Parameter

from e2ec_ros.distro import add_parameter_callbacks
from e2ec_ros.parameter_specs import CHANGE_HELP, Change, ParameterSpec, Value, specs
from e2ec_ros.qos_overrides import PREFIX

T = TypeVar("T")
_TOGETHER = "values that exclude each other"

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

    Args:
        node: the node that gets them.
        kind: a dataclass of `parameters.parameter` fields.
        state: which changes the node's state allows now: `live` ones while active, and so on.
        check: raises ValueError for values that the node cannot take now, such as names that the
            loaded model does not know.

    Attributes:
        value: the current snapshot; replaced as a whole after every accepted change.
        problems: parameter name to what was wrong with its start value.
    """

    def __init__(
        self,
        node: Node,
        kind: type[T],
        state: Callable[[], Change],
        check: Callable[[T], object] = lambda _: None,
    ) -> None:
        self.problems: dict[str, str] = {}
        self._fields = {spec.name: field for field, spec in specs(kind).items()}
        self._specs = {spec.name: spec for spec in specs(kind).values()}
        self._state, self._check = state, check
        values = {field: self._declare(node, spec) for field, spec in specs(kind).items()}
        self._kind, self._values = kind, values
        try:
            self.value: T = kind(**values)
        except ValueError as error:  # possible alone, but not together
            self.problems[_TOGETHER], self.value = str(error), kind()
        _warn_of_unknown(node, list(self._specs))
        add_parameter_callbacks(node, convert=self._convert, judge=self._judge, take=self._take)

    def require_possible(self) -> None:
        """Raises ValueError with every start value that was impossible and not mended since."""
        if self.problems:
            raise ValueError("; ".join(self.problems.values()))

    def _declare(self, node: Node, spec: ParameterSpec) -> Value:
        # Declared without its range first: rclpy's own error names neither value nor fix.
        loose = ParameterDescriptor(dynamic_typing=True)
        given: object = node.declare_parameter(spec.name, _for_ros(spec.default), loose).value
        node.undeclare_parameter(spec.name)
        try:
            value = spec.accept(given)
        except ValueError as error:
            self.problems[spec.name] = str(error)
            value = spec.default
        node.declare_parameter(spec.name, _for_ros(value), descriptor(spec), ignore_override=True)
        return value

    def _convert(self, changed: Sequence[Parameter[Any]]) -> list[Parameter[Any]]:
        """Makes integers floats where a float is declared; the rest is judged later."""
        converted = []
        for item in changed:
            if item.name in self._specs:
                with suppress(ValueError):
                    value = self._specs[item.name].accept(item.value)
                    item = Parameter(item.name, value=_for_ros(value))
            converted.append(item)
        return converted

    def _judge(self, changed: Sequence[Parameter[Any]]) -> SetParametersResult:
        try:
            for item in changed:
                if item.name in self._specs:  # others are ROS's own, such as use_sim_time
                    self._require_changeable(self._specs[item.name])
            self._check(self._kind(**self._values_with(changed)))
        except ValueError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    def _require_changeable(self, spec: ParameterSpec) -> None:
        if spec.change not in ALLOWED[self._state()]:
            raise ValueError(
                f"parameter {spec.name} cannot change now: {spec.reason}; "
                f"{CHANGE_HELP[spec.change]}"
            )

    def _values_with(self, changed: Sequence[Parameter[Any]]) -> dict[str, Value]:
        """The current values with some of them replaced; raises ValueError as `accept` does."""
        return self._values | {
            self._fields[item.name]: self._specs[item.name].accept(item.value)
            for item in changed
            if item.name in self._specs
        }

    def _take(self, changed: Sequence[Parameter[Any]]) -> None:
        """Makes accepted values the current ones."""
        self._values = self._values_with(changed)
        self.value = self._kind(**self._values)
        for name in (_TOGETHER, *(item.name for item in changed)):
            self.problems.pop(name, None)


def _for_ros(value: Value) -> Value:
    """The value as ROS keeps it: an empty list has no type there, one empty name has."""
    return ("",) if value == () else value


def _warn_of_unknown(node: Node, names: list[str]) -> None:
    """Logs the parameters that were given to the node but that it does not have."""
    unknown = []
    for name in node._parameter_overrides:  # rclpy has no public way to them
        if not name.startswith(PREFIX) and not node.has_parameter(name):
            last = name.rpartition(".")[2]
            near = [other for other in names if other.rpartition(".")[2] == last]
            near = near or get_close_matches(name, names, n=1)
            unknown.append(f"{name!r}" + (f" (did you mean {near[0]!r}?)" if near else ""))
    if unknown:
        node.get_logger().warning(
            f"ignored, as this node has no such parameter: {', '.join(unknown)}"
        )


def descriptor(spec: ParameterSpec) -> ParameterDescriptor:
    """Builds what `ros2 param describe` shows of a parameter.

    The typing is dynamic because `ParameterSpec.accept` checks types, with better words than
    rclpy's.
    """
    notes = [spec.range_text] if spec.choices else []
    if spec.change != "live":
        notes.append(f"changes only when {spec.change}: {spec.reason}")
    result = ParameterDescriptor(
        description=spec.description,
        additional_constraints="; ".join(notes),
        dynamic_typing=True,
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
