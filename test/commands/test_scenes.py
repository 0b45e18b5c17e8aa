"""e2ec scenes: a data set, options that are checked, nothing overwritten."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest


def test_a_data_set_is_written_once(e2ec: Callable, tmp_path: Path) -> None:
    words = ("scenes", tmp_path, "--count", "2", "--size=160x96", "--split", "val")
    reply = e2ec(*words)
    assert reply.status == 0, reply.err
    path = Path(reply.out.strip())
    assert path == tmp_path / "annotations" / "instances_val.json"
    content = json.loads(path.read_text())
    assert [image["width"] for image in content["images"]] == [160, 160]
    assert len(list((tmp_path / "val").iterdir())) == 2
    assert content["annotations"]
    before = path.read_bytes()
    assert "and 2 more exists; give --overwrite, or another place" in e2ec(*words).error
    assert path.read_bytes() == before
    path.unlink()
    picture = tmp_path / "val" / "000002.jpg"
    picture.write_text("mine")
    (tmp_path / "val" / "000001.jpg").unlink()
    said = f"scenes: {str(picture)!r} exists; give --overwrite, or another place"
    assert e2ec(*words).error == said
    assert picture.read_text() == "mine"
    assert not path.exists()
    assert e2ec(*words, "--overwrite").status == 0
    assert picture.read_bytes()[:2] == b"\xff\xd8"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--size", "big"], "size is 'big'; give WIDTHxHEIGHT in px, such as 640x384"),
        (["--size", "10x10"], "at least 64x64"),
        (["--split", "../../esc"], "split is '../../esc'; give a name of letters, digits"),
        (["--split", ".."], "split is '..'; give a name"),
        (["--split", ""], "split is ''; give a name"),
        (["--count", "0"], "count is 0; give 1 or more"),
        (["--count", "many"], "count is 'many'; it must be int"),
        (["--seed", "-3"], "seed is -3; give 0 or more"),
        (["--max-occlusion", "2"], "max_occlusion is 2.0; give 0 to 1"),
        (["--format", "voc"], "format is 'voc'; choose one of 'coco', 'kins'"),
        (["--sizes", "64x64"], "unknown setting 'sizes'; did you mean 'size'?"),
    ],
)
def test_bad_options_are_named(
    e2ec: Callable, tmp_path: Path, words: list[str], message: str
) -> None:
    reply = e2ec("scenes", tmp_path / "out", *words)
    assert reply.status == 2
    assert message in reply.err.splitlines()[-1]
    assert not list(tmp_path.rglob("*.j*"))
