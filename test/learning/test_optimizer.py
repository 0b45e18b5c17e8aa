"""Learning rate, parameter groups and the running average of weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from e2ec_core.learning.config import OptimizerConfig
from e2ec_core.learning.optimizer import Average, learning_rate, make_optimizer

PLAIN = OptimizerConfig(lr=1.0, warmup=0, gamma=0.1, milestones=(2, 4), schedule="milestones")
COSINE = OptimizerConfig(lr=1.0, warmup=0, schedule="cosine")


def test_without_warmup_the_first_step_has_the_full_rate() -> None:
    assert learning_rate(PLAIN, 0, 10, 6) == 1.0
    assert learning_rate(COSINE, 0, 10, 6) == 1.0


def test_warmup_rises_in_equal_steps() -> None:
    config = OptimizerConfig(lr=2.0, warmup=4, schedule="milestones")
    rates = [learning_rate(config, step, 10, 6) for step in range(6)]
    assert rates == pytest.approx([0.5, 1.0, 1.5, 2.0, 2.0, 2.0])


def test_the_cosine_falls_to_nothing() -> None:
    rates = [learning_rate(COSINE, step, 10, 6) for step in range(61)]
    assert rates == sorted(rates, reverse=True)
    assert rates[30] == pytest.approx(0.5)
    assert rates[60] == pytest.approx(0.0)


def test_milestones_are_epochs() -> None:
    rates = {step: learning_rate(PLAIN, step, 10, 6) for step in (19, 20, 39, 40)}
    assert rates == pytest.approx({19: 1.0, 20: 0.1, 39: 0.1, 40: 0.01})


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_biases_and_norms_do_not_decay(name: str) -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4))
    config = OptimizerConfig(name=name, lr=0.1, weight_decay=0.5)
    optimizer = make_optimizer(model, config)
    decay = {id(p): g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}
    for parameter in model.parameters():
        assert decay[id(parameter)] == (0.5 if parameter.dim() == 2 else 0.0)


def test_the_average_of_constant_weights_is_these_weights() -> None:
    model = nn.Linear(2, 2)
    average = Average(model, 0.9)
    for _ in range(5):
        average.update(model)
    torch.testing.assert_close(average.state["weight"], model.weight.detach())


def test_the_average_follows_slowly_and_early_on_faster() -> None:
    model = nn.Linear(1, 1)
    nn.init.zeros_(model.weight)
    average = Average(model, 0.99)
    nn.init.ones_(model.weight)
    values = []
    for _ in range(2000):
        average.update(model)
        values.append(float(average.state["weight"]))
    assert values[0] == pytest.approx(9 / 11)  # decay 2 / 11 at the first step, not 0.99
    assert values == sorted(values)
    assert values[-1] == pytest.approx(1.0, abs=1e-4)


def test_counters_are_copied_not_averaged() -> None:
    model = nn.BatchNorm1d(2)
    average = Average(model, 0.9)
    model(torch.randn(4, 2))
    average.update(model)
    assert int(average.state["num_batches_tracked"]) == 1
