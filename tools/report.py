"""Write a report on many runs. `python tools/report.py --help` lists every key."""

from ssl_norm.cli import main

if __name__ == "__main__":
    main("report")
