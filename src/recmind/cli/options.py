"""Kinds of options that several commands share."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Parameter

Flag = Annotated[bool, Parameter(negative="", show_default=False)]
"""An option without a value; off when it is not given."""

JsonFlag = Annotated[bool, Parameter(name="--json", negative="", show_default=False)]
"""``--json``."""

SplitKind = Literal[
    "leave-one-out", "temporal", "ratio", "cold-items", "cold-and-warm", "short-histories", "valid-only"
]
"""``--split``: the kinds of :class:`recmind.config.SplitConfig`."""
