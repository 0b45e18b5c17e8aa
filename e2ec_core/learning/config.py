"""Settings of a training run: frozen dataclasses, read from YAML by `e2ec_core.commands`."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal

from e2ec_core.config import ModelConfig
from e2ec_core.data.class_names import LabelFormat
from e2ec_core.data.kins import OutlineChoice
from e2ec_core.geometry import AlignmentMode
from e2ec_core.learning.augment import AugmentConfig
from e2ec_core.learning.losses import LastStageLoss, LossWeights
from e2ec_core.learning.start_weights import StartPart
from e2ec_core.settings import check, setting
from e2ec_core.value_range import HELP, parse_range

_REQUIRED: Any = dataclasses.MISSING


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """One set of labelled images."""

    annotations: str = setting(
        _REQUIRED, "labels: JSON file, or folder for Cityscapes and SBD's .mat files"
    )
    images: str = setting(_REQUIRED, "folder of the image files")
    format: LabelFormat = setting("coco", "form of the labels")
    outline: OutlineChoice = setting(
        "amodal",
        "of KINS, whole (amodal) objects, their visible parts, or `both` for a model of both",
    )
    split_file: str | None = setting(
        None,
        "JSON object of lists of file names, or a .txt list of names, with or without ending; "
        "null takes every image",
    )
    split: str | None = setting(None, "key in a split file of JSON")
    missing_images: Literal["error", "skip"] = setting(
        "error", "stop when image files are missing, or skip those images"
    )
    hold_out: int = setting(
        0, "leave out every n-th image for choosing between runs; 0 leaves out none", low=0
    )
    repeat: int = setting(1, "how often each image counts in an epoch", low=1)
    range: str = setting("full", HELP)

    def __post_init__(self) -> None:
        check(self)
        parse_range(self.range, "range")


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """Terms of the loss."""

    weights: LossWeights = field(default_factory=LossWeights)
    directions: int = setting(4, "M of the multi-direction alignment; 0 for none", low=0)
    alignment: AlignmentMode = setting(
        "monotone", "`monotone` never winds twice round concave objects; `published` may"
    )
    parts: Literal["joined", "each", "largest"] = setting(
        "joined",
        "targets of an object in several parts: `joined` to one outline, `each` one of its own "
        "(published), or the `largest` only",
    )
    border: float = setting(
        0.0,
        "px before the view's right and lower edge at which contours end (published 4)",
        low=0.0,
        high=16.0,
    )
    last_stage: Literal["smooth_l1", "chamfer", "dynamic_matching"] = setting(
        "dynamic_matching", "loss of the last evolutions"
    )
    matched_evolutions: int = setting(
        1, "how many of the last evolutions it trains (published 1)", low=0
    )
    dynamic_matching_from: int = setting(
        10, "epoch from which chamfer or dynamic matching is on", low=0
    )
    matching_beta: float = setting(
        1.0,
        "error, in px, up to which the dynamic matching loss is quadratic (published 1); 0 is the "
        "paper's L1 norm",
        low=0.0,
    )
    before_matching: Literal["smooth_l1", "none"] = setting(
        "smooth_l1", "loss of the last evolution until then; `none` as published"
    )
    box_units: bool = setting(False, "measure contours in 1/64 of their box instead of input px")
    box: float = setting(
        0.1, "factor of the box head's smooth L1, for trained detectors that have one", low=0.0
    )
    detection: float = setting(
        0.25,
        "factor of the losses of a detector of candidates (e2ec_lite): scores, boxes and sides as "
        "1 : 2 : 0.25 (NanoDet-Plus)",
        low=0.0,
    )
    component_heat: float = setting(
        1.0, "factor of the component centres' focal loss, for models with components", low=0.0
    )
    component_size: float = setting(
        0.1, "factor of the component sizes' smooth L1 (Deep Snake: 0.1)", low=0.0
    )
    mask: float = setting(1.0, "factor of the auxiliary region mask", low=0.0)
    contour_iou: float = setting(1.0, "factor of 1 - IoU of the last contour", low=0.0)

    def __post_init__(self) -> None:
        check(self, "loss.")

    def last_stage_in(self, epoch: int) -> LastStageLoss:
        """Loss of the last evolutions in an epoch, counted from 0."""
        started = self.last_stage == "smooth_l1" or epoch >= self.dynamic_matching_from
        return self.last_stage if started else self.before_matching


@dataclass(frozen=True, kw_only=True)
class PartRates:
    """Factors of the learning rate by part of the model; 0 keeps a part as it is."""

    backbone: float = setting(1.0, "of the detector's backbone", low=0.0)
    neck: float = setting(1.0, "of the detector's neck", low=0.0)
    heads: float = setting(1.0, "of the detector's heads, but for their class layers", low=0.0)
    classes: float = setting(1.0, "of the layers with a channel for each class", low=0.0)
    contours: float = setting(1.0, "of everything behind the detector but `amodal`", low=0.0)
    amodal: float = setting(
        1.0, "of the stages of the amodal outline, in a model of both outlines", low=0.0
    )

    def __post_init__(self) -> None:
        check(self, "optimizer.rates.")


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """Optimiser and schedule."""

    name: str = setting("adamw", "optimiser (published: adam)", choices=("adam", "adamw", "sgd"))
    lr: float = setting(1e-3, "peak learning rate, above 0")
    rates: PartRates = field(default_factory=PartRates)
    weight_decay: float = setting(0.03, "decay of the weights", low=0.0)
    warmup: int = setting(100, "steps of linear warm-up", low=0)
    schedule: str = setting(
        "cosine",
        "of the learning rate: to zero, or in steps at `milestones`",
        choices=("cosine", "milestones"),
    )
    milestones: tuple[int, ...] = setting(
        (80, 120), "epochs at which the rate is multiplied by `gamma`"
    )
    gamma: float = setting(0.5, "factor at each milestone", low=0.0)
    clip_norm: float = setting(5.0, "largest norm of the gradient; 0 does not clip", low=0.0)
    clip_value: float = setting(
        0.0,
        "largest absolute value in the gradient (published 40); 0 does not clip",
        low=0.0,
    )
    momentum: float = setting(0.9, "momentum of sgd", low=0.0, high=1.0)
    decay_all: bool = setting(False, "let biases and norms decay as well (published)")
    ema: float = setting(
        0.998,
        "decay of the weights' running average, which is what gets stored; below 1, 0 averages "
        "none",
        low=0.0,
    )

    def __post_init__(self) -> None:
        check(self, "optimizer.")
        if not self.lr > 0:
            raise ValueError(f"optimizer.lr is {self.lr}; give more than 0")
        if self.ema >= 1:
            raise ValueError(f"optimizer.ema is {self.ema}; give 0 to below 1")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """A training run."""

    model: ModelConfig
    train: tuple[DataConfig, ...] = setting(
        _REQUIRED, "sets of images that are learnt, as [{annotations: FILE, images: FOLDER, ...}]"
    )
    validation: DataConfig | None = setting(
        None, "set on which AP is measured, by the rules of its format; null measures none"
    )
    output: str = setting("runs/e2ec", "folder of the run")
    start: str | None = setting(None, "checkpoint to start from; null starts from random weights")
    start_part: StartPart = setting(
        "all",
        "what is taken from it: all, or the detector or its backbone alone; classes are matched "
        "by name, those that the checkpoint lacks start afresh",
    )
    start_classes: dict[str, str] = setting(
        {}, "classes of the checkpoint that new classes start from for likeness, as {widget: dog}"
    )
    freeze_detector: bool = setting(False, "keep backbone, neck, heatmap and boxes as they are")
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    epochs: int = setting(100, "passes over the images", low=1)
    multi_scale: tuple[tuple[int, ...], ...] = setting(
        (),
        "sizes (height, width) of views, multiples of 32, of which every step draws one; the base "
        "side of `augment` changes with them; empty keeps `augment.size`",
    )
    batch_size: int = setting(8, "views per step, over all processes and accumulated parts", low=1)
    accumulate: int = setting(
        1, "parts in which a process computes its share of a batch, to save memory", low=1
    )
    max_instances: int = setting(64, "objects per view in the heatmap, the largest first", low=1)
    contours_per_view: int = setting(
        0, "contours learnt per view, chosen at random; 0 learns all", low=0
    )
    validate_every: int = setting(
        10, "epochs between validations; 0 validates at the end only", low=0
    )
    pictures: int = setting(
        4, "validation images drawn with their contours at every validation", low=0
    )
    log_every: int = setting(50, "steps between lines of metrics; 0 logs epochs only", low=0)
    save_every: int = setting(
        0, "steps between the states saved within an epoch; 0 saves after epochs only", low=0
    )
    tensorboard: bool = setting(True, "write metrics for TensorBoard too, where it is installed")
    seed: int = setting(0, "of everything random", low=0, high=2**63 - 1)
    workers: int = setting(1, "processes that draw views", low=0)
    image_cache: int = setting(
        256, "megabytes of decoded images that each of them keeps; 0 keeps none", low=0
    )
    threads: int = setting(
        0, "CPU threads of the training process; 0 leaves the choice to PyTorch", low=0, high=256
    )
    device: str = setting("auto", "auto, cpu, cuda or cuda:N")
    precision: Literal["fp32", "bf16", "fp16"] = setting(
        "fp32",
        "arithmetic of the network; contours and losses stay float32; on CPUs with AVX512-BF16 a "
        "bf16 step takes half the time",
    )

    def __post_init__(self) -> None:
        check(self)
        if not self.train:
            raise ValueError("train is empty; name at least one set of labelled images")
        directions, vertices = self.loss.directions, self.model.contour_vertices
        if directions and vertices % directions:
            raise ValueError(
                f"loss.directions is {directions}; give 0 or a divisor of the {vertices} vertices"
            )
        for size in self.multi_scale:
            if len(size) != 2 or any(side < 32 or side % 32 for side in size):
                raise ValueError(
                    f"multi_scale has {size}; give heights and widths, multiples of 32"
                )
