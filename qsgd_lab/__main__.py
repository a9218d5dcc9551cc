"""``python -m qsgd_lab``: the command line, where the script is not on the PATH."""

import sys

from qsgd_lab.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
