"""What is wrong with raw files: counted per kind, with file and line of the first few."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from recmind.errors import DataError

EXAMPLES = 5
"""How many places of each kind of problem are kept."""


class Finding(NamedTuple):
    """One problem at one place; line 0 stands for the file as a whole."""

    line: int
    kind: str
    detail: str = ""


@dataclass
class Kind:
    """One kind of problem: how often it was met, and where first."""

    count: int = 0
    examples: list[str] = field(default_factory=list)


class Problems:
    """Collects problems; in strict mode the first one is a :class:`DataError`.

    Parameters
    ----------
    strict:
        Stop at the first problem.
    """

    def __init__(self, strict: bool = False) -> None:
        self.strict = strict
        self.kinds: dict[str, Kind] = {}

    @property
    def total(self) -> int:
        """Number of problems met so far."""
        return sum(kind.count for kind in self.kinds.values())

    def add(self, path: Path, findings: Iterable[Finding]) -> None:
        """Record ``findings`` of the file ``path`` in the order of their lines.

        Raises
        ------
        DataError
            In strict mode, at the finding that comes first in the file.
        """
        for line, kind, detail in sorted(findings):
            self.count(path, Finding(line, kind, detail))

    def count(self, path: Path, first: Finding, times: int = 1) -> None:
        """Record ``times`` problems of one kind, of which ``first`` is the example."""
        line, kind, detail = first
        if times:
            place = f"{path}:{line}" if line else str(path)
            if self.strict:
                raise DataError(
                    kind,
                    where=place,
                    got=detail or None,
                    hint="mend the input, or leave out --strict to skip and count such rows",
                )
            known = self.kinds.setdefault(kind, Kind())
            known.count += times
            if len(known.examples) < EXAMPLES:
                known.examples.append(f"{place}: {detail}" if detail else place)

    def as_dict(self) -> dict[str, dict[str, Any]]:
        """``{kind: {"count": n, "examples": [...]}}``, as ``dataset.json`` holds it."""
        return {name: {"count": kind.count, "examples": list(kind.examples)} for name, kind in self.kinds.items()}
