"""The command `e2ec predict`, from the source tree."""

import sys

from e2ec_core.commands.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["predict", *sys.argv[1:]]))
