"""Report as one HTML page without further files, for screen and paper, and as Markdown."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from ssl_norm.report.figures.parts import WIDTH, FigureFile
from ssl_norm.report.table import Table

DOTS_PER_INCH = 200
COMMANDS_ON_TOP = 3  # more of them stand at the end
STYLE = Path(__file__).with_name("page.css").read_text(encoding="utf-8")


@dataclass(frozen=True)
class Picture:
    """A PNG with its caption.

    Attributes:
        name: of the file, without the ending.
        png: its bytes.
        caption: its content.
        share: of the page's width, in (0, 1], so that letters are of one size in all figures.
        table: its numbers, below it; None where other tables have them.
    """

    name: str
    png: bytes
    caption: str
    share: float = 1.0
    table: Table | None = None

    @classmethod
    def of(cls, file: FigureFile) -> "Picture":
        """Return a figure as a PNG."""
        png = io.BytesIO()
        file.figure.savefig(png, format="png", dpi=DOTS_PER_INCH)
        share = min(1.0, file.figure.get_size_inches()[0] / WIDTH)
        return cls(file.name, png.getvalue(), file.caption, share, file.table)


@dataclass(frozen=True)
class Report:
    """All that a report says.

    Attributes:
        title: of the page.
        lead: one sentence on what was read.
        provenance: value by heading.
        commands: that made the runs.
        left_out: lines on runs that are in no table.
        to_mind: lines on what makes the runs less than comparable.
        groups: the table of groups.
        runs: the table of single runs.
        evidence: (run, sentence) of verdicts that come with one.
        pictures: the figures.
    """

    title: str
    lead: str
    provenance: Mapping[str, str]
    commands: Sequence[str]
    left_out: Sequence[str]
    to_mind: Sequence[str]
    groups: Table
    runs: Table
    evidence: Sequence[tuple[str, str]]
    pictures: Sequence[Picture]


def html_page(report: Report) -> str:
    """Return the page: provenance and warnings first, then table, figures, single runs and commands."""
    many = len(report.commands) > COMMANDS_ON_TOP
    on_top = dict(report.provenance)
    if many:
        on_top["commands"] = f"{len(report.commands)}, at the end of the page"
    parts = [
        f"<h1>{escape(report.title)}</h1>",
        f'<p class="lead">{escape(report.lead)}</p>',
        _definitions(on_top),
        "" if many else _command_list(report.commands),
        _notices(report),
        "<h2>Groups</h2>",
        _table(report.groups),
        '<p class="note">Numbers: mean &plusmn; sample standard deviation (n runs) of the last values of each run; '
        "a group of one run has no deviation. Accuracies are fractions.</p>",
        "<h2>Figures</h2>" if report.pictures else "",
        *(_picture(shown) for shown in report.pictures),
        "<h2>Every run</h2>",
        _table(report.runs),
        _evidence(report.evidence),
        f"<h2>Commands</h2>{_command_list(report.commands)}" if many else "",
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(report.title)}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(part for part in parts if part)
        + "\n</body>\n</html>\n"
    )


def markdown_page(report: Report) -> str:
    """Return title, provenance, commands, warnings and both tables as Markdown, for results/."""
    commands = "".join(f"    {command}\n" for command in report.commands)
    many = len(report.commands) > COMMANDS_ON_TOP
    facts = "; ".join(f"{name}: {value}" for name, value in report.provenance.items())
    text = f"# {report.title}\n\n{report.lead}\n\n"
    if commands and not many:
        text += f"{commands}\n"
    text += f"{facts}.\n\n{report.groups.markdown()}"
    for heading, items in (("Left out", report.left_out), ("To mind", report.to_mind)):
        if items:
            text += f"\n{heading}:\n\n" + "".join(f"- {item}\n" for item in items)
    for shown in report.pictures:
        text += f"\n![{shown.caption}]({shown.name}.png)\n"
        text += f"\n{shown.table.markdown()}" if shown.table else ""
    text += f"\n## Every run\n\n{report.runs.markdown()}"
    return text + (f"\n## Commands\n\n{commands}" if many else "")


def _definitions(values: Mapping[str, str]) -> str:
    """Return pairs of heading and value."""
    pairs = (f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in values.items())
    return f"<dl>{''.join(pairs)}</dl>"


def _command_list(lines: Sequence[str]) -> str:
    """Return commands as they are to be typed; nothing where none is known."""
    items = "".join(f"<li><code>{escape(line)}</code></li>" for line in lines)
    return f'<ul class="commands">{items}</ul>' if items else ""


def _notices(report: Report) -> str:
    """Return the box of what was left out and what to mind; nothing where all is well."""
    lists = [
        f"<h2>{heading}</h2><ul>{''.join(f'<li>{escape(line)}</li>' for line in lines)}</ul>"
        for heading, lines in (
            ("Left out of tables and figures", report.left_out),
            ("To mind when comparing", report.to_mind),
        )
        if lines
    ]
    return f'<section class="mind">{"".join(lists)}</section>' if lists else ""


def _table(content: Table) -> str:
    """Return a table; columns of numbers are set to the right."""
    columns = list(zip(*content.rows, strict=True))
    right = [all(_is_number(cell) for cell in column) for column in columns]

    def line(kind: str, texts: Sequence[str]) -> str:
        cells = (_cell(kind, text, number) for text, number in zip(texts, right, strict=True))
        return f"<tr>{''.join(cells)}</tr>"

    body = "".join(line("td", row) for row in content.rows)
    return f'<div class="wide"><table><thead>{line("th", content.headings)}</thead><tbody>{body}</tbody></table></div>'


def _cell(kind: str, text: str, number: bool) -> str:
    """Return one cell."""
    classes = ["number"] * number + ["collapsed"] * text.startswith(("complete", "dimensional"))
    attribute = f' class="{" ".join(classes)}"' if classes else ""
    return f"<{kind}{attribute}>{_breakable(text)}</{kind}>"


def _breakable(text: str) -> str:
    """Return text that breaks between a mean and its deviation, not within that, and between the options of a norm."""
    if _is_number(text):
        return escape(text).replace("+- ", "&plusmn;&nbsp;")
    return escape(text).replace("(", "(<wbr>").replace(",", ",<wbr>").replace("_", "_<wbr>")


def _is_number(text: str) -> bool:
    """Whether a cell holds a number, perhaps with deviation and count, or the dash of a missing one."""
    first = text.split(" ", 1)[0]
    return first == "-" or first.lstrip("-").replace(".", "", 1).isdigit()


def _picture(shown: Picture) -> str:
    """Return a figure with its caption and numbers, the picture inside the page."""
    data = base64.b64encode(shown.png).decode()
    caption = escape(shown.caption)
    return (
        f'<figure><img style="width: {shown.share:.0%}" alt="{caption}" src="data:image/png;base64,{data}">'
        f"<figcaption>{caption}</figcaption></figure>{_table(shown.table) if shown.table else ''}"
    )


def _evidence(sentences: Sequence[tuple[str, str]]) -> str:
    """Return the evidence of the verdicts, where runs recorded it."""
    if not sentences:
        return ""
    items = "".join(f"<li><b>{escape(run)}</b>: {escape(text)}</li>" for run, text in sentences)
    return f"<h2>Evidence of the verdicts</h2><ul>{items}</ul>"
