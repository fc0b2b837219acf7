"""The largest inner products of a query with the catalogue: exact, or by a faiss index above a size.

Up to :data:`EXACT_BELOW` items everything is compared, with the kernel that
evaluation ranks with; above, a faiss index looks at a part. How much that part
loses is measured when the index is built: recall@20 against exact search, for
users of the run. Its search settings are the cheapest that reach
:data:`TARGET_RECALL`; where none does, search stays exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import torch

from recmind.errors import BundleError, ConfigError
from recmind.kernels import scan

Array = np.ndarray
Kind = Literal["auto", "exact", "ivf", "hnsw"]

EXACT_BELOW = 50_000
"""Items up to which exact search is used: there it takes less than a millisecond of one core; at 100,000 items two to
three, and an index a quarter of that (benchmarks/serving_index.py)."""
TARGET_RECALL = 0.985
"""Recall@20 that an index is tuned for, a little above the .98 that is promised."""
GATHERED = 20_000
"""Up to so many admitted items are compared one by one, whatever the index."""
_TILED = 4
"""Queries from which on the kernel of evaluation beats a plain product for each."""
_SCORES = 2**22
"""Scores that are written down at once."""
_MEASURED_AT = 20
_FURTHEST = 8
"""How many times further an index looks at most where filters and seen items hide what stands first."""
_LINKS, _BUILD_WIDTH = 32, 200
_WIDTHS = {
    "hnsw": (64, 96, 128, 192, 256, 384, 512),
    "ivf": (4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512),
}


class Search(Protocol):
    """Finds the best items of queries."""

    def __call__(
        self, queries: Array, k: int, left_out: Sequence[Array], admitted: Array | None = None
    ) -> tuple[Array, Array]:
        """The ``k`` best of each query.

        Parameters
        ----------
        queries:
            float32 ``(b, d)``.
        left_out:
            Ascending codes that each query must not get, ``b`` arrays, int32.
        admitted:
            Which items may be listed, bool ``(n,)``; ``None`` for all.

        Returns
        -------
        tuple of ndarray
            Scores float32 and codes int64, ``(b, k)`` each, largest first; -inf and -1 where nothing is left.
        """
        ...


@dataclass(frozen=True)
class Built:
    """An index and what is known about it.

    Attributes
    ----------
    content:
        Serialised, uint8, or ``None`` where search is exact.
    about:
        ``kind``, ``items``, ``recall@20`` and its ``queries``, ``width`` (nprobe or efSearch), ``measured`` (recall
        by width), ``seconds``.
    """

    content: Array | None
    about: dict[str, Any]


class ExactSearch:
    """Compares everything, or what is admitted if that is little."""

    def __init__(self, vectors: Array, threads: int = 1) -> None:
        self.vectors, self.threads = vectors, threads
        self._table = torch.from_numpy(vectors)

    def __call__(
        self, queries: Array, k: int, left_out: Sequence[Array], admitted: Array | None = None
    ) -> tuple[Array, Array]:
        """See :class:`Search`."""
        if admitted is not None:
            few = np.flatnonzero(admitted)
            if len(few) <= GATHERED:
                return _among(self.vectors, few, queries, k, left_out)
        wanted = min(k, len(self.vectors))
        if not wanted or not len(queries):
            return _nothing(len(queries), k)
        users = torch.from_numpy(np.ascontiguousarray(queries))
        # The kernel computes tiles of users: with few of them, or with most of the catalogue left out, a plain product
        # is faster.
        if admitted is None and len(queries) >= _TILED and scan.available(users, self._table):
            starts = np.zeros(len(queries) + 1, dtype=np.int64)
            np.cumsum([len(codes) for codes in left_out], out=starts[1:])
            named = np.concatenate(left_out).astype(np.int32, copy=False)
            values, columns = scan.best_products(users, self._table, wanted, (starts, named), threads=self.threads)
            return _padded(values.numpy(), columns.numpy(), k)
        gone = None if admitted is None else torch.from_numpy(~admitted)
        size = max(1, _SCORES // len(self.vectors))
        parts = [
            self._multiplied(users[first : first + size], left_out[first : first + size], gone, wanted)
            for first in range(0, len(users), size)
        ]
        values, columns = (np.concatenate(tables) for tables in zip(*parts, strict=True))
        return _padded(values, columns, k)

    def _multiplied(
        self, users: torch.Tensor, left_out: Sequence[Array], gone: torch.Tensor | None, k: int
    ) -> tuple[Array, Array]:
        """The k best of a few queries by way of all their scores."""
        scores = torch.mv(self._table, users[0])[None] if len(users) == 1 else users @ self._table.T
        if gone is not None:
            scores.masked_fill_(gone, -torch.inf)
        for row, codes in enumerate(left_out):
            if len(codes):
                scores[row, torch.from_numpy(codes).long()] = -torch.inf
        values, columns = torch.topk(scores, k, dim=1)
        return values.numpy(), columns.numpy()


class FaissSearch:
    """Looks at a part of the catalogue with faiss.

    Raises
    ------
    BundleError
        If the index is not one of these items.
    ConfigError
        If faiss is not installed.
    """

    def __init__(self, vectors: Array, content: Array, about: dict[str, Any], threads: int = 1) -> None:
        faiss = load_faiss()
        self.vectors, self.kind, self.width = vectors, about["kind"], int(about["width"])
        self._faiss, self._index = faiss, faiss.deserialize_index(np.ascontiguousarray(content))
        if (self._index.ntotal, self._index.d) != vectors.shape:
            raise BundleError(
                "the index is of another catalogue",
                got=f"{self._index.ntotal} vectors of {self._index.d}",
                accepted=f"{vectors.shape[0]} vectors of {vectors.shape[1]}",
            )
        faiss.omp_set_num_threads(threads)

    def __call__(
        self, queries: Array, k: int, left_out: Sequence[Array], admitted: Array | None = None
    ) -> tuple[Array, Array]:
        """See :class:`Search`."""
        bits, share = None, 1.0
        if admitted is not None:
            few = np.flatnonzero(admitted)
            if len(few) <= GATHERED:
                return _among(self.vectors, few, queries, k, left_out)
            bits, share = np.packbits(admitted, bitorder="little"), len(few) / len(admitted)
        more = max((len(codes) for codes in left_out), default=0)
        wanted = min(k + more, len(self.vectors))
        scores, codes = self._index.search(
            np.ascontiguousarray(queries), wanted, params=self._settings(bits, wanted / share)
        )
        for row, gone in enumerate(left_out):
            if len(gone):
                scores[row, np.isin(codes[row], gone)] = -np.inf
        scores[codes < 0] = -np.inf
        return _padded(*_largest(scores, codes, min(k, wanted)), k)

    def _settings(self, bits: Array | None, depth: float) -> Any:
        """How far to look for what stands as deep as ``depth``: the width is tuned for the first 20 of all items."""
        further = min(max(depth / _MEASURED_AT, 1.0), _FURTHEST)
        width = int(np.ceil(self.width * further))
        faiss, options = self._faiss, {}
        if bits is not None:
            selector = faiss.IDSelectorBitmap(bits)
            selector.bits = bits  # faiss keeps a pointer only
            options["sel"] = selector
        if self.kind == "ivf":
            return faiss.SearchParametersIVF(nprobe=min(width, self._index.nlist), **options)
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
    measured = _measure(index, chosen, vectors, queries)
    good = [width for width, recall in measured.items() if recall >= TARGET_RECALL]
    about |= {"queries": len(queries), "measured": {str(w): r for w, r in measured.items()}, "seconds": seconds}
    if not good:
        return Built(None, {**about, "tried": chosen})
    about |= {"kind": chosen, "width": good[0], "recall@20": measured[good[0]]}
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
        index = faiss.IndexIVFFlat(faiss.IndexFlatIP(dim), dim, cells, faiss.METRIC_INNER_PRODUCT)
        index.cp.seed = 0
        index.train(vectors)
    index.add(vectors)
    return index


def _measure(index: Any, kind: str, vectors: Array, queries: Array) -> dict[int, float]:
    """Recall@20 against exact search by width, up to the first that reaches the target."""
    faiss = load_faiss()
    k = min(_MEASURED_AT, len(vectors))
    nothing = [np.empty(0, dtype=np.int32)] * len(queries)
    exact = ExactSearch(vectors, torch.get_num_threads())(queries, k, nothing)[1]
    found: dict[int, float] = {}
    for width in _WIDTHS[kind]:
        options = {"nprobe": width} if kind == "ivf" else {"efSearch": width}
        settings = (faiss.SearchParametersIVF if kind == "ivf" else faiss.SearchParametersHNSW)(**options)
        codes = index.search(np.ascontiguousarray(queries), k, params=settings)[1]
        hits = (codes[:, :, None] == exact[:, None, :]).any(2).mean()
        found[width] = round(float(hits), 4)
        if found[width] >= TARGET_RECALL:
            break
    return found


def _among(vectors: Array, few: Array, queries: Array, k: int, left_out: Sequence[Array]) -> tuple[Array, Array]:
    """The best of some items, compared one by one."""
    if not len(few):
        return _nothing(len(queries), k)
    scores = queries @ vectors[few].T
    for row, gone in enumerate(left_out):
        if len(gone):
            scores[row, np.isin(few, gone)] = -np.inf
    return _padded(*_largest(scores, few, min(k, len(few))), k)


def _largest(scores: Array, codes: Array, k: int) -> tuple[Array, Array]:
    """The k largest of each row, largest first, equal ones in the order of their codes."""
    codes = np.broadcast_to(codes, scores.shape)
    if k < scores.shape[1]:
        part = np.argpartition(-scores, k - 1, axis=1)[:, :k]
        scores, codes = np.take_along_axis(scores, part, 1), np.take_along_axis(codes, part, 1)
    order = np.lexsort((codes, -scores), axis=1)
    return np.take_along_axis(scores, order, 1), np.take_along_axis(codes, order, 1)


def _padded(scores: Array, codes: Array, k: int) -> tuple[Array, Array]:
    """Exactly k columns, with -1 where the score is -inf."""
    codes = np.where(scores == -np.inf, -1, codes)
    missing = k - scores.shape[1]
    if missing <= 0:
        return scores, codes
    width = ((0, 0), (0, missing))
    return np.pad(scores, width, constant_values=-np.inf), np.pad(codes, width, constant_values=-1)


def _nothing(b: int, k: int) -> tuple[Array, Array]:
    return np.full((b, k), -np.inf, dtype=np.float32), np.full((b, k), -1, dtype=np.int64)
