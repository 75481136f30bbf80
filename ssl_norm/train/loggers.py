"""Loggers: services that show a run while it is in progress."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ssl_norm.console import warned
from ssl_norm.errors import UserError
from ssl_norm.train.registry import LOGGERS
from ssl_norm.train.run_folder import Row


class Logger:
    """Base of all loggers; a logger implements the methods that its service supports."""

    def __init__(self, folder: Path, first_step: int) -> None:
        """Connect to the service, for a run folder.

        Logged values of later steps than `first_step` are from an interrupted run.
        """

    def row(self, row: Row) -> None:
        """Show the numbers of a row of metrics.csv; NaN: not measured."""

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Show numbers by name."""

    def text(self, name: str, step: int, text: str) -> None:
        """Show Markdown."""

    def image(self, name: str, step: int | None, pixels: NDArray[np.uint8]) -> None:
        """Show an image (H, W, 3); without a step it belongs to the whole run."""

    def histogram(
        self, name: str, step: int, values: NDArray[np.float64], edges: NDArray[np.float64]
    ) -> None:
        """Show a histogram: the number of values in each bin."""

    def hyperparameters(
        self, settings: Mapping[str, float | int | str], metrics: Mapping[str, float]
    ) -> None:
        """Show the settings of a run by dotted key, and its metrics, which are empty at first."""

    def embeddings(
        self, features: Tensor, labels: Sequence[str] | None, images: Tensor | None
    ) -> None:
        """Show features (N, D), with class names and images (N, 3, H, W) uint8 if given."""

    def close(self) -> None:
        """Write all buffered data."""


class Loggers:
    """Group of loggers. A logger that fails is dropped, and the run continues.

    Names are those of `LOGGERS`, or `module:class`; any other name raises a UserError.
    """

    def __init__(self, names: Sequence[str], folder: Path, first_step: int) -> None:
        self._loggers: dict[str, Logger] = {}
        try:
            classes: dict[str, type[Logger]] = {name: LOGGERS.load(name) for name in names}
        except ValueError as error:
            raise UserError(f"loggers: {error}") from error
        for name, logger in classes.items():
            with self._without_on_failure(name, logger):
                self._loggers[name] = logger(folder, first_step)

    def __bool__(self) -> bool:
        return bool(self._loggers)

    def each(self, show: Callable[[Logger], object]) -> None:
        """Call a function with every logger."""
        for name, logger in list(self._loggers.items()):
            with self._without_on_failure(name, type(logger)):
                show(logger)

    @contextmanager
    def _without_on_failure(self, name: str, of: type[Logger]) -> Iterator[None]:
        with warned(LOGGERS.describe(name, of)):
            try:
                yield
            except Exception:
                self._loggers.pop(name, None)
                raise
