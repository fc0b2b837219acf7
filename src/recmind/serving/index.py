"""The largest inner products of a query with the catalogue: exact, or by a faiss index above a size.

Up to :data:`EXACT_BELOW` items everything is compared (:mod:`recmind.serving.search`);
above, a faiss index looks at a part, in a table of a byte per number, and what
it finds is compared again as it is. How much the index loses is measured when
it is built: recall@20 against exact search, for users of the run. Its search
settings are the cheapest that reach
:data:`TARGET_RECALL`; where none does, search stays exact. The same is measured
for lists of :data:`DEEP`, since what a user has seen is hidden from the front
of a list and filters hide more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from recmind.errors import BundleError, ConfigError
from recmind.serving.search import GATHERED, ExactSearch, Search, among, largest, padded

Array = np.ndarray
Kind = Literal["auto", "exact", "ivf", "hnsw"]

EXACT_BELOW = 200_000
"""Items up to which exact search is used (benchmarks/serving_index.py, docs/serving.md)."""
TARGET_RECALL = 0.985
"""Recall@20 that an index is tuned for, a little above the .98 that is promised."""
_MEASURED_AT, DEEP = 20, 160
"""Lengths of the lists that an index is tuned for; between them the width is interpolated, below and above it stays."""
_BYTES = 16
"""faiss reads so many numbers of a row at once where it can, and else one by one: rows are filled up with zeros."""
_AGAIN = 20
"""Items that are compared again beyond those asked for, since a byte per number is a little off."""
_TOGETHER = 64
"""Queries whose candidates are compared again at once."""
_LINKS, _BUILD_WIDTH = 32, 200
_STEPS = (4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256)
_WIDTHS = {
    "hnsw": tuple(16 * step for step in _STEPS[:-8]),
    "ivf": (*_STEPS, 320, 384, 448, 512, 640, 768, 896, 1024),
}


@dataclass(frozen=True)
class Built:
    """An index and what is known about it.

    Attributes
    ----------
    content:
        Serialised, uint8, or ``None`` where search is exact.
    about:
        ``kind``, ``items``, ``recall@20`` and its ``queries``, ``width`` (nprobe or efSearch), ``measured`` (recall
        by width), ``deep_width`` for lists of :data:`DEEP`, ``seconds``.
    """

    content: Array | None
    about: dict[str, Any]


class FaissSearch:
    """Looks at a part of the catalogue with faiss.

    Parameters
    ----------
    content:
        The serialised index, uint8.
    about:
        What :class:`Built` says of it. Indexes of before were tuned for lists of 20 alone and look further in
        proportion.

    Raises
    ------
    BundleError
        If the index is not one of these items.
    ConfigError
        If faiss is not installed.
    """

    def __init__(self, vectors: Array, content: Array, about: dict[str, Any], threads: int = 1) -> None:
        faiss = load_faiss()
        index = faiss.deserialize_index(np.ascontiguousarray(content))
        n, dim = vectors.shape
        if index.ntotal != n or not dim <= index.d < dim + _BYTES:
            raise BundleError(
                "the index is of another catalogue",
                got=f"{index.ntotal} vectors of {index.d}",
                accepted=f"{n} vectors of {dim}",
            )
        width = int(about["width"])
        widths = width, int(about.get("deep_width", width * DEEP // _MEASURED_AT))
        self._part = _Part(vectors, index, about["kind"], widths)
        self.vectors = vectors
        faiss.omp_set_num_threads(threads)

    def __call__(
        self, queries: Array, k: int, left_out: Sequence[Array], admitted: Array | None = None
    ) -> tuple[Array, Array]:
        """See :class:`Search`."""
        share = 1.0
        if admitted is not None:
            few = np.flatnonzero(admitted)
            if len(few) <= GATHERED:
                return among(self.vectors, few, queries, k, left_out)
            share = len(few) / len(admitted)
        more = max((len(codes) for codes in left_out), default=0)
        wanted = min(k + more, len(self.vectors))
        scores, codes = self._part.look(queries, wanted, wanted / share, admitted)
        for row, gone in enumerate(left_out):
            if len(gone):
                scores[row, np.isin(codes[row], gone)] = -np.inf
        return padded(*largest(scores, codes, min(k, wanted)), k)


@dataclass(frozen=True)
class _Part:
    """A faiss index and the vectors that it holds roughly.

    Attributes
    ----------
    widths:
        nprobe or efSearch for lists of 20 and of :data:`DEEP`.
    """

    vectors: Array
    index: Any
    kind: str
    widths: tuple[int, int]

    def look(self, queries: Array, k: int, depth: float, admitted: Array | None = None) -> tuple[Array, Array]:
        """About the k largest products of each query and their codes, -inf and -1 where there are fewer, ``(b, k')``.

        ``depth`` is how deep they stand in the list of all items.
        """
        n = min(k + _AGAIN, len(self.vectors))
        asked = np.ascontiguousarray(_filled(queries, self.index.d))
        codes = self.index.search(asked, n, params=self._settings(admitted, depth))[1]
        scores = np.einsum("bnd,bd->bn", self.vectors[codes], queries)
        scores[codes < 0] = -np.inf
        return scores, codes

    def _settings(self, admitted: Array | None, depth: float) -> Any:
        width = int(np.ceil(np.interp(depth, (_MEASURED_AT, DEEP), self.widths)))
        faiss, options = load_faiss(), {}
        if admitted is not None:
            bits = np.packbits(admitted, bitorder="little")
            selector = faiss.IDSelectorBitmap(bits)
            selector.bits = bits  # faiss keeps a pointer only
            options["sel"] = selector
        if self.kind == "ivf":
            return faiss.SearchParametersIVF(nprobe=min(width, self.index.nlist), **options)
        return faiss.SearchParametersHNSW(efSearch=max(width, int(depth)), **options)


def open_search(vectors: Array, content: Array | None, about: dict[str, Any], threads: int = 1) -> Search:
    """What searches ``vectors`` ``(n, d)``: by the serialised index where there is one."""
    return ExactSearch(vectors, threads) if content is None else FaissSearch(vectors, content, about, threads)


def build_index(vectors: Array, queries: Array, kind: Kind = "auto") -> Built:
    """Choose, build and measure an index of ``vectors`` ``(n, d)``, with queries ``(q, d)`` as users will ask.

    Raises
    ------
    ConfigError
        If an index is asked for, or needed, and faiss is not installed.
    """
    import time

    n = len(vectors)
    about: dict[str, Any] = {"kind": "exact", "items": n, "recall@20": 1.0}
    if kind == "exact" or (kind == "auto" and n <= EXACT_BELOW) or n == 0:
        return Built(None, about)
    chosen = "ivf" if kind == "auto" else kind
    started = time.perf_counter()
    index = _train(vectors, chosen)
    seconds = round(time.perf_counter() - started, 1)
    measured = _measure(index, chosen, vectors, queries, _MEASURED_AT, _WIDTHS[chosen])
    good = [width for width, recall in measured.items() if recall >= TARGET_RECALL]
    about |= {"queries": len(queries), "measured": {str(w): r for w, r in measured.items()}, "seconds": seconds}
    if not good:
        return Built(None, {**about, "tried": chosen})
    width = good[0]
    deep = _measure(index, chosen, vectors, queries, DEEP, [w for w in _WIDTHS[chosen] if w >= width])
    about |= {"kind": chosen, "width": width, "recall@20": measured[width], "deep_width": max(deep)}
    return Built(load_faiss().serialize_index(index), about)


def load_faiss() -> Any:
    """The library.

    Raises
    ------
    ConfigError
        If it is not installed.
    """
    try:
        import faiss  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ConfigError(
            "catalogues of this size are searched with the library faiss, which is not installed",
            where="index",
            hint='pip install "recmind[serving]", or export with --index exact',
        ) from error
    return faiss


def _train(vectors: Array, kind: str) -> Any:
    faiss = load_faiss()
    n, dim = vectors.shape
    if kind == "hnsw":
        index = faiss.IndexHNSWFlat(dim, _LINKS, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = _BUILD_WIDTH
    else:
        cells = max(1, min(int(4 * np.sqrt(n)), n // 39 or 1))
        vectors = _filled(vectors, -(-dim // _BYTES) * _BYTES)
        dim = vectors.shape[1]
        index = faiss.IndexIVFScalarQuantizer(
            faiss.IndexFlatIP(dim), dim, cells, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT
        )
        index.cp.seed = 0
        index.train(vectors)
    index.add(vectors)
    return index


def _measure(index: Any, kind: str, vectors: Array, queries: Array, k: int, widths: Sequence[int]) -> dict[int, float]:
    """Recall@k against exact search by width, up to the first that reaches the target."""
    k = min(k, len(vectors))
    hidden = [np.empty(0, dtype=np.int32)] * len(queries)
    exact = np.sort(ExactSearch(vectors, torch.get_num_threads())(queries, k, hidden)[1], axis=1)
    found: dict[int, float] = {}
    for width in widths:
        part = _Part(vectors, index, kind, (width, width))
        hits = 0
        for first in range(0, len(queries), _TOGETHER):
            scores, codes = part.look(queries[first : first + _TOGETHER], k, 0)
            codes = largest(scores, codes, k)[1]
            hits += sum(len(np.intersect1d(a, b)) for a, b in zip(codes, exact[first:], strict=False))
        found[width] = round(hits / max(1, exact.size), 4)
        if found[width] >= TARGET_RECALL:
            break
    return found


def _filled(vectors: Array, dim: int) -> Array:
    """Rows with zeros at their ends, ``(n, dim)``."""
    more = dim - vectors.shape[1]
    return np.pad(vectors, ((0, 0), (0, more))) if more else vectors
