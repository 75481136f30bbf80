from html import escape
from html.parser import HTMLParser
from types import SimpleNamespace

import pytest

from ssl_norm.reporting.page import html_page, markdown_page, parts_of
from ssl_norm.reporting.table import Table, differences, markdown
from tests.reporting.run_folders import grouped, write_study

TABLE = Table(
    ["norm", "verdict", "top-1"],
    [["gn(groups=8,eps=1)", "complete 2/2", "0.5 +- 0.1 (2)"], ["<bn>", "healthy 1/1", "-"]],
)
FIGURE = SimpleNamespace(name="cosines", png=b"\x89PNG", caption="two *cosines*", share=1.0,
                         table=None)  # fmt: skip


class Reader(HTMLParser):
    """Records open tags, and every attribute that could load a file."""

    def __init__(self, text):
        super().__init__()
        self.open, self.addresses, self.tags = [], [], set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.addresses += [value for name, value in attrs if name in ("src", "href", "srcset")]
        if tag not in ("meta", "img", "wbr"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    keys, groups = grouped(write_study(tmp_path_factory.mktemp("study")))
    return parts_of(keys, groups, differences(groups), ["z is broken: <unreadable>"], [], [FIGURE])


def test_the_page_is_whole_and_fetches_nothing(parts):
    text = markdown_page("a <b> & c", "6 *runs*.", parts)
    assert "- z is broken: &lt;unreadable>" in text
    page = html_page("a <b> & c", text, [FIGURE])
    reader = Reader(page)
    assert reader.open == []
    assert reader.addresses == ["data:image/png;base64,iVBORw=="]
    assert not reader.tags & {"script", "link", "iframe", "em", "b"}
    assert "url(" not in page
    assert "@import" not in page
    assert "<h1>a &lt;b&gt; &amp; c</h1>" in page
    assert "z is broken: &lt;unreadable&gt;" in page
    assert "<code>python tools/pretrain.py -m norm.projector=bn,none seed=0,1\n" in page


def test_parts_have_an_order_and_empty_ones_no_heading(parts):
    text = markdown_page("title", "lead", parts)
    headings = [line[3:] for line in text.splitlines() if line.startswith("## ")]
    assert headings == [
        "Provenance", "Left out of tables and figures", "Groups",
        "Differences from heads bn/bn", "Figures", "Every run", "Commands",
    ]  # fmt: skip
    assert "![cosines](cosines.png)\n\ntwo \\*cosines\\*\n" in text


def test_cells_of_html():
    other = Table(["arm", "verdict"], [["complete", "complete_x"], ["dimensional_2", "healthy"]])
    page = html_page("", f"{TABLE.markdown()}\n{other.markdown()}", [])
    assert '<td style="text-align:right">0.5 &plusmn;&nbsp;0.1 (2)</td>' in page
    assert '<td class="collapsed">complete 2/2</td>' in page
    assert page.count('class="collapsed"') == 1
    assert "gn(<wbr>groups=8,<wbr>eps=1)" in page


BLOCKS = ["1. x", "12) x", "# x", "## x ##", "- x", "+ x", "> x", "~~~", "     x", "* x"]


@pytest.mark.parametrize("text", [*BLOCKS, "-1", "1.5 x", "#", "a #1", "[x]: y", "_x_"])
def test_text_never_begins_a_block(text):
    page = html_page("", markdown_page(text, text, {text: TABLE.markdown()}), [])
    shown = escape(text.strip())
    for part in ("h1", "p", "h2"):
        assert f"<{part}>{shown}</{part}>" in page
    assert f"<li>{shown}</li>" in html_page("", f"- {markdown(text)}\n", [])
