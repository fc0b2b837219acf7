"""Logs as JSON lines on stderr. Of a person they hold nothing: no address, no path with ids, no text, no key."""

from __future__ import annotations

import json
import logging
import sys
import traceback
from datetime import UTC, datetime
from typing import Any, TextIO

LOGGER = logging.getLogger("recmind.serve")


class JsonLines(logging.Formatter):
    """One JSON object a record: time, level, event, and what was given as ``extra={"fields": {...}}``."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        content: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info and record.exc_info[1] is not None:
            content.update(cause(record.exc_info[1]))
        return _ENCODER.encode(content)


_ENCODER = json.JSONEncoder(ensure_ascii=True, default=str)


def cause(error: BaseException) -> dict[str, Any]:
    """The type of an error and where it came from; not its message, which may repeat what a person sent."""
    frames = traceback.extract_tb(error.__traceback__)
    places = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
    found: dict[str, Any] = {"error": type(error).__qualname__, "stack": places[-20:]}
    inner = error.__cause__ or error.__context__
    if inner is not None:
        found["caused_by"] = type(inner).__qualname__
    return found


def set_up(stream: TextIO | None = None) -> None:
    """Send the server's log, and uvicorn's, to one stream as JSON lines."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines())
    for name in ("recmind.serve", "uvicorn", "uvicorn.error", "asyncio"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(logging.INFO if name == "recmind.serve" else logging.WARNING)
    logging.getLogger("uvicorn.error").handlers = []
    logging.getLogger("uvicorn.error").propagate = True


def event(name: str, *, level: int = logging.INFO, error: BaseException | None = None, **fields: Any) -> None:
    """Log one event."""
    if LOGGER.isEnabledFor(level):
        cause_of = None if error is None else (type(error), error, error.__traceback__)
        # Made by hand: looking up the line that logs takes longer than the rest together.
        LOGGER.handle(LOGGER.makeRecord(LOGGER.name, level, "", 0, name, (), cause_of, extra={"fields": fields}))
