from __future__ import annotations

import pytest
from pydantic import ValidationError

from recmind.config import Config, setting_names, walk_settings


def test_every_setting_has_a_docstring():
    assert [key for key, info in walk_settings() if not (info.description or "").strip()] == []


def test_settings_are_frozen():
    config = Config()
    with pytest.raises(ValidationError, match="frozen"):
        config.seed = 3  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(ValidationError, match="frozen"):
        config.model.dim = 3  # pyright: ignore[reportAttributeAccessIssue]


def test_setting_names_are_unique_and_reach_the_innermost_tables():
    names = setting_names()
    assert len(names) == len(set(names))
    assert {"seed", "model.dim", "model.gate.kind"} <= set(names)
