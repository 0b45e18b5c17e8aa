"""What e2ec predict keeps of a run: damaged, gone, stopped, and how far it is."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from films import write_film
from predict_runs import FAST, PATIENCE, begun, command, contents, wait_for

from e2ec_core.commands.predict_job import PART_FRAMES


def test_results_that_are_gone_are_made_again(
    e2ec: Callable, film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    words = (film, *FAST, "--write", "jsonl,labels", "--output", out, "--resume")
    begun(e2ec, words, monkeypatch)
    (out / "labels/levels/000003.png").unlink()
    assert e2ec("predict", *words).status == 0
    wanted = contents(out)
    assert len(wanted) == 1 + 40
    for gone in ("contours.jsonl", "labels/levels/000031.png"):
        (out / gone).unlink()
        reply = e2ec("predict", *words)
        assert reply.status == 0
        assert "is gone; all is done again" in reply.error
        assert contents(out) == wanted
    assert "all was done before" in e2ec("predict", *words).out


@pytest.mark.parametrize("name", ["manifest.json", "part-0000000.jsonl"])
@pytest.mark.parametrize("content", [b"{broken", b"{}\n", b"", b"\xff\xfe"])
def test_a_damaged_record_is_named_with_the_way_out(
    e2ec: Callable,
    film: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    content: bytes,
) -> None:
    words = (film, *FAST, "--write", "jsonl,coco", "--output", tmp_path / "out")
    begun(e2ec, words, monkeypatch)
    file = tmp_path / "out/.e2ec_predict" / name
    file.write_bytes(content)
    reply = e2ec("predict", *words, "--resume")
    assert reply.status == 2
    assert f"{str(file)!r} is damaged; give --overwrite" in reply.error
    assert e2ec("predict", *words, "--overwrite").status == 0


def test_a_run_that_did_nothing_is_begun_anew(
    e2ec: Callable, film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = (film, *FAST, "--output", tmp_path / "out")
    reply = e2ec("predict", *words, "--cluster", "nope:1")
    assert (reply.status, "where nothing answers" in reply.error) == (2, True)
    assert not (tmp_path / "out/.e2ec_predict").exists()
    begun(e2ec, words, monkeypatch, parts=0)
    assert (tmp_path / "out/.e2ec_predict/manifest.json").exists()
    assert e2ec("predict", *words).status == 0


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_run_that_is_stopped_says_how_to_go_on(
    repo_dir: Path, tmp_path: Path, number: int, status: int
) -> None:
    levels = (np.full((48, 64, 3), i % 200, np.uint8) for i in range(20 * PART_FRAMES))
    film = write_film(tmp_path / "long.avi", levels)
    run = command(repo_dir, film, *FAST, "--write", "jsonl", "--output", tmp_path / "out")
    state = tmp_path / "out/.e2ec_predict"
    wait_for(lambda: len(list(state.glob("part-*"))) >= 2, run)
    run.send_signal(number)
    _, errors = run.communicate(timeout=PATIENCE)
    assert run.returncode == status
    (line,) = errors.splitlines()
    done = len(list(state.glob("part-*")))
    assert line == (
        f"predict: interrupted; {done} parts are done, the same line with --resume goes on"
    )
    assert list((state / "scratch").iterdir()) == []


def test_where_nobody_looks_lines_say_how_far_it_is(
    e2ec: Callable, film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = (film, *FAST, "--write", "jsonl", "--output")
    assert e2ec("predict", *words, tmp_path / "quick").err == ""
    monkeypatch.setattr("e2ec_core.commands.predict_progress.PERIOD", 0.0)
    first, second, third = e2ec("predict", *words, tmp_path / "out").err.splitlines()
    assert re.fullmatch(r"predict: 32 of 40 frames, \d+\.\d frames/s", first)
    assert second.startswith("predict: 40 of 40 frames, ")
    assert third.startswith("predict: 1 of 1 results, ")
