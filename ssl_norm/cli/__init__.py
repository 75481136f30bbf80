"""Command line of all tools; it does not import torch, so that help and errors appear at once."""

from ssl_norm.cli.entry import main

__all__ = ["main"]
