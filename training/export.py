"""The command `e2ec export`, from the source tree."""

import sys

from e2ec_core.commands.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["export", *sys.argv[1:]]))
