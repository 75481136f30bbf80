"""Recompute the statistics of batch norms. `tools/population_stats.py --help` lists every key."""

from ssl_norm.cli import main

if __name__ == "__main__":
    main("population_stats")
