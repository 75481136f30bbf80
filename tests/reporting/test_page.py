from dataclasses import replace
from html.parser import HTMLParser
from types import SimpleNamespace

from ssl_norm.reporting.page import Report, html_page, markdown_page
from ssl_norm.reporting.table import Table

REPORT = Report(
    title="a <b> & c",
    lead="2 finished runs.",
    provenance={"commit": "0123"},
    commands=["python x"],
    left_out=["z is broken: <unreadable>"],
    to_mind=["only seed 0"],
    differences=Table(["group", "top-1"], [["gn", "+0.1 (-0.1 to +0.3; 2)"]]),
    reference="<bn>",
    groups=Table(["norm", "top-1"], [["gn(groups=8,eps=1)", "0.5 +- 0.1 (2)"], ["<bn>", "-"]]),
    runs=Table(["run", "verdict"], [["a", "complete"]]),
    evidence=[("a", "negative cosine 0.9993 for 200 steps")],
    figures=[
        SimpleNamespace(
            name="cosines", png=b"\x89PNG", caption="two cosines", share=1.0, table=None
        )
    ],
)


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

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_whole_and_fetches_nothing():
    page = html_page(REPORT)
    reader = Reader(page)
    assert reader.open == []
    assert reader.addresses == ["data:image/png;base64,iVBORw=="]
    assert not reader.tags & {"script", "link", "iframe"}
    assert "url(" not in page
    assert "@import" not in page
    assert "@media print" in page


def test_the_content_of_the_page():
    page = html_page(REPORT)
    assert "<h1>a &lt;b&gt; &amp; c</h1>" in page
    assert "z is broken: &lt;unreadable&gt;" in page
    assert '<td class="number">0.5 &plusmn;&nbsp;0.1 (2)</td>' in page
    assert '<td class="collapsed">complete</td>' in page
    assert "gn(<wbr>groups=8,<wbr>eps=1)" in page
    assert "negative cosine 0.9993 for 200 steps" in page
    assert page.index("python x") < page.index("z is broken") < page.index("<h2>Groups")


def test_many_commands_stand_at_the_end():
    page = html_page(replace(REPORT, commands=[f"python {index}" for index in range(4)]))
    assert "4, at the end of the page" in page
    assert page.index("Every run") < page.index("python 0")


def test_parts_without_content_have_no_heading():
    nothing = dict.fromkeys(("left_out", "to_mind", "evidence", "commands", "figures"), ())
    page = html_page(replace(REPORT, **nothing))
    assert "<ul></ul>" not in page
    assert Reader(page).open == []


def test_markdown_shows_the_figures_beside_it():
    text = markdown_page(REPORT)
    assert "| gn(groups=8,eps=1) | 0.5 +- 0.1 (2) |" in text
    assert "![two cosines](cosines.png)" in text
    assert "- z is broken: &lt;unreadable>" in text
    assert "    python x\n" in text
