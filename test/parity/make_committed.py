"""Cuts the part of the published model's numbers that is committed, for machines without the rest.

python test/parity/make_committed.py ../shared/reference/parity

It holds what needs no weights (labels, losses, post-processing), and two small layers with their
weights as int8: the head of the initial contour, and one deformable convolution on a crop.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

CROP = (slice(None), slice(None), slice(20, 44), slice(20, 44))
"""Of the deformable convolution's input and output [1, C, 64, 64]."""
LAYERS = ("dla.wh.", "dla.ida_up.proj_1.conv.")
PLAIN = (
    *("label/", "train/batch.", "train/epoch0.", "train/epoch10.", "test/topk.", "test/nms."),
    *("test/stage[final-dml].", "test/post_process", "test/py_image_coords", "pre/trans_input"),
)


def cut(expected: Mapping[str, NDArray], weights: Mapping[str, NDArray]) -> dict[str, NDArray]:
    """The arrays to commit, by name."""
    chosen = {
        name: expected[name]
        for name in expected
        if name.startswith(PLAIN) and "grad" not in name and name != "train/batch.inp"
    }
    chosen["image_size"] = np.array(expected["image_bgr"].shape[:2])
    feature = np.pad(expected["test/cnn_feature"][0], ((0, 0), (1, 1), (1, 1)))
    cells = expected["test/stage[final-dml].detection"][:, :2].astype(int)
    patches = [feature[:, y : y + 3, x : x + 3] for x, y in cells]
    chosen["committed/patches"] = np.stack(patches).astype(np.float32)
    for end in ("in", "out"):
        chosen[f"committed/dcn.{end}"] = expected[f"test/dcn[ida_up.proj_1].{end}"][CROP]
    layers = {name: weights[name] for name in weights if name.split("::")[1].startswith(LAYERS)}
    return chosen | {f"weight/{name}": value for name, value in layers.items()}


def main() -> None:
    """Command line: the folder of the reference data."""
    folder = Path(sys.argv[1])
    target = Path(__file__).resolve().parent / "data" / "published.npz"
    target.parent.mkdir(exist_ok=True)
    with (
        np.load(folder / "expected.npz") as expected,
        np.load(folder / "weights_int8.npz") as weights,
    ):
        chosen = cut(expected, weights)
    keys = (folder / "state_dict_keys.tsv").read_text()
    np.savez_compressed(target, **chosen, state_dict_keys=np.array(keys))
    print(f"{target}: {target.stat().st_size / 1e6:.2f} MB, {len(chosen) + 1} arrays")


if __name__ == "__main__":
    main()
