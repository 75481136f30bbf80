"""Two moons, few of them labelled: bn and ubn side by side. `python tools/toy.py --help` lists every key."""

from ssl_norm.cli import main

if __name__ == "__main__":
    main("toy", "ssl_norm.commands.toy:toy")
