"""A reader such as `head`, which closes the pipe before the command has written all."""

import os
import subprocess
import sys

SCRIPT = """
import sys
from ssl_norm.closed_pipe import unless_pipe_closes

def command(arguments):
    for _ in range(1000):
        print(*arguments)
    return 7

sys.exit(unless_pipe_closes(command, ["x" * 100]))
"""


def test_a_closed_pipe_is_no_error():
    reading, writing = os.pipe()
    os.close(reading)
    ended = subprocess.run(
        [sys.executable, "-c", SCRIPT], stdout=writing, stderr=subprocess.PIPE, text=True
    )
    os.close(writing)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_else_the_command_says_how_it_ended():
    ended = subprocess.run([sys.executable, "-c", SCRIPT], stdout=subprocess.DEVNULL)
    assert ended.returncode == 7
