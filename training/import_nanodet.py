"""The command `e2ec import-nanodet`, from the source tree."""

import sys

from e2ec_core.commands.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["import-nanodet", *sys.argv[1:]]))
