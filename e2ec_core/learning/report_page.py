"""A run on one page: curves, AP by class and pictures, in HTML that opens without a server."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from e2ec_core.learning.config import TrainConfig

_WIDTH, _HEIGHT = 640, 220
_STYLE = """
body { font: 15px/1.4 system-ui, sans-serif; max-width: 1100px; margin: 2em auto; color: #222; }
table { border-collapse: collapse; } td, th { padding: 2px 12px; text-align: right; }
td:first-child, th:first-child { text-align: left; } tr:nth-child(even) { background: #f3f3f3; }
svg { background: #fafafa; border: 1px solid #ddd; } img { max-width: 100%; margin: 4px 0; }
"""


def write_report(folder: Path, config: TrainConfig) -> None:
    """Writes `report.html` from the metrics and pictures of a run's folder.

    Args:
        folder: of the run; pictures are linked, so that the page moves with the folder.
        config: the run.
    """
    records = _records(folder / "metrics.jsonl")
    epochs = [r for r in records if "seconds" in r]
    validations = [r for r in records if "validation" in r]
    parts = [
        f"<h1>{html.escape(folder.resolve().name)}</h1>",
        f"<p>{len(epochs)} of {config.epochs} epochs; classes: "
        f"{html.escape(', '.join(config.model.class_names))}</p>",
        _curve("Loss", [(r["epoch"] + 1, r["total"]) for r in epochs]),
    ]
    if validations:
        points = [(r["epoch"], r["validation"][-1].get("mask/AP")) for r in validations]
        parts.append(_curve("Mask AP on the images held out", points))
        parts.append(_table(validations[-1]))
    pictures = sorted((folder / "pictures").glob("epoch_*"))
    if pictures:
        parts.append(f"<h2>Labelled (left) and found, {pictures[-1].name.replace('_', ' ')}</h2>")
        parts += [
            f'<img src="{path.relative_to(folder).as_posix()}" alt="{html.escape(path.stem)}">'
            for path in sorted(pictures[-1].iterdir())
        ]
    title = html.escape(folder.resolve().name)
    page = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
    page += f"<style>{_STYLE}</style><body>{''.join(parts)}</body></html>\n"
    partial = folder / "report.html.part"
    partial.write_text(page)
    partial.replace(folder / "report.html")


def _records(path: Path) -> list[dict[str, Any]]:
    lines = path.read_text().splitlines() if path.is_file() else []
    return [json.loads(line) for line in lines]


def _curve(title: str, points: Sequence[tuple[float, float | None]]) -> str:
    """A line over epochs, with its last value in words."""
    known = [(x, y) for x, y in points if y is not None]
    if not known:
        return ""
    most_x, most_y = max(x for x, _ in known), max(max(y for _, y in known), 1e-9)
    places = " ".join(
        f"{20 + (_WIDTH - 40) * x / most_x:.1f},{_HEIGHT - 20 - (_HEIGHT - 40) * y / most_y:.1f}"
        for x, y in known
    )
    return (
        f"<h2>{html.escape(title)}: {known[-1][1]:.3g}</h2>"
        f'<svg width="{_WIDTH}" height="{_HEIGHT}"><polyline points="{places}" fill="none" '
        f'stroke="#0b6" stroke-width="2"/><text x="4" y="16" font-size="12">{most_y:.3g}</text>'
        f'<text x="{_WIDTH - 60}" y="{_HEIGHT - 4}" font-size="12">epoch {most_x:g}</text></svg>'
    )


def _table(record: dict[str, Any]) -> str:
    """AP of every stage, and of every class for the last."""
    rows = record["validation"]
    columns = [name for name in rows[-1] if name != "stage"]
    stages = [[row["stage"], *(row.get(name) for name in columns)] for row in rows]
    text = _rows(["stage", *columns], stages)
    if by_class := record.get("by class"):
        text += "<h2>By class</h2>" + _rows(["class", "mask AP"], list(by_class.items()))
    return text


def _rows(header: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    def line(cells: Iterable[Any], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{_cell(cell)}</{tag}>" for cell in cells) + "</tr>"

    return "<table>" + line(header, "th") + "".join(line(row, "td") for row in rows) + "</table>"


def _cell(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float) else html.escape(str(value))
