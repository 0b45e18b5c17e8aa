"""The command `e2ec`, also `python -m e2ec_core.commands`."""

from __future__ import annotations

import difflib
import importlib
import os
import sys
from collections.abc import Sequence

from e2ec_core.commands.failures import reason
from e2ec_core.cpu_threads import wait_passively
from e2ec_core.opencv import prepare_opencv

COMMANDS = {
    "predict": "find the contours in images, videos and bags",
    "check": "check labels and images before a run",
    "train": "train a model, or go on with a run",
    "evaluate": "measure weights on a labelled data set",
    "export": "export weights as an ONNX file, which runs without PyTorch",
    "convert": "convert published weights",
    "import-backbone": "make a start of a DLA-34 trained on ImageNet",
    "import-nanodet": "make a start of a NanoDet-Plus trained on COCO",
    "release": "put a run's weights and its model card into one file",
    "scenes": "write synthetic street scenes with exact outlines",
}
"""Names and what they do; each is a module of this package, imported only when it is called."""


def main(words: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        words: the command line; None takes the process's.

    Returns:
        the exit status: 2 for what the user can mend, 130 after Ctrl-C, 143 after SIGTERM; others
        the command tells.
    """
    _open_streams()
    wait_passively()
    prepare_opencv()
    name, *rest = list(sys.argv[1:] if words is None else words) or ["--help"]
    if name in ("-h", "--help"):
        print(overview())
        return 0
    if name not in COMMANDS:
        close = difflib.get_close_matches(name, COMMANDS, 1)
        hint = f"did you mean {close[0]!r}?" if close else f"give {', '.join(COMMANDS)}"
        print(f"e2ec: unknown command {name!r}; {hint}", file=sys.stderr)
        return 2
    try:
        module = importlib.import_module(f"e2ec_core.commands.{name.replace('-', '_')}")
        status: int = module.main(rest)
        sys.stdout.flush()
    except KeyboardInterrupt as stopped:
        print(f"{name}: {str(stopped) or 'interrupted'}", file=sys.stderr)
        return getattr(stopped, "exit_status", 130)
    except BrokenPipeError:  # e.g. `e2ec check ... | head`
        sys.stdout = None
        return 141
    except Exception as error:
        line = reason(error)
        if line is None:
            raise
        print(f"{name}: {line}", file=sys.stderr)
        return 2
    return status


def _open_streams() -> None:
    """Gives closed streams (`>&-`) a file, so that none of a command's own gets their number."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115


def overview() -> str:
    """The list of commands."""
    width = max(map(len, COMMANDS)) + 2
    lines = [f"  {name:{width}}{text}" for name, text in COMMANDS.items()]
    return "\n".join(["usage: e2ec COMMAND ... (each explains itself with --help)", "", *lines])


if __name__ == "__main__":
    sys.exit(main())
