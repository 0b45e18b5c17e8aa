"""The command e2ec: its index, its doors in training/, and what it says of errors."""

from __future__ import annotations

import errno
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from e2ec_core.commands.__main__ import COMMANDS
from e2ec_core.commands.failures import reason
from e2ec_core.commands.outputs import require_writable


def _python(repo: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k != "OMP_WAIT_POLICY"} | variables
    environment["PYTHONPATH"] = f"{repo}:{os.environ.get('PYTHONPATH', '')}"
    return subprocess.run(
        [sys.executable, *words],
        cwd=repo,
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_without_arguments_the_commands_are_listed(e2ec: Callable) -> None:
    reply = e2ec()
    assert (reply.status, reply.err) == (0, "")
    assert [line.split()[0] for line in reply.out.splitlines()[2:]] == list(COMMANDS)
    assert e2ec("--help") == reply


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("trian", "e2ec: unknown command 'trian'; did you mean 'train'?"),
        ("xyz", f"e2ec: unknown command 'xyz'; give {', '.join(COMMANDS)}"),
    ],
)
def test_an_unknown_command_is_told_the_nearest(e2ec: Callable, name: str, message: str) -> None:
    assert e2ec(name) == (2, "", message + "\n")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(e2ec: Callable, name: str) -> None:
    reply = e2ec(name, "--help")
    assert reply.status == 0
    for code in ("<class", "Literal[", "SUPPRESS", "(type: "):
        assert code not in reply.out
    assert reply.out.startswith(f"usage: e2ec {name} ")
    assert reply.err == ""


def test_each_door_in_training_opens_one_command(repo_dir: Path) -> None:
    doors = sorted((repo_dir / "training").glob("*.py"))
    opened = [next(n for n in COMMANDS if f'["{n}", *sys.argv' in d.read_text()) for d in doors]
    assert sorted(opened) == sorted(COMMANDS)
    reply = _python(repo_dir, "training/convert_checkpoint.py", "--help")
    assert reply.stdout.startswith("usage: e2ec convert ")


@pytest.mark.parametrize("name", ["predict", "scenes"])
def test_help_and_wrong_options_do_not_wait_for_pytorch(repo_dir: Path, name: str) -> None:
    program = (
        "import sys\n"
        "from e2ec_core.commands.__main__ import main\n"
        f"status = main(['{name}', 'x', '--wrong=1'])\n"
        "print(status, 'torch' in sys.modules)\n"
    )
    reply = _python(repo_dir, "-c", program)
    assert reply.stdout == "2 False\n", reply.stderr


@pytest.mark.parametrize("given", [{}, {"OMP_WAIT_POLICY": "ACTIVE"}])
def test_threads_wait_passively_unless_the_user_has_a_policy(
    repo_dir: Path, tmp_path: Path, given: dict[str, str]
) -> None:
    program = (
        "import os, subprocess, sys\n"
        "from e2ec_core.commands.__main__ import main\n"
        "main(['predict', 'none.png', '--device=cpu', '--output', sys.argv[1]])\n"
        "print(os.environ['OMP_WAIT_POLICY'])\n"
        "child = 'import os; print(os.environ[\"OMP_WAIT_POLICY\"])'\n"
        "subprocess.run([sys.executable, '-c', child])\n"
    )
    reply = _python(repo_dir, "-c", program, str(tmp_path / "contours"), **given)
    policy = given.get("OMP_WAIT_POLICY", "PASSIVE")
    assert reply.stdout.split() == [policy, policy], reply.stderr


def test_a_missing_package_is_named_with_the_pip_command(repo_dir: Path) -> None:
    program = (
        "import sys\n"
        "sys.modules['cv2'] = None\n"
        "from e2ec_core.commands.__main__ import main\n"
        "sys.exit(main(['predict', 'x.png']))\n"
    )
    reply = _python(repo_dir, "-c", program)
    assert reply.returncode == 2
    said = "predict: cv2 is not installed: pip install opencv-python-headless\n"
    assert reply.stderr == said


def test_a_closed_pipe_is_no_error(repo_dir: Path) -> None:
    reply = _python(
        repo_dir,
        "-c",
        (
            "import subprocess, sys\n"
            "words = [sys.executable, '-m', 'e2ec_core.commands', 'train', '--help']\n"
            "child = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)\n"
            "child.stdout.close()\n"
            "print(child.stderr.read().decode())\n"
        ),
    )
    assert "Traceback" not in reply.stdout + reply.stderr


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_no_error(repo_dir: Path, tmp_path: Path, closed: str) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((48, 64, 3), np.uint8))
    words = [sys.executable, "-m", "e2ec_core.commands", "predict", "a.png", "none.png"]
    environment = os.environ | {"PYTHONPATH": f"{repo_dir}:{os.environ.get('PYTHONPATH', '')}"}
    reply = subprocess.run(
        ["sh", "-c", f"{shlex.join(words)} {closed}"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert reply.returncode == 1, reply.stderr
    assert "Traceback" not in reply.stderr
    assert ("none.png" in reply.stderr) == ("2>" not in closed)
    assert cv2.imread(str(tmp_path / "contours/a.png")) is not None


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (MemoryError(), "not enough memory; give smaller images, batches or sizes"),
        (torch.OutOfMemoryError("CUDA out of memory."), "not enough memory; give smaller"),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried"), "not enough memory"),
        (cv2.error("OpenCV: (-4) Failed to allocate 99 bytes"), "not enough memory"),
        (cv2.error("OpenCV(5) a.cpp:3: error:\n > bad\n"), "OpenCV(5) a.cpp:3: error: > bad"),
        (OSError(errno.ENOSPC, "No space", "x.png"), "no space left on the disk for 'x.png'"),
        (ValueError("a\nb"), "a b"),
        (ModuleNotFoundError("no", name="shapely.geometry"), "shapely is not installed: pip inst"),
    ],
)
def test_what_users_can_mend_is_one_line(error: Exception, line: str) -> None:
    said = reason(error)
    assert said is not None
    assert said.startswith(line)
    assert "\n" not in said


@pytest.mark.parametrize("error", [KeyError("x"), RuntimeError("shapes differ"), TypeError("x")])
def test_faults_of_the_program_keep_their_traceback(error: Exception) -> None:
    assert reason(error) is None


def test_nothing_is_replaced_without_being_asked(tmp_path: Path) -> None:
    target = tmp_path / "x.json"
    require_writable(target, overwrite=False)
    target.touch()
    require_writable(target, overwrite=True)
    with pytest.raises(ValueError, match=r"x\.json' exists; give --overwrite"):
        require_writable(target, overwrite=False)
    with pytest.raises(ValueError, match="is a folder"):
        require_writable(tmp_path, overwrite=True)
    (tmp_path / "link.json").symlink_to(target)
    with pytest.raises(ValueError, match="is an input, which is never replaced"):
        require_writable(target, overwrite=True, inputs=[None, tmp_path / "link.json"])
