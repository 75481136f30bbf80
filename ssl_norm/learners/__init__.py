"""Learners by name: `METHODS.load(name)` is a learner's class. Importing this needs no torch."""

from ssl_norm.learners.registry import METHODS

__all__ = ["METHODS"]
