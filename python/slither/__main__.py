"""``python -m slither`` is the command ``slither``."""

import sys

from slither._cli.main import main

if __name__ == "__main__":
    sys.exit(main())
