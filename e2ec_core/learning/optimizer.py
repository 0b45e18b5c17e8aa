"""Optimiser, learning rate and running average of the weights."""

from __future__ import annotations

import math
import re

import torch
from torch import nn

from e2ec_core.learning.config import OptimizerConfig
from e2ec_core.learning.start_weights import CLASS_LAYERS

_PARTS = (
    (CLASS_LAYERS, "classes"),
    (re.compile(r"detector\.backbone\."), "backbone"),
    (re.compile(r"detector\.neck\."), "neck"),
    (re.compile(r"detector\."), "heads"),
    (re.compile(r"amodal\."), "amodal"),
)


def part_of(name: str) -> str:
    """The part of the model, as `PartRates` names it, that a parameter belongs to."""
    return next((part for pattern, part in _PARTS if pattern.match(name)), "contours")


def freeze_parts(model: nn.Module, config: OptimizerConfig) -> None:
    """Takes the gradient from all parameters whose rate is 0."""
    for name, parameter in model.named_parameters():
        if not getattr(config.rates, part_of(name)):
            parameter.requires_grad_(False)


def make_optimizer(model: nn.Module, config: OptimizerConfig) -> torch.optim.Optimizer:
    """Optimiser in which vectors (biases, norms) do not decay, unless all shall.

    Every group of parameters has a `factor` for its learning rate.
    """
    vector_decay = config.weight_decay if config.decay_all else 0.0
    sorted_out: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            key = (getattr(config.rates, part_of(name)), parameter.dim() > 1)
            sorted_out.setdefault(key, []).append(parameter)
    groups = [
        {
            "params": parameters,
            "factor": factor,
            "weight_decay": config.weight_decay if is_matrix else vector_decay,
        }
        for (factor, is_matrix), parameters in sorted(
            sorted_out.items(), key=lambda item: item[0], reverse=True
        )
    ]
    if config.name == "sgd":
        return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum)
    kind = torch.optim.Adam if config.name == "adam" else torch.optim.AdamW
    return kind(groups, lr=config.lr)


def learning_rate(config: OptimizerConfig, step: int, steps_per_epoch: int, epochs: int) -> float:
    """Learning rate of a step, counted from 0."""
    warm = min(1.0, (step + 1) / max(1, config.warmup))
    if config.schedule == "cosine":
        return config.lr * warm * (1 + math.cos(math.pi * step / (steps_per_epoch * epochs))) / 2
    passed = sum(step // steps_per_epoch >= milestone for milestone in config.milestones)
    return config.lr * warm * config.gamma**passed


class Average:
    """Running average of a model's weights."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.state = {k: v.detach().clone() for k, v in model.state_dict().items()}
        self.steps = 0

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Takes in the model's present weights; early on the average forgets faster."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        for key, value in model.state_dict().items():
            if value.is_floating_point():
                self.state[key].lerp_(value, 1 - decay)
            else:
                self.state[key].copy_(value)
