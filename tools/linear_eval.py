"""Evaluate a frozen encoder. `python tools/linear_eval.py --help` lists every key."""

from ssl_norm.cli import main

if __name__ == "__main__":
    main("linear_eval")
