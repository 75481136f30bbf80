"""Names of files, studies and classes as text in terminals, reports and figures."""

import ast
import csv
import io
from pathlib import Path

import pytest
from rich.table import Table as ConsoleTable

import ssl_norm
from ssl_norm.cli.entry import _exit_code
from ssl_norm.console import coloured, say, show
from ssl_norm.errors import UserError
from ssl_norm.figures.style import drawing, pixels
from ssl_norm.files import append_text, write_text
from ssl_norm.reporting.table import Table

PACKAGE = Path(ssl_norm.__file__).parent
FOREIGN = {
    "a[/x]b": "a[/x]b",
    "[bold]a[/bold]": "[bold]a[/bold]",
    "[link=https://example.org]a[/link]": "[link=https://example.org]a[/link]",
    ":smile:": ":smile:",
    "two\nlines\r": r"two\nlines\r",
    "\x1b[31mred\x1b]0;title\x07": r"\x1b[31mred\x1b]0;title\x07",
    "\x9b2J": r"\x9b2J",
    "user\u202egpj.exe": r"user\u202egpj.exe",
    "caf\udce9": "caf\ufffd",
    "\\": "\\",
}
AS_LINE = {
    "error": lambda text: refuse(text),
    "line": lambda text: say(text),
    "coloured": lambda text: say(coloured((text, "red"))),
    "cell": lambda text: show([table(text, "", "")]),
    "heading": lambda text: show([table("", text, "")]),
    "title": lambda text: show([table("", "x" * 60, text)]),
}


def table(cell: str, heading: str, title: str) -> ConsoleTable:
    table = ConsoleTable(title=title)
    table.add_column(heading, no_wrap=True)
    table.add_row(cell)
    return table


def refuse(text: str) -> None:
    def action() -> int:
        raise UserError(text)

    _exit_code(action)


@pytest.mark.parametrize("way", AS_LINE)
@pytest.mark.parametrize("text", FOREIGN)
def test_foreign_text_is_printed_as_it_is_with_control_characters_escaped(
    way, text, capsys, monkeypatch
):
    monkeypatch.setenv("COLUMNS", "100")
    AS_LINE[way](text)
    out, error = capsys.readouterr()
    assert FOREIGN[text] in out + error


def calls(path: Path) -> dict[str, list[ast.Call]]:
    """Return the calls in a module by the name of the function."""
    found: dict[str, list[ast.Call]] = {}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            found.setdefault(name, []).append(node)
    return found


def test_only_the_console_prints_and_nothing_reads_markup():
    for path in PACKAGE.rglob("*.py"):
        name, found = path.relative_to(PACKAGE).as_posix(), calls(path)
        assert not {"from_markup", "track_markup"} & set(found), name
        if name != "console.py":
            assert not {"Console", "render_str", "rprint"} & set(found), name
        if "print" in found and not name.startswith("cli/"):
            assert name == "errors.py" or name.endswith(("__main__.py", "console.py")) or all(
                isinstance(call.func, ast.Attribute) for call in found["print"]
            ), name  # fmt: skip
        for call in found.get("TextColumn", ()):
            assert any(k.arg == "markup" and not k.value.value for k in call.keywords), name


CELLS = {
    "<img src=x onerror=alert(1)>": "&lt;img src=x onerror=alert(1)>",
    "a|b": r"a\|b",
    "two\nlines": "two lines",
    "[here](javascript:x)": r"[here\](javascript:x)",
    "`code` *b*": r"\`code\` \*b\*",
    "&lt;": "&amp;lt;",
    "bn(batch_size=4)": "bn(batch_size=4)",
    "[0.9, 0.99]": "[0.9, 0.99]",
}


@pytest.mark.parametrize("text", CELLS)
def test_cells_of_markdown_show_the_text(text):
    assert Table([text], [[text]]).markdown().splitlines()[2] == f"| {CELLS[text]} |"


@pytest.mark.parametrize("text", ["=1+1", "+1", "@a", "-a", "-1+1", "\t=1", "-2.5.=x"])
def test_cells_of_csv_are_no_formulas(text):
    assert csv_cell(text) == f"'{text}"


@pytest.mark.parametrize("text", ["-", "-1", "-0.25", "-1e-05", "-inf", "a=1", "", "nan", "0"])
def test_numbers_and_names_in_csv_stay_as_they_are(text):
    assert csv_cell(text) == text


def csv_cell(text: str) -> str:
    return list(csv.reader(io.StringIO(Table(["x", "y"], [[text, ""]]).csv())))[1][0]


def test_files_keep_text_with_bytes_that_are_not_utf_8(tmp_path):
    write_text(tmp_path / "page", "caf\udce9")
    append_text(tmp_path / "page", "\n\udce8")
    assert (tmp_path / "page").read_text() == "caf\\udce9\n\\udce8"


@pytest.mark.parametrize("text", ["a$b^", "$x$", "\\frac{", "x_{1"])
def test_titles_of_figures_are_no_mathematics(text):
    with drawing(2, 1) as figure:
        title = figure.suptitle(text)
        pixels(figure)
        assert not title.get_parse_math()
