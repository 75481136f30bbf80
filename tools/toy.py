"""Train bn and ubn on two moons with few labels. `tools/toy.py --help` lists every key."""

from ssl_norm.cli import main

if __name__ == "__main__":
    main("toy")
