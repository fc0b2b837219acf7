"""Errors that a person can act on.

Each says what is wrong, where (file and line, column, or config key), the value
got, the values accepted and what to do next. The command line prints them
without a traceback and exits with :attr:`RecMindError.exit_code`.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path


class RecMindError(Exception):
    """Base of every error that is the input's fault rather than the code's.

    Parameters
    ----------
    what:
        What is wrong, in one sentence.
    where:
        File (with line), column or configuration key.
    got:
        The offending value; left out of the message when ``None``.
    accepted:
        The accepted values or a description of them.
    hint:
        What to do next.
    """

    exit_code = 2

    def __init__(
        self,
        what: str,
        *,
        where: str | Path | None = None,
        got: object = None,
        accepted: Iterable[object] | str | None = None,
        hint: str | None = None,
    ) -> None:
        self.what, self.where, self.got, self.accepted, self.hint = what, where, got, accepted, hint
        super().__init__(self._message())

    def _message(self) -> str:
        head = f"{self.where}: {self.what}" if self.where is not None else self.what
        parts = [head]
        if self.got is not None:
            parts.append(f"  got:      {_clip(repr(self.got))}")
        if self.accepted is not None:
            values = (
                self.accepted if isinstance(self.accepted, str) else ", ".join(str(value) for value in self.accepted)
            )
            parts.append(f"  accepted: {values}")
        if self.hint is not None:
            parts.append(f"  hint:     {self.hint}")
        return "\n".join(parts)


class DataError(RecMindError):
    """A table, file or folder does not hold what its contract says."""


class ConfigError(RecMindError):
    """A setting is unknown, out of range or contradicts another one."""


class EncoderError(RecMindError):
    """A language model cannot be found, verified or loaded."""


class EndpointError(RecMindError):
    """A chat endpoint cannot be reached, refuses, or gives too many answers that cannot be used."""

    exit_code = 3


class RunError(RecMindError):
    """A run folder is missing, incomplete, damaged or belongs to something else."""


class BundleError(RecMindError):
    """A bundle for serving, or the store beside it, is missing, damaged or of another version."""


class UnknownIdError(DataError):
    """There is no user or item with this id."""


class TrainingError(RecMindError):
    """Training cannot go on, for instance because the loss is not finite."""

    exit_code = 3


def _clip(text: str, limit: int = 200) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
