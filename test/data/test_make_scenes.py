"""The command that writes data sets of synthetic scenes."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import pytest

pytest.importorskip("tqdm", reason="tqdm is not installed")

SCRIPT = Path(__file__).resolve().parents[2] / "training" / "make_scenes.py"


def _run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *arguments])
    runpy.run_path(str(SCRIPT), run_name="__main__")


def test_command_writes_a_data_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _run(monkeypatch, str(tmp_path), "--count", "2", "--size", "160x96", "--split", "val")
    path = Path(capsys.readouterr().out.strip())
    assert path == tmp_path / "annotations" / "instances_val.json"
    content = json.loads(path.read_text())
    assert [image["width"] for image in content["images"]] == [160, 160]
    assert len(list((tmp_path / "val").iterdir())) == 2
    assert content["annotations"]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--size", "big"], "expected WIDTHxHEIGHT"),
        (["--size", "10x10"], "at least 64x64"),
        (["--count", "0"], "expected a number of 1 or more"),
        (["--seed", "-3"], "expected a number of 0 or more"),
        (["--max-occlusion", "2"], "expected a number from 0 to 1"),
    ],
)
def test_command_explains_bad_options(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    complaint: str,
) -> None:
    with pytest.raises(SystemExit) as stopped:
        _run(monkeypatch, str(tmp_path / "out"), *arguments)
    assert stopped.value.code not in (0, None)
    assert complaint in f"{stopped.value.code} {capsys.readouterr().err}"
