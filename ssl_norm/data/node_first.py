"""Work whose result stays on disk, done by one rank of each machine while the others wait."""

import os
from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

from torch import distributed

from ssl_norm.distributed import is_distributed, rank, world_size
from ssl_norm.errors import UserError

Result = TypeVar("Result")


def node_first(work: Callable[[], Result]) -> Result:
    """Return `work()`, called by the first rank of each machine, then by the others.

    Collective over all ranks. The others wait for up to a day, on a gloo group of their own,
    because NCCL gives up after ten minutes, in which a large folder is not decoded.

    Raises:
        UserError: on every rank, what one of the first ranks raised.
    """
    if not is_distributed():
        return work()
    is_first = int(os.environ.get("LOCAL_RANK", rank())) == 0
    group = distributed.new_group(backend="gloo", timeout=timedelta(days=1))
    assert isinstance(group, distributed.ProcessGroup)
    result, error = None, None
    try:
        if is_first:
            result = work()
    except UserError as raised:
        error = str(raised)
    errors: list[str | None] = [None] * world_size()
    distributed.all_gather_object(errors, error, group=group)
    distributed.destroy_process_group(group)
    for message in errors:
        if message is not None:
            raise UserError(message)
    return work() if result is None else result
