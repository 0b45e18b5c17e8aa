"""Weights files: what comes back, what is refused and how it is said."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from e2ec_core.checkpoint import (
    FORMAT,
    CheckpointError,
    load_state,
    read_checkpoint,
    save_checkpoint,
)
from e2ec_core.config import ModelConfig

CONFIG = ModelConfig(class_names=("car", "person"), vertices=32, evolutions=1)


def _model(seed: int = 0, width: int = 3) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(2, width), nn.BatchNorm1d(width))


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    """A checkpoint of `_model()`, in a folder that did not exist."""
    path = tmp_path / "runs" / "some_model.safetensors"
    save_checkpoint(path, _model(), CONFIG, card={"ap": 0.25, "data": ["x"]})
    return path


def test_a_checkpoint_tells_its_name_config_card_and_digest(stored: Path) -> None:
    info, _ = read_checkpoint(stored)
    assert info.name == "some_model"
    assert info.config == CONFIG
    assert info.card == {"ap": 0.25, "data": ["x"]}
    assert info.sha256 == hashlib.sha256(stored.read_bytes()).hexdigest()


def test_weights_come_back_as_float32_rounded_to_half(stored: Path) -> None:
    _, state = read_checkpoint(stored)
    expected = _model().state_dict()
    assert state.keys() == expected.keys()
    for key, value in state.items():
        wanted = expected[key]
        if wanted.is_floating_point():
            assert value.dtype == torch.float32
            rounded = wanted if wanted.ndim < 2 else wanted.half().float()  # vectors stay exact
            assert torch.equal(value, rounded), key
        else:
            assert value.dtype == wanted.dtype
            assert torch.equal(value, wanted)


def test_a_write_that_fails_leaves_the_old_file(
    stored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = stored.read_bytes()

    def stop(path: Path, data: bytes) -> None:
        with path.open("wb") as file:
            file.write(data[: len(data) // 2])
        raise OSError("disk full")

    monkeypatch.setattr(Path, "write_bytes", stop)
    with pytest.raises(OSError, match="disk full"):
        save_checkpoint(stored, _model(seed=1), CONFIG)
    assert stored.read_bytes() == before
    assert list(stored.parent.iterdir()) == [stored]


def test_the_file_is_as_readable_as_any_other(stored: Path, tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    assert stored.stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_storing_what_was_read_changes_nothing(stored: Path, tmp_path: Path) -> None:
    model = _model(seed=1)
    info, state = read_checkpoint(stored)
    load_state(model, state, "stored")
    save_checkpoint(tmp_path / "again.safetensors", model, info.config, card=info.card)
    _, again = read_checkpoint(tmp_path / "again.safetensors")
    assert all(torch.equal(again[key], value) for key, value in state.items())


def test_float32_storage_is_exact(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "a.safetensors", _model(), CONFIG, dtype=torch.float32)
    _, state = read_checkpoint(tmp_path / "a.safetensors")
    for key, wanted in _model().state_dict().items():
        assert torch.equal(state[key], wanted)


def test_values_beyond_half_precision_stay_finite(tmp_path: Path) -> None:
    """The largest float16 is 65,504."""
    model = _model()
    model[0].weight.data.fill_(123_456.0)
    save_checkpoint(tmp_path / "a.safetensors", model, CONFIG)
    _, state = read_checkpoint(tmp_path / "a.safetensors")
    assert bool((state["0.weight"] == 123_456.0).all())


def test_views_of_one_tensor_can_be_stored(tmp_path: Path) -> None:
    model = _model()
    model[0].weight.data = torch.arange(6.0).view(2, 3).T  # not contiguous
    save_checkpoint(tmp_path / "a.safetensors", model, CONFIG)
    _, state = read_checkpoint(tmp_path / "a.safetensors")
    assert state["0.weight"].tolist() == [[0, 3], [1, 4], [2, 5]]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"nowhere\.safetensors' does not exist"):
        read_checkpoint(tmp_path / "nowhere.safetensors")
    with pytest.raises(CheckpointError, match="holds no weights of a run"):
        read_checkpoint(tmp_path)


@pytest.mark.parametrize("keep", [0, 5, 60, 0.5, -1])
def test_a_truncated_file_is_refused_in_one_line(stored: Path, keep: float) -> None:
    content = stored.read_bytes()
    size = int(keep * len(content)) if isinstance(keep, float) else keep
    stored.write_bytes(content[:size])
    with pytest.raises(CheckpointError, match=r"some_model.*cannot be read.*copy it") as error:
        read_checkpoint(stored)
    assert "\n" not in str(error.value)


def test_a_pickle_is_refused_without_being_loaded(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(2)}, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match="convert"):
        read_checkpoint(tmp_path / "model.safetensors")


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}, {"format": "e2ec/99"}])
def test_safetensors_of_another_program_are_refused(
    tmp_path: Path, metadata: dict[str, str] | None
) -> None:
    save_file({"weight": torch.zeros(2)}, tmp_path / "other.safetensors", metadata=metadata)
    with pytest.raises(CheckpointError, match=rf"other.*format.*not '{FORMAT}'"):
        read_checkpoint(tmp_path / "other.safetensors")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (None, "bad config"),
        ("{", "bad config"),
        ("[1]", "bad config.*mapping"),
        ('{"class_names": ["a"], "depth": 3}', "bad config.*depth"),
        ('{"class_names": ["a"], "vertices": "many"}', "bad config.*vertices is 'many'"),
        ('{"class_names": []}', "bad config.*class_names is empty"),
    ],
)
def test_a_config_that_does_not_fit_is_named(
    tmp_path: Path, config: str | None, message: str
) -> None:
    metadata = {"format": FORMAT} | ({"config": config} if config is not None else {})
    save_file({"weight": torch.zeros(2)}, tmp_path / "a.safetensors", metadata=metadata)
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(tmp_path / "a.safetensors")


def test_every_tensor_that_differs_is_listed() -> None:
    state = _model(width=4).state_dict()
    del state["0.bias"]
    state["2.weight"] = torch.zeros(1)
    with pytest.raises(CheckpointError) as error:
        load_state(_model(), state, "some file")
    message = str(error.value)
    assert message.startswith("some file does not fit the model: ")
    assert "missing 0.bias" in message
    assert "unknown 2.weight" in message
    assert "0.weight is (4, 2), the model has (3, 2)" in message
    assert "num_batches_tracked" not in message


def test_a_state_that_does_not_fit_changes_nothing() -> None:
    model = _model()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    state = _model(seed=5).state_dict()
    state["0.bias"] = torch.zeros(9)
    with pytest.raises(CheckpointError):
        load_state(model, state, "some file")
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_checkpoint_errors_are_value_errors() -> None:
    assert issubclass(CheckpointError, ValueError)
