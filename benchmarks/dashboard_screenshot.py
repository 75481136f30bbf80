"""Screenshot of a TensorBoard page, as in the README.

    python benchmarks/dashboard_screenshot.py RUNS_FOLDER --output results/dashboard.png

RUNS_FOLDER is a run folder, or a folder of run folders, whose curves are overlaid. Chromium must be
installed.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from urllib.request import urlopen

PAGES = ("custom_scalars", "images", "histograms", "text", "hparams", "timeseries", "projector")
START_SECONDS = 60  # limit for reading the event files
SWITCHES = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)


def main() -> None:
    """Serve the runs on this machine only, and save the browser's rendering."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="run folder, or a folder of run folders")
    parser.add_argument("--output", type=Path, default=Path("dashboard.png"))
    parser.add_argument("--page", choices=PAGES, default=PAGES[0])
    parser.add_argument("--chromium", default="chromium", help="name or path of the browser")
    parser.add_argument("--width", type=int, default=1600, help="pixels")
    parser.add_argument("--height", type=int, default=1080, help="pixels")
    parser.add_argument("--seconds", type=float, default=15, help="time limit for rendering")
    options = parser.parse_args()
    browser = shutil.which(options.chromium)
    if browser is None:
        sys.exit(
            f"--chromium={options.chromium}: no such program; install Chromium or give its path"
        )
    if not any(options.folder.rglob("events.out.tfevents.*")):
        sys.exit(
            f"{options.folder} has no TensorBoard files; name a run folder, or a folder of several"
        )
    page = f"{serve(options.folder)}#{options.page}"
    screenshot(browser, page, options.output, (options.width, options.height), options.seconds)
    print(options.output)


def serve(folder: Path) -> str:
    """Start TensorBoard on a free local port and return its address once the runs are read."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations in TensorBoard's imports
        from tensorboard.program import TensorBoard
    server = TensorBoard()
    server.configure(
        argv=["tensorboard", "--logdir", str(folder), "--host", "127.0.0.1", "--port", "0"]
    )
    url = str(server.launch())
    for _ in range(START_SECONDS):
        time.sleep(1)
        with urlopen(f"{url}data/runs") as answer:
            if answer.read().strip() != b"[]":
                return url
    sys.exit(f"TensorBoard read no run of {folder} in {START_SECONDS} seconds")


def screenshot(
    browser: str, page: str, output: Path, size: tuple[int, int], seconds: float
) -> None:
    """Save a page as PNG, with a temporary browser profile."""
    with tempfile.TemporaryDirectory() as profile:
        command = [
            browser,
            *SWITCHES,
            f"--user-data-dir={profile}",
            f"--window-size={size[0]},{size[1]}",
            f"--virtual-time-budget={round(1000 * seconds)}",
            f"--screenshot={output.resolve()}",
            page,
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode or not output.exists():
        sys.exit(f"{browser} wrote no picture: {done.stderr.strip()[-500:]}")


if __name__ == "__main__":
    main()
