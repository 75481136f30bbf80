"""tools/pretrain.py started as a user starts it, by one process or by two."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
SMALL = (
    "encoder.name=tiny16",
    "data.image_size=16",
    "data.limit=160",
    "batch_size=32",
    "monitor.log_every=2",
    "device=cpu",
    "linear_probe=false",
)
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def command(folder: Path, *overrides: str) -> list[str]:
    return [sys.executable, "tools/pretrain.py", *SMALL, f"run_dir={folder}", *overrides]


def pretrain(folder: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(folder, *overrides), cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True
    )


def rows(folder: Path) -> list[dict[str, str]]:
    path = folder / "metrics.csv"
    return list(csv.DictReader(path.read_text().splitlines())) if path.exists() else []


def kill_after(folder: Path, step: int, *overrides: str) -> None:
    """Start or go on with a run, and kill -9 it once a row of at least `step` stands in metrics.csv."""
    process = subprocess.Popen(
        command(folder, *overrides), cwd=ROOT, env=ENVIRONMENT, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        found = rows(folder)
        if found and found[-1]["step"].isdigit() and int(found[-1]["step"]) >= step:
            break
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "the run ended before it could be killed"


def pretrain_with_two_processes(folder: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    return subprocess.run(
        [sys.executable, *torchrun, *command(folder, *overrides)[1:]],
        cwd=ROOT,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
    )
