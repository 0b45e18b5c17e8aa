"""The settings of a run on somebody's own objects, chosen from the labels."""

from __future__ import annotations

import math
from pathlib import Path

from e2ec_core.config import ModelConfig
from e2ec_core.data.class_names import LabelFormat
from e2ec_core.data.dataset import CocoDataset
from e2ec_core.learning.config import (
    DataConfig,
    LossConfig,
    OptimizerConfig,
    PartRates,
    TrainConfig,
)
from e2ec_core.learning.losses import LossWeights
from e2ec_core.learning.source import open_data
from e2ec_core.shipped_weights import shipped_weights

BATCH_SIZE = 4
FEW_IMAGES = 10
"""With fewer, none is held out to measure on."""
MANY_IMAGES = 300
"""From so many on, the backbone learns too."""


def own_objects(
    labels: str, images: str, *, output: str | None = None, data_format: LabelFormat = "coco"
) -> TrainConfig:
    """Chooses how to train the shipped model on somebody's labels.

    Every fifth image is held out for validation. The class layers learn at the full rate, what
    the detector and the contour stages know already at a part of it; the backbone stays as it is
    where images are few. Fewer images are seen more often.

    Args:
        labels: file or folder of the labels.
        images: folder of the images.
        output: folder of the run; None takes `runs/` and the name of the labels.
        data_format: form of the labels.

    Raises:
        ValueError: the labels cannot be read, or nothing can be learnt from them.
    """
    source = DataConfig(annotations=labels, images=images, format=data_format)
    data = open_data(source, None, held_out=False)
    data.require_objects(labels)
    count = len(data.images)
    measured = count >= FEW_IMAGES
    source = DataConfig(
        annotations=labels, images=images, format=data_format, hold_out=5 if measured else 0
    )
    learnt = count - count // 5 if measured else count
    steps = max(1, learnt // BATCH_SIZE)
    epochs = min(100, max(8, round(550 / math.sqrt(count))))
    return TrainConfig(
        model=ModelConfig(class_names=_labelled_classes(data), evolutions=2),
        train=(source,),
        validation=source if measured else None,
        output=output or f"runs/{Path(labels).stem}",
        start=str(shipped_weights()),
        loss=LossConfig(
            box_units=True,
            dynamic_matching_from=0,
            matched_evolutions=2,
            weights=LossWeights(initial=0.2, coarse=0.3),
            mask=2.0,
            contour_iou=4.0,
        ),
        optimizer=OptimizerConfig(
            rates=PartRates(
                backbone=0.1 if count >= MANY_IMAGES else 0.0, neck=0.2, heads=0.5, contours=0.2
            ),
            warmup=min(300, max(20, steps)),  # an epoch
        ),
        epochs=epochs,
        batch_size=min(BATCH_SIZE, learnt),
        contours_per_view=9,
        validate_every=max(1, epochs // 10),
    )


def _labelled_classes(data: CocoDataset) -> tuple[str, ...]:
    """Names of the classes that have objects; exporters list empty ones too."""
    used = set(data.target_classes())
    return tuple(name for i, name in enumerate(data.class_names) if i in used)
