"""Configuration of the model, and the plain form of configs for JSON and YAML."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal, get_args

from e2ec_core.settings import check, setting

Preset = Literal["e2ec_dla34", "e2ec_lite"]
InitialKind = Literal["learned", "octagon"]
DeformationKind = Literal["global", "paper", "none"]
PlacementRule = Literal["fit", "sbd", "kins", "cityscapes", "coco"]
LabelOrigin = Literal["corner", "centre"]
Outline = Literal["visible", "amodal"]
"""What is seen of an object, or all of it, behind what hides it as well."""

BOTH_OUTLINES: tuple[Outline, ...] = ("visible", "amodal")


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Architecture of one model."""

    preset: Preset = setting(
        "e2ec_lite",
        "`e2ec_dla34` (the paper's) or `e2ec_lite` (NanoDet-Plus, for CPUs)",
        choices=get_args(Preset),
    )
    class_names: tuple[str, ...] = setting((), "names of the heatmap's classes, in channel order")
    vertices: int | None = setting(
        None,
        "N, vertices of a contour; null takes the preset's (128, lite 64)",
        low=8,
        high=4096,
    )
    initial: InitialKind = setting(
        "learned",
        "how contours begin: `learned` at the centre (paper, section 3.1), or `octagon` through "
        "extreme points (Deep Snake), the paper's baseline",
        choices=get_args(InitialKind),
    )
    deformation: DeformationKind = setting(
        "global",
        "from initial to coarse contour: `global` as published (lite: as its own), `paper` by the "
        "paper's text (hidden layer of 2 N, one ReLU), or `none`, which leaves all moves to the "
        "evolutions' circular convolutions",
        choices=get_args(DeformationKind),
    )
    evolutions: int = setting(
        3,
        "contour evolutions after the coarse contour (published 3, paper 2; 0 for the fast E2EC*)",
        low=0,
        high=8,
    )
    placement: PlacementRule = setting(
        "fit",
        "how images are scaled to the network: `fit` (by the predictor's settings), or as the "
        "published model was tested on a data set",
        choices=get_args(PlacementRule),
    )
    label_origin: LabelOrigin = setting(
        "corner",
        "what of the top-left pixel the labels' (0, 0) is taken for where images are scaled to "
        "the network: its `corner`, as COCO defines it, so that outlines stay on their pixels; or "
        "its `centre`, as the published model was trained: off by half a source px less half an "
        "input px, which is undone in its contours",
        choices=get_args(LabelOrigin),
    )
    outlines: tuple[Outline, ...] = setting(
        ("visible",),
        "outlines of every object: `visible`, `amodal` (which goes on behind what hides the "
        "object, as KINS labels it), or, e2ec_lite only, both",
    )
    components: bool = setting(
        False,
        "find the visible parts of an object inside its box and give each a contour (the paper's "
        "rows marked *, for Cityscapes)",
    )
    unsplit_classes: tuple[str, ...] = setting(
        ("person", "rider"),
        "classes whose objects keep one contour all the same; names that the model does not have "
        "do not matter (Deep Snake: person and rider)",
    )

    def __post_init__(self) -> None:
        check(self)
        for name in ("class_names", "unsplit_classes"):
            names = getattr(self, name)
            if not isinstance(names, tuple) or not all(isinstance(item, str) for item in names):
                raise ValueError(f"{name} is {names!r}; give a list of names")
        if self.vertices is not None and not isinstance(self.vertices, int):
            raise ValueError(f"vertices is {self.vertices!r}; give a whole number")
        if self.outlines not in (("visible",), ("amodal",), BOTH_OUTLINES):
            given = list(self.outlines)
            raise ValueError(f"outlines is {given}; give [visible], [amodal] or [visible, amodal]")
        if self.outlines == BOTH_OUTLINES and self.preset != "e2ec_lite":
            raise ValueError("outlines [visible, amodal] is for e2ec_lite; choose one of them")
        if self.preset == "e2ec_lite" and self.deformation == "paper":
            raise ValueError("deformation 'paper' is not for e2ec_lite; choose global or none")
        if not self.class_names:
            raise ValueError("class_names is empty; name at least one class")

    @property
    def amodal(self) -> bool:
        """Whether the contours themselves go on behind what hides the object."""
        return self.outlines == ("amodal",)

    @property
    def both_outlines(self) -> bool:
        """Whether every object can have an amodal contour beside its visible one."""
        return self.outlines == BOTH_OUTLINES

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
    """Makes the plain form of a config dataclass, fit for JSON and YAML; tuples become lists."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        return [plain(item) for item in value] if isinstance(value, (list, tuple)) else value

    return {key: plain(value) for key, value in dataclasses.asdict(config).items()}


def model_config(values: Any) -> ModelConfig:
    """Builds the config of a model from its plain form, which weights files hold as JSON.

    Raises:
        ValueError: it is no mapping, a key is unknown, or a value does not fit.
    """
    if not isinstance(values, dict):
        raise ValueError(f"config is {values!r}; it must be a mapping of settings")
    if "amodal" in values:  # weights of before there were models of both
        values = {**values, "outlines": ["amodal" if values["amodal"] else "visible"]}
        del values["amodal"]
    known = {item.name for item in dataclasses.fields(ModelConfig)}
    if unknown := sorted(set(map(str, values)) - known):
        raise ValueError(f"unknown key {unknown[0]!r}; a model has {', '.join(sorted(known))}")
    made: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    return ModelConfig(**made)
