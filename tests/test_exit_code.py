"""Exit codes of commands: a reader such as `head` that closes the pipe, wrong input."""

import os
import subprocess
import sys

SCRIPT = """
import sys
from ssl_norm.exit_code import exit_code_of

def command(arguments):
    for _ in range(1000):
        print(*arguments)
    return 7

sys.exit(exit_code_of(command, ["x" * 100]))
"""


def test_closed_pipe_exits_zero():
    reading, writing = os.pipe()
    os.close(reading)
    ended = subprocess.run(
        [sys.executable, "-c", SCRIPT], stdout=writing, stderr=subprocess.PIPE, text=True
    )
    os.close(writing)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_open_pipe_keeps_the_exit_code():
    ended = subprocess.run([sys.executable, "-c", SCRIPT], stdout=subprocess.DEVNULL)
    assert ended.returncode == 7
