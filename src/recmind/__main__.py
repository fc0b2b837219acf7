"""``python -m recmind``: the same as the command ``recmind``."""

from __future__ import annotations

import sys

from recmind.cli import main

if __name__ == "__main__":
    sys.exit(main())
