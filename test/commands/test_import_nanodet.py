"""Start weights from a file in ncnn's form."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from e2ec_core.checkpoint import read_checkpoint
from e2ec_core.commands.__main__ import main
from e2ec_core.commands.import_nanodet import convolutions
from e2ec_core.model.lite.detector import NanoDetPlus


@pytest.fixture(scope="module")
def detector() -> NanoDetPlus:
    """With float16 weights that are all different."""
    torch.manual_seed(0)
    detector = NanoDetPlus(80)
    for parameter in detector.parameters():
        parameter.data = (torch.randn_like(parameter) / 8).half().float()
    return detector


def _write(path: Path, detector: NanoDetPlus, *, half: bool) -> None:
    chunks = []
    for number, layers in enumerate(convolutions(detector)):
        weight = torch.cat([layer.weight.detach() for layer in layers])
        bias = torch.cat([layer.bias.detach() for layer in layers if layer.bias is not None])
        if number == 0:
            weight = weight.flip(1)
        content = weight.numpy().astype("<f2" if half else "<f4").tobytes()
        chunks.append((0x01306B47 if half else 0).to_bytes(4, "little"))
        chunks.append(content + b"\0" * (-len(content) % 4))
        chunks.append(bias.numpy().astype("<f4").tobytes())
    path.write_bytes(b"".join(chunks))


@pytest.mark.parametrize("half", [True, False])
def test_every_weight_arrives(detector: NanoDetPlus, tmp_path: Path, half: bool) -> None:
    _write(tmp_path / "a.bin", detector, half=half)
    words = [str(tmp_path / "a.bin"), str(tmp_path / "a.safetensors")]
    assert main(["import-nanodet", *words]) == 0
    info, state = read_checkpoint(tmp_path / "a.safetensors")
    assert info.config.class_names[0] == "person"
    expected = {f"detector.{name}": value for name, value in detector.state_dict().items()}
    assert state.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(state[name], value), name


def test_the_order_is_that_of_the_file(detector: NanoDetPlus) -> None:
    """Shapes of NanoDet-Plus-m's layers, in the order of its graph, at the places that differ."""
    shapes = [
        (sum(layer.out_channels for layer in layers), *layers[0].weight.shape[1:])
        for layers in convolutions(detector)
    ]
    assert len(shapes) == 110
    assert shapes[:5] == [
        (24, 3, 3, 3),
        (24, 1, 3, 3),
        (58, 24, 1, 1),
        (58, 24, 1, 1),
        (58, 1, 3, 3),
    ]
    assert shapes.count((112, 96, 1, 1)) == 4
    assert shapes[-1] == (112, 96, 1, 1)


def test_other_files_are_refused(
    detector: NanoDetPlus, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, output = tmp_path / "a.bin", str(tmp_path / "a.safetensors")
    _write(path, detector, half=True)
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    for changed, words in (
        (content[:-4], "ends early"),
        (content + b"\0\0\0\0", "too long"),
        (b"\1\2\3\4" + content[4:], "kind 0x4030201"),
        (rng.bytes(100_000), "has a layer of kind"),
    ):
        path.write_bytes(changed)
        assert main(["import-nanodet", str(path), output]) == 2
        assert words in capsys.readouterr().err
        assert not Path(output).exists()
    assert main(["import-nanodet", str(tmp_path / "none.bin"), output]) == 2
    assert "does not exist" in capsys.readouterr().err
