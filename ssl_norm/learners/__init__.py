"""Learners by name: `METHODS[name].load()` is a learner's class. Importing this needs no torch."""

from ssl_norm.learners.registry import METHODS, MethodEntry

__all__ = ["METHODS", "MethodEntry"]
