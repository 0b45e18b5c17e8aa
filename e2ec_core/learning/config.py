"""Settings of a training run: frozen dataclasses, written and read as YAML."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from e2ec_core.config import ModelConfig, from_dict
from e2ec_core.data.class_names import DatasetName
from e2ec_core.geometry import AlignmentMode
from e2ec_core.learning.augment import AugmentConfig
from e2ec_core.learning.losses import LastStageLoss, LossWeights
from e2ec_core.learning.start import StartPart


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """One set of labelled images.

    Attributes:
        annotations: JSON file, or folder for Cityscapes and SBD's .mat files.
        images: folder of the image files.
        format: what the annotations are: coco, kins, sbd or cityscapes.
        outline: of KINS, whole (amodal) objects or their visible parts.
        split_file: JSON object of lists of file names, or a .txt list of names, with or without
            extension; None takes every image.
        split: key in a `split_file` of JSON.
        missing_images: stop when image files are missing, or skip those images.
        hold_out: leave out every n-th image for choosing between runs; 0 leaves out none.
        repeat: how often each image counts in an epoch.
    """

    annotations: str
    images: str
    format: DatasetName = "coco"
    outline: Literal["amodal", "visible"] = "amodal"
    split_file: str | None = None
    split: str | None = None
    missing_images: Literal["error", "skip"] = "error"
    hold_out: int = 0
    repeat: int = 1


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """Terms of the loss.

    Attributes:
        weights: factors of heatmap and contour stages.
        directions: M of the multi-direction alignment, 0 for none.
        alignment: `monotone` never winds twice round concave objects; `published` may.
        parts: targets of an object in several parts: `joined` to one outline, `each` one of its
            own (published), or the `largest` only.
        border: px before the view's right and lower edge at which contours end (published 4).
        last_stage: loss of the last evolutions: smooth_l1, chamfer or dynamic_matching.
        matched_evolutions: how many of the last evolutions it trains; published 1.
        dynamic_matching_from: epoch from which chamfer or dynamic matching is on.
        matching_beta: error, in px, up to which the dynamic matching loss is quadratic; published
            1, and 0 is the paper's L1 norm.
        before_matching: loss of the last evolution until then: smooth_l1, or none as published.
        box_units: measure contours in 1/64 of their box instead of input px.
        box: factor of the box head's smooth L1, for detectors that have one and are trained.
        component_heat: factor of the component centres' focal loss, for models with components.
        component_size: factor of the component sizes' smooth L1 (Deep Snake: 0.1).
        mask: factor of the auxiliary region mask.
        contour_iou: factor of 1 - IoU of the last contour.
    """

    weights: LossWeights = field(default_factory=LossWeights)
    directions: int = 4
    alignment: AlignmentMode = "monotone"
    parts: Literal["joined", "each", "largest"] = "joined"
    border: float = 0.0
    last_stage: Literal["smooth_l1", "chamfer", "dynamic_matching"] = "dynamic_matching"
    matched_evolutions: int = 1
    dynamic_matching_from: int = 10
    matching_beta: float = 1.0
    before_matching: Literal["smooth_l1", "none"] = "smooth_l1"
    box_units: bool = False
    box: float = 0.1
    component_heat: float = 1.0
    component_size: float = 0.1
    mask: float = 1.0
    contour_iou: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.border <= 16:
            raise ValueError(f"loss.border is {self.border}; give 0 to 16 px (published 4)")

    def last_stage_in(self, epoch: int) -> LastStageLoss:
        """Loss of the last evolutions in an epoch, counted from 0."""
        started = self.last_stage == "smooth_l1" or epoch >= self.dynamic_matching_from
        return self.last_stage if started else self.before_matching


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """Optimiser and schedule.

    Attributes:
        name: adam (published), adamw or sgd.
        lr: peak learning rate.
        weight_decay: decay.
        warmup: steps of linear warm-up.
        schedule: cosine to zero, or steps at `milestones`.
        milestones: epochs at which the rate is multiplied by `gamma`.
        gamma: factor at each milestone.
        clip_norm: largest norm of the gradient; 0 does not clip.
        clip_value: largest absolute value in the gradient (published 40); 0 does not clip.
        momentum: of sgd.
        decay_all: let biases and norms decay as well (published).
        ema: decay of the weights' running average, which is what gets stored; 0 averages none.
    """

    name: str = "adamw"
    lr: float = 1e-3
    weight_decay: float = 0.03
    warmup: int = 100
    schedule: str = "cosine"
    milestones: tuple[int, ...] = (80, 120)
    gamma: float = 0.5
    clip_norm: float = 5.0
    clip_value: float = 0.0
    momentum: float = 0.9
    decay_all: bool = False
    ema: float = 0.998

    def __post_init__(self) -> None:
        if self.name not in ("adam", "adamw", "sgd"):
            raise ValueError(f"optimizer.name is {self.name!r}; choose adam, adamw or sgd")
        if self.schedule not in ("cosine", "milestones"):
            raise ValueError(f"schedule is {self.schedule!r}; choose cosine or milestones")
        if self.lr <= 0:
            raise ValueError(f"optimizer.lr is {self.lr}; give more than 0")
        if not 0 <= self.ema < 1:
            raise ValueError(f"optimizer.ema is {self.ema}; give 0 to below 1")


_NOT_NEGATIVE = (
    *("contours_per_view", "validate_every", "workers", "threads"),
    *("pictures", "log_every", "save_every"),
)


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """A training run.

    Attributes:
        model: architecture and class names.
        train: sets of images that are learnt.
        validation: set on which AP is measured, by the rules of its format; None measures none.
        output: folder of the run.
        start: checkpoint to start from; None starts from random weights.
        start_part: what is taken from it: all, or the detector or its backbone alone. Classes are
            matched by name; those that the checkpoint lacks start afresh.
        freeze_detector: keep backbone, neck, heatmap and boxes as they are.
        augment: how views are drawn.
        loss: terms of the loss.
        optimizer: optimiser and schedule.
        epochs: passes over the images.
        multi_scale: sizes (height, width) of views, multiples of 32, of which every step draws
            one; the base side of `augment` changes with them. Empty keeps `augment.size`.
        batch_size: views per step, over all processes and accumulated parts.
        accumulate: parts in which a process computes its share of a batch, to save memory.
        max_instances: objects per view in the heatmap, the largest first.
        contours_per_view: contours learnt per view, chosen at random; 0 learns all.
        validate_every: epochs between validations; 0 validates at the end only.
        pictures: validation images drawn with their contours at every validation.
        log_every: steps between lines of metrics; 0 logs epochs only.
        save_every: steps between the states saved within an epoch; 0 saves after epochs only.
        tensorboard: write metrics for TensorBoard as well, where it is installed.
        seed: of everything random.
        workers: processes that draw views.
        threads: CPU threads of the training process; 0 leaves PyTorch's choice.
        device: auto, cpu, cuda or cuda:N.
        precision: fp32, or bf16 or fp16 (with scaled gradients) for the network's arithmetic;
            contours and losses stay float32. On CPUs with AVX512-BF16 a bf16 step takes half the
            time.
    """

    model: ModelConfig
    train: tuple[DataConfig, ...]
    validation: DataConfig | None = None
    output: str = "runs/e2ec"
    start: str | None = None
    start_part: StartPart = "all"
    freeze_detector: bool = False
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    multi_scale: tuple[tuple[int, ...], ...] = ()
    epochs: int = 100
    batch_size: int = 8
    accumulate: int = 1
    max_instances: int = 64
    contours_per_view: int = 0
    validate_every: int = 10
    pictures: int = 4
    log_every: int = 50
    save_every: int = 0
    tensorboard: bool = True
    seed: int = 0
    workers: int = 1
    threads: int = 0
    device: str = "auto"
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"

    def __post_init__(self) -> None:
        if not self.train:
            raise ValueError("train is empty; name at least one set of labelled images")
        for name in ("epochs", "batch_size", "accumulate", "max_instances"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; give at least 1")
        for name in _NOT_NEGATIVE:
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; give 0 or more")
        directions, vertices = self.loss.directions, self.model.contour_vertices
        if directions < 0 or (directions and vertices % directions):
            raise ValueError(
                f"loss.directions is {directions}; give 0 or a divisor of the {vertices} vertices"
            )
        for size in self.multi_scale:
            if len(size) != 2 or any(side < 32 or side % 32 for side in size):
                raise ValueError(
                    f"multi_scale has {size}; give heights and widths, multiples of 32"
                )


def read_train_config(path: str | Path, overrides: dict[str, Any] | None = None) -> TrainConfig:
    """Reads a YAML file into a `TrainConfig`.

    Args:
        path: the file.
        overrides: values by dotted key, e.g. `{"optimizer.lr": 1e-4}`, that replace the file's.

    Raises:
        ValueError: the file is missing or no mapping, a key is unknown, or a value does not fit.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"config {str(path)!r} does not exist; see config/training/")
    try:
        values = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"config {str(path)!r} is not YAML: {reason}") from error
    if not isinstance(values, dict):
        raise ValueError(f"config {str(path)!r} must be a mapping of settings")
    for key, value in (overrides or {}).items():
        *parents, last = key.split(".")
        target = values
        for parent in parents:
            target = target.setdefault(parent, {})
            if not isinstance(target, dict):
                raise ValueError(f"setting {key!r} leads nowhere: {parent!r} is {target!r}")
        target[last] = value
    return from_dict(TrainConfig, values)
