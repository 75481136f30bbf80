"""Tell whether a checkpoint has collapsed. `python tools/diagnose.py --help` lists every key."""

from ssl_norm.cli import main

if __name__ == "__main__":
    main("diagnose")
