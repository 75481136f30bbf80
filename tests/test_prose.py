"""Plain English: forbidden idioms and line lengths in docstrings, comments, Markdown and YAML."""

import ast
import io
import re
import subprocess
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
COLUMNS = 100
IDIOMS = (
    "so many|alike|anew|likewise|beside|at hand|at rest|of its own|of their own|return what"
    r"|(?:stands?|stood|lies?|lay) in(?! [\[(])"  # "x lies in [0, 1]" is allowed
    "|the words? on|hangs? on|put out|became of"
)
IDIOM = re.compile(rf"\b(?:{IDIOMS})\b|,\s+too(?=[.;:]|\s*$)".replace(" ", r"\s+"), re.IGNORECASE)
CODE = re.compile(r"^```.*?^```|^(?:    |\||!\[).*?$", re.DOTALL | re.MULTILINE)
NOT_COMMENT = re.compile(r"^[^#\n]*$|^[^#\n]*(?=#)", re.MULTILINE)


def docstrings(tree: ast.Module) -> Iterator[tuple[int, str, bool]]:
    """Yield line, text and whether the text begins like a question, for each docstring."""
    for node in ast.walk(tree):
        kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
        if isinstance(node, kinds) and (text := ast.get_docstring(node, clean=False)):
            opening = rf"(What|Which|How|Whether{'|Where|One' * (node is tree)})\b"
            yield node.body[0].lineno, text, re.match(opening, text) is not None


def passages(path: Path) -> Iterator[tuple[int, str, bool]]:
    """Yield line, prose and whether it begins like a question; code becomes empty lines."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        yield 1, CODE.sub(lambda match: "\n" * match[0].count("\n"), text), False
    elif path.suffix == ".yaml":
        yield 1, NOT_COMMENT.sub("", text), False
    else:
        yield from docstrings(ast.parse(text))
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type == tokenize.COMMENT:
                yield token.start[0], token.line[: token.end[1]], False


def faults(path: Path) -> tuple[list[str], list[str]]:
    """Return the idioms and the long lines of one file, each as 'path:line: text'."""
    idioms, long = [], []
    for line, text, question in passages(path):
        found = [(0, text[:40])] * question + [(m.start(), m[0]) for m in IDIOM.finditer(text)]
        lines = [len(part) for part in text.splitlines()]
        idioms += [(line + text.count("\n", 0, start), said) for start, said in found]
        long += [(line + at, f"{n} columns") for at, n in enumerate(lines) if n > COLUMNS]
    name = path.relative_to(ROOT)
    return [f"{name}:{at}: {what}" for at, what in idioms], [f"{name}:{at}: {n}" for at, n in long]


def tracked() -> dict[str, list[Path]]:
    """Return the tracked Python, Markdown and YAML files by top-level folder."""
    command = ["git", "-C", str(ROOT), "ls-files", "*.py", "*.md", "*.yaml"]
    folders: dict[str, list[Path]] = {}
    for name in subprocess.run(command, capture_output=True, text=True).stdout.split():
        if not name.startswith("tests/fixtures/"):
            folders.setdefault(name.split("/")[0] if "/" in name else ".", []).append(ROOT / name)
    return folders


@pytest.mark.parametrize("folder", sorted(tracked()))
def test_prose_is_plain(folder):
    found = [faults(path) for path in tracked()[folder] if path.exists()]
    listed = [fault for idioms, long in found for fault in (*idioms, *long)]
    assert not listed, "\n".join(listed[:40])
