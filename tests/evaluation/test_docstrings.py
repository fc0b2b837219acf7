"""The examples in the room's docstrings run and give what they say."""

import doctest
import importlib

import pytest


@pytest.mark.parametrize("name", ["catalogue", "evaluate", "metrics", "report", "significance"])
def test_examples(name):
    module = importlib.import_module(f"recmind.evaluation.{name}")
    result = doctest.testmod(module)
    assert result.attempted > 0
    assert result.failed == 0
