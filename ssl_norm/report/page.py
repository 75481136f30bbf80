"""The report as one HTML page that needs nothing beside it, on a screen and on paper."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from ssl_norm.report.table import Table

COMMANDS_ON_TOP = 3  # more of them stand at the end
STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.45 system-ui, "Helvetica Neue", Arial, sans-serif; color: #111; background: #fff;
  max-width: 76rem; margin: 2rem auto; padding: 0 1.25rem; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: 0 0 .3rem; }
h2 { font-size: 1.15rem; margin: 2rem 0 .6rem; border-bottom: 1px solid #999; padding-bottom: .2rem; }
p.lead { margin: 0 0 1rem; color: #333; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1rem; font-size: .87rem; margin: 0; }
dt { color: #555; } dd { margin: 0; overflow-wrap: anywhere; }
section.mind { border: 1px solid #D55E00; border-left-width: .4rem; padding: .1rem 1rem .4rem; margin: 1.2rem 0; }
section.mind h2 { border: 0; margin: .5rem 0 .2rem; font-size: 1rem; }
ul { margin: .2rem 0 .6rem; padding-left: 1.2rem; font-size: .87rem; } li { overflow-wrap: anywhere; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .8rem; font-variant-numeric: tabular-nums; width: 100%; }
th { text-align: left; vertical-align: bottom; border-bottom: 2px solid #444; font-weight: 600; }
th, td { padding: .25rem .45rem; } td { vertical-align: top; border-bottom: 1px solid #ddd; }
td.number, th.number { text-align: right; }
.collapsed { color: #A84300; font-weight: 600; }
figure { margin: 1.4rem 0; max-width: 60rem; break-inside: avoid; } img { height: auto; display: block; }
figcaption { font-size: .85rem; color: #333; margin-top: .3rem; }
ul.commands { list-style: none; padding: .4rem .7rem; background: #f5f5f5; }
ul.commands li { padding-left: 2em; text-indent: -2em; }
code { font: .75rem/1.5 ui-monospace, Menlo, Consolas, monospace; }
p.note { font-size: .85rem; color: #333; }
@page { size: A4; margin: 15mm 14mm; }
@media print {
  body { font-size: 9.5pt; margin: 0; padding: 0; max-width: none; }
  h2, h3 { break-after: avoid; } tr, li, section.mind { break-inside: avoid; } thead { display: table-header-group; }
  .wide { overflow: visible; } table { font-size: 7pt; } th, td { padding: .15rem .25rem; }
  ul.commands { background: none; border: 1px solid #bbb; } code { font-size: 7.5pt; }
  img { max-height: 225mm; object-fit: contain; object-position: left; }
}
"""


@dataclass(frozen=True)
class Picture:
    """A PNG with its caption.

    Attributes:
        name: of the file, without the ending.
        png: its bytes.
        caption: what it shows.
        share: of the page's width, in (0, 1], so that letters are of one size in all figures.
        table: its numbers, below it; None where other tables have them.
    """

    name: str
    png: bytes
    caption: str
    share: float = 1.0
    table: Table | None = None


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
        definitions(on_top),
        "" if many else command_list(report.commands),
        notices(report),
        "<h2>Groups</h2>",
        table(report.groups),
        '<p class="note">Numbers: mean &plusmn; sample standard deviation (n runs) of the last values of each run; '
        "a group of one run has no deviation. Accuracies are fractions.</p>",
        "<h2>Figures</h2>" if report.pictures else "",
        *(picture(shown) for shown in report.pictures),
        "<h2>Every run</h2>",
        table(report.runs),
        evidence(report.evidence),
        f"<h2>Commands</h2>{command_list(report.commands)}" if many else "",
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(report.title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
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


def definitions(values: Mapping[str, str]) -> str:
    """Return pairs of heading and value."""
    pairs = (f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in values.items())
    return f"<dl>{''.join(pairs)}</dl>"


def command_list(lines: Sequence[str]) -> str:
    """Return commands as they are to be typed; nothing where none is known."""
    items = "".join(f"<li><code>{escape(line)}</code></li>" for line in lines)
    return f'<ul class="commands">{items}</ul>' if items else ""


def notices(report: Report) -> str:
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


def table(content: Table) -> str:
    """Return a table; columns of numbers are set to the right."""
    columns = list(zip(*content.rows, strict=True))
    right = [all(is_number(cell) for cell in column) for column in columns]

    def line(kind: str, texts: Sequence[str]) -> str:
        cells = (cell(kind, text, number) for text, number in zip(texts, right, strict=True))
        return f"<tr>{''.join(cells)}</tr>"

    body = "".join(line("td", row) for row in content.rows)
    return f'<div class="wide"><table><thead>{line("th", content.headings)}</thead><tbody>{body}</tbody></table></div>'


def cell(kind: str, text: str, number: bool) -> str:
    """Return one cell."""
    classes = ["number"] * number + ["collapsed"] * text.startswith(("complete", "dimensional"))
    attribute = f' class="{" ".join(classes)}"' if classes else ""
    return f"<{kind}{attribute}>{breakable(text)}</{kind}>"


def breakable(text: str) -> str:
    """Return text that breaks between a mean and its deviation, not within that, and between the options of a norm."""
    if is_number(text):
        return escape(text).replace("+- ", "&plusmn;&nbsp;")
    return escape(text).replace("(", "(<wbr>").replace(",", ",<wbr>").replace("_", "_<wbr>")


def is_number(text: str) -> bool:
    """Whether a cell holds a number, perhaps with deviation and count, or the dash of a missing one."""
    first = text.split(" ", 1)[0]
    return first == "-" or first.lstrip("-").replace(".", "", 1).isdigit()


def picture(shown: Picture) -> str:
    """Return a figure with its caption and numbers, the picture inside the page."""
    data = base64.b64encode(shown.png).decode()
    caption = escape(shown.caption)
    return (
        f'<figure><img style="width: {shown.share:.0%}" alt="{caption}" src="data:image/png;base64,{data}">'
        f"<figcaption>{caption}</figcaption></figure>{table(shown.table) if shown.table else ''}"
    )


def evidence(sentences: Sequence[tuple[str, str]]) -> str:
    """Return the evidence of the verdicts, where runs recorded it."""
    if not sentences:
        return ""
    items = "".join(f"<li><b>{escape(run)}</b>: {escape(text)}</li>" for run, text in sentences)
    return f"<h2>Evidence of the verdicts</h2><ul>{items}</ul>"
