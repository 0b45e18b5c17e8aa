"""Class names of the datasets that published checkpoints were trained on, in channel order."""

from __future__ import annotations

from typing import Literal

DatasetName = Literal["kins", "sbd", "cityscapes", "coco"]
"""Data sets with classes and rules of their own."""
LabelFormat = Literal["kins", "sbd", "cityscapes", "coco", "labelme", "yolo"]
"""Forms of labels that can be read; those that are no data set are measured by COCO's rules."""

KINS = ("cyclist", "pedestrian", "car", "tram", "truck", "van", "misc")
"""Category ids 1, 2, 4, 5, 6, 7, 8; id 3 (rider) has no instance."""

CITYSCAPES = ("car", "person", "rider", "motorcycle", "bicycle", "truck", "bus", "train")
"""In the order of the published training labels, not that of Cityscapes' own ids."""

_SBD = (
    "aeroplane, bicycle, bird, boat, bottle, bus, car, cat, chair, cow, diningtable, dog, horse, "
    "motorbike, person, pottedplant, sheep, sofa, train, tvmonitor"
)
_COCO = (
    "person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, "
    "fire hydrant, stop sign, parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant, "
    "bear, zebra, giraffe, backpack, umbrella, handbag, tie, suitcase, frisbee, skis, snowboard, "
    "sports ball, kite, baseball bat, baseball glove, skateboard, surfboard, tennis racket, "
    "bottle, wine glass, cup, fork, knife, spoon, bowl, banana, apple, sandwich, orange, "
    "broccoli, carrot, hot dog, pizza, donut, cake, chair, couch, potted plant, bed, "
    "dining table, toilet, tv, laptop, mouse, remote, keyboard, cell phone, microwave, oven, "
    "toaster, sink, refrigerator, book, clock, vase, scissors, teddy bear, hair drier, toothbrush"
)
SBD = tuple(_SBD.split(", "))
COCO = tuple(_COCO.split(", "))

CLASS_NAMES: dict[DatasetName, tuple[str, ...]] = {
    "kins": KINS,
    "sbd": SBD,
    "cityscapes": CITYSCAPES,
    "coco": COCO,
}
