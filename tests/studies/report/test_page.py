"""A report as Markdown and as a page: the same tables, marks and commands, and nothing from elsewhere."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import pytest

from recmind.studies.report.blocks import Cell, Code, Figure, Part, Table, Text
from recmind.studies.report.markdown import to_markdown
from recmind.studies.report.page import to_html

if TYPE_CHECKING:
    from matplotlib.axes import Axes

VOID = {"meta", "br", "hr", "img", "link", "input"}


class Outline(HTMLParser):
    """Checks that every element is closed in its place, and collects tables, ids and what is referred to."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.references: list[str] = []
        self.tags: list[str] = []
        self.feed(page)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.ids += [value or "" for name, value in attrs if name == "id"]
        self.references += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href", "action")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag


def line(axis: Axes) -> None:
    axis.plot([1, 2, 3], [0.1, 0.3, 0.2], label="a <model> & more")
    axis.legend()


PARTS = [
    Part("", [Text("- one *thing*"), Text("- another, `a<b`")]),
    Part(
        "Results",
        [
            Text("What is <best> & why."),
            Table(["variant", "ndcg@40"], [["a | b", Cell("0.2", "best")], ["<c>", Cell("0.1", "second")], ["d", "0"]]),
            Figure("Curve", line),
            Figure("Bars", line, rows=12),
        ],
    ),
    Part("Nothing", []),
    Part("Commands", [Code(["recmind train 'a & b' --out x", "recmind train c"])]),
]


class TestMarkdown:
    def test_marks_the_best_and_the_second(self):
        text = to_markdown("Title", PARTS)
        assert "| a \\| b | **0.2** |\n| <c> | <u>0.1</u> |\n| d | 0 |" in text
        assert text.startswith("# Title\n\n- one *thing*\n\n- another, `a<b`\n\n## Results\n\n")
        assert "```\nrecmind train 'a & b' --out x\nrecmind train c\n```" in text


@pytest.fixture(scope="module")
def page() -> str:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    return to_html("A & B", PARTS, lead="Is it `so`?")


class TestPage:
    def test_is_well_formed_and_needs_nothing_from_elsewhere(self, page: str):
        found = Outline(page)
        assert all(reference.startswith("#") for reference in found.references)
        assert not {"script", "link", "img", "iframe"} & set(found.tags)
        assert "@import" not in page
        assert not re.search(r"url\((?!#)", page)

    def test_ids_are_its_own_and_everything_that_is_referred_to_is_there(self, page: str):
        found = Outline(page)
        assert len(found.ids) == len(set(found.ids))
        named = [*found.references, *re.findall(r"url\((#[^)]*)\)", page)]
        assert {name[1:] for name in named if name.startswith("#")} <= set(found.ids)

    def test_escapes_what_is_not_markup(self, page: str):
        assert "<title>A &amp; B</title>" in page
        assert "Is it <code>so</code>?" in page
        assert "What is &lt;best&gt; &amp; why." in page
        assert "<li>one <em>thing</em></li>" in page
        assert "<code>a&lt;b</code>" in page
        assert '<td class="best"><span>0.2</span></td>' in page
        assert '<td class="second"><span>0.1</span></td>' in page
        assert "recmind train &#39;a &amp; b&#39; --out x" in page

    def test_figures_take_the_pages_colours_and_have_no_size_of_their_own(self, page: str):
        assert page.count("<svg") == 2
        assert page.count("currentColor") > 2
        assert not re.search(r"<svg[^>]* (width|height)=", page)
        assert "#010203" not in page
        assert "prefers-color-scheme: dark" in page
        assert 'name="viewport" content="width=device-width' in page

    def test_the_same_report_makes_the_same_page(self, page: str):
        assert to_html("A & B", PARTS, lead="Is it `so`?") == page

    def test_empty_parts_are_left_out(self, page: str):
        assert "Nothing" not in page

    def test_without_figures(self):
        assert "<svg" not in to_html("A", PARTS, figures=False)
