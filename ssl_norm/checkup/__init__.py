"""Checks of any training loop for publicly known bugs; see :func:`doctor`."""

from ssl_norm.checkup.checks import CHECKS
from ssl_norm.checkup.doctor import Checkup, Result, doctor

__all__ = ["CHECKS", "Checkup", "Result", "doctor"]
