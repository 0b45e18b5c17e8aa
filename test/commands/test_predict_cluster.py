"""e2ec predict --cluster: two workers, of which one dies, leave the files of one process."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from films import damage, write_film

from e2ec_core.commands.predict_job import PART_FRAMES

pytest.importorskip("ray", reason="no Ray: pip install 'ray[data]'")

PARTS = 16
PATIENCE = 300.0  # s
FAST = ("--device", "cpu", "--short-side", "64", "--long-side", "64", "--score", "0.1")
CLUSTER = (
    "import ray; head = ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False);"
    "print(head.address_info['gcs_address'], flush=True); input()"
)


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, int]]:
    """The address of a cluster of two cores on this machine, and its process."""
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
    head = subprocess.Popen(
        [sys.executable, "-c", CLUSTER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert head.stdin is not None
    assert head.stdout is not None
    try:
        yield head.stdout.readline().strip(), head.pid
    finally:
        head.stdin.write("\n")
        head.stdin.close()
        head.wait(timeout=60)


def parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def workers(head: int) -> list[int]:
    """The processes of a cluster that do parts."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and parent(parent(int(entry.name))) == head:
            try:
                name = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if name.startswith(b"ray::MapWorker"):
                found.append(int(entry.name))
    return found


@pytest.mark.slow
def test_a_worker_that_dies_changes_nothing(
    e2ec: Callable, repo_dir: Path, portrait: Path, cluster: tuple[str, int], tmp_path: Path
) -> None:
    small = cv2.resize(cv2.imread(str(portrait)), (64, 64))[..., ::-1]
    moved = (np.roll(small, i, axis=1) for i in range(PARTS * PART_FRAMES))
    film = write_film(tmp_path / "walk.avi", moved)
    damage(film, [40, 100])
    words = ("predict", "walk.avi", *FAST, "--write", "jsonl,labels,coco", "--threads", "1")
    address, head = cluster
    environment = {"PYTHONPATH": f"{repo_dir}:{os.environ.get('PYTHONPATH', '')}"}
    run = subprocess.Popen(
        [sys.executable, "-m", "e2ec_core.commands", *words]
        + ["--cluster", address, "--output", "many"],
        cwd=tmp_path,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    state = tmp_path / "many/.e2ec_predict"
    deadline = time.monotonic() + PATIENCE
    while len(list(state.glob("part-*"))) < 2 or len(workers(head)) < 2:
        assert run.poll() is None, run.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    first = workers(head)[0]
    os.kill(first, signal.SIGKILL)
    assert len(list(state.glob("part-*"))) < PARTS
    _, errors = run.communicate(timeout=PATIENCE)
    assert run.returncode == 1, errors
    assert "1 of 1 left out: frames of 'walk.avi'" in errors
    assert not Path(f"/proc/{first}").exists()

    os.chdir(tmp_path)
    try:
        assert e2ec(*words, "--output", "one").status == 1
    finally:
        os.chdir(repo_dir)
    one, many = (
        {p.relative_to(tmp_path / name): p.read_bytes() for p in files if p.is_file()}
        for name, files in ((n, (tmp_path / n).rglob("*")) for n in ("one", "many"))
    )
    assert len(one) == 3 + PARTS * PART_FRAMES - 2
    assert many == one


def test_a_cluster_that_does_not_answer_is_told_at_once(
    e2ec: Callable, portrait: Path, tmp_path: Path
) -> None:
    for address in ("127.0.0.1:1", "somewhere"):
        words = ("--cluster", address, "--output", tmp_path / address.replace(":", "_"))
        reply = e2ec("predict", portrait, *FAST, *words)
        assert reply.status == 2
        assert f"cluster is {address!r}, where nothing answers" in reply.error
