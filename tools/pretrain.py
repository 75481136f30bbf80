"""Pretrain an encoder without labels. `python tools/pretrain.py --help` lists every key."""

from ssl_norm.cli import main

if __name__ == "__main__":
    main("pretrain")
