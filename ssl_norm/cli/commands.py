"""Console command `ssl-norm`, which runs all tools."""

import sys
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from ssl_norm import __version__
from ssl_norm.errors import UserError
from ssl_norm.exit_code import exit_code_of
from ssl_norm.names import unknown_name
from ssl_norm.registry import load_object
from ssl_norm.text import text_table

TOOLS = (
    *("pretrain", "doctor", "finetune", "linear-eval", "diagnose", "population-stats", "report"),
    "toy",
)
LISTS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "norms": ("ssl_norm.norms.__main__:main", "List all norms, or show one in an encoder."),
        "monitors": ("ssl_norm.monitors.__main__:main", "List all collapse monitors."),
        "bench": ("ssl_norm.bench:main", "Apply collapse alarms to the trace of a training run."),
        "env": ("ssl_norm.cli.environment:main", "Show versions, devices and folders."),
    }
)


def main() -> None:
    """Run the command that the first argument names; end the process with its exit code."""
    sys.exit(exit_code_of(_run, sys.argv[1:] or ["--help"]))


def _run(arguments: Sequence[str]) -> int:
    name, *others = arguments
    if name in ("-h", "--help", "-V", "--version"):
        if others:
            raise UserError(f"{name} takes no further arguments, got {' '.join(others)}")
        print(usage() if name in ("-h", "--help") else __version__)
        return 0
    command = name.replace("_", "-")
    if command in LISTS:
        code: int = load_object(LISTS[command][0])(others)
        return code
    if command not in TOOLS:
        raise UserError(unknown_name("command", name, [*TOOLS, *LISTS]))
    from ssl_norm.cli.entry import main as run_tool

    sys.argv[1:] = others
    run_tool(command.replace("-", "_"))
    return 0


def usage() -> str:
    """Return the list of commands."""
    from ssl_norm.settings.models import MODELS

    texts = {name: (MODELS[name.replace("-", "_")].__doc__ or "").split("\n")[0] for name in TOOLS}
    texts |= {name: text for name, (_, text) in LISTS.items()}
    table = text_table([(f"  {name}", text) for name, text in texts.items()])
    return (
        f"ssl-norm COMMAND [key=value ...]\n\n{table}\n\n`ssl-norm COMMAND --help` lists all keys."
    )
