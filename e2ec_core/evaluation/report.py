"""Tables of what was measured, one row for each stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from e2ec_core.data.class_names import DatasetName

COLUMNS: Mapping[DatasetName, tuple[tuple[str, str], ...]] = MappingProxyType(
    {
        "coco": (
            ("mask/AP", "AP"),
            ("mask/AP50", "AP50"),
            ("mask/AP75", "AP75"),
            ("mask/AP_small", "AP small"),
            ("mask/AP_medium", "AP medium"),
            ("mask/AP_large", "AP large"),
            ("box/AP", "AP box"),
        ),
        "kins": (
            ("box/AP", "AP det"),
            ("mask/AP", "AP mask"),
            ("mask/AP50", "AP50"),
            ("mask/AP75", "AP75"),
        ),
        "sbd": (("mask/AP", "AP vol"), ("mask/AP50", "AP50"), ("mask/AP70", "AP70")),
        "cityscapes": (
            ("cityscapes/AP", "AP"),
            ("cityscapes/AP50", "AP50"),
            ("mask/AP", "COCO's AP"),
            ("mask/AP50", "COCO's AP50"),
        ),
    }
)
"""Numbers by name and their headings, as the paper's tables have them."""

BOUNDARY_COLUMNS = (
    ("boundary/AP", "AP boundary"),
    ("boundary/AP50", "boundary AP50"),
    ("boundary/AP75", "boundary AP75"),
)


def stage_table(
    stages: Sequence[str], precision: Sequence[Mapping[str, float]], protocol: DatasetName
) -> str:
    """A Markdown table as the paper's Table 1d: a row for each stage.

    Args:
        stages: names of the stages.
        precision: for each what an evaluator of this protocol gave, in 0..1.
        protocol: whose columns; boundary AP comes with them where it was measured.
    """
    columns = COLUMNS[protocol]
    if precision and BOUNDARY_COLUMNS[0][0] in precision[0]:
        columns += BOUNDARY_COLUMNS
    lines = [
        f"| stage | {' | '.join(heading for _, heading in columns)} |",
        "|" + "---|" * (len(columns) + 1),
    ]
    for stage, numbers in zip(stages, precision, strict=True):
        cells = " | ".join(f"{numbers[name]:.3f}" for name, _ in columns)
        lines.append(f"| {stage} | {cells} |")
    return "\n".join(lines)
