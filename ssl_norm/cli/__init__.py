"""Command line of all tools; imports nothing heavy, so that help and errors answer at once."""

from ssl_norm.cli.entry import main

__all__ = ["main"]
