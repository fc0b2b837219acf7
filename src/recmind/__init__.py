"""RecMind: recommendations from interactions and texts."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["Config", "Dataset", "RecMind", "load_config", "refresh"]

# GNU OpenMP, which torch uses on Linux, reads this when it is loaded. By default a thread that waits
# for the others spins for milliseconds; where other programs use the cores too, it spins on the core
# that the thread it waits for needs, and training becomes a hundred times slower. A short spin costs
# nothing measurable on an idle machine.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")

# torch reads this at its first allocation: large tables are then given huge pages. A table of tens of
# megabytes is read row by row in random order, and the pages of each new one have to be made first;
# a training step takes a sixth to a quarter less time.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

if TYPE_CHECKING:
    from recmind.api import RecMind
    from recmind.config import Config, load_config
    from recmind.data.dataset import Dataset
    from recmind.serving.refresh import refresh

_HOMES = {
    "Config": "recmind.config",
    "Dataset": "recmind.data.dataset",
    "RecMind": "recmind.api",
    "load_config": "recmind.config",
    "refresh": "recmind.serving.refresh",
}


def __getattr__(name: str) -> Any:
    """Import public names on first use, so that `recmind --help` answers at once."""
    if name not in _HOMES:
        raise AttributeError(f"module 'recmind' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
