"""Contenders take turns, and what comes out of it as a table of medians and ratios."""

from __future__ import annotations

import os
import platform
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peers.process import Contender, Reading

Readings = dict[str, list[Reading]]

_DISTURBED = 0.15
"""Cores that others may use before the report says so."""


@dataclass(frozen=True)
class Row:
    """One contender against the reference, seconds each; the ratios are of readings of the same round."""

    label: str
    wall: float
    cpu: float
    ratio: float
    low: float
    high: float
    cpu_ratio: float


def take_turns(contenders: list[Contender], operation: str, *, rounds: int, seconds: float) -> Readings:
    """Every contender in every round, for about ``seconds`` each; the first turn only finds out how often that is.

    In turns, so that other load on the machine falls on all of them.
    """
    counts = {}
    for contender in contenders:
        contender.do(operation)  # first calls allocate, compile and fill caches
        counts[contender.label] = max(1, round(seconds / max(1e-6, contender.do(operation).wall)))
    readings: Readings = {contender.label: [] for contender in contenders}
    own, busy, start = 0.0, busy_seconds(), time.perf_counter()
    for number in range(rounds):
        # There and back again: nobody is always the one after the heaviest neighbour.
        for contender in contenders if number % 2 == 0 else reversed(contenders):
            readings[contender.label].append(contender.do(operation, counts[contender.label]))
            own += readings[contender.label][-1].cpu
    others = (busy_seconds() - busy - own) / (time.perf_counter() - start)
    if others > _DISTURBED:
        print(
            f"note: other processes kept {others:.1f} cores busy meanwhile; mind the ratios of processor time",
            file=sys.stderr,
        )
    return readings


def busy_seconds() -> float:
    """Processor seconds that this machine has been busy since it started, 0 where it does not say."""
    try:
        fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    except OSError:
        return 0.0
    user, nice, system, _, _, irq, softirq = map(int, fields[:7])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def table(readings: Readings, reference: str) -> list[Row]:
    """Medians over the rounds and ratios to the contender ``reference``."""
    own = readings[reference]
    rows = []
    for label, theirs in readings.items():
        pairs = list(zip(theirs, own, strict=True))
        ratios = [(a.wall / a.n) / (b.wall / b.n) for a, b in pairs]
        cpu_ratios = [(a.cpu / a.n) / (b.cpu / b.n) for a, b in pairs]
        wall = statistics.median(reading.wall / reading.n for reading in theirs)
        cpu = statistics.median(reading.cpu / reading.n for reading in theirs)
        rows.append(
            Row(label, wall, cpu, statistics.median(ratios), min(ratios), max(ratios), statistics.median(cpu_ratios))
        )
    return rows


def print_table(rows: list[Row], unit: str, note: str = "") -> None:
    """The rows for people; times in milliseconds where that reads better."""
    scale, name = (1e3, "ms") if max(row.wall for row in rows) < 10 else (1.0, "s")
    width = max(len(row.label) for row in rows) + 2
    print(f"{unit:<{width}}{'wall ' + name:>11}{'cpu ' + name:>11}{'ratio':>9}{'spread':>17}{'cpu ratio':>11}")
    for row in rows:
        spread = f"{row.low:.2f} to {row.high:.2f}"
        print(
            f"{row.label:<{width}}{row.wall * scale:>11.2f}{row.cpu * scale:>11.2f}{row.ratio:>9.2f}{spread:>17}"
            f"{row.cpu_ratio:>11.2f}"
        )
    if note:
        print(note)


def print_machine(contenders: list[Contender]) -> None:
    """What was measured on and with what."""
    print(f"machine: {processor()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    for contender in contenders:
        versions = ", ".join(f"{name} {value}" for name, value in contender.about["versions"].items())
        notes = "".join(f"; {note}" for note in contender.about.get("notes", []))
        print(f"  {contender.label}: {versions}; {contender.about['threads']} threads{notes}")


def document(rows: list[Row], contenders: list[Contender], settings: dict[str, Any]) -> dict[str, Any]:
    """The same for machines."""
    return {
        "machine": {"processor": processor(), "cores": os.cpu_count()},
        "settings": {key: str(value) if isinstance(value, Path) else value for key, value in settings.items()},
        "contenders": {contender.label: contender.about for contender in contenders},
        "rows": [vars(row) for row in rows],
    }


def processor() -> str:
    """The processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "unknown processor"
