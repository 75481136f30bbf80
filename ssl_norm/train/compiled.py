"""Encoders that torch.compile has compiled, for training steps."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from ssl_norm.errors import UserError
from ssl_norm.learners.learner import Learner


class CompiledEncoders:
    """The encoder of a learner and its copies, compiled at their first use.

    Outside :meth:`running` they run as they are, so that hooks on their layers see the outputs, and
    batches of other sizes, as of a probe, do not compile again.
    """

    def __init__(self, learner: Learner) -> None:
        kind = type(learner.encoder)
        self._compiled: dict[nn.Module, Callable[..., Any]] = {
            module: torch.compile(module.forward, dynamic=False)
            for module in learner.modules()
            if type(module) is kind
        }

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run the compiled encoders inside the block.

        Raises:
            UserError: torch cannot compile, for example without a C++ compiler.
        """
        from torch._dynamo.exc import TorchDynamoException

        for module, forward in self._compiled.items():
            module.forward = forward
        try:
            yield
        except TorchDynamoException as error:
            cause = getattr(error, "inner_exception", error)
            reason = str(cause).strip().partition("\n")[0]
            raise UserError(f"compile=true: torch cannot compile the encoder: {reason}") from error
        finally:
            for module in self._compiled:
                del module.forward
