from __future__ import annotations

import json
from pathlib import Path

import pytest

from recmind import doctor
from recmind.doctor import diagnose, usable_cores
from recmind.machine import usable_memory


def test_this_installation_is_well():
    found = diagnose()
    assert found.problems == []
    assert found.facts["encoder"]["weights"].startswith("verified")


def test_everything_found_can_be_written_as_json():
    report = diagnose().as_dict()
    assert json.loads(json.dumps(report)) == report


def test_a_missing_library_is_a_problem_with_advice(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(doctor, "REQUIRED", ("numpy", "no-such-library"))
    found = diagnose()
    assert found.facts["libraries"]["no-such-library"] is None
    assert found.facts["libraries"]["numpy"]
    assert found.problems == ["no-such-library is not installed; run `pip install recmind` again"]
    assert found.as_dict()["ok"] is False


def test_a_missing_encoder_is_a_warning_because_others_can_be_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("recmind.language.source.BUILTIN_PACKAGE", "no_such_package")
    found = diagnose()
    assert found.problems == []
    assert "recmind[encoder]" in found.warnings[0]
    assert found.facts["encoder"] == {"builtin": "not usable"}


def test_weights_that_were_changed_are_found(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("recmind.language.source.BUILTIN_SHA256", "0" * 64)
    assert "not the ones that were published" in diagnose().warnings[0]


def test_a_cache_that_cannot_be_written_is_a_warning(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("RECMIND_CACHE", str(tmp_path / "file" / "cache"))
    found = diagnose()
    assert found.facts["cache"]["writable"] is False
    assert "RECMIND_CACHE" in found.warnings[0]


def test_size_of_the_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "shard").write_bytes(b"x" * 1_500_000)
    monkeypatch.setenv("RECMIND_CACHE", str(tmp_path))
    assert diagnose().facts["cache"] == {"folder": str(tmp_path), "writable": True, "files": 1, "size_mb": 1.5}


def test_a_check_that_fails_does_not_stop_the_others(monkeypatch: pytest.MonkeyPatch):
    def fail(found: object) -> dict:
        raise ImportError("libtorch.so is missing")

    monkeypatch.setattr(doctor, "_torch", fail)
    found = diagnose()
    assert found.problems == ["torch: ImportError: libtorch.so is missing"]
    assert found.facts["cache"]["writable"]


def test_cores_and_memory_are_plausible():
    assert usable_cores() >= 1
    assert usable_memory() == 0 or usable_memory() > 2**28
