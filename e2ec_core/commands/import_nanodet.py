"""Reads COCO-trained NanoDet-Plus-m weights in ncnn's form as start weights of `e2ec_lite`.

e2ec import-nanodet nanodet-plus-coco-416.bin nanodet.safetensors
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from e2ec_core.checkpoint import save_checkpoint
from e2ec_core.commands.options import CommandLine
from e2ec_core.commands.outputs import OVERWRITE, require_writable
from e2ec_core.config import ModelConfig
from e2ec_core.data.class_names import CLASS_NAMES
from e2ec_core.model.lite.detector import LevelHead, NanoDetPlus

TERMS = "NanoDet-Plus-m 416 (github.com/RangiLyu/nanodet): Apache-2.0"
_HALF = 0x01306B47
"""ncnn's mark of weights in float16; 0 marks float32."""


def convolutions(detector: NanoDetPlus) -> Iterator[list[nn.Conv2d]]:
    """The convolutions in the order of the file.

    The last layer of a head is one convolution there and two here.
    """
    neck = detector.neck
    between = [
        module for down, up in zip(neck.down, neck.bottom_up, strict=True) for module in (down, up)
    ]
    parts = [detector.backbone, neck.reduce, neck.top_down, *between, neck.extra_in]
    for part in (*parts, neck.extra_out):
        yield from ([layer] for layer in part.modules() if isinstance(layer, nn.Conv2d))
    for head in detector.heads:
        assert isinstance(head, LevelHead)
        yield from ([layer] for layer in head.convs.modules() if isinstance(layer, nn.Conv2d))
        yield [head.classes, head.bins]


def load_convolutions(detector: NanoDetPlus, layers: Iterator[tuple[Tensor, Tensor]]) -> None:
    """Fills a detector of 80 classes.

    Args:
        detector: to fill.
        layers: weight [out, in / groups, k, k] and bias [out] of each, in the file's order, for
            BGR images.
    """
    for targets, (weight, bias) in zip(convolutions(detector), layers, strict=True):
        counts = [target.out_channels for target in targets]
        parts = zip(targets, weight.split(counts), bias.split(counts), strict=True)
        for target, rows, biases in parts:
            target.weight.data.copy_(rows)
            assert target.bias is not None
            target.bias.data.copy_(biases)
    stem = detector.backbone.stem[0]
    assert isinstance(stem, nn.Conv2d)
    stem.weight.data.copy_(stem.weight.data.flip(1).clone())


def read_ncnn(path: Path, detector: NanoDetPlus) -> Iterator[tuple[Tensor, Tensor]]:
    """Weight and bias of every convolution in an ncnn `.bin` file.

    Raises:
        ValueError: the file is shorter or longer than the detector's convolutions, or has another
            form.
    """
    content = path.read_bytes()
    offset = 0

    def take(kind: str, count: int) -> Tensor:
        nonlocal offset
        if offset + count * np.dtype(kind).itemsize > len(content):
            raise ValueError(f"{str(path)!r} ends early; it is not NanoDet-Plus-m of 80 classes")
        values = np.frombuffer(content, kind, count, offset)
        offset += -(-values.nbytes // 4) * 4  # blocks are padded to four bytes
        return torch.from_numpy(values.astype(np.float32))

    for targets in convolutions(detector):
        rows = sum(target.out_channels for target in targets)
        shape = (rows, *targets[0].weight.shape[1:])
        mark = int.from_bytes(content[offset : offset + 4], "little")
        offset += 4
        if mark not in (0, _HALF):
            raise ValueError(
                f"{str(path)!r} has a layer of kind {mark:#x}; give float16 or float32"
            )
        weight = take("<f2" if mark else "<f4", int(np.prod(shape)))
        yield weight.view(shape), take("<f4", rows)
    if offset != len(content):
        raise ValueError(f"{str(path)!r} is too long; it is not NanoDet-Plus-m of 80 classes")


def main(words: Sequence[str]) -> int:
    """Converts one model; returns the exit status."""
    line = CommandLine("import-nanodet", __doc__, usage="BIN OUTPUT")
    line.add("bin", type=Path, help="nanodet-plus-coco-416.bin")
    line.add("output", type=Path, help="safetensors file to write")
    line.add("--overwrite", action="store_true", help=OVERWRITE)
    options = line.parse(words)
    if not options.bin.is_file():
        raise ValueError(f"{str(options.bin)!r} does not exist; give the path of the file")
    require_writable(options.output, overwrite=options.overwrite, inputs=[options.bin])
    detector = NanoDetPlus(80)
    load_convolutions(detector, read_ncnn(options.bin, detector))
    card = {"converted_from": options.bin.name, "part": "detector", "licence": TERMS}
    config = ModelConfig(preset="e2ec_lite", class_names=CLASS_NAMES["coco"])
    holder = nn.ModuleDict({"detector": detector})
    save_checkpoint(options.output, holder, config, card=card, dtype=torch.float32)
    count = sum(parameter.numel() for parameter in detector.parameters())
    print(f"wrote {options.output}: {count:,} parameters")
    return 0
