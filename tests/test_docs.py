from __future__ import annotations

import importlib
import re
import shlex
from pathlib import Path

import pytest

from recmind.cli import app
from recmind.config import describe_settings, setting_names
from recmind.docs import PAGES, commands_page, main, settings_page, stale_pages

ROOT = Path(__file__).resolve().parents[1]
PAPERS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
COMMANDS = sorted(name for name in app if not name.startswith("-"))


def test_generated_pages_are_up_to_date():
    assert stale_pages() == [], "run `make docs`"


def test_every_setting_is_on_the_page_with_its_docstring():
    page = settings_page()
    for setting in describe_settings():
        assert f"**`{setting.key}`** = `{setting.default}`" in page
        assert setting.text
        assert setting.text in page
    assert [setting.key for setting in describe_settings()] == setting_names()


@pytest.mark.parametrize(
    ("key", "accepts", "default"),
    [
        ("seed", "whole number ≥ 0", "0"),
        ("model.layers", "whole number ≥ 0 and ≤ 8", "2"),
        ("model.score", '"dot" or "cosine"', '"dot"'),
        ("language.revision", "text, or left out", "(none)"),
        ("evaluation.cutoffs", "list of whole number ≥ 1", "[10, 20, 40]"),
        ("model.alpha", "number ≥ 0 and ≤ 1", "0.5"),
    ],
)
def test_types_and_ranges_in_words(key: str, accepts: str, default: str):
    setting = next(setting for setting in describe_settings() if setting.key == key)
    assert (setting.accepts, setting.default) == (accepts, default)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_explained(command: str):
    page = commands_page()
    assert f"## recmind {command}\n" in page
    assert re.search(rf"^recmind {command} (--|\[|[A-Z])", page, re.MULTILINE)


def test_writer_mends_a_stale_page_and_the_check_finds_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("recmind.docs.DOCS", tmp_path)
    assert main([]) == 1
    assert main(["--write"]) == 0
    assert {path.name for path in tmp_path.iterdir()} == set(PAGES)
    assert main([]) == 0
    (tmp_path / "settings.md").write_text("old")
    assert [path.name for path in stale_pages()] == ["settings.md"]


@pytest.mark.parametrize("page", PAPERS, ids=lambda path: path.name)
def test_links_to_files_lead_somewhere(page: Path):
    targets = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("page", PAPERS, ids=lambda path: path.name)
def test_links_to_headings_lead_to_one(page: Path):
    links = re.findall(r"\]\((?!https?:)([^)#]*)#([^)]+)\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if link[1] not in _anchors(page.parent / link[0] if link[0] else page)] == []


@pytest.mark.parametrize("page", PAPERS, ids=lambda path: path.name)
def test_names_of_code_exist(page: Path):
    names = set(re.findall(r"`(recmind(?:\.\w+)+)`", page.read_text(encoding="utf-8")))
    assert [name for name in names if not _resolves(name)] == []


@pytest.mark.parametrize("page", PAPERS, ids=lambda path: path.name)
def test_commands_in_examples_are_understood(page: Path):
    for line in _shell_lines(page.read_text(encoding="utf-8")):
        words = shlex.split(line, comments=True)
        words = words[1 : words.index("|") if "|" in words else None]
        if ">" in words:
            words = words[: words.index(">")]
        app.parse_args(words, print_error=False, exit_on_error=False)


@pytest.mark.parametrize("page", PAPERS, ids=lambda path: path.name)
def test_make_targets_in_examples_exist(page: Path):
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = re.findall(r"(?:^ {4}|`)make ([a-z]+)\b", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert set(named) <= targets


def _anchors(page: Path) -> set[str]:
    """Headings of a page as they are linked to: in small letters, without signs, spaces as hyphens."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _shell_lines(text: str) -> list[str]:
    """Indented or fenced lines that call ``recmind``, continuation lines joined."""
    joined = re.sub(r"\\\n\s*", " ", text)
    lines = re.findall(r"^(?: {4})?(recmind [a-z].*)$", joined, re.MULTILINE)
    return [line for line in lines if not re.search(r"\b[A-Z]{3,}\b|\.\.\.|\[OPTIONS\]", line)]


def _resolves(name: str) -> bool:
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            if not hasattr(found, part):
                return False
            found = getattr(found, part)
        return True
    return False
