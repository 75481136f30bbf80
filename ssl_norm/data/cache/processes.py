"""Parallel `map` in worker processes that end with their parent; needs no torch."""

import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from typing import Any

from ssl_norm.errors import UserError

Map = Callable[[Callable[[Any], Any], Iterable[Any]], Iterator[Any]]


@contextmanager
def worker_map(workers: int) -> Iterator[Map]:
    """Provide a `map` that keeps the order and runs in `workers` new processes; 0: in this one.

    Leaving the block drops the jobs that have not begun. The processes are spawned rather than
    forked, because the parent has threads; so a script needs the usual `if __name__ ==
    "__main__":`.

    Raises:
        UserError: a worker process died.
    """
    if workers == 0:
        yield map
        return
    pool = ProcessPoolExecutor(workers, get_context("spawn"), initializer=_end_with_parent)
    try:
        yield pool.map
    except BrokenProcessPool as error:
        raise UserError(
            "a decoding process died, often for lack of memory; set data.workers=0 (no processes), "
            'which also helps a script without `if __name__ == "__main__":`)'
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _end_with_parent() -> None:
    """Leave Ctrl-C to the parent, and do not outlive it when it is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_await_parent, daemon=True).start()


def _await_parent() -> None:
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
