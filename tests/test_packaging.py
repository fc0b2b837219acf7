"""The pins, the Makefile and the package say the same."""

from __future__ import annotations

import re
import subprocess
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

import recmind

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PINS = [
    line for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines() if not line.startswith("#")
]


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_pins_are_names_and_exact_versions_alone():
    assert [pin for pin in PINS if not re.fullmatch(r"[A-Za-z0-9_.-]+==[0-9][A-Za-z0-9.]*", pin)] == []
    names = [canonical(pin.partition("==")[0]) for pin in PINS]
    assert len(names) == len(set(names))


def test_every_dependency_is_pinned():
    extras = [name for extra in ("encoder", "test", "dev") for name in PROJECT["optional-dependencies"][extra]]
    wanted = {canonical(re.split(r"[<>=\[]", name)[0]) for name in [*PROJECT["dependencies"], *extras]}
    assert wanted - {canonical(pin.partition("==")[0]) for pin in PINS} == set()


def test_what_is_installed_is_what_is_pinned():
    # A local version such as 2.13.0+cpu is another build of the pinned version.
    def installed(name: str) -> str | None:
        try:
            return metadata.version(name).partition("+")[0]
        except metadata.PackageNotFoundError:
            return None

    if installed("torch") != dict(pin.split("==") for pin in PINS)["torch"]:
        pytest.skip("this environment was not made by `make setup`")
    found = {pin: installed(pin.partition("==")[0]) for pin in PINS}
    # Not every platform needs every package.
    assert {pin: version for pin, version in found.items() if version not in (None, pin.partition("==")[2])} == {}


def test_version_is_the_same_everywhere():
    assert PROJECT["version"] == recmind.__version__
    assert f"## [{recmind.__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_data_files_are_inside_the_package():
    package = ROOT / "src" / "recmind"
    assert (package / "py.typed").exists()
    assert list((package / "recipes").glob("*.toml"))
    assert list((package / "text" / "templates").glob("*.toml"))


def test_make_explains_every_target():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    phony = re.findall(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)[0].split()
    done = subprocess.run(["make", "-C", ROOT], capture_output=True, text=True, timeout=60, check=True)
    explained = re.findall(r"^ {2}([a-z]+) {2,}\S", done.stdout, re.MULTILINE)
    assert explained == phony


def test_a_python_that_is_too_old_is_refused_in_words(tmp_path: Path):
    old = tmp_path / "python"
    old.write_text('#!/bin/sh\ncase "$1" in -c) exit 1 ;; esac\necho Python 3.9.1\n')
    old.chmod(0o755)
    done = subprocess.run(
        ["make", "-C", ROOT, "setup", f"PYTHON={old}", f"VENV={tmp_path / 'venv'}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0
    assert f"RecMind needs Python 3.11 or newer; {old} is: Python 3.9.1" in done.stderr
    assert not (tmp_path / "venv").exists()
