"""What RecBole 1.2.1 needs to run on NumPy 2 and SciPy 1.13 or newer. Import this before RecBole.

Names that both libraries have removed are put back as they were; nothing of
RecBole's own code is changed, so what is measured is what its users run.
"""

from __future__ import annotations

import warnings

import numpy as np
import scipy.sparse

_NUMPY_1 = {
    "bool8": np.bool_,
    "float_": np.float64,
    "complex_": np.complex128,
    "unicode_": np.str_,
    "string_": np.bytes_,
    "object0": np.object_,
}


def _dok_update(self, data):
    """``dok_matrix._update`` of SciPy before 1.13: entries as they are, unchecked."""
    self._dict.update(data)


def apply() -> None:
    """Put the removed names back, and silence what the old names warn of in every call."""
    for name, kind in _NUMPY_1.items():
        if name not in np.__dict__:
            setattr(np, name, kind)
    if not hasattr(scipy.sparse.dok_matrix, "_update"):
        setattr(scipy.sparse.dok_matrix, "_update", _dok_update)  # noqa: B010, the name is not SciPy's any more
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", category=DeprecationWarning)
