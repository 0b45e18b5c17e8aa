"""Runs the benchmarks that take a CPU minutes, beside the committed tables (make bench).

tools/with_ros python benchmarks/bench.py [--output bench_output]

The new tables go to the folder, not over the committed ones: copy those that shall be committed.
Compare shares within a table; milliseconds change with the machine and with what else it does.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
BENCHMARKS = {
    "backends.py": ["--runs", "15"],
    "threads.py": ["--seconds", "3"],
    "node_start.py": ["--runs", "3"],
    "ros_overhead.py": ["--seconds", "2"],
}
"""Scripts and their options; under ten minutes together."""


def beside(new: str, committed: str) -> str:
    """The rows of new tables, each over the committed one of the same place.

    Where the tables have other rows or columns now, the committed ones follow as a whole.
    """
    now, was = ([x for x in text.splitlines() if x.startswith("|")] for text in (new, committed))
    if len(now) != len(was) or now[0] != was[0]:
        return "\n".join(["now:", *now, "committed:", *was])
    pairs = zip(now, was, strict=True)
    return "\n".join(a if a == b else f"{a}\n{b}  (committed)" for a, b in pairs)


def main() -> int:
    """Command line; returns the number of benchmarks that failed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=Path("bench_output"))
    folder = parser.parse_args().output
    folder.mkdir(parents=True, exist_ok=True)
    failed = 0
    for script, words in BENCHMARKS.items():
        started, target = time.monotonic(), (folder / script).with_suffix(".md")
        command = [sys.executable, str(FOLDER / script), *words, "--output", str(target)]
        print(f"{script} ...", flush=True)
        reply = subprocess.run(command, capture_output=True, text=True, check=False)
        if reply.returncode:
            failed += 1
            print(f"{script} failed: {(reply.stderr.strip().splitlines() or ['?'])[-1]}\n")
            continue
        committed = (FOLDER / script).with_suffix(".md").read_text()
        print(beside(target.read_text(), committed))
        print(f"{time.monotonic() - started:.0f} s\n", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
