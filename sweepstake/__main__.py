"""`python -m sweepstake`: the same as the command."""

import sys

from sweepstake.cli import main

if __name__ == "__main__":
    sys.exit(main())
