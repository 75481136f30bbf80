"""Console command `ssl-norm`: all tools under one name."""

import sys
from collections.abc import Mapping
from types import MappingProxyType

from ssl_norm.closed_pipe import unless_pipe_closes
from ssl_norm.errors import UserError, print_error
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
        "env": ("ssl_norm.cli.environment:main", "Versions, devices and folders, for bug reports."),
    }
)


def main() -> None:
    """Run the command that the first argument names; end the process with its exit code."""
    name, arguments = (sys.argv[1:2] or ["--help"])[0], sys.argv[2:]
    if name in ("-h", "--help"):
        print(usage())
        sys.exit(0)
    if name in ("-V", "--version"):
        from ssl_norm import __version__

        print(__version__)
        sys.exit(0)
    command = name.replace("_", "-")
    if command in LISTS:
        sys.exit(unless_pipe_closes(load_object(LISTS[command][0]), arguments))
    if command not in TOOLS:
        print_error(unknown_name("command", name, [*TOOLS, *LISTS]))
        sys.exit(UserError.exit_code)
    from ssl_norm.cli.entry import main as run_tool

    sys.argv[1:] = arguments
    run_tool(command.replace("-", "_"))


def usage() -> str:
    """Return the list of commands."""
    from ssl_norm.settings.models import MODELS

    texts = {name: (MODELS[name.replace("-", "_")].__doc__ or "").split("\n")[0] for name in TOOLS}
    texts |= {name: text for name, (_, text) in LISTS.items()}
    table = text_table([(f"  {name}", text) for name, text in texts.items()])
    return (
        f"ssl-norm COMMAND [key=value ...]\n\n{table}\n\n`ssl-norm COMMAND --help` lists all keys."
    )
