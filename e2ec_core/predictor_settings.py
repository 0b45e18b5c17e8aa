"""Settings of the predictor. They need no PyTorch, so that a node can declare its parameters."""

from __future__ import annotations

from dataclasses import dataclass

from e2ec_core.contours import STAGES, Stage
from e2ec_core.settings import check, setting

MOST_INPUT_PX = 9_000_000
"""Most px of the network's input, about a 4K image; `e2ec_lite` needs 3 GB for it."""


@dataclass(frozen=True, kw_only=True)
class PredictorSettings:
    """What may change from image to image; the text of each field says what it does."""

    score_threshold: float = setting(
        0.3, "Instances below this confidence are left out.", low=0.0, high=1.0
    )
    max_instances: int = setting(32, "Most instances reported per image.", low=1, high=200)
    nms_iou: float = setting(
        0.7,
        "Of two instances of a class whose boxes overlap this much, the better one stays; 1: all.",
        low=0.01,
        high=1.0,
    )
    stage: Stage = setting(
        "final", "Contour to report; earlier stages are faster and coarser.", choices=STAGES
    )
    short_side: int = setting(
        384,
        "The image is scaled until its short side has at least this many px ...",
        low=0,
        high=4096,
    )
    long_side: int = setting(
        512,
        "... and its long side at least this many px. Converted weights keep their published "
        "scale until one of the two is changed.",
        low=0,
        high=8192,
    )

    def __post_init__(self) -> None:
        check(self)
        short, long = self.short_side, self.long_side
        if max(short, long) < 32:
            raise ValueError(
                f"short_side is {short} and long_side {long}; "
                "give at least one of them 32 px or more, the other 0 or more"
            )
        if short * max(short, long) > MOST_INPUT_PX:
            raise ValueError(
                f"short_side is {short} and long_side {long}: the network's input would have "
                f"{short * max(short, long) / 1e6:.0f} million px or more; "
                f"give sides with a product of at most {MOST_INPUT_PX / 1e6:.0f} million"
            )
