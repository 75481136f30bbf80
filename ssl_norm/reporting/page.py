"""Report as Markdown, and as a single HTML file for screen and paper."""

import base64
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from itertools import pairwise
from pathlib import Path
from urllib.parse import quote

from markdown_it import MarkdownIt
from markdown_it.token import Token

from ssl_norm.reporting.caveats import commands, provenance
from ssl_norm.reporting.figures.parts import FigureFile
from ssl_norm.reporting.frame import Group, all_runs
from ssl_norm.reporting.table import (
    Difference,
    difference_table,
    group_table,
    markdown,
    run_table,
)
from ssl_norm.text import printable
from ssl_norm.train.recorder import WARNED

_NUMBERS = (
    "Numbers are mean +- sample standard deviation (n runs) of the last value of each run; a group "
    "of one run has no deviation. Accuracies are fractions."
)
_PAIRED = (
    "Differences are paired by seed: mean (95 % confidence interval by the t distribution; number "
    "of pairs). The intervals are not corrected for the number of comparisons."
)
_STYLE = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
_TEXT_CELL = re.compile('<td( class="collapsed")?>[^<]*')  # cells of numbers have a style


def markdown_page(title: str, lead: str, parts: Mapping[str, str]) -> str:
    """Return a page of Markdown; parts are by heading, and empty ones are left out."""
    sections = [f"## {markdown(heading)}\n\n{text}" for heading, text in parts.items() if text]
    return "\n".join([f"# {markdown(title)}\n\n{markdown(lead)}\n", *sections])


def parts_of(
    keys: Sequence[str],
    groups: Sequence[Group],
    paired: Sequence[Difference],
    left_out: Sequence[str],
    limits: Sequence[str],
    figures: Sequence[FigureFile],
) -> dict[str, str]:
    """Return the parts of a report in Markdown; those without content are empty."""
    runs, differing = all_runs(groups), difference_table(paired)
    evidence = [(run.name, run.summary.get("evidence")) for run in runs]
    return {
        "Provenance": _items(f"{name}: {value}" for name, value in provenance(runs).items()),
        "Left out of tables and figures": _items(left_out),
        "Limits of comparisons": _items(limits),
        "Groups": f"{group_table(keys, groups).markdown()}\n{_NUMBERS}\n",
        f"Differences from {groups[0].label}": f"{differing.markdown()}\n{_PAIRED}\n"
        if paired
        else "",
        "Figures": "\n".join(map(_figure, figures)),
        "Every run": run_table(groups).markdown(),
        "Evidence of the verdicts": _items(f"{run}: {text}" for run, text in evidence if text),
        "Commands": "".join(f"    {printable(line)}\n" for line in commands(runs)),
    }


def _items(lines: Iterable[str]) -> str:
    return "".join(f"- {markdown(line)}\n" for line in lines)


def _figure(shown: FigureFile) -> str:
    table = f"\n{shown.table.markdown()}" if shown.table else ""
    return f"![{shown.name}]({quote(shown.name)}.png)\n\n{markdown(shown.caption)}\n{table}"


def html_page(title: str, text: str, figures: Sequence[FigureFile]) -> str:
    """Return a page of Markdown as HTML that contains its figures and its style."""
    reader = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = reader.parse(text)
    _mark_collapse(tokens)
    body = reader.renderer.render(tokens, reader.options, {}).replace("+- ", "&plusmn;&nbsp;")
    # Lines may break between the options of a norm.
    body = _TEXT_CELL.sub(lambda cell: re.sub("[(,_]", r"\g<0><wbr>", cell[0]), body)
    for shown in figures:
        address = f"data:image/png;base64,{base64.b64encode(shown.png).decode()}"
        width = f'style="width: {shown.share:.0%}"'
        body = body.replace(f'src="{quote(shown.name)}.png"', f'src="{address}" {width}')
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{_STYLE}</style>\n</head>\n<body>\n{body}"
        "</body>\n</html>\n"
    )


def _mark_collapse(tokens: Sequence[Token]) -> None:
    """Give the class `collapsed` to the verdicts in tables that name a collapse first."""
    headings: list[str] = []
    columns = iter(headings)
    for token, content in pairwise(tokens):
        if token.type == "table_open":
            headings = []
        elif token.type == "th_open":
            headings.append(content.content)
        elif token.type == "tr_open":
            columns = iter(headings)
        elif token.type == "td_open":
            is_verdict = next(columns) == "verdict"
            if is_verdict and content.content.split(" ")[0] in WARNED:
                token.attrSet("class", "collapsed")
