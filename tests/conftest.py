"""Fixtures that tests of several rooms share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session", autouse=True)
def _cache_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep embeddings made by tests out of the person's own cache."""
    os.environ["RECMIND_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of the real datasets: ``$RECMIND_DATA``, else ``../shared/data`` beside the clone."""
    folder = Path(os.environ.get("RECMIND_DATA") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no real data: {folder} is missing; set RECMIND_DATA to the folder that holds it")
    return folder
