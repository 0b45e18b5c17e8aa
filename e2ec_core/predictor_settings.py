"""Settings of the predictor. They need no PyTorch, so that a node can declare its parameters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from e2ec_core.config import ModelConfig
from e2ec_core.contours import STAGES, Stage
from e2ec_core.settings import check, setting

MOST_INPUT_PX = 9_000_000
"""Most px of the network's input, about a 4K image; `e2ec_lite` needs 3 GB for it."""
_SHOWN = 12  # class names in an error


@dataclass(frozen=True, kw_only=True)
class PredictorSettings:
    """What may change from image to image."""

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
        "The image is scaled until its short side has at least this many px, and its long side "
        "`long_side`.",
        low=0,
        high=4096,
    )
    long_side: int = setting(
        512,
        "Least long side of the scaled image, px. Converted weights keep their published scale "
        "until `short_side` or `long_side` is changed.",
        low=0,
        high=8192,
    )

    classes: tuple[str, ...] = setting(
        (), "Names of the classes to report, which share `max_instances` alone; empty: all."
    )
    amodal: bool = setting(
        False,
        "Find the amodal contour of every instance too, behind what hides it, and the share that "
        "is hidden. For weights with both outlines; the visible contours stay the same.",
    )

    def __post_init__(self) -> None:
        check(self)
        if not isinstance(self.classes, tuple) or not all(
            isinstance(name, str) for name in self.classes
        ):
            raise ValueError(f"classes is {self.classes!r}; give a tuple of names, () for all")
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

    def require_fit(self, config: ModelConfig) -> None:
        """Raises ValueError for a class or an outline that a model does not have."""
        self.class_ids(config.class_names)
        if self.amodal and not config.both_outlines:
            raise ValueError(
                f"amodal is true, but the weights have one outline, {config.outlines[0]}; set it "
                "to false, or use weights with outlines [visible, amodal]"
            )
        if self.amodal and self.stage != "final":
            raise ValueError(
                f"amodal is true and stage {self.stage}; amodal contours begin at final ones: "
                "choose stage final"
            )

    def class_ids(self, known: Sequence[str]) -> tuple[int, ...]:
        """Ids of the classes to report, empty for all.

        Args:
            known: the model's class names in the order of their ids.

        Raises:
            ValueError: a name is not among them; says the nearest that is.
        """
        for name in self.classes:
            if name not in known:
                hint = _nearest(name, known)
                raise ValueError(f"classes names {name!r}, which the model does not know; {hint}")
        return tuple(index for index, name in enumerate(known) if name in self.classes)


def split_names(text: str) -> tuple[str, ...]:
    """The names in a text that separates them by commas; empty ones are left out."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _nearest(name: str, known: Sequence[str]) -> str:
    folded = {other.casefold(): other for other in reversed(known)}
    alike = get_close_matches(name.casefold(), folded, 1)
    if alike:
        return f"did you mean {folded[alike[0]]!r}?"
    more = f" and {len(known) - _SHOWN} more" if len(known) > _SHOWN else ""
    return f"it knows {', '.join(known[:_SHOWN])}{more}"
