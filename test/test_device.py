"""Choice of the device."""

from __future__ import annotations

import pytest
import torch

from e2ec_core.device import choose_device


def test_auto_takes_cuda_where_there_is_one() -> None:
    assert choose_device("auto").type == ("cuda" if torch.cuda.device_count() else "cpu")


def test_cpu_is_always_there() -> None:
    assert choose_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["gpu", "", "cuda:x", "cpu:"])
def test_an_unknown_name_is_refused_with_the_choices(name: str) -> None:
    with pytest.raises(ValueError, match=rf"device is '{name}'; choose auto, cpu, cuda"):
        choose_device(name)


def test_a_device_that_is_not_there_is_refused_with_the_number() -> None:
    count = torch.cuda.device_count()
    with pytest.raises(ValueError, match=f"PyTorch sees {count} CUDA devices"):
        choose_device("cuda:99")
