"""Synthetic street scenes with exact outlines of occluded objects."""

from e2ec_core.data.synthetic.camera import Camera
from e2ec_core.data.synthetic.drive import Drive
from e2ec_core.data.synthetic.random_scene import make_scene
from e2ec_core.data.synthetic.scene import STREET_CLASSES, SyntheticInstance, SyntheticScene
from e2ec_core.data.synthetic.writers import write_coco_dataset, write_kins_dataset

__all__ = [
    "STREET_CLASSES",
    "Camera",
    "Drive",
    "SyntheticInstance",
    "SyntheticScene",
    "make_scene",
    "write_coco_dataset",
    "write_kins_dataset",
]
