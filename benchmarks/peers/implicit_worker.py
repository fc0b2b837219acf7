"""implicit's models as contenders, for scale: no graph, hand-written C++ epochs, and its top-K."""

# pyright: reportMissingImports=false
from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
import threadpoolctl
from implicit.cpu.als import AlternatingLeastSquares
from implicit.cpu.bpr import BayesianPersonalizedRanking

from peers.process import Operation, serve
from peers.workload import Workload


def build(settings: dict[str, Any]) -> tuple[dict[str, Operation], dict[str, Any]]:
    """Operations: ``epoch`` of the model ``settings["model"]``, ``bpr`` or ``als``; with factors given, ``rank``."""
    workload = Workload.load(Path(settings["data"]))
    shape = (workload.n_users, workload.n_items)
    matrix = sp.csr_matrix((np.ones(len(workload), np.float32), (workload.users, workload.items)), shape=shape)
    threads = settings["threads"]
    # implicit shares the rows out itself; a BLAS with threads of its own below it would take each core twice.
    threadpoolctl.threadpool_limits(1 if settings["model"] == "als" else threads, "blas")
    kind = {"bpr": BayesianPersonalizedRanking, "als": AlternatingLeastSquares}[settings["model"]]
    model = kind(factors=settings["dim"], num_threads=threads, random_state=0)

    def epoch(n: int) -> None:
        model.iterations = n
        model.fit(matrix, show_progress=False)

    everyone = np.arange(workload.n_users)

    def rank(n: int) -> None:
        for _ in range(n):
            model.recommend(everyone, matrix, N=settings["k"], filter_already_liked_items=True)

    if "factors" in settings:
        with np.load(settings["factors"]) as factors:
            model.user_factors, model.item_factors = factors["users"], factors["items"]
    about = {
        "versions": {name: version(name) for name in ("implicit", "numpy", "scipy")},
        "threads": threads,
        "notes": [],
    }
    return {"epoch": epoch, "rank": rank}, about


if __name__ == "__main__":
    serve(build)
