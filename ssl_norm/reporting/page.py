"""Report as a single HTML file, for screen and paper, and as Markdown."""

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from ssl_norm.reporting.figures.parts import FigureFile
from ssl_norm.reporting.table import Table, markdown
from ssl_norm.text import printable

COMMANDS_ON_TOP = 3  # if there are more commands, they are at the end of the page
PAIRED = (
    "Differences are paired by seed: mean (95 % confidence interval by the t distribution; number "
    "of pairs). The intervals are not corrected for the number of comparisons."
)
STYLE = Path(__file__).with_name("page.css").read_text(encoding="utf-8")


@dataclass(frozen=True)
class Report:
    """Content of a report."""

    title: str  # title of the page
    lead: str  # one sentence on the runs that were read
    provenance: Mapping[str, str]  # code, versions, hardware and dates by heading
    commands: Sequence[str]  # commands that made the runs
    left_out: Sequence[str]  # lines on runs that are in no table
    to_mind: Sequence[str]  # lines on differences that limit comparisons
    groups: Table  # a row for each group
    differences: Table | None  # of other groups from the first; None if they share no seeds
    reference: str  # label of the first group
    runs: Table  # a row for each run
    evidence: Sequence[tuple[str, str]]  # name of a run, and the evidence of its verdict
    figures: Sequence[FigureFile]  # figures in the order of the page


def html_page(report: Report) -> str:
    """Return the page: provenance, caveats, groups, figures, single runs, and commands."""
    many = len(report.commands) > COMMANDS_ON_TOP
    on_top = dict(report.provenance)
    if many:
        on_top["commands"] = f"{len(report.commands)}, at the end of the page"
    facts = "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in on_top.items())
    commands = _items([f"<code>{escape(line)}</code>" for line in report.commands], "commands")
    caveats = "".join(
        f"<h2>{heading}</h2>{_items(map(escape, lines))}"
        for heading, lines in (
            ("Left out of tables and figures", report.left_out),
            ("Limits of comparisons", report.to_mind),
        )
        if lines
    )
    evidence = _items(f"<b>{escape(run)}</b>: {escape(text)}" for run, text in report.evidence)
    parts = [
        f"<h1>{escape(report.title)}</h1>",
        f'<p class="lead">{escape(report.lead)}</p>',
        f"<dl>{facts}</dl>",
        "" if many else commands,
        f'<section class="mind">{caveats}</section>' if caveats else "",
        "<h2>Groups</h2>",
        _table(report.groups),
        '<p class="note">Numbers are mean &plusmn; sample standard deviation (n runs) of the last '
        "value of each run; a group of one run has no deviation. Accuracies are fractions.</p>",
        *(
            [
                f"<h2>Differences from {escape(report.reference)}</h2>",
                _table(report.differences),
                f'<p class="note">{PAIRED}</p>',
            ]
            if report.differences
            else []
        ),
        "<h2>Figures</h2>" if report.figures else "",
        *map(_figure, report.figures),
        "<h2>Every run</h2>",
        _table(report.runs),
        f"<h2>Evidence of the verdicts</h2>{evidence}" if evidence else "",
        f"<h2>Commands</h2>{commands}" if many else "",
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(report.title)}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(part for part in parts if part)
        + "\n</body>\n</html>\n"
    )


def _items(lines: Iterable[str], kind: str = "") -> str:
    items = "".join(f"<li>{line}</li>" for line in lines)
    attribute = f' class="{kind}"' if kind else ""
    return f"<ul{attribute}>{items}</ul>" if items else ""


def _table(content: Table) -> str:
    """Return a table; columns of numbers are aligned to the right."""
    columns = list(zip(*content.rows, strict=True))
    right = [all(map(_is_number, column)) for column in columns]

    def line(kind: str, texts: Sequence[str]) -> str:
        cells = (_cell(kind, text, number) for text, number in zip(texts, right, strict=True))
        return f"<tr>{''.join(cells)}</tr>"

    head = line("th", content.headings)
    body = "".join(line("td", row) for row in content.rows)
    return f'<div class="wide"><table><thead>{head}</thead><tbody>{body}</tbody></table></div>'


def _cell(kind: str, text: str, number: bool) -> str:
    classes = ["number"] * number + ["collapsed"] * text.startswith(
        ("complete", "dimensional", "collapsing")
    )
    attribute = f' class="{" ".join(classes)}"' if classes else ""
    shown = escape(text)
    if _is_number(text):
        shown = shown.replace("+- ", "&plusmn;&nbsp;")
    else:  # lines may break between the options of a norm
        shown = shown.replace("(", "(<wbr>").replace(",", ",<wbr>").replace("_", "_<wbr>")
    return f"<{kind}{attribute}>{shown}</{kind}>"


def _is_number(text: str) -> bool:
    """Return whether a cell holds a dash or a number, perhaps with deviation and count."""
    first = text.split(" ", 1)[0]
    return first == "-" or first.lstrip("-").replace(".", "", 1).isdigit()


def _figure(shown: FigureFile) -> str:
    data = base64.b64encode(shown.png).decode()
    caption = escape(shown.caption)
    return (
        f'<figure><img style="width: {shown.share:.0%}" alt="{caption}" '
        f'src="data:image/png;base64,{data}"><figcaption>{caption}</figcaption></figure>'
        f"{_table(shown.table) if shown.table else ''}"
    )


def markdown_page(report: Report) -> str:
    """Return the page as Markdown for results/."""
    commands = "".join(f"    {printable(command)}\n" for command in report.commands)
    many = len(report.commands) > COMMANDS_ON_TOP
    facts = "; ".join(f"{name}: {markdown(value)}" for name, value in report.provenance.items())
    text = f"# {markdown(report.title)}\n\n{markdown(report.lead)}\n\n"
    if commands and not many:
        text += f"{commands}\n"
    text += f"{facts}.\n\n{report.groups.markdown()}"
    if report.differences:
        text += f"\n## Differences from {report.reference}\n\n{report.differences.markdown()}"
        text += f"\n{PAIRED}\n"
    for heading, lines in (("Left out", report.left_out), ("Limits", report.to_mind)):
        if lines:
            text += f"\n{heading}:\n\n" + "".join(f"- {markdown(line)}\n" for line in lines)
    for shown in report.figures:
        text += f"\n![{markdown(shown.caption)}]({shown.name}.png)\n"
        text += f"\n{shown.table.markdown()}" if shown.table else ""
    text += f"\n## Every run\n\n{report.runs.markdown()}"
    return text + (f"\n## Commands\n\n{commands}" if many else "")
