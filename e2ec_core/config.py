"""Configuration of the model: frozen dataclasses and their JSON and YAML form."""

from __future__ import annotations

import dataclasses
import types
import typing
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

T = TypeVar("T")
Preset = Literal["e2ec_dla34", "e2ec_lite"]
InitialKind = Literal["learned", "octagon"]
DeformationKind = Literal["global", "paper", "none"]
PlacementRule = Literal["fit", "sbd", "kins", "cityscapes", "coco"]
LabelOrigin = Literal["corner", "centre"]


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Architecture of one model.

    Attributes:
        preset: `e2ec_dla34` (the paper's) or `e2ec_lite` (MobileNetV3, for CPUs).
        class_names: names of the heatmap's classes, in channel order.
        vertices: N, vertices of a contour; None takes the preset's (128, lite 64).
        initial: how contours begin: `learned` at the centre (paper, section 3.1), or `octagon`
            through extreme points (Deep Snake), the paper's baseline.
        deformation: from initial to coarse contour: `global` as published (lite: as its own),
            `paper` by the paper's text (hidden layer of 2 N, one ReLU), or `none`, which leaves
            all moves to the evolutions' circular convolutions.
        evolutions: number of contour evolutions after the coarse contour (published 3, paper 2; 0
            for the fast E2EC*).
        placement: how images are scaled to the network: `fit` (by the predictor's settings), or as
            the published model was tested on a data set.
        label_origin: what of the top-left pixel the labels' (0, 0) is taken for where images are
            scaled to the network: its `corner`, as COCO defines it, so that outlines stay on their
            pixels; or its `centre`, as the published model was trained: off by half a source px
            less half an input px, which is undone in its contours.
        amodal: True when trained on outlines that continue behind occluders (KINS).
        components: find the visible parts of an object inside its box and give each a contour
            (the paper's rows marked `*`, for Cityscapes).
        unsplit_classes: classes whose objects keep one contour all the same; names that the model
            does not have do not matter (Deep Snake: person and rider).
    """

    preset: Preset = "e2ec_lite"
    class_names: tuple[str, ...] = field(default_factory=tuple)
    vertices: int | None = None
    initial: InitialKind = "learned"
    deformation: DeformationKind = "global"
    evolutions: int = 3
    placement: PlacementRule = "fit"
    label_origin: LabelOrigin = "corner"
    amodal: bool = False
    components: bool = False
    unsplit_classes: tuple[str, ...] = ("person", "rider")

    def __post_init__(self) -> None:
        if self.preset not in typing.get_args(Preset):
            choices = ", ".join(typing.get_args(Preset))
            raise ValueError(f"preset {self.preset!r} is unknown; choose one of {choices}")
        if self.preset == "e2ec_lite" and self.deformation == "paper":
            raise ValueError("deformation 'paper' is not for e2ec_lite; choose global or none")
        if not self.class_names:
            raise ValueError("class_names is empty; name at least one class")
        if self.vertices is not None and self.vertices < 8:
            raise ValueError(f"vertices is {self.vertices}; a contour needs at least 8")
        if not 0 <= self.evolutions <= 8:
            raise ValueError(f"evolutions is {self.evolutions}; choose 0 to 8")

    @property
    def unsplit_ids(self) -> tuple[int, ...]:
        """Ids of the `unsplit_classes`; none without components."""
        ids = (i for i, name in enumerate(self.class_names) if name in self.unsplit_classes)
        return tuple(ids) if self.components else ()

    @property
    def contour_vertices(self) -> int:
        """N, with the preset's default filled in."""
        return self.vertices or (128 if self.preset == "e2ec_dla34" else 64)


def to_dict(config: Any) -> dict[str, Any]:
    """Plain form of a config dataclass, fit for JSON and YAML (tuples become lists)."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        return [plain(item) for item in value] if isinstance(value, (list, tuple)) else value

    return {key: plain(value) for key, value in dataclasses.asdict(config).items()}


def from_dict(cls: type[T], values: Any, where: str = "") -> T:
    """Builds the config dataclass `cls` from its plain form; unknown keys are errors.

    Raises:
        ValueError: naming the key that is unknown or missing, or the value that does not fit.
    """
    if not isinstance(values, dict):
        raise ValueError(
            f"{where[:-1] or cls.__name__} is {values!r}; it must be a mapping of settings"
        )
    hints = typing.get_type_hints(cls)
    fields = {item.name: item for item in dataclasses.fields(cls) if item.init}  # type: ignore[arg-type]
    if unknown := sorted(set(map(str, values)) - set(fields)):
        raise ValueError(
            f"unknown key {where}{unknown[0]!r}; {cls.__name__} knows {', '.join(sorted(fields))}"
        )
    for name, item in fields.items():
        has_default = (item.default, item.default_factory) != (dataclasses.MISSING,) * 2
        if name not in values and not has_default:
            raise ValueError(f"key {where}{name!r} is missing; {cls.__name__} needs it")
    return cls(**{k: _convert(hints[k], v, f"{where}{k}.") for k, v in values.items()})


def _convert(hint: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return from_dict(hint, value, where)
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None:
            return None
        hint = next(arm for arm in typing.get_args(hint) if arm is not type(None))
        return _convert(hint, value, where)
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise ValueError(f"{where[:-1]} is {value!r}; it must be a list")
        return tuple(_convert(typing.get_args(hint)[0], item, where) for item in value)
    if hint is float:
        value = _as_float(value)
    if hint in (int, float, bool, str) and (
        not isinstance(value, hint) or (hint is int and isinstance(value, bool))
    ):
        raise ValueError(f"{where[:-1]} is {value!r}; it must be {hint.__name__}")
    if origin is Literal and value not in typing.get_args(hint):
        choices = ", ".join(map(repr, typing.get_args(hint)))
        raise ValueError(f"{where[:-1]} is {value!r}; choose one of {choices}")
    return value


def _as_float(value: Any) -> Any:
    """Whole numbers as floats, and "3e-4", which YAML 1.1 reads as text; others as they are."""
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        return value
    try:
        return float(value)
    except ValueError:
        return value
