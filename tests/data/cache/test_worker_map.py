import os
import signal
import subprocess
import sys
import time

import pytest

from ssl_norm.data.cache.cached_pixels import worker_map
from ssl_norm.errors import UserError

PARENT = """
import multiprocessing, time
from ssl_norm.data.cache.cached_pixels import worker_map
if __name__ == "__main__":
    with worker_map(1) as run:
        results = run(time.sleep, [0, 60, 60])
        next(results)
        print(*(child.pid for child in multiprocessing.active_children()), flush=True)
        next(results)
"""


def is_running(process: int) -> bool:
    try:
        with open(f"/proc/{process}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_the_order_is_kept_and_errors_come_through():
    with worker_map(1) as run:
        assert list(run(abs, range(-5, 5))) == [5, 4, 3, 2, 1, 0, 1, 2, 3, 4]
        with pytest.raises(TypeError, match="bad operand"):
            list(run(abs, ["text"]))


def test_a_dying_process_is_one_clear_line():
    with pytest.raises(UserError, match=r"a decoding process died.*`$"), worker_map(1) as run:
        list(run(os._exit, [1]))


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="looks at /proc")
def test_workers_do_not_outlive_a_killed_parent(tmp_path):
    (tmp_path / "parent.py").write_text(PARENT)
    parent = subprocess.Popen(
        [sys.executable, tmp_path / "parent.py"], stdout=subprocess.PIPE, text=True
    )
    workers = [int(word) for word in parent.stdout.readline().split()]
    parent.send_signal(signal.SIGKILL)
    parent.communicate()
    assert workers
    deadline = time.monotonic() + 30
    while any(is_running(worker) for worker in workers):
        assert time.monotonic() < deadline
        time.sleep(0.05)
