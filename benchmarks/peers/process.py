"""Contenders as processes: each answers "do n of this" with the wall and processor seconds that it took.

The driver and a worker speak in lines of JSON. A worker builds its model, says
that it is ready and what it runs on, and then waits, so that several models
with clashing needs can take turns in one measurement.
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TextIO

BENCHMARKS = Path(__file__).resolve().parents[1]

Operation = Callable[[int], dict[str, Any] | None]
"""Does something n times; what it returns goes into the reading."""


@dataclass(frozen=True)
class Reading:
    """What n repeats took: wall and processor seconds, and what the worker says beside."""

    n: int
    wall: float
    cpu: float
    extra: dict[str, Any] = field(default_factory=dict)


class Contender:
    """A worker process, from the driver's side.

    Parameters
    ----------
    label:
        Name in the report.
    python:
        The interpreter of the worker's environment.
    module:
        Worker module of this package, such as ``peers.recbole_worker``.
    settings:
        What the worker builds; ``threads`` is set for every library that reads it.
    env:
        Environment variables of the worker on top.
    """

    def __init__(
        self, label: str, python: Path, module: str, settings: dict[str, Any], env: dict[str, str] | None = None
    ) -> None:
        self.label, self.settings = label, settings
        threads = str(settings["threads"])
        limits = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), threads)
        # A worker that waits for its turn must not spin on the cores of the one that is measured.
        limits |= {"GOMP_SPINCOUNT": "10000", "PYTHONWARNINGS": "ignore"}
        limits["PYTHONPATH"] = os.pathsep.join(filter(None, [str(BENCHMARKS), os.environ.get("PYTHONPATH")]))
        self._process = subprocess.Popen(
            [str(python), "-m", module, json.dumps(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **limits, **(env or {})},
        )
        atexit.register(self._process.terminate)  # where another one fails, this one must not be left behind

    @cached_property
    def about(self) -> dict[str, Any]:
        """What the worker says of itself once it has built its model; several that were started build side by side."""
        return self._read()

    def do(self, operation: str, n: int = 1) -> Reading:
        """Have the worker do ``operation`` n times."""
        _ = self.about
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": operation, "n": n}) + "\n")
        self._process.stdin.flush()
        answer = self._read()
        return Reading(n, answer.pop("wall"), answer.pop("cpu"), answer)

    def close(self) -> None:
        """End the worker."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.label}: the worker ended with status {self._process.wait()}; see above")
        return json.loads(line)


def serve(build: Callable[[dict[str, Any]], tuple[dict[str, Operation], dict[str, Any]]]) -> None:
    """Be a worker: build what the settings say and answer until the driver closes the line.

    ``build`` returns the operations by name and what there is to know: versions
    above all.
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print goes to the error stream
    operations, about = build(json.loads(sys.argv[1]))
    _answer(answers, about)
    for line in sys.stdin:
        request = json.loads(line)
        wall, cpu = time.perf_counter(), time.process_time()
        extra = operations[request["do"]](request["n"]) or {}
        _answer(answers, {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu, **extra})


def _answer(out: TextIO, document: dict[str, Any]) -> None:
    out.write(json.dumps(document) + "\n")
    out.flush()
