"""Synthetic street scenes with exact outlines of occluded objects."""

from street_scenes.camera import Camera
from street_scenes.drive import Drive
from street_scenes.random_scene import make_scene
from street_scenes.scene import STREET_CLASSES, SyntheticInstance, SyntheticScene
from street_scenes.writers import write_coco_dataset, write_kins_dataset

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
