from html.parser import HTMLParser
from types import SimpleNamespace

import pytest

from ssl_norm.reporting.page import html_page, markdown_page, parts_of
from ssl_norm.reporting.table import Table, differences
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
    page = html_page("", TABLE.markdown(), [])
    assert '<td style="text-align:right">0.5 &plusmn;&nbsp;0.1 (2)</td>' in page
    assert '<td class="collapsed">complete 2/2</td>' in page
    assert "gn(<wbr>groups=8,<wbr>eps=1)" in page
