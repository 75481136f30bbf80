"""Check a training loop for known bugs. `python tools/doctor.py --help` lists every key."""

from ssl_norm.cli import main

if __name__ == "__main__":
    main("doctor")
